"""The application: routes and middleware around the parts of a running service."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from fastapi import APIRouter, FastAPI
from sqlalchemy import Connection, Engine
from starlette.middleware import Middleware
from starlette.types import Lifespan

from asu_stats import __version__
from asu_stats.api import alerts, discovery, health, ingest, metrics, problems
from asu_stats.api import jobs as jobs_api
from asu_stats.api import now as now_api
from asu_stats.api import silences as silences_api
from asu_stats.api.answering import Answering
from asu_stats.api.as_of import AsOf
from asu_stats.api.audience import PublicFloor
from asu_stats.api.compressing import Compressed
from asu_stats.api.guard import ReadGuard
from asu_stats.api.limits import Limited, RateLimits
from asu_stats.api.live import Live
from asu_stats.api.middleware import CommonHeaders, HeadAsGet, OneLeadingSlash, Preflight
from asu_stats.api.origins import is_own
from asu_stats.api.request_log import RequestLog
from asu_stats.api.response_cache import CachedResponses, ServeCached
from asu_stats.api.sessions import COOKIE, LASTS, Sessions
from asu_stats.api.stats import StatsApi
from asu_stats.api.token_uses import TokenUses
from asu_stats.api.tokens import Access
from asu_stats.api.warm_up import WarmUp
from asu_stats.builds import api as build_api
from asu_stats.builds import metadata
from asu_stats.builds.combined_queue import CombinedQueue
from asu_stats.builds.service import BuildService
from asu_stats.dashboard import pages, signin, silencing
from asu_stats.jobs import listing
from asu_stats.jobs.job import Job
from asu_stats.metrics.exposition import Exposition
from asu_stats.metrics.process import ProcessMetrics
from asu_stats.monitor.silencing import Silences
from asu_stats.policies import Policies, declare
from asu_stats.recorder import Recorder
from asu_stats.settings import Settings
from asu_stats.store.database.changes import ChangeCounter
from asu_stats.store.database.reading import Reading, Source
from asu_stats.times import utc_now


class Legacy(Protocol):
    """Endpoints of older servers."""

    def router(
        self,
        answering: Answering,
        reading: Reading,
        settings: Settings,
        *,
        now: Callable[[], datetime],
        queue_length: Callable[[Connection], int],
    ) -> APIRouter: ...


def create_app(
    settings: Settings,
    *,
    engine: Engine,
    recorder: Recorder,
    builds: BuildService | None,
    jobs: Sequence[Job] = (),
    process: ProcessMetrics | None = None,
    legacy: Legacy | None = None,
    problems_elsewhere: Callable[[], Sequence[str]] = list,
    replica: Source | None = None,
    now: Callable[[], datetime] = utc_now,
) -> FastAPI:
    """Return the application. The caller closes the parts that it passes.

    Without `builds` there is no build API, only statistics of other servers. Without `legacy` there
    are no endpoints of older servers. `process` holds metrics that other parts of this process
    collect. `problems_elsewhere` returns further problems that `/readyz` shows. Reports are read
    from `replica`, if there is one.
    """
    process = process or ProcessMetrics()
    uses = TokenUses(engine, now)
    cached = CachedResponses(ChangeCounter(engine), today=lambda: now().date())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        uses.start()
        yield
        uses.close()
        cached.close()
        await limits.close()

    app = _empty(lifespan)
    app.state.public_url = settings.public_url
    access = Access(engine, settings, now, uses.note)
    sessions = Sessions(engine, now, uses.note)
    reading = Reading(engine, replica)
    answering = Answering(reading, cached)
    queues = CombinedQueue(engine, now, timedelta(hours=settings.stale_after_hours))
    stats = StatsApi(
        answering,
        access,
        now=now,
        hourly_days=settings.hourly_rollup_days,
        queues=queues,
    )
    live = Live(
        reading,
        queues=queues,
        origins=settings.live_origins,
        max_connections=settings.live_connections,
    )
    silences = Silences(engine, settings.alerts, now)
    old = (
        [legacy.router(answering, reading, settings, now=now, queue_length=queues.length_in)]
        if legacy
        else []
    )
    of_builds = (
        [build_api.router(builds), metadata.router(settings, builds.catalogue)] if builds else []
    )

    def unreadable_rows() -> int:
        return builds.outbox.unreadable if builds else 0

    # Added directly: `include_router` would build each route again, at the first request.
    for routes in (
        stats.router(),
        discovery.router(),
        now_api.router(reading, queues),
        live.router(),
        alerts.router(engine, settings.alerts, access),
        silences_api.router(silences, access),
        jobs_api.router(engine, jobs),
        ingest.router(
            recorder,
            access,
            now,
            process.refused,
            oldest=settings.oldest_event,
            clock_behind=partial(health.clock_behind, engine),
        ),
        *of_builds,
        health.router(
            engine,
            recorder,
            queues.length,
            clock=process.clock,
            now=now,
            unreadable_rows=unreadable_rows,
            problems_elsewhere=problems_elsewhere,
            replica=replica,
            wait_until_warm=lambda: warm_up.wait(),  # noqa: PLW0108  # assigned below
        ),
        metrics.router(
            Exposition(
                engine,
                settings,
                recorder,
                process,
                queues,
                now=now,
                unreadable_rows=unreadable_rows,
                replica=replica,
            )
        ),
        *old,
    ):
        app.router.routes.extend(routes.routes)
    for forms in (
        signin.router(
            create_session=sessions.begin,
            is_own_origin=is_own,
            cookie=COOKIE,
            max_age=LASTS,
            is_public=settings.read_access == "public" and not settings.public_floor,
        ),
        silencing.router(silences, session_of=sessions.of_request, is_own_origin=is_own),
    ):
        app.router.routes.extend(forms.routes)
    warm = pages.install(
        app,
        pages.Sources(
            reading,
            now,
            queues,
            settings.hourly_rollup_days,
            jobs=lambda: listing.read(engine, jobs),
            alerts=lambda connection, is_member: alerts.read(
                connection, settings.alerts, shows_tokens=is_member
            ),
            session_of=sessions.of_request,
            send_alerts=alerts.send,
            embed_origins=settings.embed_origins,
        ),
    )
    app.state.warm_up = warm_up = WarmUp(warm)
    app.state.policies = policies = Policies(app.routes)
    limits = RateLimits(settings, policies)
    for route in policies.routes:
        for method in route.methods if route.documented else ():
            process.start_at_zero(method, route.template)
    app.user_middleware = _layers(
        settings,
        policies,
        process=process,
        limits=limits,
        access=access,
        sessions=sessions,
        cached=cached,
        has_replica=replica is not None,
    )
    return app


def _empty(lifespan: Lifespan[FastAPI]) -> FastAPI:
    """Return an application with the OpenAPI document as its only route."""
    app = FastAPI(
        title="asu-stats",
        version=__version__,
        summary="Build statistics for OpenWrt firmware-on-demand servers",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,  # redirects would use scheme and host of the request
        lifespan=lifespan,
    )
    problems.install(app)
    (document,) = app.routes
    declare("public", "none")(document.endpoint)  # type: ignore[attr-defined]  # /openapi.json
    return app


def _layers(
    settings: Settings,
    policies: Policies,
    *,
    process: ProcessMetrics,
    limits: RateLimits,
    access: Access,
    sessions: Sessions,
    cached: CachedResponses,
    has_replica: bool,
) -> list[Middleware]:
    """Return the middleware in the order in which a request passes it."""
    guard = Middleware(ReadGuard, policies=policies, access=access, sessions=sessions)
    min_requests = settings.public_floor
    public = Middleware(PublicFloor, access=access, sessions=sessions, min_requests=min_requests)
    return [
        Middleware(OneLeadingSlash),
        Middleware(RequestLog, settings=settings, policies=policies),
        Middleware(metrics.Measured, process=process, policies=policies),
        Middleware(CommonHeaders),
        *([Middleware(AsOf)] if has_replica else []),
        Middleware(Preflight),
        Middleware(HeadAsGet),
        Middleware(Compressed, policies=policies),
        Middleware(Limited, limits=limits),
        *([guard] if settings.read_access == "token" else []),
        *([public] if min_requests else []),
        Middleware(ServeCached, cached=cached),
    ]
