"""Query parameters of a request, parsed strictly: one value each."""

from collections.abc import Iterable

from starlette.requests import Request

from asu_stats.reports.parameters import ONLY_JSON, Parameter
from asu_stats.reports.query_parsing import ParameterValues


def given_by(request: Request, parameters: Iterable[Parameter]) -> ParameterValues:
    """Return the parameters of a request to an endpoint that takes `parameters`.

    Raises `InvalidParameterError`.
    """
    return ParameterValues.of(request.scope["query_string"], parameters)


async def only_json(request: Request) -> None:
    """Reject all parameters except `format=json`."""
    given_by(request, (ONLY_JSON,))
