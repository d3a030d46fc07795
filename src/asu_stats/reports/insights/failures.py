"""Failures by culprit and fingerprint, and over-represented values among failed builds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Final

import numpy as np
from pydantic import Field
from sqlalchemy import Connection
from typing_extensions import TypedDict

from asu_stats.reports import figures, floor, sums
from asu_stats.reports.cover import covers
from asu_stats.reports.fields import Category, Day, Period, Rate, Total, TypeOfError
from asu_stats.reports.insights import culprits, failure_rows, standouts
from asu_stats.reports.insights.basis import Basis
from asu_stats.reports.insights.culprits import CULPRITS, Attributions, Culprit
from asu_stats.reports.insights.failure_rows import Failures as Rows
from asu_stats.reports.insights.failure_rows import FingerprintText, Group
from asu_stats.reports.insights.standouts import Standout
from asu_stats.reports.listing import ALL, Page
from asu_stats.reports.parameters import CATEGORY, CLIENT, ERROR_TYPE, PROFILE, TARGET, VERSION
from asu_stats.reports.report import Query, Report
from asu_stats.store.blocks.columns import Names, descending, first_rows, numbered, total
from asu_stats.store.blocks.cubes import BY_CLIENT_RELEASE
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
    basis = failure_rows.basis(connection, window, _METHOD, found=len(failures))
    by_culprit, shown, groups_total = _by_cause(connection, window, failures, page)
    texts_of = failure_rows.send_texts(connection, {key[3] for key, *_ in shown})
    over_represented = standouts.find(connection, window, failures, filters)
    texts = texts_of()
    return {
        "period": sums.period(connection, window, []),
        "basis": basis,
        "failures": int(failures.count.sum()) if basis["enough"] else None,
        "by_culprit": by_culprit if basis["enough"] else [],
        "groups": [_row(*group, texts) for group in shown],
        "groups_total": groups_total,
        "over_represented": page.of(over_represented),
        "over_represented_total": len(over_represented),
    }


def _by_cause(
    connection: Connection, window: Window, failures: Rows, page: Page
) -> tuple[list[CulpritRow], list["Found"], int]:
    """Return the failures by culprit, the groups of a page, and the number of groups."""
    (by_client,) = sums.cubes(connection, window, BY_CLIENT_RELEASE)
    found = Attributions(failures, culprits.Sent(by_client))
    culprit = Names(found.culprit.values, found.culprit.codes[found.cluster])
    groups = _Groups(failures, culprit, found)
    names = floor.Visible(connection, window)
    shown = [groups.of(group, names) for group in groups.ranked[page.places].tolist()]
    return _by_culprit(failures, culprit), shown, len(groups.ranked)


Key = tuple[Culprit, str, str, str]  # culprit, category, type, fingerprint
Found = tuple[Key, Group, str]  # with the reason


def _by_culprit(failures: Rows, culprit: Names) -> list[CulpritRow]:
    """Return a row per culprit by failures descending, including culprits without failures."""
    counts = total(culprit.codes, len(CULPRITS), failures.count).tolist()
    ranked = sorted(zip(counts, CULPRITS, strict=True), key=lambda row: -row[0])
    return [
        {"culprit": name, "failures": n, "percentage": figures.rate(n, sum(counts))}
        for n, name in ranked
    ]


class _Groups:
    """Failures with one culprit, category, type and fingerprint.

    `ranked` has the groups by failures descending.
    """

    def __init__(self, failures: Rows, culprit: Names, attributions: Attributions) -> None:
        category, kind, fingerprint = map(failures.name, ("category", "type", "fingerprint"))
        key = [culprit, category, kind, fingerprint]
        group, firsts = numbered(*(part.codes for part in key))
        if floor.min_requests():
            hidden = failure_rows.hidden(failures, group, len(firsts))[group]
            key[3] = fingerprint.with_other(hidden, floor.OTHER)
            group, firsts = numbered(*(part.codes for part in key))
        self._key = [part.where(firsts) for part in key]
        self._attributions = attributions
        self._groups = failure_rows.grouped(failures, group, len(firsts))
        self.ranked = descending(self._groups.failures, *self._key)
        pair, some = numbered(group, attributions.cluster)  # by group ascending
        self._counts = total(pair, len(some), failures.count)
        self._clusters = attributions.cluster[some]
        self._starts = first_rows(group[some], len(firsts))

    def of(self, group: int, names: floor.Visible) -> Found:
        """Return key, sums and reason of a group, with only the names that are shown."""
        here = np.array([group])
        culprit, category, kind, fingerprint = (part.of(here)[0] for part in self._key)
        reasons: Counter[str] = Counter()
        rows = slice(self._starts[group], self._starts[group + 1])
        for cluster, count in zip(
            self._clusters[rows].tolist(), self._counts[rows].tolist(), strict=True
        ):
            _, reason, named = self._attributions[cluster]
            if not all(names.has(dimension, name) for dimension, name in named):
                reason = culprits.meaning(kind)
            reasons[reason] += count
        reason = min(reasons, key=lambda reason: (-reasons[reason], reason))
        return (culprit, category, kind, fingerprint), self._groups.of(group), reason


def _row(key: Key, group: Group, reason: str, texts: Mapping[str, FingerprintText]) -> FailureGroup:
    culprit, category, error_type, fingerprint = key
    text = texts.get(fingerprint)
    return {
        "culprit": culprit,
        "category": category,
        "type": error_type,
        "fingerprint": fingerprint or None,
        "failures": group.failures,
        "requests_hit": group.requests_hit,
        "devices": group.devices,
        "first_seen": group.first_seen.isoformat(),
        "last_seen": group.last_seen.isoformat(),
        "reason": reason,
        "example": text.example if text else None,
    }


def _send(connection: Connection, query: Query) -> None:
    failure_rows.send(connection, query.window)
    sums.send_cubes(connection, query.window, BY_CLIENT_RELEASE)
    standouts.send(connection, query.window, query.filters)


REPORT: Final = Report(
    name="insights/failures",
    summary="Failures by culprit, and over-represented values",
    send=_send,
    read=lambda connection, query: read(connection, query.window, query.page, **query.filters),
    response=Failures,
    parameters=(VERSION, TARGET, PROFILE, CLIENT, CATEGORY, ERROR_TYPE),
    row=FailureGroup,
    member="groups",
    nested=True,
)
