"""Query parameters: read strictly, one value each, described once for parser and OpenAPI."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request

from asu_stats import queries
from asu_stats.events import client_name
from asu_stats.exceptions import InvalidParameterError
from asu_stats.text import NAME_LENGTH, stored_name, stored_profile
from asu_stats.windows import INTERVALS, MAX_DAYS, MAX_HOURS

MAX_LIMIT: Final = 1000
MAX_OFFSET: Final = 999_999_999
DEFAULT_LIMIT: Final = 100

_YEAR: Final = "(19[7-9][0-9]|[2-8][0-9]{3}|9[0-8][0-9]{2}|99[0-8][0-9]|999[0-8])"
_DATE: Final = {"type": "string", "format": "date", "pattern": f"^{_YEAR}-[0-9]{{2}}-[0-9]{{2}}$"}
_NAME: Final = {"type": "string", "maxLength": NAME_LENGTH}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter: its name, what OpenAPI says of it, and how the store keeps it."""

    name: str
    description: str
    schema: Mapping[str, Any]
    stored: Callable[[str], str] = stored_name

    def documented(self) -> dict[str, Any]:
        """Return the parameter object of OpenAPI."""
        return {
            "name": self.name,
            "in": "query",
            "required": False,
            "description": self.description,
            "schema": dict(self.schema),
        }

    def name_in(self, value: str) -> str:
        """Return a name as the store keeps it. Raises `InvalidParameterError`."""
        if len(value) > NAME_LENGTH:
            expected = f"at most {NAME_LENGTH} characters"
            raise InvalidParameterError(self.name, got=value, expected=expected)
        return self.stored(value)


def window_parameters(default_days: int) -> tuple[Parameter, ...]:
    """Return the parameters that choose a window."""
    days = {"type": "integer", "minimum": 1, "maximum": MAX_DAYS, "default": default_days}
    return (
        Parameter("days", "That many UTC days, today included. Not with start or end.", days),
        Parameter("start", "First UTC day of the window.", _DATE),
        Parameter("end", "Last UTC day of the window, included; default today.", _DATE),
    )


HOURS: Final = Parameter(
    "hours",
    "Instead of days: the time from so many hours ago until now, to the second.",
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
FORMAT: Final = Parameter("format", "Instead of the Accept header.", {"enum": ["json", "csv"]})
ONLY_JSON: Final = Parameter("format", "There is no CSV of this.", {"enum": ["json"]})
LIMIT: Final = Parameter(
    "limit",
    "Most rows of an answer, or of each list in it. CSV without it has all rows.",
    {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
)
OFFSET: Final = Parameter(
    "offset",
    "Rows to leave out at the beginning.",
    {"type": "integer", "minimum": 0, "maximum": MAX_OFFSET, "default": 0},
)


def keywords(given: Mapping[str, str]) -> dict[str, Any]:
    """Return filters as keyword arguments of a report; an interval has been checked."""
    return dict(given)


class Given(dict[str, str]):
    """The query parameters that a request gives, each at most once."""

    @classmethod
    def of(cls, request: Request, parameters: Iterable[Parameter]) -> "Given":
        """Read the query string of an endpoint that takes `parameters`.

        Raises `InvalidParameterError` for any other, for one given twice, and for a format that the
        endpoint does not have.
        """
        known = {parameter.name: parameter for parameter in parameters}
        given = cls(queries.read(request.scope["query_string"], known))
        given.one_of(known[FORMAT.name], "json")
        return given

    def name_of(self, parameter: Parameter) -> str | None:
        """Return a filter as the store keeps names. Raises `InvalidParameterError`."""
        value = self.get(parameter.name)
        return None if value is None else parameter.name_in(value)

    def one_of(self, parameter: Parameter, default: str) -> str:
        """Return one of the values that the parameter allows. Raises `InvalidParameterError`."""
        value = self.get(parameter.name, default)
        if value not in parameter.schema["enum"]:
            expected = f"one of {', '.join(parameter.schema['enum'])}"
            if parameter is ONLY_JSON:
                expected = "json: this endpoint has no CSV"
            raise InvalidParameterError(parameter.name, got=value, expected=expected)
        return value


async def only_json(request: Request) -> None:
    """Refuse all parameters of an endpoint that takes none but the format."""
    Given.of(request, (ONLY_JSON,))
