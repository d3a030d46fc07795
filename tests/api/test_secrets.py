"""Secrets are in no log, response, metric or file, and no command line has to contain one."""

import hmac
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from asu_stats import logs
from asu_stats.api import tokens
from tests.conftest import sqlite_database
from tests.support import TOKEN, Stats, build, request

OWN = {"origin": "http://testserver"}
TYPED = "a-password-of-another-service"  # a secret that somebody sends here by mistake
SCRIPT = "echo first-boot-secret-of-a-user"


@pytest.fixture
def private(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stats]:
    options = {"read_access": "token", "access_log": True, "log_addresses": True}
    with Stats.on(sqlite_database(request), tmp_path / "spool", **options) as stats:
        stats.client.follow_redirects = False
        yield stats


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_secrets_are_in_no_log_response_metric_or_file(
    private: Stats, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = private.client
    reader = tokens.create(private.engine, "reader", "read")
    sender = tokens.create(private.engine, "sender", "ingest")
    secrets = (TOKEN, reader, sender, TYPED)
    said: list[str] = []

    def note(response: Any) -> Any:
        said.append(f"{response.text} {dict(response.headers)}")
        return response

    events = [request("h"), *build("h", "failure", error_message="x")]
    for token in (*secrets, f"{reader}x"):
        for method, path in (
            ("GET", "/api/v1/stats/overview"),
            ("GET", f"/api/v1/stats/overview?token={token}"),
            ("GET", f"/api/v1/stats/clients/{token}"),
            ("GET", f"/api/v1/build/{token}"),
            ("GET", "/metrics"),
            ("GET", "/no-such-page"),
            ("PUT", "/api/v1/stats/events"),
        ):
            note(client.request(method, path, headers=bearer(token)))
        note(client.post("/api/v1/stats/events", json=events, headers=bearer(token)))
        note(client.post("/api/v1/stats/events", content=b"{", headers=bearer(token)))
        note(client.post("/sign-in", data={"token": token}, headers=OWN))
        note(client.get("/api/v1/stats/overview", headers={"Authorization": f"Basic {token}"}))
        client.cookies.clear()
        note(client.get("/api/v1/stats/now", headers={"Cookie": f"asu_stats_session={token}"}))
    tokens.revoke(private.engine, "reader")
    note(client.get("/api/v1/stats/overview", headers=bearer(reader)))
    for path in ("/healthz", "/readyz"):
        note(client.get(path))

    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(kept) >= 2  # the database and its log
    logged = "\n".join(
        logs.TextFormatter().format(record)
        for record in caplog.records
        if record.name.startswith("asu_stats")
    )
    assert "access: token refused" in logged
    for secret in secrets:
        assert secret not in logged
        assert not [content for content in kept if secret.encode() in content]
        # What somebody writes into a path is repeated to them, and to nobody else.
        own = (f"={secret}", f"/{secret}", f"'{secret}")
        for text in said:
            rest = text
            for each in own:
                rest = rest.replace(each, "")
            assert secret not in rest


@pytest.mark.parametrize("request_hash", ["ab" * 32, "hash-of-another-server"])
def test_hashes_in_error_texts_are_shortened(stats: Stats, request_hash: str) -> None:
    """Builds run in directories named after the request hash, so it is in many texts."""
    place = f"/store/{request_hash}"
    missing = "Impossible package selection: missing (luci-app-foo)"
    stats.record(
        request(request_hash, outcome="rejected", error_message=f"No space left on {place}"),
        build(request_hash, "failure", error_message=f"{place}: {missing} in {place}/x"),
    )
    (fingerprint,) = (
        each["fingerprint"]
        for each in stats.get("insights/fingerprints", type="package_not_found")["fingerprints"]
    )
    shown = request_hash[:12]
    for question in (
        "errors/examples",
        "errors/examples?format=csv",
        "insights/failures",
        "insights/failures?format=csv",
        "insights/fingerprints",
        "insights/packages",
        f"insights/fingerprints/{fingerprint}",
    ):
        text = stats.client.get(f"/api/v1/stats/{question}").text
        assert f"{place[:7]}{shown}" in text, question
        assert request_hash not in text, question
    page = stats.client.get("/errors").text
    assert shown in page
    assert request_hash not in page


def test_a_token_is_compared_in_constant_time_or_by_its_digest(
    private: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[Any, Any]] = []
    asked: list[str] = []
    real = hmac.compare_digest

    def compare(first: Any, second: Any) -> bool:
        compared.append((first, second))
        return real(first, second)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    event.listen(
        private.engine, "before_cursor_execute", lambda *given: asked.append(repr(given[3]))
    )
    token = tokens.create(private.engine, "sender", "ingest")
    stored = tokens.digest(token)
    for sent in (TOKEN, token, "wrong"):
        private.post(request(f"h-{sent}"[:20]), headers=bearer(sent))
    # The token of the settings: digest with digest, whatever was sent.
    assert [pair[0] for pair in compared] == [tokens.digest(x) for x in (TOKEN, token, "wrong")]
    assert {pair[1] for pair in compared} == {tokens.digest(TOKEN)}
    # The others: looked up by digest, so that the time tells nothing about a token.
    assert any(stored in parameters for parameters in asked)
    assert not [parameters for parameters in asked if token in parameters]


def test_every_secret_of_a_command_can_be_given_in_the_environment() -> None:
    """The command line of a process is seen by all users of a machine, its environment is not."""
    page = (Path(__file__).parents[2] / "docs" / "reference" / "cli.md").read_text()
    options = re.findall(r"^ +--\S*(?:token|secret|password).*(?:\n {10}.*)*", page, re.MULTILINE)
    assert len(options) >= 3
    plain = [" ".join(option.split()) for option in options]
    assert [option for option in plain if "env var: ASU_STATS_" not in option] == []


def test_first_boot_scripts_are_in_no_event_response_or_log(
    private: Stats, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    body = {
        "version": "24.10.2",
        "target": "x86/64",
        "profile": "generic",
        "packages": ["tmux"],
        "defaults": SCRIPT,
    }
    answer = private.client.post("/api/v1/build", json=body)
    reader = tokens.create(private.engine, "reader", "read")
    paths = ("overview", "now", "request-patterns", "errors/examples")
    asked = [
        private.client.get(f"/api/v1/stats/{path}", headers=bearer(reader)).text for path in paths
    ]
    texts = [answer.text, caplog.text, *asked]
    assert not [text for text in texts if SCRIPT in text]
