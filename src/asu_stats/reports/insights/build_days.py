"""Builds per group and day, for the search for regressions.

A group is all builds, or the builds of a version, a target, both, a profile or a worker. Builds
that one regression explains can be excluded from all groups.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import lru_cache
from operator import add
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Date,
    Select,
    and_,
    bindparam,
    case,
    func,
    not_,
    select,
)

from asu_stats.events import NO_HASH, UNKNOWN
from asu_stats.reports import sums
from asu_stats.store.blocks.cubes import BUILD_TIMES, BY_PROFILE
from asu_stats.store.database import statements
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
    """A dimension and its names, such as `version_target` with a version and a target."""

    dimension: Dimension
    names: tuple[str, ...]

    def broader(self) -> "list[Group]":
        """Return the groups that contain this group, the broadest first."""
        if self.dimension == "all":
            return []
        if self.dimension != "version_target":
            return [ALL]
        version, target = self.names
        return [ALL, Group("version", (version,)), Group("target", (target,))]


ALL: Final = Group("all", ())
_DEVICE: Final = ("version", "target", "profile")  # the names that a device number stands for


class BuildNames(NamedTuple):
    """The names of a build, by dimension. A name that is not known is `unknown`."""

    version: str
    target: str
    profile: str
    worker: str

    def groups(self) -> tuple[Group, ...]:
        """Return the groups that contain the build."""
        return _groups_of(self)

    def is_in(self, group: Group) -> bool:
        """Return whether a group contains the build."""
        match group.dimension:
            case "all":
                return True
            case "version_target":
                return group.names == (self.version, self.target)
            case dimension:
                return group.names == (getattr(self, dimension),)


@lru_cache(maxsize=1 << 12)
def _groups_of(build: BuildNames) -> tuple[Group, ...]:
    found = [Group("profile", (build.profile,)), Group("worker", (build.worker,))]
    found += _groups_by_version_and_target(build.version, build.target)
    return tuple(group for group in found if UNKNOWN not in group.names)


def _groups_by_version_and_target(version: str, target: str) -> list[Group]:
    return [
        ALL,
        Group("version", (version,)),
        Group("target", (target,)),
        Group("version_target", (version, target)),
    ]


class FailedBuilds(NamedTuple):
    """The failed builds of one request on one day with one fingerprint."""

    day: int
    names: BuildNames
    fingerprint: str
    request: object  # equal for builds of the same request
    builds: int


@dataclass(slots=True)
class Series:
    """Builds of a group per day: ended, failed, with a known duration, and the sum of durations."""

    ended: list[int]
    failed: list[int]
    timed: list[int]
    seconds: list[int]

    @classmethod
    def empty(cls, days: int) -> "Series":
        return cls(*([0] * days for _ in range(4)))

    def add(self, day: int, succeeded: int, failed: int, timed: int, seconds: int) -> None:

        self.ended[day] += succeeded + failed
        self.failed[day] += failed
        self.timed[day] += timed
        self.seconds[day] += seconds


_v: Final = VERSION_TARGET.table.c
_BUILDS: Final = select(
    *(_v.date, _v.version, _v.target),
    *(_v.success_count, _v.failure_count, _v.timed_builds, _v.build_time_seconds),
).where(_v.date.between(bindparam("start", type_=Date), bindparam("end", type_=Date)))

GroupDays = tuple[Group, int, int]  # a group, its first day, and the day after its last


@dataclass(slots=True)
class BuildDays:
    """The builds of a time range per group and day. Day 0 is the first day of the time range."""

    connection: Connection
    window: Window
    groups: dict[Group, Series] = field(default_factory=dict)
    failed_builds: list[FailedBuilds] = field(default_factory=list)
    _cells: dict[Group, list[Group]] = field(default_factory=dict)
    _excluded: list[GroupDays] = field(default_factory=list)

    @classmethod
    def read(cls, connection: Connection, window: Window) -> "BuildDays":
        """Read the builds of a time range from rollups and blocks."""
        found = cls(connection, window)
        found._read_versions_and_targets()
        found._read_cube(BY_PROFILE, "profile", 2)
        found._read_cube(BUILD_TIMES, "worker", 0)
        found._read_failed_builds()
        return found

    def copy(self) -> "BuildDays":
        """Return a copy with exclusions of its own."""
        groups = {
            group: Series(*(list(getattr(series, name)) for name in Series.__slots__))
            for group, series in self.groups.items()
        }
        return replace(
            self,
            groups=groups,
            failed_builds=list(self.failed_builds),
            _excluded=list(self._excluded),
        )

    def cells(self, group: Group) -> list[Group]:
        """Return the `version_target` groups that a broader group consists of."""
        if not self._cells:
            for cell in self.groups:
                for each in cell.broader() if cell.dimension == "version_target" else ():
                    self._cells.setdefault(each, []).append(cell)
        return self._cells.get(group, [])

    def day(self, day: int) -> date:
        """Return the date of a day number."""
        return self.window.start + timedelta(days=day)

    def _series(self, group: Group) -> Series:
        series = self.groups.get(group)
        if series is None:
            series = self.groups[group] = Series.empty(self.window.days)
        return series

    def _read_versions_and_targets(self) -> None:
        first, window = self.window.start.toordinal(), self.window
        known: dict[tuple[str, str], list[Series]] = {}
        rows = statements.fetch(self.connection, _BUILDS, start=window.start, end=window.end)
        for day, version, target, succeeded, failed, timed, seconds in rows:
            series_of_groups = known.get((version, target))
            if series_of_groups is None:
                groups = _groups_by_version_and_target(version, target)
                named = [group for group in groups if UNKNOWN not in group.names]
                series_of_groups = [self._series(group) for group in named]
                known[version, target] = series_of_groups
            if succeeded or failed:  # half of the rows have requests only
                number = day.toordinal() - first
                for series in series_of_groups:
                    series.add(number, succeeded, failed, timed, seconds)

    def _read_cube(self, cube: Any, dimension: Dimension, first: int) -> None:
        """Read a cube whose key is one name; its four sums start at index `first`."""
        found = sums.cube_by_day(self.connection, self.window, cube, first, first + 4)
        known = self._names(number for (number,) in found) if dimension == "worker" else {}
        for (name,), (succeeded, failed, timed, seconds) in found.items():
            shown = known.get(name, (UNKNOWN,))[0] if known else name
            if shown != UNKNOWN:
                ended = list(map(add, succeeded, failed))
                self.groups[Group(dimension, (shown,))] = Series(ended, failed, timed, seconds)

    def _names(self, numbers: Iterable[Any]) -> dict[int, tuple[str, ...]]:
        return names.of(self.connection, {int(number) for number in numbers})

    def _read_failed_builds(self) -> None:
        f = FAILURES.table.c
        columns = f.date, f.device, f.worker, f.fingerprint, f.request_hash
        query = select(*columns, func.sum(f.failed_builds)).where(
            sums.in_window(FAILURES, self.window), f.failed_builds != 0
        )
        rows = self.connection.execute(query.group_by(*columns)).all()
        known = self._names(number for row in rows for number in row[1:3])
        for day, device, worker, fingerprint, request_hash, builds in rows:
            build = BuildNames(*known.get(device, (UNKNOWN,) * 3), *known.get(worker, (UNKNOWN,)))
            number = (day - self.window.start).days
            request = object() if request_hash == NO_HASH else request_hash
            self.failed_builds.append(
                FailedBuilds(number, build, fingerprint, request, int(builds))
            )

    def distinct_failures(self, groups: Collection[Group]) -> dict[Group, list[int]]:
        """Return the failed builds per group and day; the builds of one request count once a day.

        Days from before `stats_failures` existed have no rows there: each of their failures counts.
        """
        distinct = {group: list(self.groups[group].failed) for group in groups}
        requests: dict[tuple[Group, int], set[object]] = defaultdict(set)
        stored: Counter[tuple[Group, int]] = Counter()
        for each in self.failed_builds:
            for group in each.names.groups():
                if group in distinct:
                    stored[group, each.day] += each.builds
                    requests[group, each.day].add(each.request)
        for (group, day), builds in stored.items():
            failed = self.groups[group].failed[day]
            count = len(requests[group, day])
            distinct[group][day] = min(failed, count + max(0, failed - builds))
        return distinct

    def failed_in(self, group: Group, start: int, end: int) -> list[FailedBuilds]:
        """Return the failed builds of a group from day `start` to before day `end`."""
        return [
            each
            for each in self.failed_builds
            if start <= each.day < end and each.names.is_in(group)
        ]

    # Exclusion of builds ------------------------------------------------------------------------

    def exclude(self, group: Group, start: int, end: int) -> set[Group]:
        """Exclude the builds of a group, from day `start` to before day `end`, from all groups.

        Return the groups that contained any of them.
        """
        a = ATTEMPTS.table.c
        timed = case((a.seconds != UNTIMED, a.successful_builds), else_=0)
        amounts = a.successful_builds, a.failed_builds, timed, timed * a.seconds
        query = (
            select(a.date, a.device, a.worker, *map(func.sum, amounts))
            .where(self._condition((group, start, end)), *self._not_excluded())
            .group_by(a.date, a.device, a.worker)
        )
        rows = self.connection.execute(query).all()
        known = self._names(number for row in rows for number in row[1:3])
        changed = {group}
        for day, device, worker, *found in rows:
            build = BuildNames(*known.get(device, (UNKNOWN,) * 3), *known.get(worker, (UNKNOWN,)))
            for each in build.groups():
                number = (day - self.window.start).days
                self._series(each).add(number, *(-int(amount) for amount in found))
                changed.add(each)
        series = self._series(group)
        for counts in (series.ended, series.failed, series.timed, series.seconds):
            counts[start:end] = [0] * (end - start)
        self.failed_builds = [
            each
            for each in self.failed_builds
            if not (start <= each.day < end and each.names.is_in(group))
        ]
        self._excluded.append((group, start, end))
        return changed

    def durations(
        self, group: Group, start: int, end: int
    ) -> tuple[dict[int, int], dict[int, int]]:
        """Return the successful builds of a group by seconds, without excluded builds.

        Those before day `start`, and those from then to before day `end`.
        """
        a = ATTEMPTS.table.c
        is_before = case((a.date < self.day(start), 1), else_=0)
        query = (
            select(is_before, a.seconds, func.sum(a.successful_builds))
            .where(self._condition((group, 0, end)), a.seconds != UNTIMED, *self._not_excluded())
            .group_by(is_before, a.seconds)
        )
        found: tuple[dict[int, int], dict[int, int]] = {}, {}
        for was_before, seconds, builds in self.connection.execute(query):
            if builds:
                found[1 - was_before][int(seconds)] = int(builds)
        return found

    def _not_excluded(self) -> list[ColumnElement[bool]]:
        return [not_(self._condition(each)) for each in self._excluded]

    def _condition(self, builds: GroupDays) -> ColumnElement[bool]:
        """Return the SQL condition for the rows of `ATTEMPTS` of a group and its days."""
        group, start, end = builds
        a = ATTEMPTS.table.c
        days = a.date.between(self.day(start), self.day(end - 1))
        if group.dimension == "all":
            return days
        if group.dimension == "worker":
            return and_(days, a.worker == names.number_of(group.names))
        return and_(days, a.device.in_(_devices_of(group)))


def _devices_of(group: Group) -> Select[tuple[int]]:
    """Select the numbers of the devices of a group, in SQL because there may be very many."""
    n = names.name_numbers.c
    names_by_part = zip(group.dimension.split("_"), group.names, strict=True)
    conditions = (n.names[_DEVICE.index(part)].as_string() == name for part, name in names_by_part)
    return select(n.number).where(*conditions)
