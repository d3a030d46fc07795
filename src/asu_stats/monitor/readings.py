"""Readings of rules: one value, or one per client or group."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from asu_stats.alert_rules import Rule
from asu_stats.chance import fisher, normal
from asu_stats.monitor import outbreaks
from asu_stats.monitor.outbreaks import Counts, Subject
from asu_stats.reports import figures
from asu_stats.reports.recent import ClientSums, Failure, Hours
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
    past: Counts
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
        yield from _clients(rule, recent, seen)
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


def _clients(rule: Rule, recent: Recent, seen: Figures) -> Iterator[Reading]:
    """Yield per client the failure rate of its ended requests that were not cache hits.

    The last few hours must agree: a client of whose requests none failed in them is no news.
    """
    last = seen.recent.get(STILL_HOURS)
    still = _by_client(last.clients) if last else {}
    for client, ended in _by_client(recent.clients).items():
        sample = ended.successful + ended.failed + ended.rejected
        if sample == ended.successful:
            continue
        value = 100 * (1 - ended.successful / sample)
        reading = _plain(rule, value, sample, (("client", client),))
        now = still.get(client)
        failing = now is not None and not rule.has_recovered(_failed_percent(now))
        yield replace(reading, beyond=reading.beyond and failing, about=_common(client, recent))


def _by_client(sums: Mapping[tuple[str, str], ClientSums]) -> dict[str, ClientSums]:
    found: dict[str, ClientSums] = {}
    for (client, _), ended in sums.items():
        known = found.get(client, ClientSums(0, 0, 0))
        found[client] = ClientSums(*map(sum, zip(known, ended, strict=True)))
    return found


def _failed_percent(ended: ClientSums) -> float:
    whole = sum(ended)
    return 100 * (1 - ended.successful / whole) if whole else 0.0


def _common(client: str, recent: Recent) -> Subject:
    """Return the version and the error type of at least half of the failures of a client."""
    versions: Counter[str] = Counter()
    for (name, version), ended in recent.clients.items():
        if name == client:
            versions[version] += ended.failed + ended.rejected
    types = Counter(each.error_type for each in recent.failures if each.client == client)
    found: list[tuple[str, str]] = []
    for dimension, counts in (("version", versions), ("error_type", types)):
        for name, count in counts.most_common(1):
            if 2 * count >= counts.total():
                found.append((dimension, name))
    return tuple(found)


def _still(rule: Rule, seen: Figures, was: float) -> bool:
    """Return whether the last hours have not recovered, compared with `was`."""
    last = seen.recent.get(STILL_HOURS)
    part, whole = _parts(rule, last.now) if last else (0, 0)
    if not whole:
        return True
    if rule.watch == "avg_duration_change":
        return not rule.has_recovered(100 * (part / whole / was - 1))
    return not rule.has_recovered(100 * (part / whole - was))


def _groups(
    rule: Rule, recent: Recent, past: Counts, known: Iterable[Subject]
) -> Iterator[Reading]:
    succeeded = {name: each.successful for name, each in _by_client(recent.clients).items()}
    found = outbreaks.find(rule, recent.now.ended(), succeeded, recent.failures, past, known)
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


def _everything(rule: Rule, recent: Recent, past: Counts) -> Reading:
    """Return how much the failure rate of all builds has risen, usually about 0."""
    total = recent.now.total
    failed_before, before = past.of_subject(())
    builds = total.successful + total.failed
    if builds < rule.min_sample or before < rule.min_sample:
        return Reading((), None, builds, beyond=False, recovered=True)
    was = 100 * failed_before / before
    value = 100 * total.failed / builds - was
    return Reading((), figures.hundredths(value), builds, False, True, figures.hundredths(was))
