"""Failures by culprit and fingerprint, and over-represented values among failed builds."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Annotated, Final

from pydantic import Field
from sqlalchemy import Connection, Date, bindparam, func, select
from typing_extensions import TypedDict

from asu_stats.reports import figures, floor, sums
from asu_stats.reports.cover import covers
from asu_stats.reports.fields import Category, Day, Period, Rate, Total, TypeOfError
from asu_stats.reports.insights import culprits, failure_rows, standouts
from asu_stats.reports.insights.basis import Basis
from asu_stats.reports.insights.culprits import CULPRITS, Attribution, Culprit
from asu_stats.reports.insights.failure_rows import Failure, FingerprintText
from asu_stats.reports.insights.standouts import Standout
from asu_stats.reports.listing import ALL, Page
from asu_stats.reports.parameters import CATEGORY, CLIENT, ERROR_TYPE, PROFILE, TARGET, VERSION
from asu_stats.reports.report import Report
from asu_stats.store.database import statements
from asu_stats.store.rollups.definitions import CLIENT_VERSIONS
from asu_stats.windows import Window

_CULPRIT = Field(description="Who can fix it: see the definitions of the figures.")
Count = Annotated[int, Field(description="Failed builds and rejected requests.")]


class CulpritRow(TypedDict):
    """Failures with one culprit."""

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
    reason: Annotated[str, Field(description="Why this culprit, for most of these failures.")]
    example: Annotated[str | None, Field(description="The earliest text with this fingerprint.")]


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
    "Each type of error has a culprit; for missing packages, the affected devices and clients "
    "decide. Over-represented values have a p-value below 0.01 in Fisher's exact test after "
    "Bonferroni's correction; each request counts once."
)


@covers(Failures)
def read(connection: Connection, window: Window, page: Page = ALL, **filters: str) -> Failures:
    """Return the failures of `window` by culprit and group, and over-represented values."""
    failures = failure_rows.read(connection, window, filters)
    basis = failure_rows.basis(connection, window, _METHOD, found=failures)
    attributed = _attributed(connection, window, failures)
    names = floor.Visible(connection, window)
    groups = _groups(attributed)
    shown = page.of(groups)
    texts = failure_rows.texts(connection, {key[3] for key, _ in shown})
    over_represented = standouts.find(connection, window, failures, filters)
    total = sum(failure.count for failure in failures)
    return {
        "period": sums.period(connection, window, []),
        "basis": basis,
        "failures": total if basis["enough"] else None,
        "by_culprit": _by_culprit(attributed, total) if basis["enough"] else [],
        "groups": [_group(key, members, texts, names) for key, members in shown],
        "groups_total": len(groups),
        "over_represented": page.of(over_represented),
        "over_represented_total": len(over_represented),
    }


Attributed = Sequence[tuple[Attribution, Failure]]
Key = tuple[Culprit, str, str, str]  # culprit, category, type, fingerprint
_Groups = dict[Key, list[tuple[Attribution, Failure]]]


_c: Final = CLIENT_VERSIONS.table.c
_REQUESTS: Final = (
    select(_c.client, _c.client_version, func.sum(_c.requests))
    .where(_c.date.between(bindparam("start", type_=Date), bindparam("end", type_=Date)))
    .group_by(_c.client, _c.client_version)
)


def _attributed(connection: Connection, window: Window, failures: Sequence[Failure]) -> Attributed:
    """Return each failure with its culprit."""
    rows = statements.fetch(connection, _REQUESTS, start=window.start, end=window.end)
    requests = {(client, version): int(count) for client, version, count in rows if count}
    return [
        (attribution, failure)
        for cluster, members in culprits.clusters(failures).items()
        for attribution in [culprits.attribute(cluster, members, requests)]
        for failure in members
    ]


def _by_culprit(attributed: Attributed, total: int) -> list[CulpritRow]:
    """Return a row per culprit by failures descending, including culprits without failures."""
    counts = dict.fromkeys(CULPRITS, 0)
    for attribution, failure in attributed:
        counts[attribution.culprit] += failure.count
    ranked = sorted(counts.items(), key=lambda item: (-item[1], CULPRITS.index(item[0])))
    return [
        {"culprit": culprit, "failures": n, "percentage": figures.rate(n, total)}
        for culprit, n in ranked
    ]


def _groups(attributed: Attributed) -> list[tuple[Key, Attributed]]:
    """Return the groups by failures descending."""
    groups: _Groups = defaultdict(list)
    for attribution, failure in attributed:
        key = attribution.culprit, failure.category, failure.type, failure.fingerprint
        groups[key].append((attribution, failure))
    groups = _folded(groups)
    counts = {key: sum(failure.count for _, failure in members) for key, members in groups.items()}
    return sorted(groups.items(), key=lambda item: (-counts[item[0]], item[0]))


def _folded(groups: _Groups) -> _Groups:
    """Return groups in which fingerprints below the public floor are `other`."""
    found: _Groups = defaultdict(list)
    for key, members in groups.items():
        is_shown = failure_rows.is_shown(failure for _, failure in members)
        found[key if is_shown else (*key[:3], floor.OTHER)] += members
    return found


def _group(
    key: Key, members: Attributed, texts: Mapping[str, FingerprintText], names: floor.Visible
) -> FailureGroup:
    culprit, category, error_type, fingerprint = key
    reasons: dict[str, int] = defaultdict(int)
    for attribution, failure in members:
        is_shown = all(names.has(dimension, name) for dimension, name in attribution.names)
        reasons[attribution.reason if is_shown else culprits.meaning(error_type)] += failure.count
    failures = [failure for _, failure in members]
    days = {failure.day for failure in failures}
    text = texts.get(fingerprint)
    return {
        "culprit": culprit,
        "category": category,
        "type": error_type,
        "fingerprint": fingerprint or None,
        "failures": sum(failure.count for failure in failures),
        "requests_hit": failure_rows.requests_hit(failures),
        "devices": failure_rows.devices(failures),
        "first_seen": min(days).isoformat(),
        "last_seen": max(days).isoformat(),
        "reason": min(reasons, key=lambda reason: (-reasons[reason], reason)),
        "example": text.example if text else None,
    }


REPORT: Final = Report(
    name="insights/failures",
    summary="Failures by culprit, and over-represented values",
    read=lambda connection, query: read(connection, query.window, query.page, **query.filters),
    response=Failures,
    parameters=(VERSION, TARGET, PROFILE, CLIENT, CATEGORY, ERROR_TYPE),
    row=FailureGroup,
    member="groups",
    nested=True,
)
