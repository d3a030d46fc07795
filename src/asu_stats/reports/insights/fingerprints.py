"""Fingerprints: errors whose texts differ only in names, with their days, versions and devices."""

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
from asu_stats.reports.insights import failure_rows
from asu_stats.reports.insights.basis import Basis
from asu_stats.reports.insights.failure_rows import Failure, FingerprintText
from asu_stats.reports.listing import ALL, Page
from asu_stats.reports.parameters import CATEGORY, ERROR_TYPE, VERSION, Parameter, day_parameter
from asu_stats.reports.report import Query, Report
from asu_stats.windows import Window

Count = Annotated[int, Field(description="Failed builds and rejected requests in the time range.")]


class FingerprintRow(TypedDict):
    """Errors whose texts differ only in names, numbers, paths and hashes."""

    fingerprint: Annotated[str, Field(description="Digest of category, type and pattern.")]
    pattern: Annotated[str, Field(description="Lines that decide the type, names replaced.")]
    category: Category
    type: TypeOfError
    count: Count
    first_seen: Annotated[Day | None, Field(description="First day ever, not only in the range.")]
    last_seen: Annotated[Day | None, Field(description="Last day ever, not only in the range.")]
    versions: Annotated[
        Sequence[VersionName],
        Field(description="Affected in the time range, in version order; at most `limit`."),
    ]
    versions_total: Total
    devices: Annotated[int, Field(description="Distinct (target, profile) in the time range.")]
    example: Annotated[
        str | None, Field(description="The last 2,000 characters of the earliest text.")
    ]
    example_request_hash: Annotated[
        str | None, Field(description="First 12 characters; null if unknown.")
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
    examples: Annotated[list[ErrorExample], Field(description="The latest errors with details.")]


_METHOD: Final = (
    "Each error text is reduced to the lines that decide its type, with names, numbers, paths, "
    "hashes and versions replaced. Texts with equal results have the same fingerprint."
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
    groups: dict[str, Devices] = {**failure_rows.by_fingerprint(connection, window, filters)}
    basis = failure_rows.basis(connection, window, _METHOD, found=list(groups))
    unread = sum(groups.pop("", {}).values())
    if new_since is not None:
        days = failure_rows.first_and_last_days(connection, groups)
        groups = {name: devices for name, devices in groups.items() if days[name][0] >= new_since}
    if floor.min_requests():
        groups = _folded(groups, _hidden(connection, window, filters))
    counts = {name: sum(devices.values()) for name, devices in groups.items()}
    ranked = [name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    shown = page.of(ranked)
    texts = {floor.OTHER: _OTHER_TEXT, **failure_rows.texts(connection, shown)}
    days = failure_rows.first_and_last_days(connection, shown)
    return {
        "period": sums.period(connection, window, []),
        "basis": basis,
        "fingerprints": [
            _row(name, texts[name], groups[name], days.get(name), page) for name in shown
        ],
        "fingerprints_total": len(ranked),
        "without_fingerprint": unread,
    }


@covers(OneFingerprint)
def read_one(connection: Connection, window: Window, fingerprint: str) -> OneFingerprint:
    """Return the errors in `window` with one fingerprint.

    Raise `UnknownFingerprintError` if no error ever had it, or if it is below the public floor.
    """
    text = failure_rows.texts(connection, [fingerprint]).get(fingerprint)
    first_and_last = failure_rows.first_and_last_days(connection, [fingerprint]).get(fingerprint)
    if text is None or first_and_last is None:
        raise UnknownFingerprintError(fingerprint)
    failures = failure_rows.read(connection, window, {"fingerprint": fingerprint})
    if not failure_rows.is_shown(failures):
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
        "basis": failure_rows.basis(connection, window, _METHOD, found=failures),
        **_row(fingerprint, text, devices, first_and_last, ALL),
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


_OTHER_TEXT: Final = FingerprintText(*(floor.OTHER,) * 3, None, None)


def _hidden(connection: Connection, window: Window, filters: Mapping[str, str]) -> set[str]:
    """Return the fingerprints below the public floor."""
    groups: dict[str, list[Failure]] = defaultdict(list)
    for failure in failure_rows.read(connection, window, filters):
        groups[failure.fingerprint].append(failure)
    return {name for name, failures in groups.items() if not failure_rows.is_shown(failures)}


def _folded(groups: Mapping[str, Devices], hidden: Collection[str]) -> dict[str, Devices]:
    """Return groups with the hidden ones added up as `other`."""
    found = {name: devices for name, devices in groups.items() if name not in hidden}
    if rest := [devices for name, devices in groups.items() if name in hidden]:
        found[floor.OTHER] = sum(map(Counter, rest), Counter())
    return found


def _row(
    name: str,
    text: FingerprintText,
    devices: Devices,
    first_and_last: tuple[date, date] | None,
    page: Page,
) -> FingerprintRow:
    versions = sorted({version for version, _, _ in devices}, key=release_order)
    return {
        "fingerprint": name,
        "pattern": text.pattern,
        "category": text.category,
        "type": text.type,
        "count": sum(devices.values()),
        "first_seen": first_and_last[0].isoformat() if first_and_last else None,
        "last_seen": first_and_last[1].isoformat() if first_and_last else None,
        "versions": versions[: page.limit],
        "versions_total": len(versions),
        "devices": len({device[1:] for device in devices}),
        "example": text.example,
        "example_request_hash": shown_hash(text.request_hash or "") or None,
    }


def _read(connection: Connection, query: Query) -> Fingerprints:
    filters = {name: value for name, value in query.filters.items() if name != _NEW_SINCE.name}
    new_since = query.filters.get(_NEW_SINCE.name)
    return read(connection, query.window, query.page, filters, new_since)


REPORT: Final = Report(
    name="insights/fingerprints",
    summary="Errors by fingerprint",
    description="Errors whose texts differ only in names, numbers, paths and hashes have the same "
    "fingerprint.",
    read=_read,
    response=Fingerprints,
    parameters=(_NEW_SINCE, VERSION, CATEGORY, ERROR_TYPE),
    row=FingerprintRow,
    member="fingerprints",
    nested=True,
)
ONE: Final = Report(
    name="insights/fingerprints/{fingerprint}",
    summary="Errors of one fingerprint",
    read=lambda connection, query: read_one(connection, query.window, query.filters["fingerprint"]),
    response=OneFingerprint,
    subject=_FINGERPRINT,
    example={"fingerprint": "691d1f23f71ef0ac", "days": "3"},
)
