"""Builds by day for every group that a change may be about, and the parts of them that are known.

A group is all builds, or those of a version, a target, both, a profile or a worker. What one change
explains can be taken out of all groups.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, not_, select

from asu_stats.events import NO_HASH, UNKNOWN
from asu_stats.reports import sums
from asu_stats.store.blocks.cubes import BUILD_TIMES, BY_PROFILE
from asu_stats.store.rollups import names
from asu_stats.store.rollups.definitions import (
    ATTEMPTS,
    FAILURES,
    UNTIMED,
    VERSION_TARGET,
)
from asu_stats.windows import Window

Dimension = Literal["all", "version", "target", "version_target", "profile", "worker"]
DIMENSIONS: Final[tuple[Dimension, ...]] = (
    *("all", "version", "target", "version_target", "profile", "worker"),
)


class Group(NamedTuple):
    """Builds that have something in common: names of a dimension."""

    dimension: Dimension
    names: tuple[str, ...]

    def broader(self) -> "list[Group]":
        """Return the groups that contain it, the broadest first."""
        if self.dimension == "all":
            return []
        if self.dimension != "version_target":
            return [ALL]
        version, target = self.names
        return [ALL, Group("version", (version,)), Group("target", (target,))]


ALL: Final = Group("all", ())
_DEVICE: Final = ("version", "target", "profile")  # the names of its number


class Place(NamedTuple):
    """What is known of a build: `unknown` where it is not."""

    version: str
    target: str
    profile: str
    worker: str

    def groups(self) -> list[Group]:
        """Return the groups that the build is in."""
        found = [Group("profile", (self.profile,)), Group("worker", (self.worker,))]
        found += _of_place(self.version, self.target)
        return [group for group in found if UNKNOWN not in group.names]

    def is_in(self, group: Group) -> bool:
        """Tell whether the build is in a group."""
        match group.dimension:
            case "all":
                return True
            case "version_target":
                return group.names == (self.version, self.target)
            case dimension:
                return group.names == (getattr(self, dimension),)


def _of_place(version: str, target: str) -> list[Group]:
    return [
        ALL,
        Group("version", (version,)),
        Group("target", (target,)),
        Group("version_target", (version, target)),
    ]


class Failing(NamedTuple):
    """Failed builds of one request on one day, with one fingerprint."""

    day: int
    place: Place
    fingerprint: str
    request: object  # equal for the same request
    builds: int


@dataclass(slots=True)
class Series:
    """Sums of a group by day: ended and failed builds, timed ones and their seconds."""

    ended: list[int]
    failed: list[int]
    timed: list[int]
    seconds: list[int]

    @classmethod
    def empty(cls, days: int) -> "Series":
        return cls(*([0] * days for _ in range(4)))

    def add(self, day: int, succeeded: int, failed: int, timed: int, seconds: int) -> None:
        """Add builds of a day."""
        self.ended[day] += succeeded + failed
        self.failed[day] += failed
        self.timed[day] += timed
        self.seconds[day] += seconds


Explained = tuple[Group, int, int]  # builds of a group from one day to before another


@dataclass(slots=True)
class BuildDays:
    """The builds of a time range by group and day. Days are numbers from its first."""

    connection: Connection
    window: Window
    groups: dict[Group, Series] = field(default_factory=dict)
    failing: list[Failing] = field(default_factory=list)
    _cells: dict[Group, list[Group]] = field(default_factory=dict)
    _explained: list[Explained] = field(default_factory=list)

    @classmethod
    def read(cls, connection: Connection, window: Window) -> "BuildDays":
        """Read a time range from rollups."""
        found = cls(connection, window)
        found._read_places()
        found._read_cube(BY_PROFILE, "profile", 2)
        found._read_cube(BUILD_TIMES, "worker", 0)
        found._read_failing()
        return found

    def copy(self) -> "BuildDays":
        """Return a copy from which other builds can be taken out."""
        groups = {
            group: Series(*(list(getattr(series, name)) for name in Series.__slots__))
            for group, series in self.groups.items()
        }
        return replace(
            self, groups=groups, failing=list(self.failing), _explained=list(self._explained)
        )

    def cells(self, group: Group) -> list[Group]:
        """Return the groups by version and target that make up a broader group."""
        if not self._cells:
            for cell in self.groups:
                for each in cell.broader() if cell.dimension == "version_target" else ():
                    self._cells.setdefault(each, []).append(cell)
        return self._cells.get(group, [])

    def day(self, day: int) -> date:
        """Return the day with a number."""
        return self.window.start + timedelta(days=day)

    def _series(self, group: Group) -> Series:
        series = self.groups.get(group)
        if series is None:
            series = self.groups[group] = Series.empty(self.window.days)
        return series

    def _read_places(self) -> None:
        key = ("date", "version", "target")
        amounts = ("success_count", "failure_count", "timed_builds", "build_time_seconds")
        places = [len(key) + VERSION_TARGET.place(add) for add in amounts]
        known: dict[tuple[str, str], list[Series]] = {}
        rows: Sequence[Sequence[Any]] = sums.rows(self.connection, VERSION_TARGET, key, self.window)
        for row in rows:
            day, version, target = row[:3]
            mine = known.get((version, target))
            if mine is None:
                groups = _of_place(version, target)
                mine = [self._series(group) for group in groups if UNKNOWN not in group.names]
                known[version, target] = mine
            found = [int(row[place]) for place in places]
            for series in mine:
                series.add((day - self.window.start).days, *found)

    def _read_cube(self, cube: Any, dimension: Dimension, first: int) -> None:
        """Read a cube of one name; its four sums begin at a place."""
        found = [
            (day, key[0], amounts[first : first + 4])
            for day, (_, _, totals) in enumerate(
                sums.cube_over_time(self.connection, self.window, "day", cube)
            )
            for key, amounts in totals.rows()
        ]
        known = self._names(name for _, name, _ in found) if dimension == "worker" else {}
        for day, name, amounts in found:
            shown = known.get(name, (UNKNOWN,))[0] if known else name
            if shown != UNKNOWN and any(amounts):
                self._series(Group(dimension, (shown,))).add(day, *amounts)

    def _names(self, numbers: Iterable[Any]) -> dict[int, tuple[str, ...]]:
        return names.of(self.connection, {int(number) for number in numbers})

    def _read_failing(self) -> None:
        f = FAILURES.table.c
        columns = f.date, f.device, f.worker, f.fingerprint, f.request_hash
        query = select(*columns, func.sum(f.failed_builds)).where(
            sums.in_window(FAILURES, self.window), f.failed_builds != 0
        )
        rows = self.connection.execute(query.group_by(*columns)).all()
        known = self._names(number for row in rows for number in row[1:3])
        for day, device, worker, fingerprint, request_hash, builds in rows:
            place = Place(*known.get(device, (UNKNOWN,) * 3), *known.get(worker, (UNKNOWN,)))
            number = (day - self.window.start).days
            request = object() if request_hash == NO_HASH else request_hash
            self.failing.append(Failing(number, place, fingerprint, request, int(builds)))

    def distinct_failures(self, wanted: Collection[Group]) -> dict[Group, list[int]]:
        """Return failed builds of groups by day, a request counting once a day.

        Failures that no row names, of days before rows were kept, count one by one.
        """
        requests = {group: [0] * self.window.days for group in wanted}
        builds = {group: [0] * self.window.days for group in wanted}
        seen = set()
        for each in self.failing:
            for group in each.place.groups():
                if group in requests:
                    builds[group][each.day] += each.builds
                    requests[group][each.day] += (group, each.day, each.request) not in seen
                    seen.add((group, each.day, each.request))
        return {
            group: [
                min(failed, of + max(0, failed - named))
                for failed, of, named in zip(
                    self.groups[group].failed, requests[group], builds[group], strict=True
                )
            ]
            for group in wanted
        }

    def failing_in(self, group: Group, start: int, end: int) -> list[Failing]:
        """Return the failures of a group from one day to before another."""
        return [
            each for each in self.failing if start <= each.day < end and each.place.is_in(group)
        ]

    # Parts of groups ----------------------------------------------------------------------------

    def take_out(self, group: Group, start: int, end: int) -> set[Group]:
        """Take the builds of a group, from one day to before another, out of all groups.

        Returns the groups that had some of them.
        """
        a = ATTEMPTS.table.c
        timed = case((a.seconds != UNTIMED, a.successful_builds), else_=0)
        amounts = a.successful_builds, a.failed_builds, timed, timed * a.seconds
        query = (
            select(a.date, a.device, a.worker, *map(func.sum, amounts))
            .where(self._of((group, start, end)), *self._left())
            .group_by(a.date, a.device, a.worker)
        )
        rows = self.connection.execute(query).all()
        known = self._names(number for row in rows for number in row[1:3])
        touched = {group}
        for day, device, worker, *found in rows:
            place = Place(*known.get(device, (UNKNOWN,) * 3), *known.get(worker, (UNKNOWN,)))
            for each in place.groups():
                number = (day - self.window.start).days
                self._series(each).add(number, *(-int(amount) for amount in found))
                touched.add(each)
        series = self._series(group)
        for of in (series.ended, series.failed, series.timed, series.seconds):
            of[start:end] = [0] * (end - start)
        self.failing = [
            each
            for each in self.failing
            if not (start <= each.day < end and each.place.is_in(group))
        ]
        self._explained.append((group, start, end))
        return touched

    def durations(self, group: Group, start: int, end: int) -> dict[int, int]:
        """Return successful builds of a group by seconds, without what was taken out."""
        a = ATTEMPTS.table.c
        query = select(a.seconds, func.sum(a.successful_builds)).where(
            self._of((group, start, end)), a.seconds != UNTIMED, *self._left()
        )
        rows = self.connection.execute(query.group_by(a.seconds)).all()
        return {int(seconds): int(builds) for seconds, builds in rows if builds}

    def _left(self) -> list[ColumnElement[bool]]:
        return [not_(self._of(each)) for each in self._explained]

    def _of(self, part: Explained) -> ColumnElement[bool]:
        """Return the condition that a row of `ATTEMPTS` is of a group, on some days."""
        group, start, end = part
        a = ATTEMPTS.table.c
        days = a.date.between(self.day(start), self.day(end - 1))
        if group.dimension == "all":
            return days
        if group.dimension == "worker":
            return and_(days, a.worker == names.number_of(group.names))
        return and_(days, a.device.in_(_devices_of(group)))


def _devices_of(group: Group) -> Select[tuple[int]]:
    """Select the numbers of the devices whose builds are in a group: there may be very many."""
    n = names.name_numbers.c
    named = zip(group.dimension.split("_"), group.names, strict=True)
    parts = (n.names[_DEVICE.index(part)].as_string() == name for part, name in named)
    return select(n.number).where(*parts)
