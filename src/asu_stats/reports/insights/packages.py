"""Packages that errors name, by branch: a to-do list for package maintainers."""

from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Annotated, Final

import numpy as np
from pydantic import Field
from sqlalchemy import Connection
from typing_extensions import TypedDict

from asu_stats.reports import floor, sums
from asu_stats.reports.fields import Day, Period, Total, TypeOfError
from asu_stats.reports.insights import failure_rows
from asu_stats.reports.insights.basis import Basis
from asu_stats.reports.insights.failure_rows import Failures, FingerprintText, Group
from asu_stats.reports.listing import ALL, Page
from asu_stats.reports.packages import branch_of
from asu_stats.reports.report import Query, Report
from asu_stats.store.blocks.columns import descending, first_rows, numbered, total
from asu_stats.store.blocks.keys import Ints
from asu_stats.windows import Window


class PackageFailures(TypedDict):
    """A package of one branch that errors name."""

    package: Annotated[str, Field(description="The first package that the error text names.")]
    branch: Annotated[str, Field(description="`23.05` for version `23.05.2`, or `SNAPSHOT`.")]
    failures: Annotated[int, Field(description="Failed builds and rejected requests.")]
    requests_hit: Annotated[int, Field(description="Distinct request hashes among them.")]
    devices: Annotated[int, Field(description="Distinct (target, profile).")]
    first_seen: Annotated[Day, Field(description="First day in the time range.")]
    last_seen: Annotated[Day, Field(description="Last day in the time range.")]
    failing_today: Annotated[bool, Field(description="Whether it failed on the current UTC day.")]
    type: Annotated[TypeOfError, Field(description="The most common type of these errors.")]
    example: Annotated[str | None, Field(description="A text of this type.")]


class FailingPackages(TypedDict):
    """`GET /api/v1/stats/insights/packages`."""

    period: Period
    basis: Basis
    packages: Sequence[PackageFailures]
    packages_total: Total


_METHOD: Final = (
    "Failed builds and rejected requests whose error text names a package, by the first package in "
    "the text and the branch of the version."
)


def read(connection: Connection, window: Window, today: date, page: Page = ALL) -> FailingPackages:
    """Return a row per package and branch, by failures descending, then by package and branch."""
    failures = failure_rows.read(connection, window, {})
    failures = failures.where(~failures.name("package").equal(""))
    package, branch = failures.name("package"), failures.name("version").mapped(branch_of)
    group, firsts = numbered(package.codes, branch.codes)
    if floor.min_requests():
        hidden = failure_rows.hidden(failures, group, len(firsts))[group]
        package, branch = (part.with_other(hidden, floor.OTHER) for part in (package, branch))
        group, firsts = numbered(package.codes, branch.codes)
    groups = failure_rows.grouped(failures, group, len(firsts))
    package, branch = package.where(firsts), branch.where(firsts)
    ranked = descending(groups.failures, package, branch)
    common = _Common(failures, group, len(firsts))
    fails_today = np.zeros(len(firsts), bool)
    fails_today[group[failures.day == today.toordinal()]] = True
    shown = ranked[page.places]
    keys = zip(package.of(shown), branch.of(shown), strict=True)
    rows = [
        (key, groups.of(place), common.of(place), bool(fails_today[place]))
        for key, place in zip(keys, shown.tolist(), strict=True)
    ]
    texts = failure_rows.texts(connection, {fingerprint for _, _, (_, fingerprint), _ in rows})
    return {
        "period": sums.period(connection, window, []),
        "basis": failure_rows.basis(connection, window, _METHOD, found=len(failures)),
        "packages": [_row(*row, texts) for row in rows],
        "packages_total": len(ranked),
    }


class _Common:
    """The most common type and its most common fingerprint of each group.

    Ties are broken by name.
    """

    def __init__(self, failures: Failures, group: Ints, groups: int) -> None:
        kind, fingerprint = failures.name("type"), failures.name("fingerprint")
        pair, firsts = numbered(group, kind.codes, fingerprint.codes)  # by group ascending
        self._counts = total(pair, len(firsts), failures.count)
        self._kind, self._fingerprint = kind.where(firsts), fingerprint.where(firsts)
        self._starts = first_rows(group[firsts], groups)

    def of(self, group: int) -> tuple[str, str]:
        """Return type and fingerprint of a group."""
        here = np.arange(self._starts[group], self._starts[group + 1])
        columns = self._kind.of(here), self._fingerprint.of(here), self._counts[here].tolist()
        types: Counter[str] = Counter()
        for name, _, count in zip(*columns, strict=True):
            types[name] += count
        pairs = zip(*columns, strict=True)
        _, name, _, said = min((-types[name], name, -count, said) for name, said, count in pairs)
        return name, said


def _row(
    key: tuple[str, str],
    group: Group,
    common: tuple[str, str],
    fails_today: bool,
    texts: dict[str, FingerprintText],
) -> PackageFailures:
    package, branch = key
    text = None if package == floor.OTHER else texts.get(common[1])
    return {
        "package": package,
        "branch": branch,
        "failures": group.failures,
        "requests_hit": group.requests_hit,
        "devices": group.devices,
        "first_seen": group.first_seen.isoformat(),
        "last_seen": group.last_seen.isoformat(),
        "failing_today": fails_today,
        "type": common[0],
        "example": text.example if text else None,
    }


def _send(connection: Connection, query: Query) -> None:
    failure_rows.send(connection, query.window)


REPORT: Final = Report(
    name="insights/packages",
    summary="Packages that errors name, by branch",
    send=_send,
    read=lambda connection, query: read(connection, query.window, query.today, query.page),
    response=FailingPackages,
    row=PackageFailures,
    member="packages",
    nested=True,
)
