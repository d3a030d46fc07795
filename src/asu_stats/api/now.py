"""`GET /api/v1/stats/now`: current builds."""

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from sqlalchemy import Engine

from asu_stats.api import params, problems
from asu_stats.api.examples import EXAMPLES
from asu_stats.api.stats import PREFIX
from asu_stats.builds.combined_queue import CombinedQueue
from asu_stats.policies import declare
from asu_stats.reports import now
from asu_stats.reports.parameters import ONLY_JSON
from asu_stats.store.database.engine import read_snapshot


def router(engine: Engine, queues: CombinedQueue) -> APIRouter:
    routes = APIRouter(tags=["statistics"])

    @routes.get(
        f"{PREFIX}/now",
        summary="Running builds and the latest finished builds",
        response_model=now.Now,
        responses={
            200: {"content": {"application/json": {"example": EXAMPLES["now"]}}},
            **problems.documented(422, 429, 503),
        },
        dependencies=[Depends(params.only_json)],
        openapi_extra={"parameters": [ONLY_JSON.documented()]},
    )
    @declare("read", "read")
    def ask() -> JSONResponse:
        """Return the running, latest and waiting builds."""
        with read_snapshot(engine) as connection:
            answer = now.read(connection, queues)
        return JSONResponse(answer, headers={"Cache-Control": "no-cache"})

    return routes
