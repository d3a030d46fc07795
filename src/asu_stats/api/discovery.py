"""`GET /api/v1/stats/`: all endpoints of the statistics, from the OpenAPI document."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import Field
from typing_extensions import TypedDict

from asu_stats.api import params, problems
from asu_stats.api.answering import NOT_MODIFIED, by_content, to_json
from asu_stats.api.stats import PREFIX
from asu_stats.policies import declare
from asu_stats.reports.endpoints import REPORTS
from asu_stats.reports.parameters import ONLY_JSON

_DAYS: Final[Mapping[str, int]] = {f"{PREFIX}/{r.name}": r.default_days for r in REPORTS}


class EndpointParameter(TypedDict):
    """A parameter of an endpoint."""

    name: Annotated[str, Field(description="Name of the parameter.")]
    place: Annotated[str, Field(description="`query`, or `path` for a part of the path.")]
    required: Annotated[bool, Field(description="Whether a request must have it.")]
    description: Annotated[str, Field(description="What it means.")]
    values: Annotated[dict[str, Any], Field(description="JSON Schema of its values.")]


class Endpoint(TypedDict):
    """An endpoint of the statistics."""

    path: Annotated[str, Field(description="Path, with parameters in braces.")]
    method: Annotated[str, Field(description="HTTP method.")]
    summary: Annotated[str, Field(description="What the endpoint returns.")]
    default_days: Annotated[
        int | None,
        Field(
            description="UTC days if a request has no time range; null if the endpoint takes none."
        ),
    ]
    media_types: Annotated[list[str], Field(description="Media types of the response.")]
    parameters: Annotated[
        list[EndpointParameter], Field(description="Parameters, in the order of the docs.")
    ]
    docs: Annotated[str, Field(description="Path of its entry in the API reference.")]


class Discovery(TypedDict):
    """All endpoints of the statistics."""

    version: Annotated[str, Field(description="Version of the server.")]
    endpoints: Annotated[list[Endpoint], Field(description="The endpoints.")]
    docs: Annotated[str, Field(description="Path of the API reference.")]
    openapi: Annotated[str, Field(description="Path of the OpenAPI document.")]
    manual: Annotated[str, Field(description="Path of the manual.")]


def router() -> APIRouter:
    routes = APIRouter(tags=["statistics"])

    @routes.get(
        f"{PREFIX}/",
        name="discovery",
        summary="All endpoints of the statistics",
        response_model=Discovery,
        responses={304: NOT_MODIFIED, **problems.documented(422, 429)},
        dependencies=[Depends(params.only_json)],
        openapi_extra={"parameters": [ONLY_JSON.documented()]},
    )
    @declare("read", "read")
    def discovery(request: Request) -> Response:
        """Return the endpoints with their parameters and default time ranges."""
        root: str = request.scope.get("root_path", "")
        document = request.app.openapi()
        found: Discovery = {
            "version": document["info"]["version"],
            "endpoints": list(_endpoints(document["paths"], root)),
            "docs": f"{root}/docs",
            "openapi": f"{root}/openapi.json",
            "manual": f"{root}/manual",
        }
        return by_content(request, to_json(found))

    return routes


def _endpoints(paths: Mapping[str, Any], root: str) -> Iterator[Endpoint]:
    """Yield the endpoints below `PREFIX`, without deprecated ones."""
    for path, methods in paths.items():
        for method, operation in methods.items():
            if path.startswith(f"{PREFIX}/") and not operation.get("deprecated"):
                answered = operation["responses"].get("200", {}).get("content", {})
                yield {
                    "path": f"{root}{path}",
                    "method": method.upper(),
                    "summary": operation["summary"],
                    "default_days": _DAYS.get(path),
                    "media_types": list(answered),
                    "parameters": [_parameter(each) for each in operation.get("parameters", ())],
                    "docs": f"{root}/docs#/{operation['tags'][0]}/{operation['operationId']}",
                }


def _parameter(parameter: Mapping[str, Any]) -> EndpointParameter:
    return {
        "name": parameter["name"],
        "place": parameter["in"],
        "required": parameter.get("required", False),
        "description": parameter.get("description", ""),
        "values": parameter["schema"],
    }
