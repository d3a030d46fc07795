"""Explanations of figures: notes, changed settings, and release days.

Each change here counts in the change counter, so that no response from before it is served again.
"""

import json
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from sqlalchemy import Connection, DateTime, Engine, bindparam, delete, insert, or_, select

from asu_stats.exceptions import InvalidNoteError
from asu_stats.store.database import changes, statements
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.database.schema import (
    alert_incidents,
    annotations,
    known_settings,
    release_days,
)

MAX_CHARACTERS: Final = 500
Kind: TypeAlias = Literal["note", "setting"]


class Note(NamedTuple):
    """A stored annotation. Times are UTC without zone."""

    id: int
    kind: str
    at: datetime
    until: datetime | None
    text: str


class Incident(NamedTuple):
    """An incident that alerts opened. `closed_at` is `None` while it is open."""

    opened_at: datetime
    closed_at: datetime | None
    title: str
    rule: str
    subject: tuple[tuple[str, str], ...]  # dimension and value


def one_line(text: str) -> str:
    """Return a text as one line of printable characters, without white space around it."""
    shown = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(shown.split())


def add(
    connection: Connection, kind: Kind, text: str, at: datetime, until: datetime | None = None
) -> int:
    """Store an annotation and return its number. Raises `InvalidNoteError` for an unusable text."""
    words = one_line(text)
    if not words:
        raise InvalidNoteError("the text of a note is empty")
    if len(words) > MAX_CHARACTERS:
        raise InvalidNoteError(
            f"the text of a note has {len(words):,} characters: expected at most {MAX_CHARACTERS}"
        )
    if until is not None and until < at:
        raise InvalidNoteError("a note ends before it begins")
    changes.begin(connection)
    row = {"kind": kind, "at": at, "until": until, "text": words}
    added = insert(annotations).values(row).returning(annotations.c.id)
    return int(connection.execute(added).scalar_one())


def remove(connection: Connection, number: int) -> bool:
    """Delete an annotation. Returns whether it existed."""
    if connection.execute(delete(annotations).where(annotations.c.id == number)).rowcount == 0:
        return False
    changes.begin(connection)
    return True


_N: Final = annotations.c
_NOTES: Final = select(_N.id, _N.kind, _N.at, _N.until, _N.text).order_by(_N.at, _N.id)


_FIRST: Final = bindparam("first", type_=DateTime)
_AFTER: Final = bindparam("after", type_=DateTime)
_BETWEEN: Final = _NOTES.where(_N.at < _AFTER, or_(_N.at >= _FIRST, _N.until >= _FIRST))
_I: Final = alert_incidents.c
_INCIDENTS: Final = (
    select(_I.opened_at, _I.closed_at, _I.rule, _I.report, _I.subject)
    .where(_I.opened_at < _AFTER, or_(_I.closed_at.is_(None), _I.closed_at >= _FIRST))
    .order_by(_I.opened_at, _I.id)
)
_RELEASE_DAYS: Final = select(release_days.c.version, release_days.c.released_on)


def read(
    connection: Connection, first: datetime | None = None, after: datetime | None = None
) -> list[Note]:
    """Return annotations in the order of their times: all, or those between two times."""
    if first is None or after is None:
        return [Note(*row) for row in statements.fetch(connection, _NOTES)]
    found = statements.fetch_once(connection, _BETWEEN, first=first, after=after)
    return [Note(*row) for row in found]


def send(connection: Connection, first: datetime, after: datetime) -> None:
    """Ask for release days, annotations and incidents between two times, and do not wait."""
    send_release_days(connection)
    for query in (_BETWEEN, _INCIDENTS):
        statements.send_once(connection, query, first=first, after=after)


def incidents(connection: Connection, first: datetime, after: datetime) -> list[Incident]:
    """Return the incidents that were open between two times, in the order of their start."""
    found = statements.fetch_once(connection, _INCIDENTS, first=first, after=after)
    return [
        Incident(
            row.opened_at,
            row.closed_at,
            _title(row.report) or row.rule,
            row.rule,
            tuple((dimension, value) for dimension, value in json.loads(row.subject)),
        )
        for row in statements.named(_INCIDENTS, found)
    ]


def _title(report: Any) -> str:
    title = report.get("title") if isinstance(report, dict) else None
    return one_line(title)[:MAX_CHARACTERS] if isinstance(title, str) else ""


# At the start of a server ---------------------------------------------------------------


def remember_settings(engine: Engine, settings: Mapping[str, str], now: datetime) -> None:
    """Store an annotation for each setting that differs from that of the last start.

    A setting that no start has stored so far is only remembered.
    """
    with read_snapshot(engine) as connection:
        if _known_settings(connection) == dict(settings):
            return
    with write_transaction(engine) as connection:
        changes.begin(connection)  # serialises servers that start at the same time
        before = _known_settings(connection)
        for name, value in settings.items():
            if before.get(name, value) != value:
                text = f"{name}: {before[name]} → {value}"
                add(connection, "setting", one_line(text)[:MAX_CHARACTERS], now)
        connection.execute(delete(known_settings))
        rows = [{"name": name, "value": value} for name, value in sorted(settings.items())]
        connection.execute(insert(known_settings), rows)


def _known_settings(connection: Connection) -> dict[str, str]:
    rows = connection.execute(select(known_settings.c.name, known_settings.c.value))
    return {row.name: row.value for row in rows}


def put_release_days(engine: Engine, days: Mapping[str, date]) -> None:
    """Replace the stored release days by those of a file."""
    with read_snapshot(engine) as connection:
        if given_release_days(connection) == days:
            return
    with write_transaction(engine) as connection:
        changes.begin(connection)
        connection.execute(delete(release_days))
        if days:
            rows = [{"version": version, "released_on": day} for version, day in days.items()]
            connection.execute(insert(release_days), rows)


def send_release_days(connection: Connection) -> None:
    """Ask for the release days from the file, and do not wait for them."""
    statements.send_once(connection, _RELEASE_DAYS)


def given_release_days(connection: Connection) -> dict[str, date]:
    """Return the release days from the file, by version."""
    return dict(statements.fetch_once(connection, _RELEASE_DAYS))
