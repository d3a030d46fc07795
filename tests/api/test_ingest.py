"""`POST /api/v1/stats/events`: accepted and refused events; refusals store nothing."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from asu_stats.api import tokens
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.database.metadata import metadata
from tests.support import NOW, TOKEN, Stats, build, cloudevent, request

URL = "/api/v1/stats/events"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}


def trace(stats: Stats) -> dict[str, int]:
    """Rows of every table that holds any, apart from what is there from the start."""
    with read_snapshot(stats.engine) as db:
        counts = db.execute(_COUNTS).mappings().one()
    return {name: n for name, n in counts.items() if n and name != "store_state"}


_COUNTS = select(
    *(
        select(func.count()).select_from(table).scalar_subquery().label(name)
        for name, table in metadata.tables.items()
    )
)


def test_single_batch_and_either(stats: Stats) -> None:
    one, two, three = (request(f"h{n}") for n in range(3))
    for media, body in (
        ("application/cloudevents+json; charset=utf-8", one),
        ("application/cloudevents-batch+json", [two]),
        ("application/json", three),
        ("application/json", [one, two, three]),
        ("application/cloudevents-batch+json", []),
    ):
        answer = stats.post(body, headers={"Content-Type": media})
        assert answer.status_code == 200, answer.text
    assert answer.json() == {"accepted": 0, "duplicates": 0}
    assert stats.get("overview")["totals"]["requests"] == 3


def test_twice_is_once_also_within_a_batch_and_with_other_content(stats: Stats) -> None:
    event = request("h1")
    assert stats.record(event, event) == {"accepted": 1, "duplicates": 1}
    other = {**event, "data": {**event["data"], "version": "other"}}
    assert stats.record(other) == {"accepted": 0, "duplicates": 1}
    assert stats.record({**event, "source": "https://other.example"})["accepted"] == 1
    assert [row["version"] for row in stats.get("versions")] == ["24.10.2"]


def test_all_or_nothing(stats: Stats) -> None:
    bad = request("h2", outcome="lost")
    answer = stats.post([request("h1"), bad, request("h3")])
    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {
            "loc": ["body", 1, "data.outcome"],
            "msg": "expected one of queued, joined, cache_hit, cached_failure, rejected, "
            "got 'lost'",
        }
    ]
    assert answer.json()["detail"].startswith("events[1].data.outcome: expected one of")
    assert trace(stats) == {}


def changed(**data: Any) -> dict[str, Any]:
    return request("h1", **data)


def without(field: str) -> dict[str, Any]:
    event = request("h1")
    del (event if field in event else event["data"])[field]
    return event


HUGE = "x" * (1 << 20)
BAD_EVENTS: dict[str, Any] = {
    "not an object": 7,
    "no specversion": without("specversion"),
    "other specversion": {**request("h"), "specversion": "0.3"},
    "no id": without("id"),
    "empty id": {**request("h"), "id": ""},
    "long id": {**request("h"), "id": "x" * 257},
    "NUL in id": {**request("h"), "id": "a\0b"},
    "surrogate in source": {**request("h"), "source": "http://\ud800"},
    "long source": {**request("h"), "source": "x" * 1025},
    "other type": {**request("h"), "type": "asu.request.lost"},
    "type a list": {**request("h"), "type": []},
    "no time": without("time"),
    "time a number": {**request("h"), "time": 1704067200},
    "time a day": {**request("h"), "time": "2026-01-01"},
    "time without offset": {**request("h"), "time": "2026-01-01T00:00:00"},
    "time does not exist": {**request("h"), "time": "2026-02-30T00:00:00Z"},
    "time before the calendar": {**request("h"), "time": "0001-01-01T00:00:00+14:00"},
    "time before 1970": {**request("h"), "time": "1969-12-31T23:59:59Z"},
    "time after 9998": {**request("h"), "time": "9999-01-01T00:00:00Z"},
    "time of a clock at zero": {**request("h"), "time": "1970-01-01T00:00:05Z"},
    "time before oldest_event": {**request("h"), "time": "2003-12-31T23:59:59.999Z"},
    "time days ahead": request("h", NOW + timedelta(days=1, seconds=1)),
    **{
        f"source {source}": {**request("h"), "source": source}
        for source in (
            *("sysupgrade.example.org", "/workers/w1", "//example.org", "example.org/x", "a b:c"),
            *("https://", "https:", "https:///x", "https:x", "https://example.org/a b", "1a:b"),
            *("https://example.org/#w1", "https://exam\nple.org", "http://[::1", "urn:", "x:%z"),
            *(
                "https://example.org:port/",
                "https://ex\u00e4mple.org",
                "https://:80",
                ":",
                "urn:#a",
            ),
        )
    },
    "data missing": without("data"),
    "data a list": {**request("h"), "data": []},
    "data_base64": {**request("h"), "data_base64": "e30="},
    "datacontenttype": {**request("h"), "datacontenttype": "text/xml"},
    "datacontenttype a number": {**request("h"), "datacontenttype": 5},
    "no hash": without("request_hash"),
    "empty hash": changed(request_hash=""),
    "long hash": changed(request_hash="x" * 129),
    "hash a number": changed(request_hash=5),
    "no version": without("version"),
    "version null": changed(version=None),
    "long profile": changed(profile="x" * 256),
    "1 MB client": changed(client=HUGE),
    "client a list": changed(client=["luci"]),
    "diff_packages a word": changed(diff_packages="yes"),
    "diff_packages a number": changed(diff_packages=1),
    "no diff_packages": without("diff_packages"),
    "negative package_count": changed(package_count=-1),
    "package_count a bool": changed(package_count=True),
    "package_count a fraction": changed(package_count=1.5),
    "huge rootfs_size_mb": changed(rootfs_size_mb=2**31),
    "packages a text": changed(packages="luci"),
    "package a number": changed(packages=["luci", 5]),
    "no outcome": without("outcome"),
    "outcome a dict": changed(outcome={}),
    "no build_id": cloudevent("build.started", NOW, {"request_hash": "h"}),
    "no status": cloudevent("build.finished", NOW, {"request_hash": "h", "build_id": "b"}),
    "negative duration": build("h", duration_seconds=-1)[1],
    "infinite duration": build("h", duration_seconds=1e999)[1],
    "phases a list": build("h", phases=[1])[1],
    "phase a text": build("h", phases={"init": "1"})[1],
    "error_message a number": build("h", "failure", error_message=5)[1],
    "error_message of what went well": build("h", error_message=5)[1],
}


@pytest.mark.parametrize("case", BAD_EVENTS)
def test_bad_events_are_refused_and_leave_no_trace(untouched: Stats, case: str) -> None:
    body = json.dumps([request("good"), BAD_EVENTS[case]])
    answer = untouched.client.post(
        URL, content=body, headers={**AUTHORIZED, "Content-Type": "application/json"}
    )
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == 422
    assert problem["detail"].startswith(("events[1].", "events[1]:", "event: Infinity"))
    assert len(problem["detail"]) <= 1000
    assert trace(untouched) == {}


BAD_BODIES: dict[str, bytes] = {
    "empty": b"",
    "not JSON": b"{",
    "NaN": b'[{"specversion": NaN}]',
    "Infinity": b"[-Infinity]",
    "invalid UTF-8": b'["\xff"]',
    "member twice": b'{"id": "a", "id": "b"}',
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "long number": b"[" + b"9" * 5000 + b"]",
    "a text": b'"x"',
    "null": b"null",
    "NUL bytes": b"\0\0",
    "control character in a text": b'["\x01"]',
}


@pytest.mark.parametrize("case", BAD_BODIES)
def test_bad_bodies(untouched: Stats, case: str) -> None:
    headers = {**AUTHORIZED, "Content-Type": "application/json"}
    answer = untouched.client.post(URL, content=BAD_BODIES[case], headers=headers)
    assert answer.status_code == 422, answer.text
    assert isinstance(answer.json()["detail"], str)
    assert trace(untouched) == {}


def test_media_types(stats: Stats) -> None:
    event = request("h1")
    for headers in (
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "application/json", "Content-Encoding": "br"},
        {"Content-Type": "application/x-ndjson", "ce-id": "1", "ce-specversion": "1.0"},
    ):
        assert stats.post(event, headers=headers).status_code == 415, headers
    batch = {"Content-Type": "application/cloudevents-batch+json"}
    single = {"Content-Type": "application/cloudevents+json"}
    assert stats.post(event, headers=batch).status_code == 422
    assert stats.post([event], headers=single).status_code == 422
    assert trace(stats) == {}


def test_too_much(stats: Stats) -> None:
    events = [request("h", client="c")] * 10_001
    assert stats.post(events).status_code == 413
    headers = {**AUTHORIZED, "Content-Type": "application/json"}

    def chunks() -> Any:
        for _ in range(9):
            yield b" " * (1 << 20)

    assert stats.client.post(URL, content=chunks(), headers=headers).status_code == 413
    assert stats.client.post(URL, content=b" " * (9 << 20), headers=headers).status_code == 413
    assert trace(stats) == {}


def test_names_are_cleaned_and_long_texts_cut(stats: Stats) -> None:
    body = json.dumps(
        request(
            "h1",
            version="24\u0000.10",
            target="a\ud800b",
            profile="p\tq\x7f",
            client=" luci\n/ 5 ",
            unknown_member={"ignored": True},
        )
        | {"extension": "ignored"}
    )
    headers = {**AUTHORIZED, "Content-Type": "application/json"}
    assert stats.client.post(URL, content=body, headers=headers).status_code == 200
    assert stats.get("versions")[0]["version"] == "24\ufffd.10"
    assert stats.get("targets")[0]["target"] == "a\ufffdb"
    assert stats.get("profiles")[0]["profile"] == "p q "
    assert stats.get("clients/luci")["client_versions"][0]["client_version"] == "5"

    message = "é" * 20_000
    stats.record(build("h1", "failure", error_message=message, error_type="t"))
    with read_snapshot(stats.engine) as db:
        column = metadata.tables["build_metrics"].c.error_message
        stored = db.execute(select(column)).scalar_one()
    assert stored == "é" * (8 * 1024)


def test_whole_numbers_may_be_written_with_a_point(stats: Stats) -> None:
    stats.record(request("h1", package_count=143.0, rootfs_size_mb=2.56e2))
    with read_snapshot(stats.engine) as db:
        t = metadata.tables["request_metadata"].c
        assert db.execute(select(t.package_count, t.rootfs_size_mb)).one() == (143, 256)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (0.49999999999999994, 0),
        (0.5, 1),
        (1, 1),
        (1.5, 2),
        (2.5, 3),
        (2147483646.5, 2147483647),
        (2147483647, 2147483647),
    ],
)
def test_durations_are_rounded_half_up(sqlite_stats: Stats, given: float, kept: int) -> None:
    sqlite_stats.record(build("h1", duration_seconds=given)[1])
    answer = sqlite_stats.get("performance")["build_duration"]
    assert (answer["min_seconds"], answer["max_seconds"]) == (kept, kept)


def test_category_and_type_are_derived_where_missing(stats: Stats) -> None:
    text = "Impossible package selection: missing (luci-app-foo)"
    stats.record(
        build("h1", "failure", error_message=text),
        build("h2", "timeout"),
        build("h3", "failure", error_category="build", error_type="odd"),
        request("h4", outcome="rejected", error_message="Unsupported version: 1"),
        request("h5", outcome="rejected", error_type="queue_full"),
    )
    found = {
        (category["category"], error["type"]): error["count"]
        for category in stats.get("errors")["by_category"]
        for error in category["top_errors"]
    }
    assert found == {
        ("build", "package_not_found"): 1,
        ("build", "build_timeout"): 1,
        ("build", "odd"): 1,
        ("validation", "unsupported_version"): 1,
        ("validation", "queue_full"): 1,
    }


@pytest.mark.parametrize(
    "time",
    [
        "2026-09-30T12:00:00Z",
        "2026-09-30t12:00:00.5z",
        "2026-09-30T23:59:59.123456789+14:00",
        "2026-06-30T23:59:60Z",
        "2004-01-01T00:00:00Z",
    ],
)
def test_times_that_are_fine(stats: Stats, time: str) -> None:
    assert stats.record({**request("h1"), "time": time})["accepted"] == 1


def test_an_event_that_is_ahead_is_taken_when_its_time_has_come(stats: Stats) -> None:
    early = request("h1", NOW + timedelta(minutes=7))
    batch = [request("h2"), early, request("h3", NOW + timedelta(hours=2))]
    for body, place, seconds in ((early, "event", 120), (batch, "events[2]", 3600)):
        answer = stats.post(body)
        assert answer.status_code == 425, answer.text
        assert answer.headers["retry-after"] == str(seconds)
        assert answer.json()["title"] == "Too Early"
        assert answer.json()["detail"].startswith(f"{place}.time: 2026-09-30T1")
        assert "this server's time is 2026-09-30T12:00:00Z" in answer.json()["detail"]
    assert trace(stats) == {}

    stats.now = NOW + timedelta(seconds=119)
    assert stats.post(early).status_code == 425
    stats.now = NOW + timedelta(seconds=120)
    assert stats.record(early) == {"accepted": 1, "duplicates": 0}
    stats.now = NOW + timedelta(days=1)
    assert stats.record(batch) == {"accepted": 2, "duplicates": 1}


def test_an_invalid_event_is_named_before_one_that_is_early(stats: Stats) -> None:
    early = request("h1", NOW + timedelta(minutes=7))
    assert stats.post([early, {**request("h2"), "time": "1970-01-01T00:00:00Z"}]).status_code == 422
    assert stats.post(request("h1", NOW + timedelta(hours=24))).status_code == 425
    answer = stats.post(early | {"data": {}})
    assert (answer.status_code, answer.json()["errors"][0]["loc"][1]) == (422, "data.request_hash")


@pytest.mark.parametrize("behind", [timedelta(days=2), timedelta(days=56 * 365)])
def test_no_event_is_refused_for_good_while_our_clock_is_behind(
    stats: Stats, behind: timedelta
) -> None:
    stats.record(request("before"))
    stats.now = NOW - behind
    answer = stats.post([request("h", NOW + timedelta(minutes=1))])
    assert (answer.status_code, answer.headers["retry-after"]) == (425, "60")
    assert f"it says {stats.now.year}-" in answer.json()["detail"]
    # What is wrong by itself is refused all the same, and nothing else with it.
    timeless = {name: value for name, value in request("h").items() if name != "time"}
    answer = stats.post([request("h", NOW), timeless, request("h", NOW.replace(year=1999))])
    assert answer.status_code == 422
    assert [error["loc"][1] for error in answer.json()["errors"]] == [1, 2]
    stats.now = NOW
    assert stats.post([request("h", NOW + timedelta(days=2))]).status_code == 422


def test_the_first_day_of_events_is_a_setting(database_url: str, tmp_path: Path) -> None:
    with Stats.on(database_url, tmp_path / "spool", oldest_event="1999-12-31") as stats:
        assert stats.record(request("h1", NOW.replace(year=2000)))["accepted"] == 1
        answer = stats.post({**request("h2"), "time": "1999-12-30T23:59:59Z"})
        assert answer.status_code == 422
        assert "expected 1999-12-31 or later (oldest_event)" in answer.json()["detail"]


@pytest.mark.parametrize(
    "source",
    [
        "https://sysupgrade.example.org/workers/w1",
        "urn:uuid:6606d0a9-f340-5908-1de1-8f0868df5426",
        "http://[2001:db8::1]:8000/?a=b%20c",
        "mailto:operator@example.org",
        "http://build_host",
        "file:///var/lib/asu",
        "x-asu.1:w",
    ],
)
def test_sources_that_are_fine(untouched: Stats, source: str) -> None:
    answer = untouched.post([{**request("h1"), "source": source}, {}])
    assert answer.json()["errors"][0]["loc"] == ["body", 1, "specversion"]  # the first is well


def test_tokens(stats: Stats) -> None:
    event = request("h1")
    bare = stats.client.post(URL, json=event)
    assert bare.status_code == 401
    assert bare.headers["www-authenticate"] == 'Bearer realm="asu-stats"'
    for header in ("Bearer wrong", "Basic Zm9v", "Bearer", "Bearer caf\xe9"):
        headers = {"Authorization": header.encode("latin-1")}
        answer = stats.client.post(URL, json=event, headers=headers)  # type: ignore[arg-type]
        assert answer.status_code == 401, header

    ingest = tokens.create(stats.engine, "sender", "ingest")
    read = tokens.create(stats.engine, "reader", "read")
    good = stats.client.post(URL, json=event, headers={"Authorization": f"bearer {ingest}"})
    assert good.status_code == 200
    refused = stats.client.post(URL, json=event, headers={"Authorization": f"Bearer {read}"})
    assert refused.status_code == 403
    assert refused.headers["www-authenticate"].endswith(
        'error="insufficient_scope", scope="ingest"'
    )
    tokens.revoke(stats.engine, "sender")
    gone = stats.client.post(URL, json=event, headers={"Authorization": f"Bearer {ingest}"})
    assert gone.status_code == 401


def test_whole_hashes_only_for_a_read_token(stats: Stats) -> None:
    whole = "0123456789abcdef" * 4
    stats.record(request(whole), build(whole, seconds=61))
    assert stats.get("performance")["slowest_builds"][0]["request_hash"] == whole[:12]
    token = tokens.create(stats.engine, "reader", "read")
    answer = stats.client.get(
        "/api/v1/stats/performance", headers={"Authorization": f"Bearer {token}"}
    )
    assert answer.json()["slowest_builds"][0]["request_hash"] == whole
    assert answer.headers["vary"] == "Accept, Authorization, Accept-Encoding"
    assert stats.get("performance")["slowest_builds"][0]["request_hash"] == whole[:12]
