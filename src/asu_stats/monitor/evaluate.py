"""From what rules see to alerts and incidents: pure, so it is tested in microseconds.

An alert is a rule and a subject: ok → pending → firing → resolved. An incident is what is told: an
alert that begins to fire joins one that is open and explains it, or opens its own.
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

# An alert that comes back within this time has to be well for twice as long to be resolved.
_REMEMBERED: Final = timedelta(hours=6)
_LONGEST: Final = timedelta(hours=3)
_TOGETHER: Final = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class Alert:
    """A rule and a subject for which it is pending or firing, or was a short while ago."""

    rule: str
    subject: Subject
    state: State
    since: datetime  # of the state
    value: float | None
    worst: float | None
    sample: int
    expected: float | None = None
    well_since: datetime | None = None
    times: int = 0  # it has fired lately
    incident: str | None = None
    about: Subject = ()  # what most of it is about, where the subject does not say so

    @property
    def key(self) -> Key:
        """What it is told from others by."""
        return self.rule, self.subject


@dataclass(frozen=True, slots=True)
class Incident:
    """What is told to people: opened by an alert, over when all its alerts are."""

    id: str
    family: Family
    rule: str
    subject: Subject
    severity: Severity
    opened_at: datetime
    closed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What is, and which incidents have begun or ended with it."""

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
    """Return what becomes of the alerts and open incidents of the evaluation before."""
    known: dict[str, dict[Subject, Alert]] = defaultdict(dict)
    for alert in before:
        known[alert.rule][alert.subject] = alert
    alerts: list[Alert] = []
    readings: dict[str, Sequence[Reading]] = {}
    for rule in rules:
        if rule.enabled:
            mine = known[rule.name]
            active = [alert.subject for alert in mine.values() if alert.state != "resolved"]
            readings[rule.name] = list(read(rule, seen, active, now))
            alerts += _of_rule(rule, readings[rule.name], mine, now)
    placed, still, opened, closed = _grouped(
        {rule.name: rule for rule in rules}, alerts, list(incidents), now
    )
    return Evaluation(placed, still, opened, closed, readings)


def _of_rule(
    rule: Rule, found: Sequence[Reading], mine: Mapping[Subject, Alert], now: datetime
) -> list[Alert]:
    readings = {reading.subject: reading for reading in found}
    for subject in mine.keys() - readings.keys():
        readings[subject] = Reading(subject, None, 0, beyond=False, well=True)
    steps = (_step(rule, reading, mine.get(reading.subject), now) for reading in readings.values())
    return [alert for alert in steps if alert]


def _step(rule: Rule, reading: Reading, alert: Alert | None, now: datetime) -> Alert | None:
    """Return the next state of an alert, `None` where there is nothing to remember."""
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
    if not reading.well:
        return replace(alert, well_since=None)
    well_since = alert.well_since or now
    if now - well_since < _recovery(rule, alert.times):
        return replace(alert, well_since=well_since)
    return replace(alert, state="resolved", since=now, well_since=None)


def _pending(rule: Rule, reading: Reading, alert: Alert, now: datetime) -> Alert | None:
    if not reading.beyond:
        if alert.times:  # what it did before is remembered
            return replace(alert, state="resolved", since=now, incident=None)
        return None
    if now - alert.since < timedelta(minutes=rule.for_minutes):
        return alert
    return replace(alert, state="firing", since=now, times=alert.times + 1, incident=None)


def _recovery(rule: Rule, times: int) -> timedelta:
    """Return how long it has to be well: longer each time that it comes back."""
    usual = timedelta(minutes=rule.recover_minutes)
    doubled: timedelta = usual * 2 ** min(max(times - 1, 0), 10)
    return max(usual, min(doubled, _LONGEST))


def _seen(rule: Rule, alert: Alert, reading: Reading) -> Alert:
    """Return an alert with what is seen now; where that is nothing, what was seen last stays."""
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
    """Return alerts with their incidents, and incidents that are open, have begun, have ended."""
    still = list(incidents)
    opened: list[Incident] = []
    placed: list[Alert] = []
    for alert in sorted(alerts, key=_how_vague):
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


def _how_vague(alert: Alert) -> tuple[object, ...]:
    """Return what sorts alerts that name a cause before those that only say who suffers, or that.

    So the message about them names it.
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
    """Tell whether an open incident is what an alert is about, so that it needs no message.

    An alert about everything is about any incident of its family. Otherwise the two have a place in
    common: one lies in the other, or most of the alert is about it. An incident that has no place
    explains what comes up with it, not what comes up days later.
    """
    if incident.family != rule.family:
        return False
    if not alert.subject:
        return True
    place, other = set(place_of(incident.subject)), set(place_of(alert.subject))
    if place and other:
        return place <= other or other <= place or bool(place & set(alert.about))
    if set(incident.subject) & set(alert.subject):
        return True
    return not place and now - incident.opened_at < _TOGETHER
