"""Error messages and counted nouns in singular and plural."""

import json
import re
import ssl
from http.client import BadStatusLine
from typing import Any

import pytest

from asu_stats.alert_rules import DEFAULTS
from asu_stats.exceptions import reason
from asu_stats.monitor import texts
from asu_stats.text import counted, plainly
from tests.api.test_ingest import BAD_EVENTS, changed, without
from tests.support import TOKEN, Stats, request

TECHNICAL = re.compile(
    r"\b(None|True|False|NoneType|dict|tuple|int|str|bool|nan|[A-Z]\w*(Error|Exception))\b"
)


@pytest.mark.parametrize("event", BAD_EVENTS.values(), ids=BAD_EVENTS)
def test_what_is_wrong_with_an_event_is_said_in_words_of_json(
    untouched: Stats, event: object
) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    body = json.dumps([event])
    answer = untouched.client.post("/api/v1/stats/events", content=body, headers=headers)
    detail = answer.json()["detail"]
    assert not TECHNICAL.search(detail), detail


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (without("diff_packages"), "events[0].data.diff_packages: is missing"),
        (
            changed(diff_packages=None),
            "events[0].data.diff_packages: expected true or false, got null",
        ),
        (
            changed(diff_packages={"a": 1}),
            "events[0].data.diff_packages: expected true or false, got an object",
        ),
        (changed(version=None), "events[0].data.version: expected text, got null"),
        (without("version"), "events[0].data.version: is missing"),
        (without("outcome"), "events[0].data.outcome: is missing"),
        (without("request_hash"), "events[0].data.request_hash: is missing"),
        (without("time"), "events[0].time: is missing"),
        (without("type"), "events[0].type: is missing"),
        (without("id"), "events[0].id: is missing"),
        (without("data"), "events[0].data: is missing"),
        (without("specversion"), "events[0].specversion: is missing"),
        (
            changed(package_count=True),
            "events[0].data.package_count: expected a whole number from 0 to 2147483647, got true",
        ),
        ({**request("h"), "data": []}, "events[0].data: expected an object, got a list"),
    ],
)
def test_null_is_not_missing(untouched: Stats, event: Any, said: str) -> None:
    assert untouched.post([event]).json()["detail"] == said


def test_hours_that_are_gone_are_said_in_a_sentence(untouched: Stats) -> None:
    answer = untouched.client.get("/api/v1/stats/timeseries?interval=hour&days=91")
    said = "days=91: expected a later start: hours are kept from 2026-07-03 on"
    assert answer.json()["detail"] == said


def test_numbers_agree_with_their_nouns() -> None:
    assert [counted(n, "build") for n in (0, 1, 2, 1000)] == [
        "0 builds",
        "1 build",
        "2 builds",
        "1,000 builds",
    ]
    for rule in DEFAULTS:
        said = texts.of_value(rule, 1, 1, 1)
        assert not re.search(r"\b1 (builds|requests)\b", said), said


def test_values_are_written_plainly() -> None:
    values = {"days": 3, "complete": True, "file": None, "rows": {"a": False}, "names": ["x", "y"]}
    assert plainly(values) == "days 3, complete yes, file –, rows a no, names x, y"  # noqa: RUF001
    assert plainly([1043, 2000000.5]) == "1,043, 2,000,000.5"
    assert plainly([]) == plainly({}) == "none"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError("10.0.0.1"), "timed out"),
        (ConnectionRefusedError(111, "Connection refused"), "connection refused"),
        (ConnectionResetError("secret"), "the connection broke off"),
        (FileNotFoundError(2, "No such file or directory", "/secret"), "no such file or directory"),
        (ssl.SSLCertVerificationError("secret.example"), "TLS failed, or the certificate"),
        (BadStatusLine("secret"), "unexpected error"),
        (KeyError("secret"), "unexpected error"),
    ],
)
def test_reasons_name_neither_classes_nor_values(error: Exception, said: str) -> None:
    assert reason(error).startswith(said)
    assert "secret" not in reason(error)
