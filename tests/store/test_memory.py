"""Live memory of a process that records and reads: bounded, and counted by its caches."""

import gc
import tracemalloc
from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from pkgutil import walk_packages
from weakref import WeakKeyDictionary

import pytest
from sqlalchemy import Connection

from asu_stats import store
from asu_stats.caches import LruCache
from asu_stats.store.blocks import cached
from asu_stats.store.rollups import names as recorder
from tests.api import test_bounded as bounded
from tests.support import NOW, CloudEvent, Stats, build, request

MIB = 1 << 20
DAYS = 60
REPORTS = (
    *("overview", "versions", "targets", "clients", "errors", "performance", "packages"),
    *("insights/failures", "insights/regressions", "insights/phases"),
)
INSIGHTS = ("failures", "fingerprints", "packages", "phases", "regressions")


def events(name: str, days: int) -> Iterator[CloudEvent]:
    """Yield a request of each day, and a failed build of each second one."""
    for day in range(days):
        moment = NOW - timedelta(days=day, seconds=1)
        yield request(f"{name}-{day}", moment, packages=["luci"])
        if day % 2:
            yield from build(f"{name}-{day}", "failure", end=moment, error_message="No space")


def read(stats: Stats) -> None:
    for report in REPORTS:
        stats.get(report, days=DAYS)


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def live() -> int:
    """Return the bytes that Python and numpy have in use."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.usefixtures("traced")
def test_caches_count_what_they_hold(stats: Stats, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of many small values: what surrounds each is larger than the value."""
    found: list[LruCache[object, object]] = []
    create = LruCache.__init__

    def remember(cache: LruCache[object, object], **limits: object) -> None:
        create(cache, **limits)  # type: ignore[arg-type]
        found.append(cache)

    stats.record(list(events("a", DAYS)))
    read(stats)
    cached.forget(stats.engine)
    stats.record(list(events("b", DAYS)))  # so that no response is cached
    monkeypatch.setattr(LruCache, "__init__", remember)
    read(stats)
    assert len(found) == (3 if stats.engine.dialect.name == "sqlite" else 6)
    held, counted = live(), sum(cache.bytes for cache in found)
    assert counted > MIB // 2
    found.clear()
    cached.forget(stats.engine)
    freed = held - live()
    assert 0.7 * counted < freed < 1.1 * counted


@pytest.mark.usefixtures("traced")
def test_changed_days_replace_what_was_remembered_of_them(stats: Stats) -> None:
    sizes = []
    for turn in range(6):
        stats.record(list(events(str(turn), DAYS // 4)))
        read(stats)
        sizes.append(live())
    assert sizes[5] - sizes[2] < MIB // 4


def test_nothing_of_a_snapshot_is_left_after_it(stats: Stats) -> None:
    """What is remembered of a connection must not refer to it."""
    modules = [
        import_module(each.name)
        for each in walk_packages(store.__path__, "asu_stats.store.")
        if "migrations" not in each.name
    ]
    known = [
        (f"{module.__name__}.{name}", value)
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, WeakKeyDictionary)
    ]
    assert len(known) > 5
    stats.record(list(events("a", DAYS // 4)))
    read(stats)
    gc.collect()
    left = [(name, key) for name, of in known for key in of if isinstance(key, Connection)]
    # Other tests of the process may have left theirs.
    assert [name for name, key in left if key.engine.pool is stats.engine.pool] == []


@pytest.mark.usefixtures("traced")
def test_long_names_are_forgotten(sqlite_stats: Stats, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their number alone would not limit them."""
    monkeypatch.setattr(cached, "_NAME_BYTES", MIB // 2)
    sizes = []
    for turn in range(6):
        names = {f"{turn}-{number}": f"{turn}-{number}-" + "€" * 240 for number in range(500)}
        moment = NOW - timedelta(days=turn)
        sqlite_stats.record([request(key, moment, profile=name) for key, name in names.items()])
        day = moment.date().isoformat()
        sqlite_stats.get("profiles", start=day, end=day, limit=1)
        recorder.number_of.cache_clear()
        sizes.append(live())
    assert max(sizes[2:]) - sizes[1] < MIB // 2, [each - sizes[1] for each in sizes]


def test_memory_of_insights_grows_with_names_not_with_their_pairs(sqlite_stats: Stats) -> None:
    """Of made-up names, each version occurs with one target only."""
    peaks: dict[str, list[int]] = {}
    for first, count in ((0, 250), (250, 750)):
        bounded.send(sqlite_stats, first, count)
        tracemalloc.start()
        for name in INSIGHTS:
            cached.forget(sqlite_stats.engine)
            before = live()
            tracemalloc.reset_peak()
            sqlite_stats.get(f"insights/{name}", start=str(NOW.date()), end=str(NOW.date()))
            peaks.setdefault(name, []).append(tracemalloc.get_traced_memory()[1] - before)
        tracemalloc.stop()
    for name, (few, many) in peaks.items():
        assert many < 5 * few, (name, few, many)


def test_failures_need_little_memory_per_remembered_name(sqlite_stats: Stats) -> None:
    """They are computed with numbers: only names that are shown or tested become objects."""
    sizes, peaks, sent = (200, 700), list[int](), 0
    day = str(NOW.date())
    for names in sizes:
        bounded.send(sqlite_stats, sent, names - sent)
        sent = names
        sqlite_stats.get("insights/failures", start=day, end=day, limit=20)
        tracemalloc.start()
        before = live()
        sqlite_stats.get("insights/failures", start=day, end=day, limit=20, offset=1)
        peaks.append(tracemalloc.get_traced_memory()[1] - before)
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / (sizes[1] - sizes[0]) < 1_400, peaks
