"""What explains a figure: releases, incidents, changed settings, and notes by hand."""

from datetime import datetime
from operator import itemgetter
from typing import Annotated, Literal, TypeAlias

from pydantic import Field
from sqlalchemy import Connection
from typing_extensions import TypedDict

from asu_stats.cloudevents import format_time
from asu_stats.reports import floor, release_days
from asu_stats.reports.report import Query, Report
from asu_stats.store.details import annotations
from asu_stats.store.details.annotations import Incident
from asu_stats.times import aware, bounds, midnight
from asu_stats.windows import Window

Kind: TypeAlias = Literal["release", "incident", "setting", "note"]
_Happened: TypeAlias = tuple[datetime, Kind, str, datetime | None]


class Annotation(TypedDict):
    """Something that happened at a time, or from one time to another."""

    at: Annotated[str, Field(description="RFC 3339, UTC. For a release, the start of its day.")]
    kind: Annotated[
        Kind,
        Field(
            description="A release, an incident of the alerts, a setting that was changed, or a "
            "note by hand."
        ),
    ]
    text: Annotated[str, Field(description="What happened: one line, at most 500 characters.")]
    until: Annotated[
        str | None,
        Field(description="When it ended; null for a moment, and while an incident is open."),
    ]


def send(connection: Connection, window: Window) -> None:
    """Ask for what `read` needs, and do not wait for it."""
    annotations.send(connection, *bounds(window.start, window.end))


def read(connection: Connection, window: Window) -> list[Annotation]:
    """Return what happened in a time range, or began before it and lasted into it, by time."""
    first, after = bounds(window.start, window.end)
    names = floor.Visible(connection, window)
    found: list[_Happened] = [
        (midnight(day), "release", f"{version} released", None)
        for day, version in release_days.released_in(connection, window)
    ]
    found += [
        (incident.opened_at, "incident", _title(incident, names), incident.closed_at)
        for incident in annotations.incidents(connection, first, after)
    ]
    found += [
        (note.at, "setting" if note.kind == "setting" else "note", note.text, note.until)
        for note in annotations.read(connection, first, after)
    ]
    return [
        {
            "at": format_time(aware(at)),
            "kind": kind,
            "text": text,
            "until": format_time(aware(until)) if until else None,
        }
        for at, kind, text, until in sorted(found, key=itemgetter(0))
    ]


def _title(incident: Incident, names: floor.Visible) -> str:
    """Return the title of an incident; it names what the incident is about."""
    is_shown = all(names.has(dimension, value) for dimension, value in incident.subject)
    return incident.title if is_shown else f"{incident.rule}: {floor.OTHER}"


def _send(connection: Connection, query: Query) -> None:
    send(connection, query.window)
    release_days.send(connection, query.window)


REPORT = Report(
    name="annotations",
    summary="Releases, incidents, changed settings and notes",
    description="Marks in charts, oldest first. One that began before the time range is included "
    "if it lasted into it.",
    send=_send,
    read=lambda connection, query: read(connection, query.window),
    response=list[Annotation],
    row=Annotation,
    paged=True,
)
