"""One varied history in many orders: its figures, its rows, and the sums are those of the events.

The history is fixed. `tests/api/test_oracle.py` generates others.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import permutations, product
from math import floor
from typing import Any

import pytest

from asu_stats.conformance.history import Build
from asu_stats.store import export
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.details import package_lists
from asu_stats.store.verification import verify
from tests.histories import CLIENTS, ERRORS, FEATURES, HASHES, NAMES, OUTCOMES, PACKAGES, STATUSES
from tests.oracle import Oracle, client_of, time_of
from tests.support import CloudEvent, Stats, cloudevent

FIRST = datetime(2026, 9, 28, tzinfo=UTC)
WINDOW = {"start": "2026-09-28", "end": "2026-09-30"}
RANDOM = random.Random(4)


def requests() -> Iterator[CloudEvent]:
    """Yield requests of few hashes, at most two at the same instant."""
    for number in range(90):
        name = RANDOM.choice(HASHES)
        data: dict[str, Any] = {
            "request_hash": name,
            "outcome": OUTCOMES[number % len(OUTCOMES)],
            **NAMES[name],
            "client": RANDOM.choice(CLIENTS) or "",
            "packages": RANDOM.choice(PACKAGES) or [],
            **{
                feature: value
                for feature, values in FEATURES.items()
                if (value := RANDOM.choice(values)) != "absent"
            },
        }
        if data["outcome"] == "rejected":
            data["error_category"], data["error_type"] = RANDOM.choice(ERRORS)
            data["error_message"] = f"refused {number}"
        if number % 9 == 0:  # contradicts the others
            data |= {"version": "22.03.7", "target": "mvebu/cortexa9", "diff_packages": None}
            data["diff_packages"] = not NAMES[name]["diff_packages"]
        at = FIRST + timedelta(
            minutes=40 * (number // 2) + 7 * (number % 2 and number % 3), seconds=13
        )
        yield cloudevent("request.received", at, data)


def builds() -> Iterator[CloudEvent]:
    for number in range(40):
        ids = {"request_hash": RANDOM.choice(HASHES), "build_id": f"b{number:02}"}
        end = FIRST + timedelta(minutes=43 * number + 20, microseconds=499_999 + number % 2)
        seconds = RANDOM.choice((0, 30, 61.5, 3000))
        if number % 5:
            yield cloudevent("build.started", end - timedelta(seconds=seconds), ids)
        status = STATUSES[number % len(STATUSES)]
        data: dict[str, Any] = {**ids, "status": status, "worker_id": f"w{number % 3}"}
        if status != "success":
            data["error_category"], data["error_type"] = RANDOM.choice(ERRORS)
        if number % 2:
            data["phases"] = {"setup": 1.5, f"phase{number % 3}": number}
        if number % 3:
            data["duration_seconds"] = RANDOM.randrange(200)
        if number % 7:
            yield cloudevent("build.finished", end, data)


HISTORY = [*requests(), *builds()]
STARTS = {
    (event["data"]["request_hash"], event["data"]["build_id"]): time_of(event)
    for event in HISTORY
    if event["type"] == "asu.build.started"
}
ORACLE = Oracle(HISTORY).window(date(2026, 9, 28), date(2026, 9, 30))


def answers(stats: Stats) -> dict[str, Any]:
    clients = ("luci", "owut", "unknown")
    found = {
        name: stats.get(name, **WINDOW)
        for name in ("overview", "versions", "targets", "profiles", "clients", "errors", "packages")
    }
    found |= {client: stats.get(f"clients/{client}", **WINDOW) for client in clients}
    found["days"] = stats.get("timeseries", client="luci", **WINDOW)
    return found


def expected() -> dict[str, Any]:
    return {
        "overview": ORACLE.overview(),
        "versions": ORACLE.versions(),
        "targets": ORACLE.targets(),
        "profiles": ORACLE.profiles(),
        "clients": ORACLE.clients(),
        "errors": ORACLE.errors(),
        "packages": ORACLE.packages(),
        **{client: ORACLE.client(client) for client in ("luci", "owut", "unknown")},
        "days": ORACLE.timeseries("day", client="luci"),
    }


def rows(stats: Stats, name: str) -> list[dict[str, Any]]:
    columns = list(export.columns(name))
    with read_snapshot(stats.engine) as connection:
        return [
            dict(zip(columns, row, strict=True))
            for row in export.rows(connection, name, None, None)
        ]


def plain(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def row_of(event: CloudEvent) -> dict[str, Any]:
    """Return what is stored of a request, from the event and the build that it waited for."""
    data = event["data"]
    client, version = client_of(data["client"])
    row = {
        "client": client,
        "client_version": version,
        "timestamp": plain(time_of(event)),
        "cache_hit": data["outcome"] == "cache_hit",
        "build_id": None,
        "ended_at": None,
        "waited_seconds": None,
        "error_category": data.get("error_category"),
        "error_type": data.get("error_type"),
        "package_count": len(data["packages"]),
        **{name: data[name] for name in ("request_hash", "outcome", "version", "target")},
        **{name: data[name] for name in ("profile", "diff_packages")},
        **stated(data),
    }
    states = {"cache_hit": "success", "cached_failure": "failure", "rejected": "rejected"}
    if data["outcome"] not in {"queued", "joined"}:
        return row | {"status": states[data["outcome"]]}
    build = ORACLE.build_for(event)
    if build is None or build.end is None:
        return row | {"status": state_without(event)}
    return row | {
        "status": build.status,
        "build_id": build.build_id,
        "ended_at": plain(build.end),
        "error_category": build.category,
        "error_type": build.type,
        "waited_seconds": waited(build, time_of(event)),
    }


def stated(data: dict[str, Any]) -> dict[str, Any]:
    """Return the features of a request. No size means that none was requested."""
    found = {name: data.get(name) for name in FEATURES}
    if found["rootfs_size_mb"] is None and "rootfs_size_mb" in data:
        found["rootfs_size_mb"] = 0
    return found


def waited(build: Build, requested_at: datetime) -> int | None:
    """Return the whole seconds, rounded half up, until the start of a build."""
    started_at = STARTS.get((build.request_hash, build.build_id))
    if started_at is None:
        return None
    return max(0, floor((started_at - requested_at).total_seconds() + 0.5))


def metadata_of(name: str) -> dict[str, Any]:
    """Return what is stored of a hash: the names of its earliest request, the greatest features."""
    events = sorted((e for e in ORACLE.all_requests if name_of(e) == name), key=time_of)
    builds = [build for build in ORACLE.ended if build.request_hash == name]
    first, accepted = events[0]["data"], [e for e in events if e["data"]["outcome"] != "rejected"]

    def greatest(feature: str) -> Any:
        said = [value for e in events if (value := stated(e["data"])[feature]) is not None]
        return max(said, default=None)

    return {
        "request_hash": name,
        **{each: first[each] for each in ("version", "target", "profile", "diff_packages")},
        "first_requested_at": plain(time_of(events[0])),
        "last_requested_at": plain(time_of(events[-1])),
        "total_requests": len(accepted),
        "cache_hits": sum(e["data"]["outcome"] == "cache_hit" for e in events),
        "successful_builds": sum(build.succeeded for build in builds),
        "failed_builds": sum(build.failed for build in builds),
        "package_count": max(len(e["data"]["packages"]) for e in events),
        **{each: greatest(each) for each in FEATURES},
    }


def build_of(build: Build) -> dict[str, Any]:
    """Return what is stored of a build; its client is the one that waited first."""
    waiting = [
        e
        for e in ORACLE.all_requests
        if e["data"]["outcome"] in {"queued", "joined"} and ORACLE.build_for(e) is build
    ]
    asked = [(time_of(e), *client_of(e["data"]["client"])) for e in waiting]
    _, client, version = min(asked, default=(None, None, None))
    return {
        "request_hash": build.request_hash,
        "build_id": build.build_id,
        "status": build.status,
        "finished_at": build.end and plain(build.end),
        "duration_seconds": build.seconds,
        "error_category": build.category,
        "error_type": build.type,
        "version": build.version,
        "target": build.target,
        "profile": build.profile,
        "diff_packages": build.diff_packages,
        "client": client,
        "client_version": version,
    }


def errors() -> Iterator[dict[str, Any]]:
    for build in ORACLE.ended:
        if build.failed and build.end is not None:
            yield {
                "timestamp": plain(build.end),
                "error_category": build.category,
                "error_type": build.type,
                "version": build.version,
                "target": build.target,
                "profile": build.profile,
                "request_hash": build.request_hash,
                "build_id": build.build_id,
                "client": None,
                "client_version": None,
                "error_message": None,
            }
    for event in ORACLE.rejected:
        data = event["data"]
        client, version = client_of(data["client"])
        names = ("error_category", "error_type", "version", "target", "profile", "request_hash")
        yield {
            "timestamp": plain(time_of(event)),
            **{name: data[name] for name in names},
            "build_id": None,
            "client": client,
            "client_version": version,
            "error_message": data["error_message"],
        }


def name_of(event: CloudEvent) -> str:
    name: str = event["data"]["request_hash"]
    return name


def state_without(event: CloudEvent) -> str:
    """Return the state of a request whose build has not ended."""
    name = event["data"]["request_hash"]
    running = [each for each in ORACLE.builds if each.request_hash == name and each.end is None]
    return "building" if running else "queued"


@pytest.mark.parametrize("size", [1, 7, len(HISTORY)])
def test_figures_rows_and_sums_are_those_of_the_events(sqlite_stats: Stats, size: int) -> None:
    stats, history = sqlite_stats, list(HISTORY)
    random.Random(size).shuffle(history)
    for start in range(0, len(history), size):
        stats.record(*history[start : start + size])
    assert answers(stats) == expected()
    same(rows(stats, "client_stats"), map(row_of, ORACLE.all_requests))
    same(rows(stats, "request_metadata"), map(metadata_of, HASHES))
    same(rows(stats, "build_metrics"), map(build_of, ORACLE.builds))
    same(rows(stats, "error_stats"), errors())
    assert list(verify.differences(stats.engine)) == []


def same(stored: Sequence[dict[str, Any]], wanted: Iterable[dict[str, Any]]) -> None:
    """Check stored rows, in any order, in the columns that are wanted."""
    expected = sorted(wanted, key=str)
    found = [{name: row[name] for name in expected[0]} for row in stored]
    for row, expected_row in zip(sorted(found, key=str), expected, strict=True):
        assert row == expected_row


def tied() -> list[CloudEvent]:
    """Return events of one hash; the requests have the same time, but other names and packages."""
    requests = [
        cloudevent(
            "request.received",
            FIRST,
            {
                "request_hash": "tied",
                "outcome": "queued",
                **NAMES[HASHES[0]],
                "version": version,
                "client": "luci/1",
                **({"packages": packages} if packages else {}),
            },
        )
        for version, packages in (("2", ["luci", "vim"]), ("1", None), ("3", ["tcpdump"]))
    ]
    ids = {"request_hash": "tied", "build_id": "b1"}
    end = {**ids, "status": "failure", "error_category": "build", "error_type": "image_too_big"}
    return [*requests, cloudevent("build.finished", FIRST + timedelta(minutes=5), end)]


@pytest.mark.parametrize("without", [None, 0, 1, 2])
def test_requests_at_the_same_time_count_the_same_in_any_order(
    sqlite_stats: Stats, without: int | None
) -> None:
    events = [event for place, event in enumerate(tied()) if place != without]
    seen = set()
    orders = list(permutations(events))[:: len(events) // 2]
    for ordered, size in product(orders, (1, len(events))):
        sqlite_stats.clear()
        for start in range(0, len(events), size):
            sqlite_stats.record(*ordered[start : start + size])
        (metadata,) = rows(sqlite_stats, "request_metadata")
        (build,) = rows(sqlite_stats, "build_metrics")
        with read_snapshot(sqlite_stats.engine) as connection:
            packages = package_lists.count(connection, {build["package_list"] or 0: 1})
        seen.add((metadata["version"], build["version"], *sorted(packages)))
    assert len(seen) == 1, seen
    first = min(event["data"].get("version", "9") for event in events)
    assert seen.pop()[:2] == (first, first)
