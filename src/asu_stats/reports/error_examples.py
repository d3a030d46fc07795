"""The latest errors with their messages."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Final

from pydantic import Field
from sqlalchemy import Connection
from typing_extensions import TypedDict

from asu_stats.cloudevents import format_time
from asu_stats.events import shown_hash, shown_text
from asu_stats.reports import latest_errors
from asu_stats.reports.cover import covers
from asu_stats.reports.fields import Category, Profile, Target, TypeOfError, Version
from asu_stats.reports.latest_errors import LatestError
from asu_stats.reports.marks import IDENTIFYING, Named
from asu_stats.reports.parameters import CATEGORY, ERROR_TYPE, VERSION
from asu_stats.reports.report import Report
from asu_stats.times import aware, midnight
from asu_stats.windows import Window

EXAMPLES: Final = 20
_MESSAGE: Final = 2000


class ErrorExample(TypedDict):
    """One error."""

    timestamp: Annotated[str, Field(description="RFC 3339, UTC.")]
    category: Category
    type: TypeOfError
    version: Version
    target: Target
    profile: Profile
    client: Annotated[
        str | None, Named("client"), Field(description="Of a rejected request; null for a build.")
    ]
    request_hash: Annotated[
        str | None, IDENTIFYING, Field(description="First 12 characters; null if unknown.")
    ]
    message: Annotated[str | None, Field(description="Last 2,000 characters of the message.")]
    fingerprint: Annotated[
        str | None, Field(description="Texts that differ only in names have the same.")
    ]


@covers(list[ErrorExample])
def read(
    connection: Connection,
    window: Window,
    *,
    version: str | None = None,
    category: str | None = None,
    type: str | None = None,  # noqa: A002 - as the API calls it
    fingerprint: str | None = None,
) -> list[ErrorExample]:
    """Return the latest errors in `window` of a version, category and type, newest first."""
    given = {"version": version, "category": category, "type": type, "fingerprint": fingerprint}
    chosen = {name: value for name, value in given.items() if value is not None}
    found = latest_errors.read(connection, EXAMPLES, **_selected(window, chosen))
    return [
        {
            "timestamp": format_time(aware(error.timestamp)),
            "category": error.error_category,
            "type": error.error_type,
            "version": error.version,
            "target": error.target,
            "profile": error.profile,
            "client": error.client,
            "request_hash": shown_hash(error.request_hash) or None,
            "message": _message(error),
            "fingerprint": error.fingerprint,
        }
        for error in found
    ]


def _message(error: LatestError) -> str | None:
    text = shown_text(error.error_message or "", error.request_hash)
    return text[-_MESSAGE:] or None


def _selected(window: Window, filters: Mapping[str, str]) -> dict[str, Any]:
    """Return the time range and the filters as `latest_errors` takes them."""
    first = midnight(window.start)
    stored = {_STORED.get(name, name): value for name, value in filters.items()}
    return {"first": first, "after": first + timedelta(days=window.days), "filters": stored}


_STORED: Final = {"category": "error_category", "type": "error_type"}


def send(connection: Connection, window: Window, **filters: str) -> None:
    """Ask for what `read` needs, and do not wait for it."""
    latest_errors.send(connection, EXAMPLES, **_selected(window, filters))


REPORT: Final = Report(
    name="errors/examples",
    summary="Latest errors with messages",
    days=lambda _: None,
    send=lambda connection, query: send(connection, query.window, **query.filters),
    read=lambda connection, query: read(connection, query.window, **query.filters),
    response=list[ErrorExample],
    parameters=(VERSION, CATEGORY, ERROR_TYPE),
    default_days=7,
    row=ErrorExample,
)
