"""Pending notifications: stored with the change they report, each sent by one sender.

A message is one body for one channel. A sender claims it for a limited time. If it is not delivered
by then (the sender was killed), another sender claims it, with the same id. The messages of
one incident are delivered in order: a receiver never gets the end before the beginning.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Engine, insert, or_, select, update

from asu_stats.monitor.schema import alert_messages
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.times import naive

m = alert_messages.c
CLAIM_SECONDS: Final = 120  # longer than any attempt may take
_PAUSES: Final = (5, 15, 60, 300, 900, 1800)  # seconds after each attempt; the last one repeats
# An undelivered end leaves an incident open elsewhere, so it is retried for longer.
GIVE_UP_HOURS: Final = 24
GIVE_UP_END_HOURS: Final = 7 * 24
OPENED, CLOSED = "-opened", "-closed"
LONGEST: Final = timedelta(seconds=max(CLAIM_SECONDS, *_PAUSES) + 60)


@dataclass(frozen=True, slots=True)
class Message:
    """A notification. `message_id` is the same at every attempt."""

    id: int
    message_id: str
    channel: str
    body: Mapping[str, Any]
    created_at: datetime
    attempts: int  # including the current one


def store(
    connection: Connection,
    channels: Sequence[str],
    message_id: str,
    body: Mapping[str, Any],
    now: datetime,
) -> None:
    """Store a message for each of `channels`, to be sent immediately."""
    rows = [
        {
            "message_id": message_id,
            "channel": channel,
            "body": dict(body),
            "created_at": naive(now),
            "attempts": 0,
            "next_at": naive(now),
        }
        for channel in channels
    ]
    if rows:
        connection.execute(insert(alert_messages), rows)


def message_id(incident: str, event: str) -> str:
    """Return the message id of an incident; `event` is opened or closed."""
    return f"{incident}-{event}"


def incident_of(message: str) -> str:
    """Return the incident of a message id."""
    return message.removesuffix(OPENED).removesuffix(CLOSED)


def notified_channels(connection: Connection, incidents: Sequence[str]) -> dict[str, set[str]]:
    """Return per incident the channels that were or will be notified of its beginning."""
    found: dict[str, set[str]] = {incident: set() for incident in incidents}
    if incidents:
        ids = [f"{incident}{OPENED}" for incident in incidents]
        rows = connection.execute(select(m.message_id, m.channel).where(m.message_id.in_(ids)))
        for row in rows:
            found[incident_of(row.message_id)].add(row.channel)
    return found


def claim(engine: Engine, channel: str, now: datetime) -> Message | None:
    """Claim the oldest due message of a channel, `None` if there is none.

    Messages of an incident wait for its earlier ones.
    """
    waiting = m.next_at.is_not(None) & (m.channel == channel)
    latest = naive(now) + LONGEST  # a later time was written while a clock was ahead
    due = waiting & ((m.next_at <= naive(now)) | (m.next_at > latest))
    with read_snapshot(engine) as connection:
        left = select(m.id, m.message_id, m.next_at).where(waiting).order_by(m.id)
        found = _first_due(connection.execute(left).all(), now)
    if found is None:
        return None
    until = naive(now) + timedelta(seconds=CLAIM_SECONDS)
    with write_transaction(engine) as connection:
        taken = (
            update(alert_messages)
            .where(m.id == found, due)
            .values(next_at=until, attempts=m.attempts + 1)
            .returning(*alert_messages.c)
        )
        row = connection.execute(taken).first()
    if row is None:  # another sender was faster
        return None
    return Message(row.id, row.message_id, row.channel, row.body, row.created_at, row.attempts)


def _first_due(waiting: Iterable[Any], now: datetime) -> int | None:
    earlier = set()
    for row in waiting:
        incident = incident_of(row.message_id)
        is_due = row.next_at <= naive(now) or row.next_at > naive(now) + LONGEST
        if incident not in earlier and is_due:
            return int(row.id)
        earlier.add(incident)
    return None


def delivered(engine: Engine, message: Message, now: datetime) -> None:
    """Mark a message as delivered."""
    values = {"delivered_at": naive(now), "next_at": None, "error": None}
    _update(engine, message, values)


def attempts_in(hours: int) -> int:
    """Return how many attempts are made in so many hours."""
    return len(_PAUSES) + (hours * 3600 - sum(_PAUSES[:-1])) // _PAUSES[-1]


def failed(engine: Engine, message: Message, error: str, now: datetime, *, final: bool) -> bool:
    """Store why a delivery failed. Returns whether it will be retried.

    It is not if the error is `final`, or if the message is a day old (a week for the end of an
    incident) and had the attempts of that time. Its age alone may be due to a clock that is wrong.
    """
    hours = GIVE_UP_END_HOURS if message.message_id.endswith(CLOSED) else GIVE_UP_HOURS
    old = naive(now) - message.created_at > timedelta(hours=hours)
    over = old and message.attempts >= attempts_in(hours)
    pause = timedelta(seconds=_PAUSES[min(message.attempts, len(_PAUSES)) - 1])
    again = not (final or over)
    next_at = naive(now) + pause if again else None
    _update(engine, message, {"error": error[:500], "next_at": next_at})
    return again


def give_up(connection: Connection, channels: Sequence[str], now: datetime) -> None:
    """Give up old messages for recipients that are not in the settings (`channels`)."""
    is_end = m.message_id.endswith(CLOSED)
    old = or_(
        ~is_end & (m.created_at < naive(now) - timedelta(hours=2 * GIVE_UP_HOURS)),
        m.created_at < naive(now) - timedelta(hours=2 * GIVE_UP_END_HOURS),
    )
    old &= m.channel.not_in(channels)
    values = {"next_at": None, "error": "the recipient is not in the settings of any server"}
    left = update(alert_messages).where(m.next_at.is_not(None), old)
    connection.execute(left.values(values))


def _update(engine: Engine, message: Message, values: Mapping[str, object]) -> None:
    with write_transaction(engine) as connection:
        same = (m.id == message.id) & (m.attempts == message.attempts)
        connection.execute(update(alert_messages).where(same).values(values))
