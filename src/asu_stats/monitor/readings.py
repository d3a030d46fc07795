"""Readings of rules: one value, or one per client or group."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from asu_stats.alert_rules import Rule
from asu_stats.chance import fisher, normal
from asu_stats.monitor import outbreaks
from asu_stats.monitor.outbreaks import Subject
from asu_stats.reports import figures
from asu_stats.reports.recent import BuildGroups, ClientSums, Failure, Hours
from asu_stats.times import naive

STILL_HOURS: Final = 3
_COUNTABLE: Final = 0.01  # significance level for alerts that are pending or firing already


@dataclass(frozen=True, slots=True)
class Recent:
    """Figures of the last hours."""

    now: Hours
    clients: Mapping[tuple[str, str], ClientSums]  # by client and version
    failures: Sequence[Failure]


@dataclass(frozen=True, slots=True)
class Queue:
    """Current state of the queue. Times are UTC without zone."""

    length: int
    oldest: datetime | None
    last_end: datetime | None


@dataclass(frozen=True, slots=True)
class Figures:
    """All watched figures at one time.

    `recent` by hours, `before` by these and the hours before them.
    """

    recent: Mapping[int, Recent]
    before: Mapping[tuple[int, int], Hours]
    past: BuildGroups
    variation: float  # of durations
    queue: Queue


@dataclass(frozen=True, slots=True)
class Reading:
    """Value of a rule for a subject; `None` if the sample is too small."""

    subject: Subject
    value: float | None
    sample: int
    beyond: bool  # it exceeds the limit, and significantly
    recovered: bool  # it has recovered
    expected: float | None = None  # value before or elsewhere, in the same unit
    about: Subject = ()  # the most common value, for dimensions that the subject lacks


def read(rule: Rule, seen: Figures, known: Iterable[Subject], now: datetime) -> Iterator[Reading]:
    """Yield the readings of `rule`. `known` are subjects for which it is pending or firing."""
    recent = seen.recent.get(rule.hours)
    if rule.watch == "queue_length":
        yield _plain(rule, seen.queue.length, 1)
    elif rule.watch == "stalled_minutes":
        yield _plain(rule, _stalled_minutes(seen.queue, now), 1)
    elif recent is None:
        return
    elif rule.watch == "client_failure_rate":
        yield from _clients(rule, recent)
    elif rule.watch == "failure_rate":
        yield from _groups(rule, recent, seen.past, known)
    elif rule.watch in {"success_rate", "avg_duration", "cache_hit_rate"}:
        part, whole = _parts(rule, recent.now)
        unit = 1 if rule.watch == "avg_duration" else 100
        yield _plain(rule, unit * part / whole if whole else None, whole)
    else:
        yield _change(rule, recent, seen)


def _plain(rule: Rule, value: float | None, sample: int, subject: Subject = ()) -> Reading:
    """Compare a value with the limit. A sample that is too small counts as recovered."""
    if value is None or sample < rule.min_sample:
        return Reading(subject, value, sample, beyond=False, recovered=True)
    value = figures.hundredths(value)
    return Reading(subject, value, sample, rule.is_beyond(value), rule.has_recovered(value))


def _stalled_minutes(queue: Queue, now: datetime) -> float:
    """Return the minutes for which builds have been waiting and none has finished."""
    if not queue.length or queue.oldest is None:
        return 0.0
    since = max(queue.oldest, queue.last_end or queue.oldest)
    return max(0.0, (naive(now) - since).total_seconds() / 60)


def _parts(rule: Rule, hours: Hours) -> tuple[int, int]:
    """Return numerator and denominator of a rate or average."""
    total = hours.total
    if rule.watch.startswith("success_rate"):
        return total.successful, total.successful + total.failed
    if rule.watch.startswith("cache_hit_rate"):
        return total.cache_hits, total.requests
    return total.seconds, total.timed


def _change(rule: Rule, recent: Recent, seen: Figures) -> Reading:
    """Compare the hours until now with those before: points of a rate, percent of a duration.

    The last few hours must agree: otherwise an alert of yesterday would fire again today, when
    it no longer lowers the base of the comparison.
    """
    part, whole = _parts(rule, recent.now)
    part_before, whole_before = _parts(rule, seen.before[rule.hours, rule.against])
    if min(whole, whole_before) < rule.min_sample or not part_before:
        return Reading((), None, whole, beyond=False, recovered=True)
    is_now, was = part / whole, part_before / whole_before
    if rule.watch == "avg_duration_change":
        value = 100 * (is_now / was - 1)
        spread = seen.variation * was * math.sqrt(1 / whole + 1 / whole_before)
        chance = normal(abs(is_now - was) / spread)
        expected = was
    else:
        value, expected = 100 * (is_now - was), 100 * was
        more_now, more_before = (whole - part, whole), (whole_before - part_before, whole_before)
        if value > 0:
            more_now, more_before = (part, whole), (part_before, whole_before)
        chance = fisher(*more_now, *more_before)
    beyond = rule.is_beyond(value) and chance < rule.chance and _still(rule, seen, was)
    recovered = rule.has_recovered(value) or chance >= _COUNTABLE
    return Reading(
        (), figures.hundredths(value), whole, beyond, recovered, figures.hundredths(expected)
    )


def _clients(rule: Rule, recent: Recent) -> Iterator[Reading]:
    """Yield per client the failure rate of its ended requests that were not cache hits."""
    bad: dict[str, Counter[str]] = defaultdict(Counter)
    good: Counter[str] = Counter()
    for (client, version), ended in recent.clients.items():
        bad[client][version] += ended.failed + ended.rejected
        good[client] += ended.successful
    for client, by_version in bad.items():
        failed = by_version.total()
        if failed:
            value, sample = 100 * failed / (failed + good[client]), failed + good[client]
            version, most = by_version.most_common(1)[0]
            about = (("version", version),) if 2 * most >= failed else ()
            yield replace(_plain(rule, value, sample, (("client", client),)), about=about)


def _still(rule: Rule, seen: Figures, was: float) -> bool:
    """Tell whether the last hours have not recovered, compared with `was`."""
    last = seen.recent.get(STILL_HOURS)
    part, whole = _parts(rule, last.now) if last else (0, 0)
    if not whole:
        return True
    if rule.watch == "avg_duration_change":
        return not rule.has_recovered(100 * (part / whole / was - 1))
    return not rule.has_recovered(100 * (part / whole - was))


def _groups(
    rule: Rule, recent: Recent, past: BuildGroups, known: Iterable[Subject]
) -> Iterator[Reading]:
    found = outbreaks.find(rule, recent.now.ended(), recent.failures, past, known)
    if not any(finding.subject == () for finding in found):
        yield _everything(rule, recent, past)
    for finding in found:
        yield Reading(
            finding.subject,
            figures.hundredths(finding.points),
            finding.builds,
            beyond=rule.is_beyond(finding.points),
            recovered=False,
            expected=figures.hundredths(100 * finding.expected),
        )


def _everything(rule: Rule, recent: Recent, past: BuildGroups) -> Reading:
    """Return how much the failure rate of all builds has risen, usually about 0."""
    total, before = recent.now.total, sum(past.ended.values())
    builds = total.successful + total.failed
    if builds < rule.min_sample or before < rule.min_sample:
        return Reading((), None, builds, beyond=False, recovered=True)
    was = 100 * sum(past.failed.values()) / before
    value = 100 * total.failed / builds - was
    return Reading((), figures.hundredths(value), builds, False, True, figures.hundredths(was))
