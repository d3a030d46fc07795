"""A service and the ASGI application in front of it, started and stopped together."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Final

from fastapi import FastAPI
from fastapi.concurrency import contextmanager_in_threadpool
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from asu_stats import memory
from asu_stats.api.app import create_app
from asu_stats.exceptions import NotStartedError
from asu_stats.jobs.runner import Runner
from asu_stats.jobs.scheduler import Scheduler
from asu_stats.legacy import api as legacy_api
from asu_stats.monitor import channels
from asu_stats.monitor.sender import Sender
from asu_stats.service import start_records
from asu_stats.service.database import replica_of
from asu_stats.service.follower import Follower
from asu_stats.service.jobs import jobs_of
from asu_stats.service.running import running
from asu_stats.settings import Settings
from asu_stats.times import utc_now


@contextmanager
def started(settings: Settings) -> Iterator[FastAPI]:
    """Run a service with its jobs and notifications, and yield the application in front of it.

    An SQLite file is created and upgraded as needed; another database must be current. Raises
    `SchemaError`, `StoreUnavailableError` or `InvalidSettingError` if it cannot start.
    """
    with (
        memory.kept_low(),
        running(settings, make=True) as service,
        replica_of(settings, service.engine) as replica,
    ):
        start_records.record_start(service.engine, settings, utc_now())
        jobs = jobs_of(settings, service.engine)
        following = (
            Follower(settings, service.engine) if settings.follow_go_builder else nullcontext()
        )
        app = create_app(
            settings,
            engine=service.engine,
            recorder=service.recorder,
            builds=service.builds,
            jobs=jobs,
            process=service.process,
            legacy=legacy_api,
            problems_elsewhere=following.problems if isinstance(following, Follower) else list,
            replica=replica,
        )
        scheduler = Scheduler(Runner(service.engine, jobs)) if settings.jobs else nullcontext()
        sender = Sender(service.engine, channels.of_settings(settings))
        with scheduler, following, sender, app.state.warm_up:
            yield app


# Keys of the scope that an outer application sets for itself.
_OUTER: Final = {"app_root_path", "endpoint", "path_params", "route", "router"}


class Server:
    """An ASGI application that runs a service for as long as its lifespan.

    ASGI does not run the lifespan of mounted applications: pass `lifespan` to the application that
    it is mounted on.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._app: ASGIApp | None = None
        self._events = Router(lifespan=self.lifespan)

    @asynccontextmanager
    async def lifespan(self, _: object = None) -> AsyncIterator[None]:
        """Start as `started` does, and stop at the end."""
        async with (
            contextmanager_in_threadpool(started(self.settings)) as app,
            app.router.lifespan_context(app),
        ):
            self._app = app
            try:
                yield
            finally:
                self._app = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._events.lifespan(scope, receive, send)
        elif self._app is None:
            raise NotStartedError
        else:
            await self._app(self._own(scope), receive, send)

    def _own(self, scope: Scope) -> Scope:
        """Return a scope as for an application that is not mounted.

        The setting `root_path` is put before the path, unless the caller sets a prefix.
        """
        own = {name: value for name, value in scope.items() if name not in _OUTER}
        prefix = self.settings.root_path
        if prefix and not scope.get("root_path"):
            own |= {"root_path": prefix, "path": prefix + scope["path"]}
            if scope.get("raw_path"):
                own["raw_path"] = prefix.encode() + scope["raw_path"]
        return own


def create(settings: Settings) -> Server:
    """Return a server as an ASGI application. Nothing is opened or started before its lifespan."""
    return Server(settings)
