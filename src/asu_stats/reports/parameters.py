"""Query parameters of the reports, described once for the parser and for OpenAPI."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from asu_stats.events import client_name
from asu_stats.exceptions import InvalidParameterError
from asu_stats.text import NAME_LENGTH, stored_name, stored_profile
from asu_stats.windows import INTERVALS, MAX_DAYS, MAX_HOURS, parse_date, parse_number

MAX_LIMIT: Final = 1000
MAX_OFFSET: Final = 999_999_999
DEFAULT_LIMIT: Final = 100

_YEAR: Final = "(19[7-9][0-9]|[2-8][0-9]{3}|9[0-8][0-9]{2}|99[0-8][0-9]|999[0-8])"
DATE: Final[Mapping[str, Any]] = {
    "type": "string",
    "format": "date",
    "pattern": f"^{_YEAR}-[0-9]{{2}}-[0-9]{{2}}$",
}
_NAME: Final = {"type": "string", "maxLength": NAME_LENGTH}


@dataclass(frozen=True, slots=True)
class Parameter:
    """Name and JSON Schema of a parameter, and how the store spells its value.

    The schema decides how a value is read: as one of an `enum`, as an `integer` from `minimum` to
    `maximum`, as a day, or as a name.
    """

    name: str
    description: str
    schema: Mapping[str, Any]
    stored: Callable[[str], str] = stored_name
    selects: bool = True  # False: it does not select by a name that requests have

    def documented(self) -> dict[str, Any]:
        """Return the OpenAPI object of a query parameter."""
        return {
            "name": self.name,
            "in": "query",
            "required": False,
            "description": self.description,
            "schema": dict(self.schema),
        }

    def read(self, text: str) -> Any:
        """Return the value of `text`. Raises `InvalidParameterError`."""
        allowed = self.schema.get("enum")
        if allowed is not None:
            if text in allowed:
                return text
            raise InvalidParameterError(self.name, got=text, expected=self._one_of(allowed))
        if self.schema.get("type") == "integer":
            minimum, maximum = self.schema["minimum"], self.schema["maximum"]
            return parse_number(self.name, text, minimum=minimum, maximum=maximum)
        if self.schema.get("format") == "date":
            return parse_date(self.name, text)
        if len(text) > NAME_LENGTH:
            expected = f"at most {NAME_LENGTH} characters"
            raise InvalidParameterError(self.name, got=text, expected=expected)
        return self.stored(text)

    def _one_of(self, allowed: list[str]) -> str:
        if self is ONLY_JSON:
            return "json: this endpoint has no CSV"
        return f"one of {', '.join(allowed)}"


def window_parameters(default_days: int) -> tuple[Parameter, ...]:
    """Return the parameters that select a time range."""
    days = {"type": "integer", "minimum": 1, "maximum": MAX_DAYS, "default": default_days}
    return (
        Parameter("days", "Number of UTC days, including today. Not with start or end.", days),
        Parameter("start", "First UTC day of the time range.", DATE),
        Parameter("end", "Last UTC day of the time range, inclusive. Default: today.", DATE),
    )


HOURS: Final = Parameter(
    "hours",
    "Instead of days: the last hours up to now, to the second.",
    {"type": "integer", "minimum": 1, "maximum": MAX_HOURS},
)
VERSION: Final = Parameter("version", "Only this version.", _NAME)
TARGET: Final = Parameter("target", "Only this target.", _NAME)
PROFILE: Final = Parameter(
    "profile", "Only this profile; a comma in it counts as `_`.", _NAME, stored_profile
)
CLIENT: Final = Parameter("client", "Only this client.", _NAME, client_name)
INTERVAL: Final = Parameter(
    "interval", "Length of a bucket.", {"enum": list(INTERVALS), "default": "day"}
)
DAYS_INTERVAL: Final = Parameter(
    "interval",
    "Length of a bucket.",
    {"enum": [interval for interval in INTERVALS if interval != "hour"], "default": "day"},
)
CATEGORY: Final = Parameter("category", "Only this category of errors.", _NAME)
ERROR_TYPE: Final = Parameter("type", "Only this type of error.", _NAME)
FORMAT: Final = Parameter("format", "Overrides the Accept header.", {"enum": ["json", "csv"]})
ONLY_JSON: Final = Parameter("format", "Only JSON.", {"enum": ["json"]})
LIMIT: Final = Parameter(
    "limit",
    "Maximum number of rows of the response, or of each list in it. CSV has all rows by default.",
    {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
)
OFFSET: Final = Parameter(
    "offset",
    "Number of rows to skip.",
    {"type": "integer", "minimum": 0, "maximum": MAX_OFFSET, "default": 0},
)
