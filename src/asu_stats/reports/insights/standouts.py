"""What stands out among failed builds: values with far more failures than builds elsewhere have.

Each value of each dimension is tried with Fisher's exact test. The most telling one is listed, its
failures are taken out, and the rest is tried again, so that what an earlier row explains is not in
later ones. A request that fails again and again counts once in the test.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import Field
from sqlalchemy import Connection
from typing_extensions import TypedDict

from asu_stats.chance import fisher
from asu_stats.events import UNKNOWN
from asu_stats.reports import figures, sums
from asu_stats.reports.fields import Rate
from asu_stats.reports.insights.rows import Failure
from asu_stats.reports.marks import Named
from asu_stats.store.blocks.cubes import (
    BUILDS_ASKED,
    BUILDS_MADE,
    BUILDS_WITH,
    BY_PROFILE,
    TARGETS,
    VERSIONS,
    Cube,
)
from asu_stats.store.details import package_lists
from asu_stats.store.rollups import names
from asu_stats.store.rollups.definitions import ATTEMPTS
from asu_stats.windows import Window

Dimension = Literal["version", "target", "profile", "client", "client_version", "package", "worker"]
Value = tuple[Dimension, tuple[str, ...]]


class Standout(TypedDict):
    """A value that failed builds have far more often than others."""

    dimension: Annotated[Dimension, Field(description="What it is a value of.")]
    value: Annotated[
        str,
        Named(by="dimension"),
        Field(description="Such as the version or the name of the worker."),
    ]
    client: Annotated[
        str | None, Named("client"), Field(description="Of a client_version; else null.")
    ]
    failures: Annotated[
        int, Field(description="Failed builds with it that no earlier row explains.")
    ]
    builds: Annotated[
        int, Field(description="Ended builds with it, without those that earlier rows explain.")
    ]
    failure_rate: Rate
    failure_rate_elsewhere: Rate
    p_value: Annotated[float, Field(description="Of Fisher's test, times the values tried.")]


_P: Final = 0.01
_LEAST: Final = 3  # failing requests
_ROWS: Final = 20
_DEVICE: Final[tuple[Dimension, ...]] = ("version", "target", "profile")


def find(
    connection: Connection,
    window: Window,
    failures: Sequence[Failure],
    filters: Mapping[str, str],
) -> list[Standout]:
    """Return what stands out among the failed builds of `failures`, most telling first."""
    failed = [failure for failure in failures if failure.failed_builds]
    if len({failure.request for failure in failed}) < _LEAST:
        return []
    builds, total = _builds(connection, window, filters)
    tried = _candidates(connection, failed, builds, total)
    return _ranked(tried, builds, total)


class _Failed:
    """A failed request with its values: how many builds of it failed."""

    def __init__(self, count: int, values: set[Value]) -> None:
        self.count = count
        self.values = values


def _values(failure: Failure) -> set[Value]:
    """Return the values of a failure that may explain it, but for packages."""
    found: set[Value] = {
        ("version", (failure.version,)),
        ("target", (failure.target,)),
        ("profile", (failure.profile,)),
        ("client", (failure.client,)),
        ("client_version", (failure.client, failure.client_version)),
        ("worker", (failure.worker,)),
    }
    return {value for value in found if UNKNOWN not in value[1]}


def _candidates(
    connection: Connection, failed: Sequence[Failure], builds: Mapping[Value, int], total: int
) -> tuple[list[_Failed], int]:
    """Return failed requests with the values worth trying, and how many values there were."""
    lists = package_lists.names_of(connection, {failure.package_list for failure in failed})
    of_package: dict[str, Value] = {}  # each value once, not once per failure
    of_list = {
        number: {of_package.setdefault(name, ("package", (name,))) for name in packages}
        for number, packages in lists.items()
    }
    by_request: dict[object, _Failed] = {}
    for failure in failed:
        values = _values(failure) | of_list.get(failure.package_list, set())
        known = by_request.setdefault(failure.request, _Failed(0, set()))
        known.count += failure.failed_builds
        known.values |= values
    found = list(by_request.values())
    requests, builds_of = _counts(found)
    tried = len(requests)
    base = _base(found, total)
    worth = {
        value
        for value, count in requests.items()
        if count >= _LEAST
        and _p(count, _own(builds.get(value, 0), builds_of[value], count), len(found), base) * tried
        < _P
    }
    for each in found:
        each.values &= worth
    return found, tried


def _base(found: Sequence[_Failed], total: int) -> int:
    """Return ended builds, a failing request counting once."""
    return total - sum(each.count - 1 for each in found)


def _counts(found: Iterable[_Failed]) -> tuple[Counter[Value], Counter[Value]]:
    """Return how many failing requests each value has, and how many failed builds."""
    requests: Counter[Value] = Counter()
    builds: Counter[Value] = Counter()
    for each in found:
        for value in each.values:
            requests[value] += 1
            builds[value] += each.count
    return requests, builds


def _own(builds: int, failed: int, requests: int) -> int:
    """Return the ended builds with a value, a failing request counting once.

    `failed` of them failed, of so many `requests`.
    """
    return max(builds - failed + requests, requests)


def _p(failures: int, builds: int, all_failures: int, all_builds: int) -> float:
    others = max(all_builds - builds, all_failures - failures)
    return fisher(failures, builds, all_failures - failures, others)


def _ranked(
    tried: tuple[list[_Failed], int], builds: Mapping[Value, int], total: int
) -> list[Standout]:
    """Return the most telling value, then that of the failures it does not explain, and so on."""
    left, many = tried
    taken: list[_Failed] = []
    found: list[Standout] = []
    while left and len(found) < _ROWS:
        requests, builds_of = _counts(left)
        base = _base(left, total - sum(each.count for each in taken))
        _, explained = _counts(taken)
        own = {value: builds.get(value, 0) - explained[value] for value in requests}
        best = min(
            (
                (
                    _p(count, _own(own[value], builds_of[value], count), len(left), base) * many,
                    _order(value),
                    value,
                )
                for value, count in requests.items()
                if count >= _LEAST
            ),
            default=None,
        )
        if best is None or best[0] >= _P:
            break
        value = best[2]
        mine = [each for each in left if value in each.values]
        left = [each for each in left if value not in each.values]
        failures = sum(each.count for each in mine)
        all_failures = failures + sum(each.count for each in left)
        of_all = total - sum(each.count for each in taken)
        with_it = max(own[value], failures)
        taken += mine
        dimension, parts = value
        found.append(
            {
                "dimension": dimension,
                "value": parts[-1],
                "client": parts[0] if dimension == "client_version" else None,
                "failures": failures,
                "builds": with_it,
                "failure_rate": figures.rate(failures, with_it),
                "failure_rate_elsewhere": figures.rate(
                    all_failures - failures, max(of_all - with_it, 0)
                ),
                "p_value": min(1.0, best[0]),
            }
        )
    return found


_ORDER: Final[Sequence[Dimension]] = (
    *("version", "target", "profile", "worker", "client", "client_version", "package"),
)


def _order(value: Value) -> tuple[Any, ...]:
    """Return the order of values that are equally telling: the wider dimension first."""
    return _ORDER.index(value[0]), value[1]


_CUBES: Final[Mapping[Dimension, Cube]] = {
    "version": VERSIONS,
    "target": TARGETS,
    "profile": BY_PROFILE,
}
_ENDED: Final = ("success_count", "failure_count")


# Ended builds by value --------------------------------------------------------------------------


def _builds(
    connection: Connection, window: Window, filters: Mapping[str, str]
) -> tuple[Mapping[Value, int], int]:
    """Return the ended builds of each value, and of all."""
    wanted = {name: filters[name] for name in (*_DEVICE, "client") if name in filters}
    if wanted:
        return _filtered(connection, window, wanted)
    counts: dict[Value, int] = defaultdict(int)
    *devices, asked, made, with_it = sums.cubes(
        connection, window, *_CUBES.values(), BUILDS_ASKED, BUILDS_MADE, BUILDS_WITH
    )
    for (dimension, cube), of in zip(_CUBES.items(), devices, strict=True):
        ended = [cube.place(add) for add in _ENDED]
        for (name,), n in of.rows():
            counts[dimension, (name,)] += sum(n[place] for place in ended)
    total = sum(sum(n) for _, n in made.rows())
    numbers = [(key[0], sum(n)) for key, n in asked.rows()]
    known = names.read(connection, (number for number, _ in numbers))
    for number, count in numbers:
        _add_asker(counts, known.get(number), count)
    numbers = [(key[0], sum(n)) for key, n in made.rows()]
    known = names.read(connection, (number for number, _ in numbers))
    for number, count in numbers:
        _add(counts, ("worker",), known.get(number), count)
    for (package,), n in with_it.rows():
        counts["package", (package,)] += sum(n)
    return counts, total


def _add(counts: dict[Value, int], dimensions: Iterable[Dimension], found: Any, count: int) -> None:
    for dimension, name in zip(dimensions, found or (), strict=False):
        counts[dimension, (name,)] += count


def _add_asker(counts: dict[Value, int], found: Any, count: int) -> None:
    if found:
        counts["client", (found[0],)] += count
        counts["client_version", tuple(found)] += count


def _filtered(
    connection: Connection, window: Window, wanted: Mapping[Dimension, str]
) -> tuple[Mapping[Value, int], int]:
    """Return the same of builds that have all of some names: from the rollup's rows."""
    by = ("device", "asker", "worker", "package_list")
    found = sums.rows(connection, ATTEMPTS, by, window)
    known = names.read(connection, {number for row in found for number in row[:3]})
    counts: dict[Value, int] = defaultdict(int)
    lists: dict[int, int] = defaultdict(int)
    total = 0
    for row in found:
        device, asker, worker, package_list, succeeded, failed = tuple(row)
        count = int(succeeded + failed)
        named = (*known.get(device, ()), *known.get(asker, ())[:1])
        own: dict[Dimension, str] = dict(zip((*_DEVICE, "client"), named, strict=False))
        if any(own.get(name) != value for name, value in wanted.items()):
            continue
        total += count
        _add(counts, _DEVICE, known.get(device), count)
        _add_asker(counts, known.get(asker), count)
        _add(counts, ("worker",), known.get(worker), count)
        lists[package_list] += count
    for package, count in package_lists.count(connection, lists).items():
        counts["package", (package,)] += count
    return counts, total
