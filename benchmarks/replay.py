"""The figures that alerts watch, counted in memory from events that come in order.

A campaign evaluates the rules 100,000 times. Reading the figures from a database would take most of
that time, and `tests/monitor/test_campaign.py` checks that they are the same.
"""

import math
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final

from asu_stats.alert_rules import Rule
from asu_stats.events import FAILED_STATUSES, BuildFinished, BuildStarted, Event, RequestReceived
from asu_stats.monitor.outbreaks import Counts
from asu_stats.monitor.readings import STILL_HOURS, Figures, Queue, Recent
from asu_stats.reports.builds import ADDS, Sums
from asu_stats.reports.recent import (
    PAST_DAYS,
    BuildGroups,
    ClientSums,
    Failure,
    Hours,
    Place,
    Span,
)
from asu_stats.times import naive

_HOUR: Final = timedelta(hours=1)
_Hourly = dict[Place, list[int]]


def _new() -> list[int]:
    return [0] * len(ADDS)


class Replay:
    """What has happened so far. Every request has a hash, and events come in order."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = [rule for rule in rules if rule.enabled]
        self._hours: dict[datetime, _Hourly] = defaultdict(lambda: defaultdict(_new))
        self._clients: dict[datetime, dict[tuple[str, str], list[int]]] = defaultdict(
            lambda: defaultdict(lambda: [0, 0, 0])
        )
        self._failures: deque[tuple[datetime, Failure, tuple[str, ...]]] = deque()
        self._days: dict[date, tuple[Counter[Any], ...]]
        self._days = defaultdict(lambda: tuple(Counter() for _ in range(5)))
        self._durations: dict[date, list[int]] = defaultdict(list)
        self._asked: dict[str, RequestReceived] = {}
        self._waits: dict[str, list[tuple[datetime, str, str]]] = defaultdict(list)
        self._started: dict[str, datetime] = {}
        self._line: dict[str, datetime] = {}
        self._last_end: datetime | None = None
        self._past: tuple[tuple[date, date], Counts, float] | None = None
        self._kept: dict[Span, _Hourly] = {}
        self._over: dict[Span, Hours] = {}

    def take(self, event: Event) -> None:
        """Count an event."""
        at = naive(event.time)
        if isinstance(event, RequestReceived):
            self._request(event, at)
        elif isinstance(event, BuildStarted):
            self._started[event.build_id] = at
            self._line.pop(event.request_hash, None)
        else:
            self._finished(event, at)

    def _request(self, event: RequestReceived, at: datetime) -> None:
        hour = _hour(at)
        client = self._clients[hour][event.client, event.version]
        if event.outcome == "rejected":
            client[2] += 1
            kind = event.version, event.target, event.error_type or "unknown"
            self._days[at.date()][2][kind] += 1
            return
        self._asked.setdefault(event.request_hash, event)
        added = (1, int(event.outcome == "cache_hit"), 0, 0, 0, 0)
        self._add((event.version, event.target), hour, added)
        if event.outcome == "cached_failure":
            client[1] += 1
        elif event.outcome != "cache_hit":
            self._waits[event.request_hash].append((hour, event.client, event.version))
        if event.outcome == "queued":
            self._line.setdefault(event.request_hash, at)

    def _finished(self, event: BuildFinished, at: datetime) -> None:
        asked = self._asked[event.request_hash]
        place = asked.version, asked.target
        ended, failed, kinds, clients, failed_clients = self._days[at.date()]
        self._last_end = at
        waits = self._waits.pop(event.request_hash, [])
        if event.status == "cancelled":
            return
        ended[place] += 1
        first = waits[0][1] if waits else "unknown"
        clients[first] += 1
        good = event.status == "success"
        for hour, client, version in waits:
            self._clients[hour][client, version][0 if good else 1] += 1
        started = self._started.pop(event.build_id, None)
        if good:
            seconds = 0
            if started is not None:
                seconds = math.floor((at - started).total_seconds() + 0.5)
                self._durations[at.date()].append(seconds)
            self._add(place, _hour(at), (0, 0, 1, 0, int(started is not None), seconds))
            return
        assert event.status in FAILED_STATUSES
        self._add(place, _hour(at), (0, 0, 0, 1, 0, 0))
        failed[place] += 1
        error_type = event.error_type or "unknown"
        failed_clients[first] += 1
        kinds[(*place, error_type)] += 1
        failure = Failure(*place, error_type, event.request_hash, first)
        self._failures.append((at, failure, tuple(client for _, client, _ in waits)))
        while self._failures[0][0] < at - timedelta(hours=49):
            self._failures.popleft()

    def _add(self, place: Place, hour: datetime, added: Sequence[int]) -> None:
        spans = [sums for span, sums in self._kept.items() if span.first <= hour < span.after]
        for sums in (self._hours[hour], *spans):
            known = sums[place]
            for number, amount in enumerate(added):
                known[number] += amount

    def waiting(self) -> tuple[int, datetime | None]:
        """Return the length of the queue, and since when its oldest request waits."""
        return len(self._line), min(self._line.values(), default=None)

    def figures(self, now: datetime) -> Figures:
        """Return what `asu_stats.monitor.watch.figures` reads."""
        wanted = {STILL_HOURS, *(rule.hours for rule in self._rules if rule.family != "queue")}
        spans = {hours: Span.last(hours, now=now) for hours in wanted}
        changes = {(rule.hours, rule.against) for rule in self._rules if rule.is_change}
        length, oldest = self.waiting()
        last_past = min(span.first.date() for span in spans.values()) - timedelta(days=1)
        past, variation = self._of_past(last_past, now.date() - timedelta(days=1))
        return Figures(
            recent={
                hours: Recent(self._sums(span), self._client_sums(span), self._failed(span))
                for hours, span in spans.items()
            },
            before={
                (hours, against): self._ended(spans[hours].before(against))
                for hours, against in changes
            },
            past=past,
            variation=variation,
            queue=Queue(length, oldest, self._last_end),
        )

    def named(self, subject: Mapping[str, str], span: Span) -> dict[str, str]:
        """Return version, target and client of at least half of the failures of a subject."""
        found = {name: Counter[str]() for name in ("version", "target", "client", "error_type")}
        for at, failure, clients in self._failures:
            known = failure._asdict()
            if at >= span.first and all(
                value in clients if name == "client" else known[name] == value
                for name, value in subject.items()
            ):
                for name in ("version", "target", "error_type"):
                    found[name][known[name]] += 1
                found["client"].update(clients)
        names = {}
        for dimension, counts in found.items():
            for name, count in counts.most_common(1):
                if 2 * count >= counts.total():
                    names[dimension] = name
        return {**names, **subject}

    def _sums(self, span: Span) -> Hours:
        """Return the sums of a span. Until the next hour, events add to its open hour."""
        if span not in self._kept:
            open_hour = span.after - _HOUR
            sums: _Hourly = defaultdict(_new)
            hour = span.first
            while hour < span.after:
                for place, values in self._hours.get(hour, {}).items():
                    known = sums[place]
                    for number, value in enumerate(values):
                        known[number] += value
                hour += _HOUR
            self._kept = {each: of for each, of in self._kept.items() if each.after > open_hour}
            self._kept[span] = sums
        return Hours({place: Sums(*values) for place, values in self._kept[span].items()})

    def _ended(self, span: Span) -> Hours:
        """Return the sums of a span that is over."""
        if span not in self._over:
            self._over = {**dict(list(self._over.items())[-3:]), span: self._sums(span)}
        return self._over[span]

    def _client_sums(self, span: Span) -> dict[tuple[str, str], ClientSums]:
        sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
        hour = span.first
        while hour < span.after:
            for key, values in self._clients.get(hour, {}).items():
                of = sums[key]
                for place, value in enumerate(values):
                    of[place] += value
            hour += _HOUR
        return {key: ClientSums(*values) for key, values in sums.items()}

    def _failed(self, span: Span) -> list[Failure]:
        return [failure for at, failure, _ in self._failures if span.first <= at < span.after]

    def _of_past(self, last: date, yesterday: date) -> tuple[Counts, float]:
        if self._past is None or self._past[0] != (last, yesterday):
            sums = tuple(Counter[Any]() for _ in range(5))
            for day in _days_until(last):
                if day in self._days:
                    for total, of in zip(sums, self._days[day], strict=True):
                        total.update(of)
            ended, failed, kinds, asked, in_vain = sums
            rows = [(version, target, kind, n) for (version, target, kind), n in kinds.items()]
            clients = {client: (in_vain[client], count) for client, count in asked.items()}
            groups = BuildGroups(ended, {place: failed[place] for place in ended}, rows, clients)
            seconds = [n for day in _days_until(yesterday) for n in self._durations.get(day, ())]
            self._past = (last, yesterday), Counts.of(groups), _variation(seconds)
        return self._past[1:]


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _days_until(last: date) -> Iterable[date]:
    return (last - timedelta(days=ago) for ago in range(PAST_DAYS))


def _variation(seconds: Sequence[int]) -> float:
    """Return the coefficient of variation; 1 if unknown."""
    if not sum(seconds):
        return 1.0
    mean = sum(seconds) / len(seconds)
    return math.sqrt(sum((each - mean) ** 2 for each in seconds) / len(seconds)) / mean or 1.0
