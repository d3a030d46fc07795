"""Hostile names: every output format stays valid for strict readers."""

import io
import json
import logging
import re
from collections.abc import Iterator
from datetime import timedelta
from email import message_from_bytes, policy
from typing import Any
from urllib.parse import urlencode

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from asu_stats.cli import export as exports
from asu_stats.logs import TextFormatter
from asu_stats.monitor import channels
from asu_stats.store import export as source
from asu_stats.store.database.engine import read_snapshot
from asu_stats.text import markup, stored_name
from tests import evil
from tests.conftest import postgresql_database, sqlite_database
from tests.monitor.support import Play
from tests.support import NOW, Stats, build, request

QUESTIONS = (
    "versions",
    "targets",
    "profiles",
    "clients",
    "packages",
    "errors/types",
    "errors/examples",
    "diff-packages",
    "versions/timeseries",
    "errors/timeseries",
    "overview",
    "errors",
    "performance",
    "now",
    "alerts",
)
TABLES = ("versions", "targets", "profiles", "clients", "packages", "errors/types")
PAGES = (
    "/",
    "/versions",
    "/targets",
    "/profiles",
    "/clients",
    "/packages",
    "/errors",
    "/insights",
    "/insights/queue",
    "/insights/cache",
    "/insights/adoption",
    "/insights/capacity",
    "/insights/phases",
    "/insights/regressions",
    "/performance",
    "/alerts",
)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def evil_stats(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stats]:
    """A service that has seen every evil name in every place."""
    directory = tmp_path_factory.mktemp("evil")
    urls = (
        iter([sqlite_database(request, directory)])
        if request.param == "sqlite"
        else postgresql_database(request)
    )
    for url in urls:
        with Stats.on(url, directory / "spool") as stats:
            fill(stats)
            yield stats


def fill(stats: Stats) -> None:
    for number, name in enumerate(evil.NAMES):
        names = dict.fromkeys(("version", "target", "profile", "client"), name)
        key = f"{number}-{name}"[:128]
        stats.record(
            request(key, NOW - timedelta(minutes=5), **names, packages=[name]),
            build(
                key,
                "failure",
                build_id=key,
                worker_id=name,
                error_message=f"{name}\nmore",
                error_category=name,
                error_type=name,
            ),
            request(f"r{key}"[:128], outcome="rejected", **names, error_message=name),
        )


def test_json(evil_stats: Stats) -> None:
    wanted = {stored_name(name) for name in evil.NAMES}
    for question in QUESTIONS:
        answer = evil_stats.client.get(f"/api/v1/stats/{question}")
        assert answer.status_code == 200, answer.text
        found = evil.read_json(answer.content.decode())
        assert all(value.isascii() for value in answer.headers.values())
        if question == "versions":
            assert {row["version"] for row in found} == wanted
    for name in evil.NAMES:
        for question in ("overview", "versions", f"clients/{urlencode({'': name})[1:]}"):
            answer = evil_stats.client.get(f"/api/v1/stats/{question}?{urlencode({'days': name})}")
            assert answer.status_code in {404, 422}
            evil.read_json(answer.content.decode())
    with evil_stats.client.websocket_connect("/api/v1/stats/live") as socket:
        evil.read_json(socket.receive_text())


def test_csv(evil_stats: Stats) -> None:
    for question in TABLES:
        answer = evil_stats.client.get(f"/api/v1/stats/{question}?format=csv&limit=1000")
        assert answer.status_code == 200, answer.text
        rows = evil.read_csv(answer.content.decode())
        assert len(rows) >= len(evil.NAMES) - 4 or question == "clients"
        if question == "versions":
            found = {row["version"].removeprefix("'") for row in rows}
            assert found == {stored_name(name).removeprefix("'") for name in evil.NAMES}


@pytest.mark.parametrize("table", source.TABLES)
def test_exports(evil_stats: Stats, table: str) -> None:
    columns = source.columns(table)
    written: dict[str, bytes] = {}
    for form, write in (("csv", exports._csv), ("ndjson", exports._ndjson)):
        file = io.BytesIO()
        with read_snapshot(evil_stats.engine, streams=True) as connection:
            write(file, columns, source.rows(connection, table, None, None))
        written[form] = file.getvalue()
    if written["ndjson"]:
        rows = evil.read_csv(written["csv"].decode())
        lines = evil.read_ndjson(written["ndjson"])
        assert len(rows) == len(lines)
        assert set(rows[0]) == set(lines[0])


def test_html(evil_stats: Stats) -> None:
    for path in PAGES:
        answer = evil_stats.client.get(path)
        assert answer.status_code == 200
        text = evil.read_html(answer.content.decode())
        if path in {"/versions", "/errors"}:
            assert "<script>alert(1)</script>" in text
    for name in evil.NAMES:
        for path, parameters in (
            ("/profiles", {"version": name, "q": name}),
            ("/clients", {"client": name.split("/")[0]}),
            ("/embed/requests", {"version": name}),
            ("/versions", {"days": name}),
        ):
            url = f"{path}?{urlencode(parameters)}"
            answer = evil_stats.client.get(url, headers={"Accept": "text/html"})
            assert answer.status_code in {200, 404, 422}, (path, name)
            evil.read_html(answer.content.decode())


def test_svg(evil_stats: Stats) -> None:
    for name in evil.NAMES:
        for parameters in ({"label": name[:40]}, {"version": name}, {"profile": name}):
            answer = evil_stats.client.get(f"/badge/requests.svg?{urlencode(parameters)}")
            assert answer.status_code == 200, answer.text
            root = evil.read_xml(answer.content.decode())
            if "label" in parameters:
                title = root.find("{http://www.w3.org/2000/svg}title")
                assert title is not None
                shown = markup(name[:40]).replace("\r\n", "\n").replace("\r", "\n")
                assert str(title.text).startswith(shown.strip() if not shown.strip() else shown)


def test_prometheus(evil_stats: Stats) -> None:
    answer = evil_stats.client.get("/metrics")
    families = list(text_string_to_metric_families(answer.content.decode()))
    assert len(families) > 10
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    answer = evil_stats.client.get("/metrics", headers=accept)
    list(openmetrics.text_string_to_metric_families(answer.content.decode()))  # type: ignore[no-untyped-call]
    labels = {value for f in families for sample in f.samples for value in sample.labels.values()}
    assert not labels & {stored_name(name) for name in evil.NAMES}


def test_webhooks_and_mail(sqlite_stats: Stats) -> None:
    play = Play(sqlite_stats)
    for name in evil.NAMES:
        names = dict.fromkeys(("version", "target", "profile", "client"), name)
        play.builds(12, failed=11, names=names, error_message=f"{name}\nmore", error_type=name)
    play.go(20, step=5)
    messages = play.messages()
    assert messages
    for body in messages:
        data = evil.read_json(json.dumps(body, ensure_ascii=False))["data"]
        for text in (data["subject_line"], *data["body"].split("\n")):
            assert text.isprintable(), text
        assert mail(data)["Subject"] == data["subject_line"]


def mail(data: dict[str, Any]) -> Any:
    """Return the mail that Apprise makes of a message, read strictly."""
    from apprise.plugins.email.base import NotifyEmail

    service = channels._apprise(["mailto://127.0.0.1:1?from=asu@example.org&to=ops@example.org"])
    assert service
    made = NotifyEmail.prepare_emails(
        subject=data["subject_line"],
        body=data["body"],
        from_addr=("asu", "asu@example.org"),
        to=[("ops", "ops@example.org")],
    )
    (one,) = list(made)
    strict = policy.default.clone(raise_on_defect=True)
    return message_from_bytes(one.body.encode(), policy=strict)


LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (INFO|ERROR) evil: ")


def test_log_lines() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter())
    log = logging.Logger("evil", logging.INFO)
    log.addHandler(handler)
    for name in evil.NAMES:
        log.info("path=%s", name)
        try:
            raise ValueError(name)  # noqa: TRY301 - what is wanted is its traceback
        except ValueError:
            log.exception("failed path=%s", name)
    lines = stream.getvalue().removesuffix("\n").split("\n")
    assert all(line.isprintable() for line in lines)
    assert all(LINE.match(line) or line.startswith("    ") for line in lines)
    assert sum(bool(LINE.match(line)) for line in lines) == 2 * len(evil.NAMES)
