"""Periodic jobs and their results: `GET /api/v1/stats/jobs`."""

from collections.abc import Sequence

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from sqlalchemy import Engine

from asu_stats.api import params, problems
from asu_stats.api.answering import NOT_MODIFIED, by_content, to_json
from asu_stats.jobs import listing
from asu_stats.jobs.job import Job
from asu_stats.policies import declare
from asu_stats.reports.parameters import ONLY_JSON


def router(engine: Engine, jobs: Sequence[Job]) -> APIRouter:
    routes = APIRouter(tags=["health"])

    @routes.get(
        "/api/v1/stats/jobs",
        summary="Scheduled jobs",
        response_model=list[listing.JobRow],
        responses={304: NOT_MODIFIED, **problems.documented(422, 429, 503)},
        dependencies=[Depends(params.only_json)],
        openapi_extra={"parameters": [ONLY_JSON.documented()]},
    )
    @declare("read", "read")
    def stats_jobs(request: Request) -> Response:
        """Return each job: its last run with duration and result, and its next run.

        One process at a time runs each job, however many servers there are.
        """
        return by_content(request, to_json(listing.read(engine, jobs)))

    return routes
