"""Every figure of every endpoint equals naive recomputation from the raw events."""

import random
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asu_stats.store.archive import retention
from asu_stats.store.archive.expiry import Policy
from asu_stats.store.archive.retention import ArchiveDirectory
from asu_stats.store.blocks import cached, packer
from asu_stats.store.verification import verify
from tests import histories
from tests.oracle import Oracle, client_of
from tests.support import CloudEvent, Stats

TODAY = date(2026, 9, 30)
WINDOWS = [(TODAY - timedelta(days=days - 1), TODAY) for days in (1, 2, 7)] + [
    (date(2026, 9, 27), date(2026, 9, 28)),
    (date(2026, 9, 29), date(2026, 9, 29)),
    (date(2020, 1, 1), date(2020, 1, 3)),
]


def answers(stats: Stats, start: date, end: date, clients: set[str]) -> dict[str, Any]:
    window = {"start": start.isoformat(), "end": end.isoformat()}
    found = {
        name: stats.get(name, **window)
        for name in ("overview", "versions", "targets", "profiles", "clients", "errors")
    }
    for name, filters in PACKAGES.items():
        found[name] = stats.get("packages", **filters, **window)
    for name, filters in PATTERNS.items():
        found[name] = patterns(stats.get("request-patterns", **filters, **window))
    found["diff-packages"] = stats.get("diff-packages", **window)
    found["targets 24.10.2"] = stats.get("targets", version="24.10.2", **window)
    found["profiles x86"] = stats.get("profiles", target="x86/64", version="23.05.5", **window)
    found["performance"] = stats.get("performance", **window)
    slowest = found["performance"].pop("slowest_builds")
    found["performance"]["slowest"] = [build["duration"] for build in slowest]
    for interval in ("hour", "day", "week", "month"):
        if interval == "hour" and start.year < 2026:
            continue
        for filters in SERIES if interval in {"hour", "day"} else SERIES[:1]:
            key = f"timeseries {interval} {filters}"
            found[key] = stats.get("timeseries", interval=interval, **filters, **window)
    for client in clients:
        found[f"client {client}"] = stats.get(f"clients/{client}", **window)
    return found


def patterns(answer: dict[str, Any]) -> dict[str, Any]:
    """Check the bars of an answer and take them out."""
    for name in ("rootfs_size_mb", "package_count"):
        spread, bars = answer[name], answer[name].pop("histogram")
        assert sum(bar["requests"] for bar in bars) == spread["requests"]
        assert len(bars) <= 25
        for bar, following in pairwise(bars):
            assert bar["from"] <= bar["to"] == following["from"] - 1
        if bars:
            assert bars[0]["from"] <= spread["p50"] <= spread["max"] <= bars[-1]["to"]
    del answer["period"]
    return answer


PATTERNS: dict[str, dict[str, str]] = {
    "patterns": {},
    "patterns 24.10.2": {"version": "24.10.2"},
    "patterns luci": {"client": "luci"},
    "patterns of both": {"client": "luci", "version": "23.05.5"},
    "patterns of none": {"client": "nobody"},
}
PACKAGES: dict[str, dict[str, str]] = {
    "packages": {},
    "packages 24.10.2": {"version": "24.10.2"},
    "packages x86": {"target": "x86/64"},
    "packages of both": {"target": "x86/64", "version": "23.05.5"},
}
SERIES: list[dict[str, str]] = [
    {},
    {"version": "24.10.2"},
    {"target": "x86/64"},
    {"profile": "generic"},
    {"client": "luci"},
]


def expected(oracle: Oracle, start: date, end: date, clients: set[str]) -> dict[str, Any]:
    oracle.window(start, end)
    found = {
        "overview": oracle.overview(),
        "versions": oracle.versions(),
        "targets": oracle.targets(),
        "profiles": oracle.profiles(),
        "clients": oracle.clients(),
        "errors": oracle.errors(),
        "diff-packages": oracle.diff_packages(),
        "targets 24.10.2": oracle.targets(version="24.10.2"),
        "profiles x86": oracle.profiles(target="x86/64", version="23.05.5"),
        "performance": oracle.performance(),
    }
    for name, filters in PACKAGES.items():
        found[name] = oracle.packages(**filters)
    for name, filters in PATTERNS.items():
        found[name] = oracle.request_patterns(**filters)
    for interval in ("hour", "day", "week", "month"):
        if interval == "hour" and start.year < 2026:
            continue
        for filters in SERIES if interval in {"hour", "day"} else SERIES[:1]:
            found[f"timeseries {interval} {filters}"] = oracle.timeseries(interval, **filters)
    for client in clients:
        found[f"client {client}"] = oracle.client(client)
    return found


@given(
    history=st.one_of(histories.histories(), histories.histories(imported=True)),
    seed=st.integers(0, 2**32),
    size=st.sampled_from((1, 3, 50)),
    packed=st.booleans(),
    days=st.none() | st.tuples(*[st.integers(1, 3)] * 3),
    in_files=st.booleans(),
)
@histories.examples(8)
def test_every_figure_equals_the_oracle(
    stats: Stats,
    history: list[CloudEvent],
    seed: int,
    size: int,
    packed: bool,
    days: tuple[int, int, int] | None,
    in_files: bool,
) -> None:
    rng = random.Random(seed)
    # Only months that are over are put into files.
    over = TODAY + timedelta(days=20) if in_files else TODAY
    archive_directory = (
        ArchiveDirectory(stats.settings.spool_path.parent / "archive", "csv.gz")
        if in_files
        else None
    )
    clients = {
        client_of(e["data"].get("client"))[0]
        for e in history
        if e["type"] == "asu.request.received"
    }
    stats.clear()
    accepted = 0
    for start in range(0, len(history), size):
        accepted += record(stats, history[start : start + size])
        if packed and start < 3 * size:  # what comes after must make these blocks stale
            packer.pack(stats.engine, TODAY)
        if days and rng.random() < 0.2:  # much of what comes after is late
            retention.run(
                stats.engine,
                Policy(*days, 3650, latest=1),
                over,
                archive_directory=archive_directory,
            )
    assert accepted == len({event["id"] for event in history})
    oracle = Oracle(history)
    first = {window: answers(stats, *window, clients) for window in WINDOWS}
    for window in WINDOWS:
        assert first[window] == expected(oracle, *window, clients)
    assert list(verify.differences(stats.engine)) == []
    if days:
        retention.run(
            stats.engine, Policy(*days, 3650, latest=1), over, archive_directory=archive_directory
        )
        assert list(verify.differences(stats.engine)) == []
        assert {window: answers(stats, *window, clients) for window in WINDOWS} == first
    if packed:
        packer.pack(stats.engine, TODAY)
        assert packer.stale(stats.engine, TODAY) == []
        cached.forget(stats.engine)
        assert {window: answers(stats, *window, clients) for window in WINDOWS} == first

    again = list(history)
    rng.shuffle(again)
    stats.clear()
    record(stats, again)
    assert record(stats, again) == 0
    assert {window: answers(stats, *window, clients) for window in WINDOWS} == first
    verify.rebuild(stats.engine)
    assert {window: answers(stats, *window, clients) for window in WINDOWS} == first


def record(stats: Stats, events: list[CloudEvent]) -> int:
    """Send events over HTTP; what that refuses for lack of a hash is brought in."""
    if all("request_hash" in event["data"] for event in events):
        return stats.record(*events)["accepted"]
    return stats.bring_in(*events)


def test_empty_database(stats: Stats) -> None:
    for window in WINDOWS:
        assert answers(stats, *window, set()) == expected(Oracle([]), *window, set())
    assert stats.get("overview")["period"]["data_since"] is None


@pytest.mark.parametrize("question", ["versions", "targets", "profiles", "clients"])
def test_lists_of_nothing_are_empty(stats: Stats, question: str) -> None:
    assert stats.get(question) == []
