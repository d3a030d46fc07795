"""Query parameters of a request: read strictly, one value each."""

from collections.abc import Iterable
from typing import Any

from starlette.requests import Request

from asu_stats import queries
from asu_stats.reports.parameters import FORMAT, ONLY_JSON, Parameter


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
        given.value_of(known[FORMAT.name])
        return given

    def value_of(self, parameter: Parameter) -> Any:
        """Return the value of a parameter, its default if the request does not give it.

        Raises `InvalidParameterError`.
        """
        text = self.get(parameter.name)
        return parameter.schema.get("default") if text is None else parameter.read(text)


async def only_json(request: Request) -> None:
    """Refuse all parameters of an endpoint that takes none but the format."""
    Given.of(request, (ONLY_JSON,))
