"""Fingerprints: errors whose texts differ only in names, with their days, versions and devices."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from types import MappingProxyType
from typing import Annotated, Final

import numpy as np
from pydantic import Field
from sqlalchemy import Connection
from typing_extensions import TypedDict

from asu_stats.events import shown_hash
from asu_stats.exceptions import InvalidParameterError, UnknownFingerprintError
from asu_stats.releases import RELEASE, is_release, release_order
from asu_stats.reports import error_examples, figures, floor, release_days, sums
from asu_stats.reports.cover import covers
from asu_stats.reports.error_examples import ErrorExample
from asu_stats.reports.fields import Category, Day, Period, Profile, Target, Total, TypeOfError
from asu_stats.reports.fields import Version as VersionName
from asu_stats.reports.insights import failure_rows
from asu_stats.reports.insights.basis import Basis
from asu_stats.reports.insights.failure_rows import Errors, FingerprintText
from asu_stats.reports.listing import ALL, Page
from asu_stats.reports.parameters import CATEGORY, DATE, ERROR_TYPE, VERSION, Parameter
from asu_stats.reports.report import Query, Report
from asu_stats.store.blocks.columns import (
    Mask,
    Names,
    descending,
    distinct,
    first_rows,
    numbered,
    total,
)
from asu_stats.store.blocks.cubes import FINGERPRINTS
from asu_stats.windows import Window, parse_date

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


def _day_or_release(text: str) -> str:
    if is_release(text):
        return text
    try:
        return parse_date("new_since", text).isoformat()
    except InvalidParameterError:
        expected = "a day as YYYY-MM-DD, or a release such as 24.10.2"
        raise InvalidParameterError("new_since", got=text, expected=expected) from None


NEW_SINCE: Final = Parameter(
    "new_since",
    "Only fingerprints first seen on or after this day, or the day of this release. The day of a "
    "release that is in no list is that of its first accepted request.",
    {"anyOf": [DATE, {"type": "string", "pattern": f"^{RELEASE}$"}]},
    _day_or_release,
    selects=False,
)
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
    errors = failure_rows.by_fingerprint(connection, window, filters)
    basis = failure_rows.basis(connection, window, _METHOD, found=len(errors.counts))
    fingerprints, listed = _shown_as(connection, window, filters, errors, new_since)
    fingerprints, versions = fingerprints.where(listed), errors.version.where(listed)
    group, firsts = numbered(fingerprints.codes)
    counts = total(group, len(firsts), errors.counts[listed])
    devices = distinct(group, len(firsts), errors.device[listed])
    _, pairs = numbered(group, versions.codes)  # by group ascending
    starts = first_rows(group[pairs], len(firsts))
    ranked = descending(counts, fingerprints.where(firsts))
    shown = ranked[page.places]
    listed_names = fingerprints.of(firsts[shown])
    texts_of = failure_rows.send_texts(connection, listed_names)
    days = failure_rows.first_and_last_days(connection, listed_names)
    texts = {**texts_of(), floor.OTHER: _OTHER_TEXT}
    return {
        "period": sums.period(connection, window, []),
        "basis": basis,
        "fingerprints": [
            _row(
                name,
                texts[name],
                int(counts[place]),
                versions.of(pairs[starts[place] : starts[place + 1]]),
                int(devices[place]),
                days.get(name),
                page,
            )
            for name, place in zip(listed_names, shown.tolist(), strict=True)
        ],
        "fingerprints_total": len(ranked),
        "without_fingerprint": int(errors.counts[errors.fingerprint.equal("")].sum()),
    }


def _shown_as(
    connection: Connection,
    window: Window,
    filters: Mapping[str, str],
    errors: Errors,
    new_since: date | None,
) -> tuple[Names, Mask]:
    """Return the fingerprint that each error is listed with, and which errors are listed at all.

    Fingerprints below the public floor are `other`.
    """
    shown, listed = errors.fingerprint, ~errors.fingerprint.equal("")
    group, firsts = numbered(shown.codes)
    if new_since is not None:
        is_new = np.zeros(len(firsts), bool)
        for start in range(0, len(firsts), failure_rows.NAMES_AT_ONCE):
            names = shown.of(firsts[start : start + failure_rows.NAMES_AT_ONCE])
            days = failure_rows.first_and_last_days(connection, {*names} - {""})
            is_new[start : start + len(names)] = [
                name in days and days[name][0] >= new_since for name in names
            ]
        listed &= is_new[group]
    if floor.min_requests():
        failures = failure_rows.read(connection, window, filters)
        fingerprints = failures.name("fingerprint")
        of_name, some = numbered(fingerprints.codes)
        rare = some[failure_rows.hidden(failures, of_name, len(some))]
        hidden = set(fingerprints.of(rare))
        is_hidden = np.array([name in hidden for name in shown.of(firsts)], bool)
        shown = shown.with_other(is_hidden[group], floor.OTHER)
    return shown, listed


@covers(OneFingerprint)
def read_one(
    connection: Connection, window: Window, fingerprint: str, page: Page = ALL
) -> OneFingerprint:
    """Return the errors in `window` with one fingerprint.

    Raise `UnknownFingerprintError` if no error ever had it, or if it is below the public floor.
    """
    texts_of = failure_rows.send_texts(connection, [fingerprint])
    first_and_last = failure_rows.first_and_last_days(connection, [fingerprint]).get(fingerprint)
    text = texts_of().get(fingerprint)
    if text is None or first_and_last is None:
        raise UnknownFingerprintError(fingerprint)
    failures = failure_rows.read(connection, window, {"fingerprint": fingerprint})
    everything = np.zeros(len(failures), np.int64)
    if failure_rows.hidden(failures, everything, 1).any():
        raise UnknownFingerprintError(fingerprint)
    names = floor.Visible(connection, window)
    version, target, profile = map(failures.name, ("version", "target", "profile"))
    days: Counter[str] = Counter()
    versions: dict[str, int] = defaultdict(int)
    profiles: dict[tuple[str, str], int] = defaultdict(int)
    for day, *device, count in zip(
        failures.day.tolist(),
        *(column.of(np.arange(len(failures))) for column in (version, target, profile)),
        failures.count.tolist(),
        strict=True,
    ):
        days[date.fromordinal(day).isoformat()] += count
        versions[names.shown("version", device[0])] += count
        shown = names.shown("target", device[1]), names.shown("profile", device[2])
        profiles[shown] += count
    return {
        "period": sums.period(connection, window, []),
        "basis": failure_rows.basis(connection, window, _METHOD, found=len(failures)),
        **_row(
            fingerprint,
            text,
            sum(days.values()),
            set(version.of(np.arange(len(failures)))),
            failures.devices,
            first_and_last,
            page,
        ),
        "timeseries": [{"timestamp": day, "count": days[day]} for day in window.timestamps("day")],
        "top_versions": [
            {"version": name, "count": n}
            for name, n in figures.top(versions, page.most(_TOP), release_order)
        ],
        "top_versions_total": len(versions),
        "top_profiles": [
            {"target": target, "profile": profile, "count": n}
            for (target, profile), n in sorted(
                profiles.items(), key=lambda item: (-item[1], item[0])
            )[: page.most(_TOP)]
        ],
        "top_profiles_total": len(profiles),
        "examples": error_examples.read(connection, window, fingerprint=fingerprint)[: page.limit],
    }


_OTHER_TEXT: Final = FingerprintText(*(floor.OTHER,) * 3, None, None)


def _row(
    name: str,
    text: FingerprintText,
    count: int,
    affected: Collection[str],
    devices: int,
    first_and_last: tuple[date, date] | None,
    page: Page,
) -> FingerprintRow:
    versions = sorted(affected, key=release_order)
    return {
        "fingerprint": name,
        "pattern": text.pattern,
        "category": text.category,
        "type": text.type,
        "count": count,
        "first_seen": first_and_last[0].isoformat() if first_and_last else None,
        "last_seen": first_and_last[1].isoformat() if first_and_last else None,
        "versions": versions[: page.limit],
        "versions_total": len(versions),
        "devices": devices,
        "example": text.example,
        "example_request_hash": shown_hash(text.request_hash or "") or None,
    }


def first_day(connection: Connection, since: str | None, until: date) -> date | None:
    """Return the day that a value of `NEW_SINCE` stands for; without value, None.

    A release without a day up to `until` has brought no error yet: the day is the last of all.
    With a public floor, so has a release that is in no list.
    """
    if since is None:
        return None
    if not is_release(since):
        return date.fromisoformat(since)
    if floor.min_requests():
        return release_days.published(connection).get(since, date.max)
    return release_days.of_versions(connection, [since], until).get(since, date.max)


def _read(connection: Connection, query: Query) -> Fingerprints:
    filters = {name: value for name, value in query.filters.items() if name != NEW_SINCE.name}
    since = first_day(connection, query.filters.get(NEW_SINCE.name), query.window.end)
    return read(connection, query.window, query.page, filters, since)


def _send(connection: Connection, query: Query) -> None:
    failure_rows.send_basis(connection, query.window)
    sums.send_cubes(connection, query.window, FINGERPRINTS)


def _send_one(connection: Connection, query: Query) -> None:
    failure_rows.send(connection, query.window)
    fingerprint = query.filters["fingerprint"]
    error_examples.send(connection, query.window, fingerprint=fingerprint)


REPORT: Final = Report(
    name="insights/fingerprints",
    summary="Errors by fingerprint",
    description="Errors whose texts differ only in names, numbers, paths and hashes have the same "
    "fingerprint.",
    send=_send,
    read=_read,
    response=Fingerprints,
    parameters=(NEW_SINCE, VERSION, CATEGORY, ERROR_TYPE),
    row=FingerprintRow,
    member="fingerprints",
    nested=True,
)
ONE: Final = Report(
    name="insights/fingerprints/{fingerprint}",
    summary="Errors of one fingerprint",
    send=_send_one,
    read=lambda connection, query: read_one(
        connection, query.window, query.filters["fingerprint"], query.page
    ),
    response=OneFingerprint,
    subject=_FINGERPRINT,
    nested=True,
    example={"fingerprint": "691d1f23f71ef0ac", "days": "3"},
)
