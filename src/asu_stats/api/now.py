"""`GET /api/v1/stats/now`: current builds."""

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from asu_stats.api import as_of, params, problems
from asu_stats.api.answering import NOT_MODIFIED, by_content, to_json
from asu_stats.api.examples import EXAMPLES
from asu_stats.api.stats import PREFIX
from asu_stats.builds.combined_queue import CombinedQueue
from asu_stats.policies import declare
from asu_stats.reports import now
from asu_stats.reports.parameters import ONLY_JSON
from asu_stats.store.database.reading import Reading


def router(reading: Reading, queues: CombinedQueue) -> APIRouter:
    routes = APIRouter(tags=["statistics"])

    @routes.get(
        f"{PREFIX}/now",
        summary="Running builds and the latest finished builds",
        response_model=now.Now,
        responses={
            200: {
                "content": {"application/json": {"example": EXAMPLES["now"]}},
                "headers": as_of.DOCUMENTED,
            },
            304: {**NOT_MODIFIED, "headers": as_of.DOCUMENTED},
            **problems.documented(422, 429, 503),
        },
        dependencies=[Depends(params.only_json)],
        openapi_extra={"parameters": [ONLY_JSON.documented()]},
    )
    @declare("read", "read")
    def ask(request: Request) -> Response:
        """Return the running, latest and waiting builds."""
        answer = reading.run(lambda connection: now.read(connection, queues))
        return by_content(request, to_json(answer))

    return routes
