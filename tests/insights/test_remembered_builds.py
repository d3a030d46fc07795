"""Regressions from memory are those of a process that has just started, after any change."""

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection

from asu_stats.reports.insights import build_groups, change_points, regressions
from asu_stats.store.blocks import cached
from asu_stats.store.database import engine as engines
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.verification import verify
from asu_stats.windows import Window
from tests.insights.archiving import archive
from tests.insights.test_regressions import DEVICES, FULL, USUAL, VERSIONS, history
from tests.support import NOW, CloudEvent, Stats, build, cloudevent

TODAY = NOW.date()
WINDOWS = (
    Window(TODAY - timedelta(12), TODAY),
    Window(TODAY - timedelta(9), TODAY - timedelta(2)),
)


class Builds:
    """Builds to record. Those `moved` change no sum of a group if they are of one group."""

    def __init__(self) -> None:
        self.chance = random.Random(7)
        self.number = 0

    def some(
        self, builds: int, *, day: int = 0, more: float = 1.0, **given: Any
    ) -> Iterator[CloudEvent]:
        """Yield builds of random groups, which take `more` than others."""
        for _ in range(builds):
            target, profile = self.chance.choice(DEVICES)
            data = {"version": self.chance.choice(VERSIONS), "target": target, "profile": profile}
            data |= {"worker_id": self.chance.choice(("w1", "w2")), "status": "success"}
            if self.chance.random() < 0.04:
                data |= {"status": "failure", "error_message": USUAL}
            self.number += 1
            data |= {"request_hash": f"more-{self.number}", "build_id": f"more-{self.number}"}
            seconds = round(more * 60 * self.chance.lognormvariate(0, 0.3))
            at = NOW - timedelta(days=day, seconds=self.number)
            yield cloudevent("build.finished", at, data | {"duration_seconds": seconds} | given)

    def moved(self, builds: list[CloudEvent]) -> Iterator[CloudEvent]:
        """Yield earlier ends: half of the builds are fast now, the others as much slower."""
        data = sorted((each["data"] for each in builds), key=lambda of: of["duration_seconds"])
        middle = len(data) // 2
        for fast, slow in zip(data[:middle], data[middle:], strict=True):
            more = fast["duration_seconds"] - 40
            for of, seconds in ((fast, 40), (slow, slow["duration_seconds"] + more)):
                changed = of | {"duration_seconds": seconds}
                yield cloudevent("build.finished", NOW - timedelta(hours=2), changed)


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch, searched: Counter[str], by: str) -> Iterator[None]:
    """Count the series that are searched."""
    with monkeypatch.context() as patch:
        for name in ("slowdowns", "failure_rises"):
            search = getattr(change_points, name)

            def counting(builds: Any, *rest: Any, search: Any = search) -> Any:
                searched[by] += len(builds)
                return search(builds, *rest)

            patch.setattr(change_points, name, counting)
        yield


def test_what_is_remembered_is_what_a_new_process_finds(
    stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After events of today and of other days, corrections, and changes of all days."""
    builds = Builds()
    first = history(
        lambda day, names: (
            (FULL if names["target"] == "x86/64" else None) if 3 <= day <= 4 else None
        )
    )
    target, profile = DEVICES[0]
    device: dict[str, Any] = {
        "version": VERSIONS[1],
        "target": target,
        "profile": profile,
        "worker_id": "w1",
    }
    failing = device | {"status": "failure", "error_message": FULL}
    target, profile = DEVICES[2]
    earlier = failing | {"target": target, "profile": profile}
    here = device | {"worker_id": "w3", "status": "success"}
    slow = list(builds.some(30, more=5.0, **here))
    repeated = failing | {"request_hash": "again"}
    steps: list[Any] = [
        [],
        *(list(builds.some(4)) for _ in range(4)),
        list(builds.some(6, **repeated)),
        list(builds.some(16, **failing)),
        list(builds.some(9, day=1, **failing)),
        list(builds.some(25, day=5, **earlier)),
        [*builds.some(30, day=5, **here), *slow],
        list(builds.moved(slow)),
        list(builds.some(3, version="25.12.0", target="new/target", profile="new")),
        [*builds.some(2, day=9), *builds.some(2)],
        lambda: verify.rebuild(stats.engine),
        list(builds.some(3)),
        lambda: archive(stats, "tables"),
        list(builds.some(3, day=2)),
        list(builds.some(3)),
    ]
    stats.record(first)
    searched, found = Counter[str](), Counter[str]()
    for step in steps:
        if callable(step):
            step()
        elif step:
            stats.record(step)
        new = engines.create(stats.settings.database_url)
        for window in WINDOWS:
            with counted(monkeypatch, searched, "warm"), read_snapshot(stats.engine) as connection:
                warm = regressions.read(connection, window)
            with counted(monkeypatch, searched, "new"), read_snapshot(new) as connection:
                assert warm == regressions.read(connection, window)
            with counted(monkeypatch, searched, "again"), read_snapshot(stats.engine) as connection:
                assert warm == regressions.read(connection, window)
            found.update(row["measure"] for row in warm["regressions"])
        new.dispose()
    assert found["success_rate"] > 10
    assert found["duration"] > 5
    assert searched["warm"] < 0.7 * searched["new"], searched
    assert not searched["again"], "nothing changed"


def test_names_that_are_forgotten_meanwhile_change_nothing(
    stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process with too many names forgets all of them, also in the middle of a response."""
    long_ago = NOW - timedelta(days=100)
    stats.record(history(lambda _, names: FULL if names["target"] == "x86/64" else None))
    stats.record(*build("old", end=long_ago))
    paths = ("insights/failures", "insights/fingerprints", "insights/regressions?days=9")
    expected = [stats.get(path) for path in paths]
    assert all(expected)
    recall = cached.of

    def forgetful(connection: Connection) -> Any:
        cached.forget(connection.engine)
        return recall(connection)

    monkeypatch.setattr(cached, "of", forgetful)
    stats.record(*build("late", end=long_ago))  # no response is kept
    assert [stats.get(path) for path in paths] == expected


def test_groups_that_are_searched_are_those_of_a_table(
    stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With very many names, a table of all pairs would be too large."""
    stats.record(
        history(lambda day, names: FULL if day <= 4 and names["target"] == "x86/64" else None)
    )
    with read_snapshot(stats.engine) as connection:
        expected = regressions.read(connection, WINDOWS[0])
    assert expected["regressions"]
    monkeypatch.setattr(build_groups, "_MAX_TABLE", 0)
    cached.forget(stats.engine)
    with read_snapshot(stats.engine) as connection:
        assert regressions.read(connection, WINDOWS[0]) == expected
