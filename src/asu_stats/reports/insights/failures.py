"""Failures by culprit and fingerprint, and over-represented values among failed builds."""

from collections import Counter, defaultdict
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
from asu_stats.reports.insights.culprits import CULPRITS, Attribution, Culprit
from asu_stats.reports.insights.failure_rows import FingerprintText, Group
from asu_stats.reports.insights.standouts import Standout
from asu_stats.reports.listing import ALL, Page
from asu_stats.reports.parameters import CATEGORY, CLIENT, ERROR_TYPE, PROFILE, TARGET, VERSION
from asu_stats.reports.report import Query, Report
from asu_stats.store.blocks.columns import Names, numbered, renumbered, total
from asu_stats.store.blocks.cubes import BY_CLIENT_RELEASE
from asu_stats.store.blocks.keys import Ints
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
    (by_client,) = sums.cubes(connection, window, BY_CLIENT_RELEASE)
    sent = culprits.Sent({key: count for key, (count,) in by_client.rows()})
    clusters, cluster = culprits.clusters(failures)
    attributions = [culprits.attribute(each, sent) for each in clusters]
    culprit = Names(list(CULPRITS), np.array(_places(attributions), np.int64)[cluster])
    groups = _groups(failures, culprit, cluster, attributions, floor.Visible(connection, window))
    shown = page.of(groups)
    texts_of = failure_rows.send_texts(connection, {key[3] for key, *_ in shown})
    over_represented = standouts.find(connection, window, failures, filters)
    texts = texts_of()
    total_failures = int(failures.count.sum())
    return {
        "period": sums.period(connection, window, []),
        "basis": basis,
        "failures": total_failures if basis["enough"] else None,
        "by_culprit": _by_culprit(failures, culprit, total_failures) if basis["enough"] else [],
        "groups": [_row(*group, texts) for group in shown],
        "groups_total": len(groups),
        "over_represented": page.of(over_represented),
        "over_represented_total": len(over_represented),
    }


Key = tuple[Culprit, str, str, str]  # culprit, category, type, fingerprint


def _places(attributions: Sequence[Attribution]) -> list[int]:
    return [CULPRITS.index(each.culprit) for each in attributions]


def _by_culprit(found: failure_rows.Failures, culprit: Names, failures: int) -> list[CulpritRow]:
    """Return a row per culprit by failures descending, including culprits without failures."""
    counts = total(culprit.codes, len(CULPRITS), found.count).tolist()
    ranked = sorted(zip(counts, CULPRITS, strict=True), key=lambda row: -row[0])
    return [
        {"culprit": name, "failures": n, "percentage": figures.rate(n, failures)}
        for n, name in ranked
    ]


def _groups(
    failures: failure_rows.Failures,
    culprit: Names,
    cluster: Ints,
    attributions: Sequence[Attribution],
    names: floor.Visible,
) -> list[tuple[Key, Group, str]]:
    """Return key, group and reason of the groups, by failures descending."""
    kind = [culprit, *(failures.name(name) for name in ("category", "type", "fingerprint"))]
    group, firsts = numbered(*(part.codes for part in kind))
    keys: list[Key] = list(zip(*(part.of(firsts) for part in kind), strict=True))
    if not all(is_shown := failure_rows.shown(failures, group, len(keys))):
        keys = [
            key if known else (*key[:3], floor.OTHER)
            for key, known in zip(keys, is_shown, strict=True)
        ]
        keys, group = renumbered(keys, group)
    reasons: dict[int, Counter[str]] = defaultdict(Counter)
    pair, firsts = numbered(group, cluster)
    counts = total(pair, len(firsts), failures.count).tolist()
    for number, place, count in zip(
        group[firsts].tolist(), cluster[firsts].tolist(), counts, strict=True
    ):
        attribution = attributions[place]
        is_shown_all = all(names.has(dimension, name) for dimension, name in attribution.names)
        reason = attribution.reason if is_shown_all else culprits.meaning(keys[number][2])
        reasons[number][reason] += count
    found = [
        (key, each, min(of, key=lambda reason: (-of[reason], reason)))
        for number, (key, each) in enumerate(
            zip(keys, failure_rows.grouped(failures, group, len(keys)), strict=True)
        )
        for of in (reasons[number],)
    ]
    return sorted(found, key=lambda row: (-row[1].failures, row[0]))


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
