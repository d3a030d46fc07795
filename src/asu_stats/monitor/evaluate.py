"""Computes alerts and incidents from readings, as pure functions.

An alert is a rule and a subject: ok → pending → firing → resolved. Notifications are per incident:
an alert that begins to fire joins an open incident that explains it, or opens a new one.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Final, Literal, TypeAlias

from asu_stats.alert_rules import Family, Rule, Severity
from asu_stats.monitor.outbreaks import Subject, place_of
from asu_stats.monitor.readings import Figures, Reading, read

State: TypeAlias = Literal["pending", "firing", "resolved"]
Key: TypeAlias = tuple[str, Subject]

# An alert that fires again within this time needs twice the recovery time to be resolved.
_REMEMBERED: Final = timedelta(hours=6)
_LONGEST: Final = timedelta(hours=3)
_TOGETHER: Final = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class Alert:
    """A rule and a subject for which it is pending or firing, or was recently."""

    rule: str
    subject: Subject
    state: State
    since: datetime  # of the state
    value: float | None
    worst: float | None
    sample: int
    expected: float | None = None
    recovering_since: datetime | None = None
    times: int = 0  # that it fired within six hours
    incident: str | None = None
    about: Subject = ()  # the most common value, for dimensions that the subject lacks

    @property
    def key(self) -> Key:
        """Identity of the alert."""
        return self.rule, self.subject


@dataclass(frozen=True, slots=True)
class Incident:
    """Alerts that are notified together. One opens it; it closes when all are resolved."""

    id: str
    family: Family
    rule: str
    subject: Subject
    severity: Severity
    opened_at: datetime
    closed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Current alerts and incidents, with those that began or ended."""

    alerts: Sequence[Alert]
    open: Sequence[Incident]
    opened: Sequence[Incident]
    closed: Sequence[Incident]
    readings: Mapping[str, Sequence[Reading]]  # by rule


def evaluate(
    rules: Sequence[Rule],
    seen: Figures,
    before: Iterable[Alert],
    incidents: Iterable[Incident],
    now: datetime,
) -> Evaluation:
    """Return the alerts and incidents that follow from those of the previous evaluation."""
    known: dict[str, dict[Subject, Alert]] = defaultdict(dict)
    for alert in before:
        known[alert.rule][alert.subject] = alert
    alerts: list[Alert] = []
    readings: dict[str, Sequence[Reading]] = {}
    for rule in rules:
        if rule.enabled:
            rule_alerts = known[rule.name]
            active = [alert.subject for alert in rule_alerts.values() if alert.state != "resolved"]
            readings[rule.name] = list(read(rule, seen, active, now))
            alerts += _of_rule(rule, readings[rule.name], rule_alerts, now)
    placed, still, opened, closed = _grouped(
        {rule.name: rule for rule in rules}, alerts, list(incidents), now
    )
    return Evaluation(placed, still, opened, closed, readings)


def _of_rule(
    rule: Rule, found: Sequence[Reading], rule_alerts: Mapping[Subject, Alert], now: datetime
) -> list[Alert]:
    readings = {reading.subject: reading for reading in found}
    for subject in rule_alerts.keys() - readings.keys():
        readings[subject] = Reading(subject, None, 0, beyond=False, recovered=True)
    steps = (
        _step(rule, reading, rule_alerts.get(reading.subject), now) for reading in readings.values()
    )
    return [alert for alert in steps if alert]


def _step(rule: Rule, reading: Reading, alert: Alert | None, now: datetime) -> Alert | None:
    """Return the next state of an alert, `None` if it can be forgotten."""
    if alert is None or alert.state == "resolved":
        if not reading.beyond:
            forgotten = alert is None or now - alert.since > _REMEMBERED
            return None if forgotten else alert
        times = alert.times if alert and now - alert.since <= _REMEMBERED else 0
        alert = Alert(
            rule.name, reading.subject, "pending", now, reading.value, None, 0, times=times
        )
    alert = _seen(rule, alert, reading)
    if alert.state == "pending":
        return _pending(rule, reading, alert, now)
    if not reading.recovered:
        return replace(alert, recovering_since=None)
    recovering_since = alert.recovering_since or now
    if now - recovering_since < _recovery(rule, alert.times):
        return replace(alert, recovering_since=recovering_since)
    return replace(alert, state="resolved", since=now, recovering_since=None)


def _pending(rule: Rule, reading: Reading, alert: Alert, now: datetime) -> Alert | None:
    if not reading.beyond:
        if alert.times:  # its history is kept
            return replace(alert, state="resolved", since=now, incident=None)
        return None
    if now - alert.since < timedelta(minutes=rule.for_minutes):
        return alert
    return replace(alert, state="firing", since=now, times=alert.times + 1, incident=None)


def _recovery(rule: Rule, times: int) -> timedelta:
    """Return the recovery time of an alert; it doubles each time that it fires again."""
    usual = timedelta(minutes=rule.recover_minutes)
    doubled: timedelta = usual * 2 ** min(max(times - 1, 0), 10)
    return max(usual, min(doubled, _LONGEST))


def _seen(rule: Rule, alert: Alert, reading: Reading) -> Alert:
    """Return an alert with the current reading; without one, the last value stays."""
    if reading.value is None:
        return alert
    return replace(
        alert,
        value=reading.value,
        sample=reading.sample,
        about=reading.about,
        expected=reading.expected if reading.expected is not None else alert.expected,
        worst=_worse(rule, alert.worst, reading.value),
    )


def _worse(rule: Rule, worst: float | None, value: float | None) -> float | None:
    if worst is None or value is None:
        return value if worst is None else worst
    return max(worst, value) if rule.above is not None else min(worst, value)


# Incidents ----------------------------------------------------------------------------------------


def _grouped(
    rules: Mapping[str, Rule], alerts: Sequence[Alert], incidents: list[Incident], now: datetime
) -> tuple[list[Alert], list[Incident], list[Incident], list[Incident]]:
    """Return alerts with their incidents, and open, new and closed incidents."""
    still = list(incidents)
    opened: list[Incident] = []
    placed: list[Alert] = []
    for alert in sorted(alerts, key=_by_specificity):
        if alert.state == "firing" and alert.incident is None:
            rule = rules[alert.rule]
            found = next((each for each in still if _explains(each, rule, alert, now)), None)
            if found is None:
                found = _opened(rule, alert, now)
                still.append(found)
                opened.append(found)
            alert = replace(alert, incident=found.id)  # noqa: PLW2901 - placed now
        placed.append(alert)
    firing = {alert.incident for alert in placed if alert.state == "firing"}
    closed = [replace(each, closed_at=now) for each in still if each.id not in firing]
    return placed, [each for each in still if each.id in firing], opened, closed


def _by_specificity(alert: Alert) -> tuple[object, ...]:
    """Return a sort key: alerts that name a cause come before those that name clients or nothing.

    So the notification names the cause.
    """
    client = any(dimension == "client" for dimension, _ in alert.subject)
    return not alert.subject, client, alert.rule, alert.subject


def _opened(rule: Rule, alert: Alert, now: datetime) -> Incident:
    digest = blake2b(repr(alert.subject).encode("utf-8", "replace"), digest_size=4).hexdigest()
    return Incident(
        id=f"{now:%Y%m%dT%H%M%S}-{rule.name}-{digest}",  # fit for a header
        family=rule.family,
        rule=rule.name,
        subject=alert.subject,
        severity=rule.severity,
        opened_at=now,
    )


def _explains(incident: Incident, rule: Rule, alert: Alert, now: datetime) -> bool:
    """Return whether an open incident explains an alert, so that it needs no notification.

    An alert without subject is explained by any incident of its family. Otherwise the two must
    share a place: one contains the other, or the alert's cause names it. An incident without a
    place explains alerts that fire at about the same time, not days later.
    """
    if incident.family != rule.family:
        return False
    if not alert.subject:
        return True
    place, other = set(place_of(incident.subject)), set(place_of(alert.subject))
    if place and other:
        return place <= other or other <= place or bool(place & set(alert.about))
    if set(incident.subject) & {*alert.subject, *alert.about}:
        return True
    return not place and now - incident.opened_at < _TOGETHER
