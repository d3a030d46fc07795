"""Why builds fail and who is to blame, and what stands out among the builds that failed."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Annotated, Final

from pydantic import Field
from sqlalchemy import Connection
from typing_extensions import TypedDict

from asu_stats.reports import figures, floor, sums
from asu_stats.reports.cover import covers
from asu_stats.reports.fields import Category, Day, Period, Rate, Total, TypeOfError
from asu_stats.reports.insights import culprits, rows, standouts
from asu_stats.reports.insights.basis import Basis
from asu_stats.reports.insights.culprits import CULPRITS, Blame, Culprit
from asu_stats.reports.insights.rows import Failure, Known
from asu_stats.reports.insights.standouts import Standout
from asu_stats.reports.listing import ALL, Page
from asu_stats.reports.parameters import CATEGORY, CLIENT, ERROR_TYPE, PROFILE, TARGET, VERSION
from asu_stats.reports.report import Report
from asu_stats.store.rollups.definitions import CLIENT_VERSIONS
from asu_stats.windows import Window

_CULPRIT = Field(description="Who is to blame: see the definitions of the figures.")
Count = Annotated[int, Field(description="Failed builds and rejected requests.")]


class CulpritRow(TypedDict):
    """Failures that one party is to blame for."""

    culprit: Annotated[Culprit, _CULPRIT]
    failures: Count
    percentage: Rate


class FailureGroup(TypedDict):
    """Failures with one culprit, type and fingerprint."""

    culprit: Annotated[Culprit, _CULPRIT]
    category: Category
    type: TypeOfError
    fingerprint: Annotated[str | None, Field(description="Null for rows of older archive files.")]
    failures: Count
    requests_hit: Annotated[int, Field(description="Distinct request hashes among them.")]
    devices: Annotated[int, Field(description="Distinct (target, profile).")]
    first_seen: Annotated[Day, Field(description="First day in the time range.")]
    last_seen: Annotated[Day, Field(description="Last day in the time range.")]
    reason: Annotated[str, Field(description="Why this culprit, of most of these failures.")]
    example: Annotated[str | None, Field(description="The earliest text of the fingerprint.")]


class Failures(TypedDict):
    """`GET /api/v1/stats/insights/failures`."""

    period: Period
    basis: Basis
    failures: Annotated[
        int | None, Field(description="Failed builds and rejected requests in the time range.")
    ]
    by_culprit: list[CulpritRow]
    groups: Sequence[FailureGroup]
    groups_total: Total
    over_represented: Sequence[Standout]
    over_represented_total: Total


_METHOD: Final = (
    "Each type of error has a culprit; for missing packages, the devices and clients that meet the "
    "error decide. Over-represented values have a p-value below 0.01 in Fisher's exact test, one "
    "request counting once, after Bonferroni's correction."
)


@covers(Failures)
def read(connection: Connection, window: Window, page: Page = ALL, **filters: str) -> Failures:
    """Return the failures of `window` by culprit and group, and what stands out among them."""
    failures = rows.read(connection, window, filters)
    basis = rows.basis(connection, window, _METHOD, found=failures)
    blamed = _blamed(connection, window, failures)
    names = floor.Visible(connection, window)
    groups = _groups(blamed)
    shown = page.of(groups)
    known = rows.known(connection, {key[3] for key, _ in shown})
    standing = standouts.find(connection, window, failures, filters)
    total = sum(failure.count for failure in failures)
    return {
        "period": sums.period(connection, window, []),
        "basis": basis,
        "failures": total if basis["enough"] else None,
        "by_culprit": _by_culprit(blamed, total) if basis["enough"] else [],
        "groups": [_group(key, of, known, names) for key, of in shown],
        "groups_total": len(groups),
        "over_represented": page.of(standing),
        "over_represented_total": len(standing),
    }


Blamed = Sequence[tuple[Blame, Failure]]
Key = tuple[Culprit, str, str, str]
_Groups = dict[Key, list[tuple[Blame, Failure]]]


def _blamed(connection: Connection, window: Window, failures: Sequence[Failure]) -> Blamed:
    """Return who is to blame for each failure."""
    asked = {
        (row.client, row.client_version): int(row.requests)
        for row in sums.rows(connection, CLIENT_VERSIONS, ("client", "client_version"), window)
        if row.requests
    }
    return [
        (blame, failure)
        for cluster, of in culprits.clusters(failures).items()
        for blame in [culprits.blame(cluster, of, asked)]
        for failure in of
    ]


def _by_culprit(blamed: Blamed, total: int) -> list[CulpritRow]:
    """Return a row per culprit, also of those without failures, by failures descending."""
    counts = dict.fromkeys(CULPRITS, 0)
    for blame, failure in blamed:
        counts[blame.culprit] += failure.count
    ranked = sorted(counts.items(), key=lambda item: (-item[1], CULPRITS.index(item[0])))
    return [
        {"culprit": culprit, "failures": n, "percentage": figures.rate(n, total)}
        for culprit, n in ranked
    ]


def _groups(blamed: Blamed) -> list[tuple[Key, Blamed]]:
    """Return failures by culprit, category, type and fingerprint, by failures descending."""
    groups: _Groups = defaultdict(list)
    for blame, failure in blamed:
        key = blame.culprit, failure.category, failure.type, failure.fingerprint
        groups[key].append((blame, failure))
    groups = _shown(groups)
    counts = {key: sum(failure.count for _, failure in of) for key, of in groups.items()}
    return sorted(groups.items(), key=lambda item: (-counts[item[0]], item[0]))


def _shown(groups: _Groups) -> _Groups:
    """Return groups, those that hit too few requests without their fingerprint."""
    found: _Groups = defaultdict(list)
    for key, of in groups.items():
        is_shown = rows.is_shown(failure for _, failure in of)
        found[key if is_shown else (*key[:3], floor.OTHER)] += of
    return found


def _group(
    key: Key, blamed: Blamed, known: Mapping[str, Known], names: floor.Visible
) -> FailureGroup:
    culprit, category, error_type, fingerprint = key
    reasons: dict[str, int] = defaultdict(int)
    for blame, failure in blamed:
        is_shown = all(names.has(dimension, name) for dimension, name in blame.names)
        reasons[blame.reason if is_shown else culprits.meaning(error_type)] += failure.count
    failures = [failure for _, failure in blamed]
    days = {failure.day for failure in failures}
    example = known.get(fingerprint)
    return {
        "culprit": culprit,
        "category": category,
        "type": error_type,
        "fingerprint": fingerprint or None,
        "failures": sum(failure.count for failure in failures),
        "requests_hit": rows.requests_hit(failures),
        "devices": rows.devices(failures),
        "first_seen": min(days).isoformat(),
        "last_seen": max(days).isoformat(),
        "reason": min(reasons, key=lambda reason: (-reasons[reason], reason)),
        "example": example.example if example else None,
    }


REPORT: Final = Report(
    name="insights/failures",
    summary="Why builds fail, who is to blame, and what stands out",
    read=lambda connection, query: read(connection, query.window, query.page, **query.filters),
    response=Failures,
    parameters=(VERSION, TARGET, PROFILE, CLIENT, CATEGORY, ERROR_TYPE),
    row=FailureGroup,
    member="groups",
    nested=True,
)
