"""The access log: one line per request, with an id and without secrets."""

import io
import json
import logging
from pathlib import Path

import pytest

from asu_stats import logs
from tests.conftest import sqlite_database
from tests.support import Stats, request


def logged(stats: Stats, caplog: pytest.LogCaptureFixture, logger: str) -> list[str]:
    del stats
    return [r.getMessage() for r in caplog.records if r.name == f"asu_stats.api.{logger}"]


def test_requests_are_logged_on_demand_without_paths(
    request: pytest.FixtureRequest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="asu_stats")
    given = {"access_log": True, "proxies": 1, "log_addresses": True}
    with Stats.on(sqlite_database(request), tmp_path / "spool", **given) as stats:
        headers = {"X-Request-ID": "abc-1", "X-Forwarded-For": "192.0.2.7"}
        secret = "s3cret" * 10
        response = stats.client.get(f"/api/v1/build/{secret}?token={secret}", headers=headers)
        evil = stats.client.get("/healthz", headers={"X-Request-ID": "a b\x7f"})
        lines = logged(stats, caplog, "request_log")
    assert response.headers["X-Request-ID"] == "abc-1"
    assert len(evil.headers["X-Request-ID"]) == 16
    assert "access: method=GET route=/api/v1/build/{request_hash} status=404" in lines[0]
    assert "client=192.0.2.7" in lines[0]
    assert "s3cret" not in caplog.text


def test_refused_tokens_and_events_are_logged_without_what_was_sent(
    sqlite_stats: Stats, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="asu_stats")
    wrong = request("h", outcome="s3cret")
    assert sqlite_stats.post([wrong]).status_code == 422
    response = sqlite_stats.post([], headers={"Authorization": "Bearer s3cret"})
    assert response.status_code == 401
    assert sqlite_stats.client.get("/healthz").headers.get("X-Request-ID") is None
    assert logged(sqlite_stats, caplog, "problems") == ["ingest: events refused field=data.outcome"]
    assert logged(sqlite_stats, caplog, "request_log") == [
        "access: token refused status=401 route=/api/v1/stats/events"
    ]
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_record_is_one_line_with_time_and_request(form: logs.Form) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.set_name("asu-stats")
    handler.addFilter(logs.RequestIdFilter())
    root, ours = logging.getLogger(), logging.getLogger("asu_stats")
    level = ours.level
    root.addHandler(handler)
    token = logs.request_id.set("abc-1")
    try:
        logs.use(form, "warning")
        log = logging.getLogger("asu_stats.test")
        log.info("not shown")
        log.warning("one\ntwo %s", "three\x1b[31m")
    finally:
        logs.request_id.reset(token)
        root.removeHandler(handler)
        ours.setLevel(level)
    (line,) = stream.getvalue().splitlines()
    assert "\x1b" not in line
    if form == "text":
        assert line.endswith(r"Z WARNING asu_stats.test: one\ntwo three\x1b[31m request_id=abc-1")
        return
    found = json.loads(line)
    assert found.pop("time").endswith("Z")
    assert found == {
        "level": "WARNING",
        "logger": "asu_stats.test",
        "message": "one\ntwo three\x1b[31m",
        "request_id": "abc-1",
    }
