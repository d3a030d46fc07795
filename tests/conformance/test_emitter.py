"""`asu-stats conformance --emitter`: finds every kind of violation."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from asu_stats.cli.program import app
from asu_stats.conformance.emitter import Stream
from asu_stats.conformance.scenario import scenario
from tests.support import NOW, CloudEvent, build, request

FULL: dict[str, Any] = {"package_count": 5}


def found(*events: CloudEvent | bytes) -> list[tuple[int, str, str]]:
    lines = [e if isinstance(e, bytes) else json.dumps(e).encode() for e in events]
    return [(f.line, f.kind, f.place) for f in Stream(NOW).read(lines)]


def test_a_good_stream() -> None:
    event = request("h1", **FULL)
    assert found(event, *build("h1"), event, b"\n", request("h1", outcome="joined", **FULL)) == []


def test_the_history_of_the_kit_has_its_odd_builds_only() -> None:
    lines = [json.dumps(event).encode() for event in scenario(NOW.date()).events]
    stream = Stream(NOW + timedelta(days=9))
    violations = [f for f in stream.read(lines) if f.kind == "violation"]
    assert (stream.events, stream.duplicates) == (275, 0)
    assert [f.problem for f in violations] == [
        "a second end of the build (first success, then failure) is ignored"
    ]
    assert [f.place for f in violations] == ["data.build_id"]


START, END = build("h1", build_id="b1")
ASKED = request("h1", **FULL)
BAD: dict[str, tuple[list[CloudEvent | bytes], tuple[int, str]]] = {
    "no JSON": ([b"{"], (1, "")),
    "no object": ([b"[]"], (1, "")),
    "a missing member": ([ASKED, {**ASKED, "id": "2", "data": {}}], (2, "data.request_hash")),
    "a clock at zero": ([{**ASKED, "time": "1970-01-01T00:00:00Z"}], (1, "time")),
    "a clock ahead": ([request("h1", NOW + timedelta(minutes=6))], (1, "time")),
    "one identity, two events": ([ASKED, {**ASKED, "data": {**END["data"]}}], (2, "data.outcome")),
    "one identity, other content": (
        [ASKED, {**ASKED, "time": NOW.isoformat()[:10] + "T01:00:00Z"}],
        (2, "id"),
    ),
    "a build of two hashes": (
        [ASKED, START, {**END, "data": {**END["data"], "request_hash": "h2"}}],
        (3, "data.build_id"),
    ),
    "a second end": ([ASKED, START, END, {**END, "id": "again"}], (4, "data.build_id")),
    "a second start": ([ASKED, START, {**START, "id": "again", "time": END["time"]}], (3, "time")),
    "an end before its start": (
        [ASKED, END, {**START, "time": (NOW + timedelta(seconds=1)).isoformat()}],
        (3, "time"),
    ),
    "one hash, two versions": ([ASKED, request("h1", version="1", **FULL)], (2, "data.version")),
    "one hash, two values of diff_packages": (
        [ASKED, request("h1", diff_packages=False, **FULL)],
        (2, "data.diff_packages"),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_violations(case: str) -> None:
    events, (line, place) = BAD[case]
    assert (line, "violation", place) in found(*events)


@pytest.mark.parametrize(
    ("events", "place"),
    [
        ([request("h1", client=None, **FULL)], "data.client"),
        ([request("h1")], "data.packages"),
        ([request("h1", outcome="rejected", **FULL)], "data.error_message"),
        ([ASKED, START], "data.build_id"),
        ([ASKED, END], "data.build_id"),
        ([START, END], "data.request_hash"),
        ([ASKED, *build("h1", "failure")], "data.error_message"),
        ([ASKED, *build("h1", seconds=60, duration_seconds=70)], "data.duration_seconds"),
        ([{**ASKED, "subject": "0123456789abc"}], "subject"),
        ([request("h1", packages=["x" * 200] * 400)], ""),
    ],
)
def test_notes(events: list[CloudEvent | bytes], place: str) -> None:
    assert {(kind, where) for _, kind, where in found(*events)} == {("note", place)}


def test_what_is_equal_is_no_violation() -> None:
    other_order = dict(reversed(ASKED.items()))
    spelled = request("h1", profile="tplink,archer-c7-v5", **FULL)
    other = request("h1", profile="tplink_archer-c7-v5", **FULL)
    assert found(spelled, other) == []
    assert found(ASKED, other_order, START, START, END, END) == []
    names = {"version": "1", "target": "a/b", "profile": "c"}
    start, end = build("h9")
    start["data"] |= names
    assert found(start, end) == []


def test_the_command(tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    bad = {**ASKED, "specversion": "0.3", "id": "x[bold]"}
    file.write_text("".join(json.dumps(event) + "\n" for event in (ASKED, START, END, bad)))
    runner = CliRunner()
    done = runner.invoke(app, ["conformance", "--emitter", str(file)])
    assert done.exit_code == 1
    assert "4     violation  specversion" in done.output
    assert "4 events, 0 duplicates: 1 violation, 0 notes" in done.output
    done = runner.invoke(app, ["conformance", "--emitter", str(file), "--json"])
    (finding,) = json.loads(done.output)["findings"]
    assert (finding["line"], finding["place"]) == (4, "specversion")
    good = json.dumps(ASKED)
    done = runner.invoke(app, ["conformance", "--emitter", "-"], input=good)
    assert (done.exit_code, done.output) == (0, "1 event, 0 duplicates: 0 violations, 0 notes\n")
    done = runner.invoke(app, ["conformance", "--emitter", str(tmp_path / "none")])
    assert isinstance(done.exception, FileNotFoundError)
