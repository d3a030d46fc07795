"""Fingerprints: errors whose texts differ only in names, with where and since when they occur."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from types import MappingProxyType
from typing import Annotated, Final

from pydantic import Field
from sqlalchemy import Connection
from typing_extensions import TypedDict

from asu_stats.events import shown_hash
from asu_stats.exceptions import UnknownFingerprintError
from asu_stats.releases import release_order
from asu_stats.reports import error_examples, figures, floor, sums
from asu_stats.reports.cover import covers
from asu_stats.reports.error_examples import ErrorExample
from asu_stats.reports.fields import Category, Day, Period, Profile, Target, Total, TypeOfError
from asu_stats.reports.fields import Version as VersionName
from asu_stats.reports.insights import rows
from asu_stats.reports.insights.basis import Basis
from asu_stats.reports.insights.rows import Failure, Known
from asu_stats.reports.listing import ALL, Page
from asu_stats.reports.parameters import CATEGORY, ERROR_TYPE, VERSION, Parameter, day_parameter
from asu_stats.reports.report import Query, Report
from asu_stats.windows import Window

Count = Annotated[int, Field(description="Failed builds and rejected requests in the time range.")]


class FingerprintRow(TypedDict):
    """Errors whose texts differ only in names, numbers, paths and hashes."""

    fingerprint: Annotated[str, Field(description="Digest of category, type and pattern.")]
    pattern: Annotated[str, Field(description="Telling lines of the text, names replaced.")]
    category: Category
    type: TypeOfError
    count: Count
    first_seen: Annotated[Day | None, Field(description="First day ever, also before the range.")]
    last_seen: Annotated[Day | None, Field(description="Last day ever, also after the range.")]
    versions: Annotated[
        Sequence[VersionName],
        Field(description="Affected in the time range, by release; at most `limit`."),
    ]
    versions_total: Total
    devices: Annotated[int, Field(description="Distinct (target, profile) in the time range.")]
    example: Annotated[
        str | None, Field(description="The last 2,000 characters of the earliest text.")
    ]
    example_request_hash: Annotated[
        str | None, Field(description="First 12 characters, if it is known.")
    ]


class Fingerprints(TypedDict):
    """`GET /api/v1/stats/insights/fingerprints`."""

    period: Period
    basis: Basis
    fingerprints: Sequence[FingerprintRow]
    fingerprints_total: Total
    without_fingerprint: Annotated[
        int, Field(description="Errors whose text was not read: rows of older archive files.")
    ]


class DayCount(TypedDict):
    """Errors of a day."""

    timestamp: Day
    count: Annotated[int, Field(description="Failed builds and rejected requests.")]


class VersionCount(TypedDict):
    """A version and its errors."""

    version: VersionName
    count: Count


class ProfileCount(TypedDict):
    """A device and its errors."""

    target: Target
    profile: Profile
    count: Count


class OneFingerprint(FingerprintRow):
    """`GET /api/v1/stats/insights/fingerprints/{fingerprint}`."""

    period: Period
    basis: Basis
    timeseries: Annotated[list[DayCount], Field(description="Every day of the time range.")]
    top_versions: list[VersionCount]
    top_versions_total: Total
    top_profiles: list[ProfileCount]
    top_profiles_total: Total
    examples: Annotated[list[ErrorExample], Field(description="The latest whose details are kept.")]


_METHOD: Final = (
    "Error texts are reduced to the lines that decide their type, with names, numbers, paths, "
    "hashes and versions replaced; texts with equal results are one fingerprint."
)
_TOP: Final = 5
Devices = Mapping[tuple[str, ...], int]  # errors by version, target and profile
_NEW_SINCE: Final = day_parameter("new_since", "Only fingerprints first seen on or after this day.")
_FINGERPRINT: Final = Parameter("fingerprint", "The fingerprint.", {"type": "string"})


@covers(Fingerprints)
def read(
    connection: Connection,
    window: Window,
    page: Page = ALL,
    filters: Mapping[str, str] = MappingProxyType({}),
    new_since: date | None = None,
) -> Fingerprints:
    """Return the fingerprints of `window`, by count descending, then by name."""
    groups: dict[str, Devices] = {**rows.by_fingerprint(connection, window, filters)}
    basis = rows.basis(connection, window, _METHOD, found=list(groups))
    unread = sum(groups.pop("", {}).values())
    if new_since is not None:
        seen = rows.seen(connection, groups)
        groups = {name: of for name, of in groups.items() if seen[name][0] >= new_since}
    if floor.least():
        groups = _folded(groups, _hidden(connection, window, filters))
    counts = {name: sum(of.values()) for name, of in groups.items()}
    ranked = [name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    shown = page.of(ranked)
    known = {floor.OTHER: _REST, **rows.known(connection, shown)}
    seen = rows.seen(connection, shown)
    return {
        "period": sums.period(connection, window, []),
        "basis": basis,
        "fingerprints": [
            _row(name, known[name], groups[name], seen.get(name), page) for name in shown
        ],
        "fingerprints_total": len(ranked),
        "without_fingerprint": unread,
    }


@covers(OneFingerprint)
def read_one(connection: Connection, window: Window, fingerprint: str) -> OneFingerprint:
    """Return all about one fingerprint in `window`.

    Raises `UnknownFingerprintError` for one that no error ever had, or below the public floor.
    """
    known = rows.known(connection, [fingerprint]).get(fingerprint)
    seen = rows.seen(connection, [fingerprint]).get(fingerprint)
    if known is None or seen is None:
        raise UnknownFingerprintError(fingerprint)
    failures = rows.read(connection, window, {"fingerprint": fingerprint})
    if not rows.is_shown(failures):
        raise UnknownFingerprintError(fingerprint)
    names = floor.Visible(connection, window)
    days: Counter[str] = Counter()
    versions: dict[str, int] = defaultdict(int)
    profiles: dict[tuple[str, str], int] = defaultdict(int)
    devices: Counter[tuple[str, ...]] = Counter()
    for failure in failures:
        days[failure.day.isoformat()] += failure.count
        devices[failure.version, failure.target, failure.profile] += failure.count
        versions[names.shown("version", failure.version)] += failure.count
        device = names.shown("target", failure.target), names.shown("profile", failure.profile)
        profiles[device] += failure.count
    return {
        "period": sums.period(connection, window, []),
        "basis": rows.basis(connection, window, _METHOD, found=failures),
        **_row(fingerprint, known, devices, seen, ALL),
        "timeseries": [{"timestamp": day, "count": days[day]} for day in window.timestamps("day")],
        "top_versions": [
            {"version": name, "count": n} for name, n in figures.top(versions, _TOP, release_order)
        ],
        "top_versions_total": len(versions),
        "top_profiles": [
            {"target": target, "profile": profile, "count": n}
            for (target, profile), n in sorted(
                profiles.items(), key=lambda item: (-item[1], item[0])
            )[:_TOP]
        ],
        "top_profiles_total": len(profiles),
        "examples": error_examples.read(connection, window, fingerprint=fingerprint),
    }


_REST: Final = Known(*(floor.OTHER,) * 3, None, None)


def _hidden(connection: Connection, window: Window, filters: Mapping[str, str]) -> set[str]:
    """Return the fingerprints that hit too few requests to be shown."""
    groups: dict[str, list[Failure]] = defaultdict(list)
    for failure in rows.read(connection, window, filters):
        groups[failure.fingerprint].append(failure)
    return {name for name, of in groups.items() if not rows.is_shown(of)}


def _folded(groups: Mapping[str, Devices], hidden: Collection[str]) -> dict[str, Devices]:
    """Return groups, the hidden ones as `other`."""
    found = {name: of for name, of in groups.items() if name not in hidden}
    if rest := [of for name, of in groups.items() if name in hidden]:
        found[floor.OTHER] = sum(map(Counter, rest), Counter())
    return found


def _row(
    name: str,
    known: Known,
    devices: Devices,
    seen: tuple[date, date] | None,
    page: Page,
) -> FingerprintRow:
    versions = sorted({version for version, _, _ in devices}, key=release_order)
    return {
        "fingerprint": name,
        "pattern": known.pattern,
        "category": known.category,
        "type": known.type,
        "count": sum(devices.values()),
        "first_seen": seen[0].isoformat() if seen else None,
        "last_seen": seen[1].isoformat() if seen else None,
        "versions": versions[: page.limit],
        "versions_total": len(versions),
        "devices": len({device[1:] for device in devices}),
        "example": known.example,
        "example_request_hash": shown_hash(known.request_hash or "") or None,
    }


def _listed(connection: Connection, query: Query) -> Fingerprints:
    filters = {name: value for name, value in query.filters.items() if name != _NEW_SINCE.name}
    new_since = query.filters.get(_NEW_SINCE.name)
    return read(connection, query.window, query.page, filters, new_since)


REPORT: Final = Report(
    name="insights/fingerprints",
    summary="Errors by fingerprint: texts that differ only in names are one",
    read=_listed,
    response=Fingerprints,
    parameters=(_NEW_SINCE, VERSION, CATEGORY, ERROR_TYPE),
    row=FingerprintRow,
    member="fingerprints",
    nested=True,
)
ONE: Final = Report(
    name="insights/fingerprints/{fingerprint}",
    summary="All that is known of one fingerprint",
    read=lambda connection, query: read_one(connection, query.window, query.filters["fingerprint"]),
    response=OneFingerprint,
    subject=_FINGERPRINT,
    example={"fingerprint": "691d1f23f71ef0ac", "days": "3"},
)
