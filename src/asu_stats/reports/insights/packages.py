"""Packages that errors name, by branch: a to-do list for package maintainers."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, Final

from pydantic import Field
from sqlalchemy import Connection
from typing_extensions import TypedDict

from asu_stats.reports import floor, sums
from asu_stats.reports.fields import Day, Period, Total, TypeOfError
from asu_stats.reports.insights import failure_rows
from asu_stats.reports.insights.basis import Basis
from asu_stats.reports.insights.failure_rows import Failure, FingerprintText
from asu_stats.reports.listing import ALL, Page
from asu_stats.reports.report import Report
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
Key = tuple[str, str]  # package, branch


def read(connection: Connection, window: Window, today: date, page: Page = ALL) -> FailingPackages:
    """Return a row per package and branch, by failures descending, then by package and branch."""
    groups: dict[Key, list[Failure]] = defaultdict(list)
    failures = failure_rows.read(connection, window, {}, with_package=True)
    for failure in failures:
        groups[failure.package, failure.branch].append(failure)
    groups = _folded(groups)
    counts = {key: sum(failure.count for failure in group) for key, group in groups.items()}
    ranked = [key for key, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    shown = page.of(ranked)
    common = {key: _most_common(groups[key]) for key in shown}
    texts = failure_rows.texts(connection, {fingerprint for _, fingerprint in common.values()})
    return {
        "period": sums.period(connection, window, []),
        "basis": failure_rows.basis(connection, window, _METHOD, found=failures),
        "packages": [_row(key, groups[key], today, *common[key], texts) for key in shown],
        "packages_total": len(ranked),
    }


def _folded(groups: Mapping[Key, list[Failure]]) -> dict[Key, list[Failure]]:
    """Return groups with those below the public floor added up as `other`."""
    found: dict[Key, list[Failure]] = defaultdict(list)
    for key, group in groups.items():
        found[key if failure_rows.is_shown(group) else (floor.OTHER, floor.OTHER)] += group
    return found


def _most_common(failures: Sequence[Failure]) -> tuple[str, str]:
    """Return the most common type and its most common fingerprint; ties are broken by name."""
    counts: Counter[tuple[str, str]] = Counter()
    types: Counter[str] = Counter()
    for failure in failures:
        types[failure.type] += failure.count
        counts[failure.type, failure.fingerprint] += failure.count
    return min(counts, key=lambda kind: (-types[kind[0]], kind[0], -counts[kind], kind[1]))


def _row(
    key: Key,
    failures: Sequence[Failure],
    today: date,
    error_type: str,
    fingerprint: str,
    texts: dict[str, FingerprintText],
) -> PackageFailures:
    days = {failure.day for failure in failures}
    package, branch = key
    text = None if package == floor.OTHER else texts.get(fingerprint)
    return {
        "package": package,
        "branch": branch,
        "failures": sum(failure.count for failure in failures),
        "requests_hit": failure_rows.requests_hit(failures),
        "devices": failure_rows.devices(failures),
        "first_seen": min(days).isoformat(),
        "last_seen": max(days).isoformat(),
        "failing_today": today in days,
        "type": error_type,
        "example": text.example if text else None,
    }


REPORT: Final = Report(
    name="insights/packages",
    summary="Packages that errors name, by branch",
    read=lambda connection, query: read(connection, query.window, query.today, query.page),
    response=FailingPackages,
    row=PackageFailures,
    member="packages",
    nested=True,
)
