"""Packages that errors name, by branch: a to-do list for package maintainers."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import date
from typing import Annotated, Final

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
from asu_stats.store.blocks.columns import numbered, renumbered, total
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
    names = list(zip(package.of(firsts), branch.of(firsts), strict=True))
    if not all(is_shown := failure_rows.shown(failures, group, len(names))):
        names = [each if known else _OTHER for each, known in zip(names, is_shown, strict=True)]
        names, group = renumbered(names, group)
    groups = failure_rows.grouped(failures, group, len(names))
    common = _most_common(failures, group)
    failing = set(group[failures.day == today.toordinal()].tolist())
    fails_today = [number in failing for number in range(len(names))]
    rows = zip(names, groups, common, fails_today, strict=True)
    ranked = sorted(rows, key=lambda row: (-row[1].failures, row[0]))
    shown = page.of(ranked)
    texts = failure_rows.texts(connection, {fingerprint for _, _, (_, fingerprint), _ in shown})
    return {
        "period": sums.period(connection, window, []),
        "basis": failure_rows.basis(connection, window, _METHOD, found=len(failures)),
        "packages": [_row(*row, texts) for row in shown],
        "packages_total": len(ranked),
    }


_OTHER: Final = (floor.OTHER, floor.OTHER)


def _most_common(failures: Failures, group: Ints) -> list[tuple[str, str]]:
    """Return the most common type and its most common fingerprint of each group.

    Ties are broken by name.
    """
    kind, fingerprint = failures.name("type"), failures.name("fingerprint")
    pair, firsts = numbered(group, kind.codes, fingerprint.codes)
    counts = total(pair, len(firsts), failures.count).tolist()
    rows = zip(group[firsts].tolist(), kind.of(firsts), fingerprint.of(firsts), counts, strict=True)
    types: defaultdict[int, Counter[str]] = defaultdict(Counter)
    found: defaultdict[int, list[tuple[str, str, int]]] = defaultdict(list)
    for number, name, said, count in rows:
        types[number][name] += count
        found[number].append((name, said, count))
    best = [
        min((-types[number][name], name, -count, said) for name, said, count in pairs)
        for number, pairs in found.items()
    ]
    return [(name, said) for _, name, _, said in best]


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
