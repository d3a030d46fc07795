"""The application: with `cli` the only place that wires parts together."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from sqlalchemy import Engine

from asu_stats import __version__
from asu_stats.api import health, ingest, problems
from asu_stats.api.answering import Answering
from asu_stats.api.middleware import CommonHeaders, HeadAsGet
from asu_stats.api.stats import StatsApi
from asu_stats.api.tokens import Access
from asu_stats.recorder import Recorder
from asu_stats.settings import Settings

EXPOSED_HEADERS: Final = (
    "ETag",
    "Link",
    "X-Total-Count",
    "Deprecation",
    "Sunset",
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
    "X-Imagebuilder-Status",
    "X-Queue-Position",
)


def utc_now() -> datetime:
    """Return the time that it is now."""
    return datetime.now(UTC)


def create_app(
    settings: Settings,
    *,
    engine: Engine,
    recorder: Recorder,
    now: Callable[[], datetime] = utc_now,
) -> FastAPI:
    """Return the application on an engine and a recorder, which stay the caller's to close."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield

    app = FastAPI(
        title="asu-stats",
        version=__version__,
        summary="Build statistics for OpenWrt firmware-on-demand servers",
        root_path=settings.root_path,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        lifespan=lifespan,
    )
    problems.install(app)
    app.add_middleware(HeadAsGet)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=["GET", "HEAD", "POST", "OPTIONS"],
        allow_headers=["Content-Type", "Authorization"],
        expose_headers=EXPOSED_HEADERS,
        max_age=86400,
    )
    app.add_middleware(CommonHeaders)
    access = Access(engine, settings)
    stats = StatsApi(
        Answering(engine),
        access,
        today=lambda: now().date(),
        hourly_days=settings.hourly_rollup_days,
    )
    app.include_router(health.router(engine, recorder, lambda: 0))
    app.include_router(stats.router())
    app.include_router(ingest.router(recorder, access, now))
    return app
