"""Query parameters of a request, parsed strictly: one value each."""

from collections.abc import Iterable

from starlette.requests import Request

from asu_stats.reports.asking import Given
from asu_stats.reports.parameters import ONLY_JSON, Parameter


def given_by(request: Request, parameters: Iterable[Parameter]) -> Given:
    """Return the parameters of a request to an endpoint that takes `parameters`.

    Raises `InvalidParameterError`.
    """
    return Given.of(request.scope["query_string"], parameters)


async def only_json(request: Request) -> None:
    """Reject all parameters except `format=json`."""
    given_by(request, (ONLY_JSON,))
