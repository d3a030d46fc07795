"""State of the monitor between evaluations, stored in the database."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, cast

from sqlalchemy import Connection, Integer, Select, bindparam, delete, insert, select, update

from asu_stats.monitor.evaluate import Alert, Incident
from asu_stats.monitor.outbreaks import Subject
from asu_stats.monitor.schema import alert_evaluations, alert_messages, alert_silences, alerts
from asu_stats.store.database import changes, statements
from asu_stats.store.database.schema import alert_incidents
from asu_stats.times import aware, naive

e, i, s = alert_evaluations.c, alert_incidents.c, alert_silences.c
KEPT_DAYS: Final = 365
DIMENSIONS: Final = ("version", "target", "error_type", "client")  # of subjects


@dataclass(frozen=True, slots=True)
class Silence:
    """Suppresses notifications until `until`: of a rule (`None`: any) with this `subject`."""

    id: int
    rule: str | None
    subject: Subject
    until: datetime
    comment: str
    created_by: str | None  # name of the token; `None` from the command line

    def holds(self, rule: str, subject: Subject, now: datetime) -> bool:
        """Return whether an incident is silenced."""
        return now < self.until and self.rule in {None, rule} and set(self.subject) <= set(subject)


@dataclass(frozen=True, slots=True)
class StoredIncident:
    """An incident with its stored report; `notified_at` is `None` if it was silenced."""

    incident: Incident
    report: Mapping[str, Any]
    notified_at: datetime | None


@dataclass(frozen=True, slots=True)
class MonitorState:
    """The whole state, as of one evaluation."""

    evaluations: int
    evaluated_at: datetime | None
    readings: Mapping[str, Any]
    alerts: Sequence[Alert]
    incidents: Sequence[StoredIncident]  # open ones
    silences: Sequence[Silence]


_EVALUATION: Final = select(*alert_evaluations.c)
_ALERTS: Final = select(*alerts.c)
_OPEN: Final = select(*alert_incidents.c).where(i.closed_at.is_(None))
_SILENCES: Final = select(*alert_silences.c).order_by(s.id)
_NEWEST: Final = (
    select(*alert_incidents.c)
    .order_by(i.opened_at.desc(), i.id.desc())
    .limit(bindparam("rows", type_=Integer))
)


def send(connection: Connection, rows: int) -> None:
    """Ask for what `read` and `history` return, and do not wait for it."""
    for query in (_EVALUATION, _ALERTS, _OPEN, _SILENCES):
        statements.send_once(connection, query)
    statements.send_once(connection, _NEWEST, rows=rows)


def _rows(connection: Connection, query: Select[Any], **parameters: int) -> list[Any]:
    return statements.named(query, statements.fetch_once(connection, query, **parameters))


def read(connection: Connection) -> MonitorState:
    (last,) = _rows(connection, _EVALUATION) or (None,)
    return MonitorState(
        evaluations=last.evaluations if last else 0,
        evaluated_at=aware(last.evaluated_at) if last else None,
        readings=last.readings if last else {},
        alerts=[_alert(row) for row in _rows(connection, _ALERTS)],
        incidents=[_stored_incident(row) for row in _rows(connection, _OPEN)],
        silences=silences(connection),
    )


def as_of(known: MonitorState, now: datetime) -> MonitorState:
    """Return the state without times after `now`, left by a clock that was ahead."""

    def past(moment: datetime | None) -> Any:
        return moment and min(moment, now)

    alerts = [
        replace(alert, since=past(alert.since), recovering_since=past(alert.recovering_since))
        for alert in known.alerts
    ]
    incidents = [
        replace(
            stored, incident=replace(stored.incident, opened_at=past(stored.incident.opened_at))
        )
        for stored in known.incidents
    ]
    return replace(known, alerts=alerts, incidents=incidents)


def correct(connection: Connection, now: datetime) -> None:
    """Set times of silences and messages that a clock left in the future to now."""
    ahead = naive(now) + timedelta(minutes=5)
    found = connection.execute(select(s.id, s.until, s.created_at).where(s.created_at > ahead))
    for row in found.all():
        until = row.until - (row.created_at - naive(now))
        values = {"until": until, "created_at": naive(now)}
        connection.execute(update(alert_silences).where(s.id == row.id).values(values))
    m = alert_messages.c
    late = update(alert_messages).where(m.created_at > ahead)
    connection.execute(late.values(created_at=naive(now)))


def firing(connection: Connection) -> set[str]:
    """Return the rules that fire."""
    found = select(alerts.c.rule).where(alerts.c.state == "firing")
    return set(connection.execute(found).scalars())


def history(connection: Connection, limit: int) -> list[StoredIncident]:
    """Return incidents, the newest first."""
    return [_stored_incident(row) for row in _rows(connection, _NEWEST, rows=limit)]


def count_evaluation(
    connection: Connection, before: int, now: datetime, readings: Mapping[str, Any]
) -> bool:
    """Count an evaluation. Returns False, and changes nothing, if another process was faster."""
    values = {"evaluated_at": naive(now), "readings": dict(readings)}
    if before == 0:
        columns = ("id", "evaluations", "evaluated_at", "readings")
        row: tuple[Any, ...] = (1, 0, values["evaluated_at"], {})
        statements.insert_new(connection, alert_evaluations, columns, [row], "id")
    same = update(alert_evaluations).where(e.evaluations == before)
    done = connection.execute(same.values(evaluations=before + 1, **values))
    return done.rowcount == 1


def write_alerts(connection: Connection, found: Sequence[Alert]) -> None:
    connection.execute(delete(alerts))
    rows = [
        {
            **asdict(alert),
            "subject": to_text(alert.subject),
            "since": naive(alert.since),
            "recovering_since": naive(alert.recovering_since) if alert.recovering_since else None,
            "about": [list(pair) for pair in alert.about],
        }
        for alert in found
    ]
    if rows:
        connection.execute(insert(alerts), rows)


def write_incident(connection: Connection, stored: StoredIncident) -> None:
    """Write an incident, new or known.

    Charts show when it began and ended, so that counts as a change of figures.
    """
    row = {
        **asdict(stored.incident),
        "subject": to_text(stored.incident.subject),
        "opened_at": naive(stored.incident.opened_at),
        "closed_at": naive(stored.incident.closed_at) if stored.incident.closed_at else None,
        "notified_at": naive(stored.notified_at) if stored.notified_at else None,
        "report": dict(stored.report),
    }
    known = update(alert_incidents).where(i.id == stored.incident.id)
    if connection.execute(known.values(row)).rowcount == 0:
        connection.execute(insert(alert_incidents).values(row))
    elif stored.incident.closed_at is None:
        return
    changes.begin(connection)


def forget(connection: Connection, now: datetime) -> None:
    """Delete incidents older than a year, and expired silences.

    The channels notified of an open incident are kept.
    """
    limit = naive(now) - timedelta(days=KEPT_DAYS)
    if connection.execute(delete(alert_incidents).where(i.closed_at < limit)).rowcount:
        changes.begin(connection)
    connection.execute(delete(alert_silences).where(s.until < limit))
    m = alert_messages.c
    open_ones = select(i.id + "-opened").where(i.closed_at.is_(None))
    old = (m.created_at < limit) & m.next_at.is_(None) & m.message_id.not_in(open_ones)
    connection.execute(delete(alert_messages).where(old))


# Silences ---------------------------------------------------------------------------------------


def silences(connection: Connection) -> list[Silence]:
    """Return all silences, including expired ones."""
    return [
        Silence(
            row.id,
            row.rule,
            to_subject(row.subject),
            aware(row.until),
            row.comment,
            row.created_by,
        )
        for row in _rows(connection, _SILENCES)
    ]


def silence(
    connection: Connection,
    *,
    rule: str | None,
    subject: Subject,
    until: datetime,
    comment: str,
    now: datetime,
    created_by: str | None = None,
) -> int:
    """Create a silence and return its number."""
    row = {
        "rule": rule,
        "subject": to_text(subject),
        "until": naive(until),
        "comment": comment,
        "created_at": naive(now),
        "created_by": created_by,
    }
    found = connection.execute(insert(alert_silences).values(row).returning(s.id)).scalar_one()
    return int(found)


def unsilence(connection: Connection, number: int) -> bool:
    """Remove a silence. Returns whether it existed."""
    return connection.execute(delete(alert_silences).where(s.id == number)).rowcount > 0


# Values -----------------------------------------------------------------------------------------


def to_text(subject: Subject) -> str:
    """Return a subject as stored text: JSON."""
    return json.dumps([list(pair) for pair in subject], ensure_ascii=False)


def to_subject(stored: str) -> Subject:
    """Return a stored subject."""
    return tuple((dimension, value) for dimension, value in json.loads(stored))


def _alert(row: Any) -> Alert:
    return Alert(
        rule=row.rule,
        subject=to_subject(row.subject),
        state=cast(Any, row.state),
        since=aware(row.since),
        value=row.value,
        worst=row.worst,
        sample=row.sample,
        expected=row.expected,
        recovering_since=aware(row.recovering_since) if row.recovering_since else None,
        times=row.times,
        incident=row.incident,
        about=tuple((dimension, value) for dimension, value in row.about),
    )


def _stored_incident(row: Any) -> StoredIncident:
    incident = Incident(
        id=row.id,
        family=cast(Any, row.family),
        rule=row.rule,
        subject=to_subject(row.subject),
        severity=cast(Any, row.severity),
        opened_at=aware(row.opened_at),
        closed_at=aware(row.closed_at) if row.closed_at else None,
    )
    return StoredIncident(incident, row.report, aware(row.notified_at) if row.notified_at else None)
