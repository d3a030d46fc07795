"""The I/O side of the monitor: reads figures, evaluates the rules, stores the results.

Notifications go into the outbox in the same transaction, so there is one per incident with any
number of servers: a server that finds that another one was faster writes nothing.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from sqlalchemy import Connection, Engine

from asu_stats.alert_rules import Rule
from asu_stats.monitor import outbox, reporting, state
from asu_stats.monitor.evaluate import Evaluation, Incident, evaluate
from asu_stats.monitor.outbreaks import Counts
from asu_stats.monitor.readings import STILL_HOURS, Figures, Queue, Recent
from asu_stats.monitor.state import MonitorState, StoredIncident
from asu_stats.reports import causes, recent
from asu_stats.reports.causes import Cause
from asu_stats.reports.recent import Span
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.details import queue_samples
from asu_stats.store.details.queue_samples import QueueState
from asu_stats.times import naive

log = logging.getLogger(__name__)

_LONGEST_WAITING: Final = 3
_REGULAR: Final = timedelta(minutes=10)
_FAR_AHEAD: Final = timedelta(hours=3)  # more than the clocks of servers ever differ
Waiting: TypeAlias = Sequence[tuple[str, str, str, str]]


@dataclass(frozen=True, slots=True)
class WatchResult:
    """An evaluation with the state before it."""

    state: MonitorState
    evaluation: Evaluation
    causes: Mapping[str, Cause]  # by new incident


@dataclass(frozen=True, slots=True)
class Watch:
    """Evaluates `rules` on the figures of a database and notifies `channels`.

    `queue` returns the state of the queue, `waiting` the builds with the longest waits: hash,
    version, target, profile. Messages link to the dashboard at `public_url`.
    """

    engine: Engine
    rules: Sequence[Rule]
    channels: Sequence[str]
    queue: Callable[[], QueueState]
    waiting: Callable[[int], Waiting]
    source: str = ""
    public_url: str = ""
    _ahead_at: list[int] = field(default_factory=list, compare=False)

    def evaluate(self, now: datetime) -> WatchResult:
        """Evaluate the rules without writing. Raises `StoreUnavailableError`.

        After a gap in evaluations it is unknown for how long a value has exceeded its limit.
        Then an alert fires immediately.
        """
        queue = self.queue()
        with read_snapshot(self.engine) as connection:
            known = state.read(connection)
            regular = known.evaluated_at and abs(now - known.evaluated_at) < _REGULAR
            rules = self.rules if regular else _at_once(self.rules, queue, now)
            return self._evaluate(connection, known, rules, queue, now)

    def _evaluate(
        self,
        connection: Connection,
        known: MonitorState,
        rules: Sequence[Rule],
        queue: QueueState,
        now: datetime,
    ) -> WatchResult:
        known = state.as_of(known, now)
        seen = figures(connection, rules, queue, now)
        open_ones = [stored.incident for stored in known.incidents]
        found = evaluate(rules, seen, known.alerts, open_ones, now)
        explained = {
            incident.id: self._cause(connection, incident, now) for incident in found.opened
        }
        return WatchResult(known, found, explained)

    def run(
        self, now: datetime, *, guard: Callable[[Connection], None] | None = None
    ) -> WatchResult:
        """Evaluate, store the results, and put notifications into the outbox.

        Nothing is written if another process evaluated in the meantime, or for a later time. A
        later time does not count if it is hours away, or if no process has evaluated since the last
        run saw it: then it is from a clock that was ahead.
        `guard` can abort the transaction.
        """
        queue = self.queue()
        with read_snapshot(self.engine) as connection:
            before = state.read(connection)
            result = self._evaluate(connection, before, self.rules, queue, now)
        if before.evaluated_at and self._is_later(before, before.evaluated_at - now):
            return result
        readings = reporting.readings(self.rules, result.evaluation)
        with write_transaction(self.engine) as connection:
            if guard:
                guard(connection)
            is_first = state.count_evaluation(connection, before.evaluations, now, readings)
            if is_first:
                if result.evaluation.alerts or before.alerts:
                    state.write_alerts(connection, result.evaluation.alerts)
                self._store_and_notify(connection, result, now)
                state.correct(connection, now)
                if _is_next_day(before.evaluated_at, now):
                    state.forget(connection, now)
                    outbox.give_up(connection, self.channels, now)
        if is_first:
            _log_incidents(before, result)
        return result

    def _is_later(self, before: MonitorState, ahead: timedelta) -> bool:
        """Return whether another process evaluates with a clock that is ahead of this one's."""
        seen, self._ahead_at[:] = list(self._ahead_at), [before.evaluations]
        if ahead == timedelta():
            return True
        return timedelta() < ahead <= _FAR_AHEAD and before.evaluations not in seen

    def _store_and_notify(self, connection: Connection, result: WatchResult, now: datetime) -> None:
        """Store incidents, and notifications about those that began or ended.

        Every channel that was notified of the beginning is notified of the end, regardless of
        silences and settings by then. A new channel is notified of open incidents.
        """
        rules = {rule.name: rule for rule in self.rules}
        before = {stored.incident.id: stored for stored in result.state.incidents}
        evaluation = result.evaluation
        notified_channels = outbox.notified_channels(connection, list(before))
        for incident in (*evaluation.open, *evaluation.closed):
            known = before.get(incident.id)
            incident_alerts = [
                alert for alert in evaluation.alerts if alert.incident == incident.id
            ]
            if known is None:
                report = reporting.report(
                    rules, incident, incident_alerts, result.causes[incident.id]
                )
            else:
                report = {
                    **known.report,
                    **reporting.report_changes(rules, incident, incident_alerts, known.report),
                }
            stored = StoredIncident(incident, report, known.notified_at if known else None)
            silent = any(
                silence.holds(incident.rule, incident.subject, now)
                for silence in result.state.silences
            )
            notified = notified_channels.get(incident.id, set())
            if incident.closed_at is not None:
                self._put(connection, stored, "closed", sorted(notified), now)
            elif not silent:
                stored = replace(stored, notified_at=stored.notified_at or now)
                new = [channel for channel in self.channels if channel not in notified]
                self._put(connection, stored, "opened", new, now)
            if stored != known:
                state.write_incident(connection, stored)

    def _put(
        self,
        connection: Connection,
        stored: StoredIncident,
        event: str,
        channels: Sequence[str],
        now: datetime,
    ) -> None:
        watched = {rule.name for rule in self.rules if rule.enabled}
        body = reporting.body(
            stored, event, self.source, now, watched=watched, public_url=self.public_url
        )
        message_id = outbox.message_id(stored.incident.id, event)
        outbox.store(connection, channels, message_id, body, now)

    def _cause(self, connection: Connection, incident: Incident, now: datetime) -> Cause:
        rule = next(rule for rule in self.rules if rule.name == incident.rule)
        span = Span.last(rule.hours, now=now)
        match incident.family:
            case "failures":
                return causes.of_failures(connection, span, dict(incident.subject))
            case "durations":
                return causes.of_durations(connection, span)
            case "cache":
                return causes.of_misses(connection, span)
            case "queue":
                return causes.of_waiting(self.waiting(_LONGEST_WAITING))


def _log_incidents(before: MonitorState, result: WatchResult) -> None:
    """Log incidents that began or ended. Their subjects are names that clients sent."""
    known = {stored.incident.id for stored in before.incidents}
    for incident in result.evaluation.open:
        if incident.id not in known:
            log.warning("alerts: opened rule=%s incident=%s", incident.rule, incident.id)
    for incident in result.evaluation.closed:
        log.info("alerts: closed rule=%s incident=%s", incident.rule, incident.id)


def _is_next_day(before: datetime | None, now: datetime) -> bool:
    """Return whether a UTC day has begun since the evaluation `before`, at most a week ago.

    Old incidents and messages are deleted then, but not by a clock that is suddenly far ahead.
    """
    return before is not None and 1 <= (now.date() - before.date()).days <= 7


def _at_once(rules: Sequence[Rule], queue: QueueState, now: datetime) -> list[Rule]:
    """Return rules that fire without delay; waiting builds show for how long the queue is long."""
    oldest = queue.oldest_queued_at
    waited = naive(now) - oldest if oldest else timedelta()
    return [
        rule
        if rule.watch == "queue_length" and waited < timedelta(minutes=rule.for_minutes)
        else rule.model_copy(update={"for_minutes": 0})
        for rule in rules
    ]


def figures(
    connection: Connection, rules: Sequence[Rule], queue: QueueState, now: datetime
) -> Figures:
    """Read the figures that `rules` watch."""
    yesterday = now.date() - timedelta(days=1)
    by_hours = {rule.hours for rule in rules if rule.enabled and rule.family != "queue"}
    hours_read = sorted({STILL_HOURS, *by_hours})
    spans = {hours: Span.last(hours, now=now) for hours in hours_read}
    per_build = {"failure_rate", "client_failure_rate"}
    with_failures = {rule.hours for rule in rules if rule.enabled and rule.watch in per_build}
    compared = {(rule.hours, rule.against) for rule in rules if rule.is_change and rule.enabled}
    last_past = min((span.first.date() for span in spans.values()), default=yesterday)
    return Figures(
        recent={
            hours: Recent(
                now=recent.hours(connection, span),
                clients=recent.clients(connection, span),
                failures=recent.failures(connection, span) if hours in with_failures else (),
            )
            for hours, span in spans.items()
        },
        before={
            (hours, against): recent.hours(connection, spans[hours].before(against))
            for hours, against in sorted(compared)
        },
        past=Counts.of(recent.past(connection, last_past - timedelta(days=1))),
        variation=recent.variation(connection, yesterday),
        queue=Queue(
            queue.queue_length,
            queue.oldest_queued_at,
            queue_samples.last_finished(connection, naive(now)),
        ),
    )
