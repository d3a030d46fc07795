"""Alerts and incidents as shown by the API, notifications and the command line."""

from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal, cast
from urllib.parse import quote

from pydantic import Field
from typing_extensions import TypedDict

from asu_stats.alert_rules import Rule
from asu_stats.cloudevents import format_time
from asu_stats.monitor import texts
from asu_stats.monitor.evaluate import Alert, Evaluation, Incident
from asu_stats.monitor.outbreaks import Subject
from asu_stats.monitor.readings import Reading
from asu_stats.monitor.state import MonitorState, Silence, StoredIncident
from asu_stats.reports.causes import Cause
from asu_stats.reports.floor import Visible

RuleState = Literal["ok", "pending", "firing"]
Moment = Annotated[str | None, Field(description="RFC 3339, UTC.")]
About = Annotated[
    dict[str, str],
    Field(description="Version, target, error_type or client concerned; empty for all."),
]

TITLE: Final = "asu-stats"
MOST: Final = 100  # of each list


class AlertRow(TypedDict):
    """A subject for which a rule is pending or firing."""

    subject: About
    state: Annotated[RuleState, Field(description="`pending` or `firing`.")]
    since: Moment
    value: Annotated[
        float | None, Field(description="The value at the last evaluation; null if not known.")
    ]
    worst: Annotated[float | None, Field(description="The worst value since the alert began.")]
    expected: Annotated[
        float | None,
        Field(description="Value before or elsewhere; null if not compared."),
    ]
    sample: Annotated[
        int, Field(description="Builds or requests that the value was computed from.")
    ]
    text: Annotated[str, Field(description="The value in words.")]
    incident: Annotated[
        str | None, Field(description="The incident it belongs to; null before it fires.")
    ]


class RuleRow(TypedDict):
    """A rule with its value and state: those of its worst subject."""

    rule: Annotated[str, Field(description="Name of the rule.")]
    summary: Annotated[str, Field(description="What the rule watches, in words.")]
    watch: Annotated[str, Field(description="Value that the rule watches.")]
    severity: Annotated[str, Field(description="How urgent the rule is: `warning` or `critical`.")]
    unit: Annotated[str, Field(description="Unit of the value.")]
    above: Annotated[
        float | None, Field(description="Fires above this value; null if it has no upper limit.")
    ]
    below: Annotated[
        float | None, Field(description="Fires below this value; null if it has no lower limit.")
    ]
    hours: Annotated[int, Field(description="Hours that the value is computed over.")]
    for_minutes: Annotated[
        float, Field(description="Minutes that the value must stay beyond the limit.")
    ]
    value: Annotated[float | None, Field(description="Null if the sample is too small.")]
    sample: Annotated[
        int, Field(description="Builds or requests that the value was computed from.")
    ]
    state: Annotated[RuleState, Field(description="`ok`, `pending` or `firing`.")]
    since: Annotated[str | None, Field(description="Start of the state; null if it was always ok.")]
    alerts: Annotated[list[AlertRow], Field(description="At most 100.")]
    alerts_total: Annotated[int, Field(description="Total number.")]


class IncidentRow(TypedDict):
    """An incident: alerts that were notified together."""

    id: Annotated[str, Field(description="Identifies the incident.")]
    rule: Annotated[str, Field(description="The rule that opened it.")]
    rules: Annotated[list[str], Field(description="All rules that fired in it.")]
    severity: Annotated[str, Field(description="How urgent the rule is: `warning` or `critical`.")]
    subject: About
    title: Annotated[str, Field(description="The incident in one sentence.")]
    text: Annotated[str, Field(description="The value in words.")]
    opened_at: Moment
    closed_at: Moment
    silenced: Annotated[bool, Field(description="Whether a silence suppressed the notifications.")]
    cause: Annotated[Cause | None, Field(description="The most likely cause when it began.")]


class SilenceRow(TypedDict):
    """A silence: incidents without notifications."""

    id: Annotated[int, Field(description="Identifies the silence.")]
    rule: Annotated[str | None, Field(description="The silenced rule; null for all.")]
    subject: About
    until: Moment
    comment: Annotated[str, Field(description="Why it was silenced.")]
    created_by: Annotated[
        str | None,
        Field(
            description="Name of the token that created it; null for the command line, and "
            "without a token of the scope `read`."
        ),
    ]


class Alerts(TypedDict):
    """All rules as of the last evaluation, the latest incidents, and silences."""

    evaluated_at: Annotated[
        str | None, Field(description="Time of the last evaluation; null if there was none yet.")
    ]
    rules: list[RuleRow]
    incidents: Annotated[list[IncidentRow], Field(description="Newest first, 100 at most.")]
    silences: Annotated[list[SilenceRow], Field(description="The last to end first, 100 at most.")]
    silences_total: Annotated[int, Field(description="Total number.")]


def public(shown: Alerts, names: Visible) -> Alerts:
    """Return alerts without the names that are not shown, and without error texts."""
    for rule in shown["rules"]:
        for alert in rule["alerts"]:
            alert["subject"] = _public_subject(alert["subject"], names)
    titles = {rule["rule"]: rule["summary"] or rule["rule"] for rule in shown["rules"]}
    for incident in shown["incidents"]:
        subject = _public_subject(incident["subject"], names)
        if subject != incident["subject"]:
            about = texts.of_subject(tuple(subject.items()))
            incident["title"] = f"{titles.get(incident['rule'], incident['rule'])}: {about}"
        incident["subject"] = subject
        incident["cause"] = incident["cause"] and _public_cause(incident["cause"], names)
    for silence in shown["silences"]:
        subject = _public_subject(silence["subject"], names)
        if subject != silence["subject"]:
            silence["comment"] = ""
        silence["subject"] = subject
    return shown


def _public_subject(subject: Mapping[str, str], names: Visible) -> dict[str, str]:
    return {dimension: names.shown(dimension, value) for dimension, value in subject.items()}


def _public_cause(cause: Cause, names: Visible) -> Cause:
    found: dict[str, Any] = {**cause}
    for kind in ("package", "version", "target", "client"):
        if share := found[kind]:
            found[kind] = {**share, "name": names.shown(kind, share["name"])}
    device = ("version", "target", "profile")
    found["examples"] = [
        {
            **example,
            **{kind: names.shown(kind, example[kind]) for kind in device},
            "message": None,
            "request_hash": (
                example["request_hash"]
                if all(names.has(kind, example[kind]) for kind in device)
                else ""
            ),
        }
        for example in found["examples"]
    ]
    return cast(Cause, found)


def readings(rules: Sequence[Rule], evaluation: Evaluation) -> dict[str, Any]:
    """Return the worst value of each rule, to be stored for later requests."""
    found: dict[str, Any] = {}
    for rule in rules:
        worst = _worst(rule, evaluation.readings.get(rule.name, ()))
        if worst:
            found[rule.name] = {"value": worst.value, "sample": worst.sample}
    return found


def _worst(rule: Rule, found: Iterable[Reading]) -> Reading | None:
    sign = 1 if rule.above is not None else -1
    some = [each for each in found if each.value is not None and each.sample >= rule.min_sample]
    return max(some, key=lambda each: sign * (each.value or 0), default=None)


def report(
    rules: Mapping[str, Rule], incident: Incident, alerts: Sequence[Alert], cause: Cause | None
) -> dict[str, Any]:
    """Return the stored report of a new incident."""
    return {
        "title": title_of(rules[incident.rule], incident.subject),
        "text": "",
        "rules": [],
        "cause": cause,
        **report_changes(rules, incident, alerts, {}),
    }


def report_changes(
    rules: Mapping[str, Rule],
    incident: Incident,
    alerts: Sequence[Alert],
    before: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the changes of a report: the rules that fired, and the value.

    The value is that of the first evaluation that fired, then of each that is worse than all
    before: an alert has the sample and the expected value of its latest evaluation only.
    """
    fired = {alert.rule for alert in alerts} | set(before.get("rules", ()))
    found: dict[str, Any] = {"rules": sorted(fired)}
    for alert in alerts:
        is_own = alert.key == (incident.rule, incident.subject) and alert.state == "firing"
        if is_own and (alert.value == alert.worst or not before.get("text")):
            found["text"] = texts.of_value(
                rules[alert.rule], alert.value, alert.expected, alert.sample
            )
    return found


def title_of(rule: Rule, subject: Subject) -> str:
    """Return the title: the rule's summary and the subject."""
    about = texts.of_subject(subject)
    summary = rule.summary or rule.name
    return f"{summary}: {about}" if about else summary


def page_of(public_url: str, incident: str | None = None) -> str | None:
    """Return the address of an incident on the Alerts page, or of that page.

    `None` if the address of the dashboard is not known.
    """
    if not public_url:
        return None
    return f"{public_url}/alerts#{quote(incident)}" if incident else f"{public_url}/alerts"


def body(
    stored: StoredIncident,
    event: str,
    source: str,
    now: datetime,
    *,
    watched: Container[str],
    public_url: str = "",
) -> dict[str, Any]:
    """Return the notification about the beginning or end of an incident.

    `watched` are the current rules. Without a rule an incident is closed unchecked.
    """
    row = incident_row(stored)
    state = "firing" if event == "opened" else "resolved"
    lines = [row["text"], f"Firing since {row['opened_at']}"]
    if row["closed_at"]:
        lines.append(f"Resolved {row['closed_at']}")
        if not any(rule in watched for rule in row["rules"]):
            lines.append("No enabled rule watches this any more, so the problem may persist")
    lines += texts.of_cause(row["cause"])
    url = page_of(public_url, row["id"])
    if url:
        lines.append(f"Details: {url}")
    return {
        "type": f"alert.{event}",
        "timestamp": format_time(now),
        "data": {
            **row,
            "subject": texts.plain_all(row["subject"]),
            "cause": texts.plain_all(row["cause"]),
            "state": state,
            "source": source,
            "url": url,
            "subject_line": f"[{TITLE}] {state}: {row['title']}",
            "body": "\n".join(lines),
        },
    }


def overview(
    rules: Sequence[Rule], known: MonitorState, incidents: Sequence[StoredIncident]
) -> Alerts:
    silences = sorted(known.silences, key=lambda silence: silence.until, reverse=True)
    return {
        "evaluated_at": format_time(known.evaluated_at) if known.evaluated_at else None,
        "rules": [rule_row(rule, known) for rule in rules if rule.enabled],
        "incidents": [incident_row(stored) for stored in incidents],
        "silences": [silence_row(silence) for silence in silences[:MOST]],
        "silences_total": len(known.silences),
    }


def rule_row(rule: Rule, known: MonitorState) -> RuleRow:
    """Return a rule with its value and state."""
    rule_alerts = [alert for alert in known.alerts if alert.rule == rule.name]
    active = [alert for alert in rule_alerts if alert.state != "resolved"]
    firing = [alert for alert in active if alert.state == "firing"]
    state: RuleState = "firing" if firing else "pending" if active else "ok"
    since = min((alert.since for alert in firing or active), default=None)
    if not active:
        since = max((alert.since for alert in rule_alerts), default=None)
    seen = known.readings.get(rule.name, {})
    return {
        "rule": rule.name,
        "summary": rule.summary,
        "watch": rule.watch,
        "severity": rule.severity,
        "unit": rule.unit,
        "above": rule.above,
        "below": rule.below,
        "hours": rule.hours,
        "for_minutes": rule.for_minutes,
        "value": seen.get("value"),
        "sample": seen.get("sample", 0),
        "state": state,
        "since": format_time(since) if since else None,
        "alerts": [_alert_row(rule, alert) for alert in active[:MOST]],
        "alerts_total": len(active),
    }


def _alert_row(rule: Rule, alert: Alert) -> AlertRow:
    return {
        "subject": shown_subject(alert.subject),
        "state": "firing" if alert.state == "firing" else "pending",
        "since": format_time(alert.since),
        "value": alert.value,
        "worst": alert.worst,
        "expected": alert.expected,
        "sample": alert.sample,
        "text": texts.of_value(rule, alert.value, alert.expected, alert.sample),
        "incident": alert.incident,
    }


def incident_row(stored: StoredIncident) -> IncidentRow:
    incident = stored.incident
    return {
        "id": incident.id,
        "rule": incident.rule,
        "rules": stored.report["rules"],
        "severity": incident.severity,
        "subject": shown_subject(incident.subject),
        "title": stored.report["title"],
        "text": stored.report["text"],
        "opened_at": format_time(incident.opened_at),
        "closed_at": format_time(incident.closed_at) if incident.closed_at else None,
        "silenced": stored.notified_at is None,
        "cause": stored.report["cause"],
    }


def silence_row(silence: Silence) -> SilenceRow:
    """Return a silence as responses show it."""
    return {
        "id": silence.id,
        "rule": silence.rule,
        "subject": shown_subject(silence.subject),
        "until": format_time(silence.until),
        "comment": silence.comment,
        "created_by": silence.created_by,
    }


def shown_subject(subject: Subject) -> dict[str, str]:
    """Return a subject as a JSON object."""
    return dict(subject)
