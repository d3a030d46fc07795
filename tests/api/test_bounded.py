"""A hostile sender makes up names: memory, series, caches and responses stay bounded, sums exact.

`make bounded` sends a million distinct names (NAMES=1000000).
"""

import functools
import inspect
import os
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any, NamedTuple

import pytest
from sqlalchemy import func, select

import asu_stats
from asu_stats.cloudevents import from_cloudevent
from asu_stats.legacy import names as legacy_names
from asu_stats.store.apply import apply_batch
from asu_stats.store.blocks import cached, packer, rows
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.database.schema import error_fingerprints
from asu_stats.store.details import error_fingerprints as fingerprints
from asu_stats.store.rollups import names
from tests.support import NOW, CloudEvent, Stats, build, request

NAMES = int(os.environ.get("NAMES", "1500"))
_BATCH = 500
_WINDOW = {"start": "2026-09-30", "end": "2026-09-30"}
_COMPARING = {f"/api/v1/stats/insights/{name}" for name in ("failures", "packages", "regressions")}
_OF_OPERATORS = {"/api/v1/stats/alerts/silences"}
_CHOSEN_BY_NOBODY = {  # their arguments are texts of the demo, types, and tables of this program
    "asu_stats.demo.troubles.kind_of_text",
    "asu_stats.reports.cover._of",
    "asu_stats.store.verification.recount._numbered",
    "asu_stats.store.verification.recount._places",
}


def hostile(first: int, count: int) -> Iterator[CloudEvent]:
    """Yield requests and builds in which every name is new."""
    for number in range(first, first + count):
        of = {"version": f"v{number}", "target": f"t{number}/x", "profile": f"p{number}"}
        more = {"client": f"c{number}/{number}", "packages": [f"package-{number}"]}
        yield request(f"hash-{number}", **of, **more)
        error: dict[str, Any] = {
            "error_message": f"{_word(number)} is broken",
            "worker_id": f"worker-{number}",
        }
        if number % 2:
            error["error_type"] = f"type-{number}"
        if number % 4 == 1:
            error["error_category"] = f"category-{number}"
        yield from build(f"hash-{number}", "failure", **error)
        if number % 4 == 0:
            phases = {f"phase-{number}-{place}": 1 for place in range(3)}
            yield from build(f"hash-{number}", worker_id=f"worker-{number}", phases=phases)


def _word(number: int) -> str:
    """Return a word of its own: fingerprints ignore numbers."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def send(stats: Stats, first: int, count: int) -> None:
    for start in range(first, first + count, _BATCH):
        size = min(_BATCH, first + count - start)
        events = [from_cloudevent(each, now=NOW) for each in hostile(start, size)]
        apply_batch(stats.engine, events)


class Seen(NamedTuple):
    """The sizes of what everybody can ask for, the series of `/metrics`, and who refuses."""

    sizes: dict[str, int]
    series: set[str]
    refusing: set[str]


def look(stats: Stats) -> Seen:
    """Make all requests that need no further names."""
    paths = stats.client.get("/openapi.json").json()["paths"]
    questions = [path for path, of in paths.items() if "get" in of and "{" not in path]
    sizes, refusing = {}, set()
    for question in questions:
        response = stats.client.get(question, params=_WINDOW)
        refused = "distinct names" in response.text and question in _COMPARING
        if response.status_code == 422 and not refused:
            response = stats.client.get(question)
        expected = 401 if question in _OF_OPERATORS else 422 if refused else 200
        assert response.status_code == expected, question
        sizes[question] = len(response.content)
        if refused:
            refusing.add(question)
    lines = stats.client.get("/metrics").text.splitlines()
    series = {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}
    return Seen({**sizes, "/metrics": len(series)}, series, refusing)


def unexpected(before: Seen, after: Seen) -> set[str]:
    """Return the series that came or went, except those of the first refusals of an endpoint."""
    first = [f'route="{path}"' for path in after.refusing - before.refusing]
    return {
        series
        for series in before.series ^ after.series
        if not ('code="422"' in series and any(route in series for route in first))
    }


@pytest.mark.timeout(0)
def test_names_of_strangers_keep_everything_bounded(
    stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice as many names leave responses and memory as they are; no sum is wrong."""
    many = NAMES > 10_000
    if not many:  # limits that so few names reach
        monkeypatch.setattr(cached, "_CACHE_KEYS", 500)
        monkeypatch.setattr(names, "_MAX_CACHED", 100)
        monkeypatch.setattr(fingerprints, "MAX_FINGERPRINTS", 200)
        monkeypatch.setattr(legacy_names, "MOST", 100)
    half = NAMES // 2
    send(stats, 0, half)
    packer.pack(stats.engine, NOW.date())
    before = look(stats)
    held = _resident_bytes()
    send(stats, half, NAMES - half)
    after = look(stats)
    grown_bytes = _resident_bytes() - held
    assert not unexpected(before, after)
    grown = {name: size / before.sizes[name] for name, size in after.sizes.items()}
    assert max(grown.values()) < 1.2, grown
    with read_snapshot(stats.engine) as connection:
        kinds = connection.execute(
            select(error_fingerprints.c.error_type, func.count()).group_by("error_type")
        ).all()
    # Beyond the limit, all texts of a type count as one.
    assert sum(count for _, count in kinds) <= fingerprints.MAX_FINGERPRINTS + len(kinds)
    totals = stats.get("overview", **_WINDOW)["totals"]
    assert totals["requests"] == totals["failed_builds"] == NAMES
    errors = stats.get("errors", **_WINDOW)
    assert errors["total_errors"] == NAMES
    one = stats.client.get("/api/v1/stats/versions", params={**_WINDOW, "limit": 3}).json()
    assert len(one) == 3
    assert grown_bytes < 400 << 20
    sys.stdout.write(
        f"\n{NAMES:,} names of each kind on {stats.engine.dialect.name}: "
        f"{grown_bytes / 2**20:+.0f} MiB for the second half, at most {_most_resident_mib()} MiB, "
        f"responses x {max(grown.values()):.2f}, series +0, sums exact\n"
    )


def test_endpoints_that_begin_to_refuse_add_their_refusals_to_the_series(
    sqlite_stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing else, between a number of names that is accepted and one that is not."""
    monkeypatch.setattr(rows, "MOST_NAMES", 200)
    send(sqlite_stats, 0, 20)
    before = look(sqlite_stats)
    send(sqlite_stats, 20, 40)
    after = look(sqlite_stats)
    assert (before.refusing, after.refusing) == (set(), _COMPARING)
    assert before.series < after.series
    assert not unexpected(before, after)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _most_resident_mib() -> int:
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) >> 10 if found else 0


def test_no_cache_in_memory_is_unbounded() -> None:
    """Functions that remember results have a limit, or arguments that no sender chooses."""
    modules = [
        import_module(module.name)
        for module in walk_packages(asu_stats.__path__, "asu_stats.")
        if "migrations" not in module.name and "__main__" not in module.name
    ]
    names = [each for module in modules for each in vars(module).values()]
    members = [each for name in names if inspect.isclass(name) for each in vars(name).values()]
    found = {
        f"{each.__module__}.{each.__qualname__}"
        for each in (*names, *members)
        if isinstance(each, functools._lru_cache_wrapper)
        and each.__module__.startswith("asu_stats.")
        and each.cache_parameters()["maxsize"] is None
        and inspect.signature(each).parameters
    }
    assert found == _CHOSEN_BY_NOBODY
