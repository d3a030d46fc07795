"""Events in an ingest request: the modes and formats of CloudEvents over HTTP.

One event in structured or binary mode (attributes in `ce-` headers), a batch, or one event per
line. See the CloudEvents HTTP protocol binding 1.0.2.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import unquote_to_bytes

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from asu_stats.api.bodies import media_type
from asu_stats.exceptions import EventTooEarlyError, InvalidEventError
from asu_stats.strict_json import parse_json

Form: TypeAlias = Literal["single", "batch", "either", "lines", "binary"]

MAX_EVENTS: Final = 10_000
_WRONG_SHAPE: Final = {
    "single": "expected an object; an array has the type application/cloudevents-batch+json",
    "batch": "expected an array; an object has the type application/cloudevents+json",
}
_FORMS: Final[dict[str, Form]] = {
    "application/cloudevents+json": "single",
    "application/cloudevents-batch+json": "batch",
    "application/json": "either",
    "application/x-ndjson": "lines",
    "application/ndjson": "lines",
}
_EXPECTED: Final = f"expected {', '.join(list(_FORMS)[:3])} or application/x-ndjson"
_ATTRIBUTES: Final = ("specversion", "id", "source", "type", "time", "subject", "dataschema")
# A request with any of these headers is in binary mode.
_MARKS: Final = frozenset({"ce-specversion", "ce-id", "ce-source", "ce-type"})
_QUOTED: Final = re.compile(rb'"(.*)"', re.DOTALL)
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_BAD_PERCENT: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


@dataclass(slots=True)
class Batch:
    """The unchecked events of a request, and their places for error messages."""

    form: Form
    items: list[Any] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)  # of NDJSON: the line of each item

    def invalid(self, position: int, error: InvalidEventError) -> InvalidEventError:
        """Return `error` with the place of its event."""
        name = error.field
        if self.form == "binary" and name in _ATTRIBUTES:
            name = f"ce-{name}"
        return type(error)(name, error.problem, **self._place(position))

    def too_early(self, position: int, error: EventTooEarlyError) -> EventTooEarlyError:
        """Return `error` with the place of its event."""
        return EventTooEarlyError(error.problem, error.wait_seconds, **self._place(position))

    def _place(self, position: int) -> dict[str, int]:
        if self.form == "lines":
            return {"index": position, "line": self.lines[position]}
        return {"index": position} if self.form == "batch" else {}


def form_of(headers: Headers) -> Form:
    """Return the format of a request. Raises 415 for an unsupported content type."""
    media = media_type(headers)
    form = _FORMS.get(media)
    accepted = {"Accept": ", ".join(_FORMS)}
    if form is None:
        problem = "Content-Type" if media else "Content-Type is missing"
        raise HTTPException(415, f"{problem}: {_EXPECTED}", accepted)
    if form in {"either", "lines"} and not _MARKS.isdisjoint(headers):
        if form == "lines":
            problem = "Content-Type: expected application/json with the header ce-specversion"
            raise HTTPException(415, problem, accepted)
        return "binary"
    return form


def batch_of(form: Form, headers: Headers, body: bytes) -> Batch:
    """Return the events of a request.

    Raises `InvalidEventError` for a body that is not in the format `form`, and 413 for too many
    events.
    """
    if form == "binary":
        return Batch(form, [_binary_event(headers, body)])
    if form == "lines":
        return _lines(body)
    value = _parsed(body)
    if isinstance(value, dict) and form != "batch":
        return Batch("single", [value])
    if not isinstance(value, list) or form == "single":
        raise InvalidEventError("", _WRONG_SHAPE.get(form, "expected an object or an array"))
    if len(value) > MAX_EVENTS:
        raise _too_many()
    return Batch("batch", value)


def _too_many() -> HTTPException:
    return HTTPException(413, f"expected at most {MAX_EVENTS:,} events in a call")


def _parsed(body: bytes) -> Any:
    try:
        return parse_json(body)
    except ValueError as error:
        raise InvalidEventError("", str(error)) from None


def _lines(body: bytes) -> Batch:
    """Return a batch of one event per line; empty lines are skipped."""
    batch = Batch("lines")
    for number, line in enumerate(BytesIO(body), 1):
        if not line.strip(b" \t\r\n"):
            continue
        if len(batch.items) == MAX_EVENTS:
            raise _too_many()
        batch.lines.append(number)
        try:
            batch.items.append(parse_json(line))
        except ValueError as error:
            raise batch.invalid(len(batch.items), InvalidEventError("", str(error))) from None
    return batch


def _binary_event(headers: Headers, body: bytes) -> dict[str, Any]:
    """Return an event in binary mode as a JSON object, without extension attributes."""
    event = dict(_attributes(headers))
    if body.strip():
        try:
            event["data"] = parse_json(body)
        except ValueError as error:
            raise InvalidEventError("data", str(error)) from None
    return event


def _attributes(headers: Headers) -> Iterator[tuple[str, str]]:
    for attribute in _ATTRIBUTES:
        name = f"ce-{attribute}"
        values = [value for key, value in headers.raw if key == name.encode()]
        if len(values) > 1:
            raise InvalidEventError(name, "is there twice")
        if values:
            yield attribute, _decoded(name, values[0])


def _decoded(name: str, value: bytes) -> str:
    """Return the value of a header attribute, percent-decoded (CloudEvents HTTP 3.1.3.2)."""
    text = value.strip(b" \t")
    if quoted := _QUOTED.fullmatch(text):
        text = _ESCAPED.sub(rb"\1", quoted[1])
    if _BAD_PERCENT.search(text):
        raise InvalidEventError(name, "expected two hexadecimal digits after each %")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise InvalidEventError(name, "expected percent-encoded UTF-8") from None
