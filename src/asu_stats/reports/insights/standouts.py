"""Over-represented values: names of a dimension whose builds fail more often than other builds.

Each value of each dimension is tested with Fisher's exact test. The most significant value is
listed and its failures are removed. The search continues with the rest, so later rows exclude
what earlier rows explain. In the test, the failures of one request count once.
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
from asu_stats.reports.insights.failure_rows import Failure
from asu_stats.reports.marks import Named
from asu_stats.store.blocks.cubes import (
    BUILDS_BY_CLIENT,
    BUILDS_BY_PACKAGE,
    BUILDS_BY_WORKER,
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
    """A value whose builds fail more often than others."""

    dimension: Annotated[Dimension, Field(description="Dimension of the value.")]
    value: Annotated[
        str,
        Named(by="dimension"),
        Field(description="Such as a version or the name of a worker."),
    ]
    client: Annotated[
        str | None, Named("client"), Field(description="Client of a client_version; else null.")
    ]
    failures: Annotated[
        int, Field(description="Failed builds with it that no earlier row explains.")
    ]
    builds: Annotated[
        int, Field(description="Ended builds with it, without those that earlier rows explain.")
    ]
    failure_rate: Rate
    failure_rate_elsewhere: Rate
    p_value: Annotated[float, Field(description="Of Fisher's test, times the tested values.")]


_P: Final = 0.01
_MIN_REQUESTS: Final = 3  # failing requests of a value
_MAX_ROWS: Final = 20
_DEVICE: Final[tuple[Dimension, ...]] = ("version", "target", "profile")


def find(
    connection: Connection,
    window: Window,
    failures: Sequence[Failure],
    filters: Mapping[str, str],
) -> list[Standout]:
    """Return the over-represented values of failed builds, most significant first."""
    failed = [failure for failure in failures if failure.failed_builds]
    if len({failure.request for failure in failed}) < _MIN_REQUESTS:
        return []
    builds, total = _builds_by_value(connection, window, filters)
    requests, tests = _candidates(connection, failed, builds, total)
    return _ranked(requests, tests, builds, total)


class _FailedRequest:
    """A request with failed builds: their number, and the values that may explain them."""

    def __init__(self, count: int, values: set[Value]) -> None:
        self.count = count
        self.values = values


def _values(failure: Failure) -> set[Value]:
    """Return the values of a failure that may explain it, without packages."""
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
) -> tuple[list[_FailedRequest], int]:
    """Return failed requests with their candidate values, and the number of tested values.

    A value that is not significant among all builds is no candidate.
    """
    lists = package_lists.names_of(connection, {failure.package_list for failure in failed})
    package_values: dict[str, Value] = {}  # shared by all failures, to save memory
    list_values = {
        number: {package_values.setdefault(name, ("package", (name,))) for name in packages}
        for number, packages in lists.items()
    }
    by_request: dict[object, _FailedRequest] = {}
    for failure in failed:
        values = _values(failure) | list_values.get(failure.package_list, set())
        request = by_request.setdefault(failure.request, _FailedRequest(0, set()))
        request.count += failure.failed_builds
        request.values |= values
    found = list(by_request.values())
    requests, failed_builds = _counts(found)
    tests = len(requests)
    distinct = _distinct_builds(found, total)
    candidates = {
        value
        for value, count in requests.items()
        if count >= _MIN_REQUESTS
        and tests
        * _p_value(
            count,
            _distinct_builds_of(builds.get(value, 0), failed_builds[value], count),
            len(found),
            distinct,
        )
        < _P
    }
    for request in found:
        request.values &= candidates
    return found, tests


def _distinct_builds(failed: Sequence[_FailedRequest], total: int) -> int:
    """Return the ended builds if the failed builds of each request count once."""
    return total - sum(request.count - 1 for request in failed)


def _distinct_builds_of(builds: int, failed: int, requests: int) -> int:
    """Return the same for the `builds` of one value, whose `failed` builds are of `requests`."""
    return max(builds - failed + requests, requests)


def _counts(failed: Iterable[_FailedRequest]) -> tuple[Counter[Value], Counter[Value]]:
    """Return the failing requests and the failed builds of each value."""
    requests: Counter[Value] = Counter()
    builds: Counter[Value] = Counter()
    for request in failed:
        for value in request.values:
            requests[value] += 1
            builds[value] += request.count
    return requests, builds


def _p_value(failures: int, builds: int, all_failures: int, all_builds: int) -> float:
    others = max(all_builds - builds, all_failures - failures)
    return fisher(failures, builds, all_failures - failures, others)


def _ranked(
    failed: list[_FailedRequest], tests: int, builds: Mapping[Value, int], total: int
) -> list[Standout]:
    """Return the most significant value, then that of the failures it does not explain, and so on.

    P-values are multiplied by the number of `tests`.
    """
    remaining = failed
    explained: list[_FailedRequest] = []
    found: list[Standout] = []
    while remaining and len(found) < _MAX_ROWS:
        requests, failed_builds = _counts(remaining)
        _, explained_builds = _counts(explained)
        remaining_builds = total - sum(request.count for request in explained)
        distinct = _distinct_builds(remaining, remaining_builds)
        builds_of = {value: builds.get(value, 0) - explained_builds[value] for value in requests}
        best = min(
            (
                (
                    tests
                    * _p_value(
                        count,
                        _distinct_builds_of(builds_of[value], failed_builds[value], count),
                        len(remaining),
                        distinct,
                    ),
                    _order(value),
                    value,
                )
                for value, count in requests.items()
                if count >= _MIN_REQUESTS
            ),
            default=None,
        )
        if best is None or best[0] >= _P:
            break
        value = best[2]
        matching = [request for request in remaining if value in request.values]
        remaining = [request for request in remaining if value not in request.values]
        failures = sum(request.count for request in matching)
        all_failures = failures + sum(request.count for request in remaining)
        builds_with_value = max(builds_of[value], failures)
        explained += matching
        dimension, parts = value
        found.append(
            {
                "dimension": dimension,
                "value": parts[-1],
                "client": parts[0] if dimension == "client_version" else None,
                "failures": failures,
                "builds": builds_with_value,
                "failure_rate": figures.rate(failures, builds_with_value),
                "failure_rate_elsewhere": figures.rate(
                    all_failures - failures, max(remaining_builds - builds_with_value, 0)
                ),
                "p_value": min(1.0, best[0]),
            }
        )
    return found


_ORDER: Final[Sequence[Dimension]] = (
    *("version", "target", "profile", "worker", "client", "client_version", "package"),
)


def _order(value: Value) -> tuple[Any, ...]:
    """Return the order of equally significant values: the broader dimension first."""
    return _ORDER.index(value[0]), value[1]


_CUBES: Final[Mapping[Dimension, Cube]] = {
    "version": VERSIONS,
    "target": TARGETS,
    "profile": BY_PROFILE,
}
_ENDED: Final = ("success_count", "failure_count")


# Ended builds by value --------------------------------------------------------------------------


def _builds_by_value(
    connection: Connection, window: Window, filters: Mapping[str, str]
) -> tuple[Mapping[Value, int], int]:
    """Return the ended builds of each value, and the total."""
    applied = {name: filters[name] for name in (*_DEVICE, "client") if name in filters}
    if applied:
        return _filtered(connection, window, applied)
    counts: dict[Value, int] = defaultdict(int)
    *by_device, by_client, by_worker, by_package = sums.cubes(
        connection, window, *_CUBES.values(), BUILDS_BY_CLIENT, BUILDS_BY_WORKER, BUILDS_BY_PACKAGE
    )
    for (dimension, cube), totals in zip(_CUBES.items(), by_device, strict=True):
        ended = [cube.place(add) for add in _ENDED]
        for (name,), n in totals.rows():
            counts[dimension, (name,)] += sum(n[place] for place in ended)
    total = sum(sum(n) for _, n in by_worker.rows())
    numbers = [(key[0], sum(n)) for key, n in by_client.rows()]
    names_of = names.read(connection, (number for number, _ in numbers))
    for number, count in numbers:
        _add_client(counts, names_of.get(number), count)
    numbers = [(key[0], sum(n)) for key, n in by_worker.rows()]
    names_of = names.read(connection, (number for number, _ in numbers))
    for number, count in numbers:
        _add(counts, ("worker",), names_of.get(number), count)
    for (package,), n in by_package.rows():
        counts["package", (package,)] += sum(n)
    return counts, total


def _add(counts: dict[Value, int], dimensions: Iterable[Dimension], found: Any, count: int) -> None:
    for dimension, name in zip(dimensions, found or (), strict=False):
        counts[dimension, (name,)] += count


def _add_client(counts: dict[Value, int], found: Any, count: int) -> None:
    if found:
        counts["client", (found[0],)] += count
        counts["client_version", tuple(found)] += count


def _filtered(
    connection: Connection, window: Window, filters: Mapping[Dimension, str]
) -> tuple[Mapping[Value, int], int]:
    """Return the same for the builds that match `filters`, from the rows of the rollup."""
    by = ("device", "asker", "worker", "package_list")
    found = sums.rows(connection, ATTEMPTS, by, window)
    names_of = names.read(connection, {number for row in found for number in row[:3]})
    counts: dict[Value, int] = defaultdict(int)
    lists: dict[int, int] = defaultdict(int)
    total = 0
    for row in found:
        device, client, worker, package_list, succeeded, failed = tuple(row)
        count = int(succeeded + failed)
        fields = (*names_of.get(device, ()), *names_of.get(client, ())[:1])
        build: dict[Dimension, str] = dict(zip((*_DEVICE, "client"), fields, strict=False))
        if any(build.get(name) != value for name, value in filters.items()):
            continue
        total += count
        _add(counts, _DEVICE, names_of.get(device), count)
        _add_client(counts, names_of.get(client), count)
        _add(counts, ("worker",), names_of.get(worker), count)
        lists[package_list] += count
    for package, count in package_lists.count(connection, lists).items():
        counts["package", (package,)] += count
    return counts, total
