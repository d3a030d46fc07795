"""Over-represented values: names of a dimension whose builds fail more often than other builds.

Each value of each dimension is tested with Fisher's exact test. The most significant value is
listed and its failures are removed. The search continues with the rest, so later rows exclude
what earlier rows explain. In the test, the failures of one request count once. Of packages that
are on the same failing lists, the one that errors name is listed.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final, Literal, NamedTuple

import numpy as np
from pydantic import Field
from sqlalchemy import Connection
from typing_extensions import TypedDict

from asu_stats.chance import fisher
from asu_stats.events import UNKNOWN
from asu_stats.reports import figures, sums
from asu_stats.reports.fields import Rate
from asu_stats.reports.insights.failure_rows import NAMES_AT_ONCE, Failures
from asu_stats.reports.insights.significance import P, least_p, significant
from asu_stats.reports.marks import Named
from asu_stats.store.blocks import reader
from asu_stats.store.blocks.columns import Mask, numbered, total
from asu_stats.store.blocks.cubes import (
    BUILDS_BY_CLIENT,
    BUILDS_BY_PACKAGE,
    BUILDS_BY_WORKER,
    BY_PROFILE,
    TARGETS,
    VERSIONS,
    Cube,
)
from asu_stats.store.blocks.keys import Ints
from asu_stats.store.blocks.totals import Totals
from asu_stats.store.details import package_lists
from asu_stats.store.rollups import names
from asu_stats.store.rollups.definitions import ATTEMPTS, FAILURES
from asu_stats.windows import Window

Dimension = Literal["version", "target", "profile", "client", "client_version", "package", "worker"]
Value = tuple[Dimension, Any]  # a name, or client and client version


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


_MIN_REQUESTS: Final = 3  # failing requests of a value
_MAX_ROWS: Final = 20
_DEVICE: Final[tuple[Dimension, ...]] = ("version", "target", "profile")


def find(
    connection: Connection,
    window: Window,
    failures: Failures,
    filters: Mapping[str, str],
) -> list[Standout]:
    """Return the over-represented values of failed builds, most significant first."""
    failed = failures.failed
    if int(failed.request.max(initial=-1)) + 1 < _MIN_REQUESTS:
        return []
    every_list, codes = np.unique(failed.number("package_list"), return_inverse=True)
    firsts = failed.pairs(codes)
    members = package_lists.send_members(connection, every_list[codes[firsts]])
    pairs = [*_pairs(failed)]
    tested = {each.dimension: each.names(each.tested()) for each in pairs}
    builds = _builds(connection, window, filters, tested)
    pairs.append(_package_pairs(failed, firsts, members()))
    return _ranked(_candidates(failed, pairs, builds))


@dataclass(slots=True)
class _Candidates:
    """Values that may explain failed requests.

    `has` tells for each request and value whether the request has the value, `failed` the failed
    builds of each request. `is_named` tells for each value whether it is a package that the errors
    of at least half of its requests name. `tests` is the number of tested values, `total` that of
    all builds.
    """

    values: list[Value]
    builds: Ints
    has: Mask
    failed: Ints
    is_named: Mask
    tests: int
    total: int


class _Pairs(NamedTuple):
    """Distinct pairs of a failing request and a value of a dimension: a code below `size`."""

    dimension: Dimension
    size: int
    names: Callable[[Ints], list[Any]]  # of codes
    request: Ints
    code: Ints

    def requests(self) -> Ints:
        """Return the failing requests of each code."""
        return np.bincount(self.code, minlength=self.size)

    def tested(self) -> Ints:
        """Return the codes of values with enough failing requests."""
        return np.flatnonzero(self.requests() >= _MIN_REQUESTS)


def _pairs(failed: Failures) -> Iterator[_Pairs]:
    """Yield the values that may explain failures, by dimension; not packages."""
    client, version = failed.name("client"), failed.name("client_version")
    askers, firsts = numbered(client.codes, version.codes)
    for dimension in (*_DEVICE, "client", "worker"):
        column = failed.name(dimension)
        rows = failed.pairs(column.codes, ~column.equal(UNKNOWN))
        names = _names_in(column.values)
        size = len(column.values)
        yield _Pairs(dimension, size, names, failed.request[rows], column.codes[rows])
    rows = failed.pairs(askers, ~(client.equal(UNKNOWN) | version.equal(UNKNOWN)))

    def versions(codes: Ints) -> list[Any]:
        of = firsts[codes]
        return list(zip(client.of(of), version.of(of), strict=True))

    yield _Pairs("client_version", len(firsts), versions, failed.request[rows], askers[rows])


def _names_in(values: Sequence[Any]) -> Callable[[Ints], list[Any]]:
    return lambda codes: [values[code] for code in codes.tolist()]


def _package_pairs(failed: Failures, firsts: Ints, members: package_lists.Members) -> _Pairs:
    """Return the packages that may explain failures. `firsts` are the rows of their lists."""
    place, code, packages = members
    request = failed.request[firsts][place]
    if len(firsts) > int(failed.request.max()) + 1:  # a request with several lists
        _, rows = numbered(request, code)
        request, code = request[rows], code[rows]
    return _Pairs("package", len(packages), _names_in(packages), request, code)


def _candidates(failed: Failures, pairs: Sequence[_Pairs], builds: "_Builds") -> _Candidates:
    """Return the values that are significant among all builds."""
    requests = int(failed.request.max()) + 1
    count = total(failed.request, requests, failed.number("failed_builds"))
    distinct = _distinct_builds(count, builds.total)
    tests, parts = 0, list[tuple[Ints, Ints, Ints, Ints]]()
    for each in pairs:
        hit_by, tested = each.requests(), each.tested()
        tests += int(np.count_nonzero(hit_by))
        failed_by = total(each.code, each.size, count[each.request])
        ended = builds.of(each.dimension, each.names(tested))
        parts.append((tested, hit_by[tested], failed_by[tested], ended))
    code_of, hit, failed_of, all_of = (np.concatenate(of) for of in zip(*parts, strict=True))
    of = _distinct_builds_of(all_of, failed_of, hit)
    others = np.maximum(distinct - of, requests - hit)
    dimension = np.repeat(np.arange(len(pairs)), [len(tested) for tested, *_ in parts])
    named = failed.name("package")
    values, builds_of, has, is_named = list[Value](), list[int](), list[Mask](), list[bool]()
    for place in significant(hit, of, requests - hit, others, tests):
        each, n, code = pairs[dimension[place]], int(hit[place]), int(code_of[place])
        here = np.zeros(requests, bool)
        here[each.request[each.code == code]] = True
        (name,) = each.names(np.array([code]))
        values.append((each.dimension, name))
        builds_of.append(int(all_of[place]))
        has.append(here)
        is_named.append(
            each.dimension == "package"
            and 2 * len(set(failed.request[named.equal(name)].tolist())) >= n
        )
    columns = np.stack(has, axis=1) if has else np.zeros((requests, 0), bool)
    return _Candidates(
        values,
        np.array(builds_of, np.int64),
        columns,
        count,
        np.array(is_named, bool),
        tests,
        builds.total,
    )


def _distinct_builds(failed: Ints, builds: int) -> int:
    """Return the ended builds if the failed builds of each request count once."""
    return builds - int(failed.sum()) + len(failed)


def _distinct_builds_of(builds: Ints, failed: Ints, requests: Ints) -> Ints:
    """Return the same for the `builds` of each value, whose `failed` builds are of `requests`."""
    found: Ints = np.maximum(builds - failed + requests, requests)
    return found


def _ranked(found: _Candidates) -> list[Standout]:
    """Return the most significant value, then that of the failures it does not explain, and so on.

    P-values are multiplied by the number of tests.
    """
    remaining = np.ones(len(found.failed), bool)
    builds_of = found.builds.copy()
    rows: list[Standout] = []
    while remaining.any() and len(rows) < _MAX_ROWS:
        has, failed = found.has[remaining], found.failed[remaining]
        requests = has.sum(axis=0)
        remaining_builds = found.total - int(found.failed[~remaining].sum())
        of = _distinct_builds_of(builds_of, failed @ has, requests)
        others = np.maximum(_distinct_builds(failed, remaining_builds) - of, len(failed) - requests)
        numbers = requests, of, len(failed) - requests, others
        best = _best(found, *numbers)
        if best is None or best[0] >= P:
            break
        if found.values[best[1]][0] == "package" and not found.is_named[best[1]]:
            together = 2 * (has & has[:, [best[1]]]).sum(axis=0) >= requests[best[1]]
            named = _best(found, *numbers, among=together & found.is_named)
            best = named if named and named[0] < P else best
        p_value, place = best
        matching = remaining & found.has[:, place]
        failures, all_failures = int(found.failed[matching].sum()), int(failed.sum())
        builds = max(int(builds_of[place]), failures)
        builds_of -= found.failed[matching] @ found.has[matching]
        remaining &= ~matching
        dimension, name = found.values[place]
        is_version = dimension == "client_version"
        rows.append(
            {
                "dimension": dimension,
                "value": name[1] if is_version else name,
                "client": name[0] if is_version else None,
                "failures": failures,
                "builds": builds,
                "failure_rate": figures.rate(failures, builds),
                "failure_rate_elsewhere": figures.rate(
                    all_failures - failures, max(remaining_builds - builds, 0)
                ),
                "p_value": min(1.0, p_value),
            }
        )
    return rows


def _best(
    found: _Candidates,
    requests: Ints,
    builds: Ints,
    other_requests: Ints,
    others: Ints,
    among: Mask | None = None,
) -> tuple[float, int] | None:
    """Return the smallest p-value, of all values or some, and the place of its value."""
    least = found.tests * least_p(requests, builds, other_requests, others)
    is_tested = requests >= _MIN_REQUESTS
    if among is not None:
        is_tested &= among
    best: tuple[float, Any, int] | None = None
    for place in np.argsort(least).tolist():
        if best is not None and least[place] > best[0]:
            break
        if not is_tested[place]:
            continue
        numbers = (int(of[place]) for of in (requests, builds, other_requests, others))
        p_value = found.tests * fisher(*numbers)
        each = p_value, _order(found.values[place]), place
        best = min(best, each) if best else each
    return best and (best[0], best[2])


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


_NUMBERED_CUBES: Final = (*_CUBES.values(), BUILDS_BY_CLIENT, BUILDS_BY_WORKER)
_ATTEMPTS_BY: Final = ("device", "asker", "worker", "package_list")


# Ended builds by value --------------------------------------------------------------------------


def _applied(filters: Mapping[str, str]) -> Mapping[Dimension, str]:
    return {name: filters[name] for name in (*_DEVICE, "client") if name in filters}


def send(connection: Connection, window: Window, filters: Mapping[str, str]) -> None:
    """Ask for what `find` needs first, and do not wait for it."""
    changes = reader.changes(connection, window.start, window.end)
    if _applied(filters):
        sums.send_rows(connection, ATTEMPTS, _ATTEMPTS_BY, window)
        package_lists.send_of_rows(connection, _LISTS_OF_BUILDS, changes, days=_FEW_DAYS)
    else:
        sums.send_cubes(connection, window, *_NUMBERED_CUBES, BUILDS_BY_PACKAGE)
        package_lists.send_of_rows(connection, _FAILED_LISTS, changes, days=len(changes))


_FAILED_LISTS: Final = package_lists.of_rows(FAILURES.table, FAILURES.table.c.failed_builds != 0)
_LISTS_OF_BUILDS: Final = package_lists.of_rows(ATTEMPTS.table)
_FEW_DAYS: Final = 3  # most builds of more days do not match the filters


class _Builds(NamedTuple):
    """Ended builds: of the tested values of each dimension, of packages, and all."""

    by: Mapping[Dimension, Ints]
    packages: Callable[[Sequence[str]], Ints]
    total: int

    def of(self, dimension: Dimension, tested: Sequence[Any]) -> Ints:
        """Return the ended builds of the tested values of a dimension."""
        return self.packages(tested) if dimension == "package" else self.by[dimension]


def _builds(
    connection: Connection,
    window: Window,
    filters: Mapping[str, str],
    tested: Mapping[Dimension, Sequence[Any]],
) -> _Builds:
    """Return the ended builds of packages and of the `tested` values of other dimensions."""
    if applied := _applied(filters):
        return _filtered(connection, window, applied, tested)
    by, clients, total = _of_tested(connection, window, tested)
    (by_package,) = sums.cubes(connection, window, BUILDS_BY_PACKAGE)
    by["client"] = _counts(clients(), tested["client"])
    return _Builds(by, partial(by_package.of, sums=_BOTH), total)


def _of_tested(
    connection: Connection, window: Window, tested: Mapping[Dimension, Sequence[Any]]
) -> tuple[dict[Dimension, Ints], Callable[[], Mapping[str, int]], int]:
    """Return the ended builds of values that cubes have, those of clients later, and the total."""
    *by_device, by_client, by_worker = sums.cubes(connection, window, *_NUMBERED_CUBES)
    clients = _send_clients(connection, by_client, tested["client"])
    by: dict[Dimension, Ints] = {
        dimension: totals.of(tested[dimension], sums=[cube.place(add) for add in _ENDED])
        for (dimension, cube), totals in zip(_CUBES.items(), by_device, strict=True)
    }
    versions = [names.number_of(version) for version in tested["client_version"]]
    by["client_version"] = by_client.of(versions, sums=_BOTH)
    workers = [names.number_of((worker,)) for worker in tested["worker"]]
    by["worker"] = by_worker.of(workers, sums=_BOTH)
    return by, clients, int(by_worker.sums[:, _BOTH].sum())


_BOTH: Final = (0, 1)  # succeeded and failed builds


def _counts(counts: Mapping[Any, int], values: Sequence[Any]) -> Ints:
    return np.array([counts.get(value, 0) for value in values], np.int64)


def _send_clients(
    connection: Connection, by_client: Totals, clients: Sequence[str]
) -> Callable[[], Mapping[str, int]]:
    """Ask for the ended builds of clients, of all versions. Return a function that waits for them.

    The names of all clients with builds are read, but never more than some of them are in memory.
    """
    if not clients:
        return dict
    counts = by_client.sums[:, _BOTH].sum(axis=1)
    some = np.flatnonzero(counts)
    values, codes = by_client.vocabulary.unsorted(0)
    parts = [some[start:][:NAMES_AT_ONCE] for start in range(0, len(some), NAMES_AT_ONCE)]
    sent = [names.send(connection, [values[code] for code in codes[part]]) for part in parts[:1]]

    def builds() -> Mapping[str, int]:
        found = dict.fromkeys(clients, 0)
        for place, part in enumerate(parts):
            numbers = [values[code] for code in codes[part]]
            known = sent[0]() if place == 0 else names.read(connection, numbers)
            for number, count in zip(numbers, counts[part].tolist(), strict=True):
                client = known.get(number, (None,))[0]
                if client in found:
                    found[client] += count
        return found

    return builds


def _filtered(
    connection: Connection,
    window: Window,
    filters: Mapping[Dimension, str],
    tested: Mapping[Dimension, Sequence[Any]],
) -> _Builds:
    """Return the same for the builds that match `filters`, from the rows of the rollup."""
    found = sums.rows(connection, ATTEMPTS, _ATTEMPTS_BY, window)
    counts = {dimension: dict.fromkeys(values, 0) for dimension, values in tested.items()}
    lists: dict[int, int] = defaultdict(int)
    total = 0
    for start in range(0, len(found), NAMES_AT_ONCE):
        rows = found[start : start + NAMES_AT_ONCE]
        names_of = names.read(connection, {number for row in rows for number in row[:3]})
        for row in rows:
            device, client, worker, package_list, succeeded, failed = tuple(row)
            count = int(succeeded + failed)
            of_device, asker = names_of.get(device, ()), names_of.get(client, ())
            build: dict[Dimension, Any] = dict(
                zip((*_DEVICE, "client"), (*of_device, *asker[:1]), strict=False)
            )
            if any(build.get(name) != value for name, value in filters.items()):
                continue
            total += count
            lists[package_list] += count
            build |= {"client_version": asker, "worker": names_of.get(worker, (None,))[0]}
            for dimension, value in build.items():
                if value in counts[dimension]:
                    counts[dimension][value] += count
    by = {dimension: _counts(of, tested[dimension]) for dimension, of in counts.items()}
    return _Builds(by, partial(_counts, package_lists.count(connection, lists)), total)
