"""A complete service in this process: events in and responses out over HTTP."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from httpx2 import Response
from sqlalchemy import Engine

from asu_stats.api.app import create_app
from asu_stats.builds.service import BuildService
from asu_stats.cloudevents import from_cloudevent
from asu_stats.legacy import api as legacy_api
from asu_stats.metrics.process import ProcessMetrics
from asu_stats.recorder import Recorder
from asu_stats.recorder.spool import Spool
from asu_stats.service.database import replica_of
from asu_stats.service.running import extra_writer_of
from asu_stats.settings import Settings, load
from asu_stats.store.apply import apply_batch
from asu_stats.store.archive import segments
from asu_stats.store.database import engine as engines
from asu_stats.store.database.metadata import metadata
from asu_stats.store.database.schema import store_state
from asu_stats.store.details.live_counts import Live
from asu_stats.store.dry_run import probe, rehearse
from tests.client import Client

TOKEN = "test-token"  # noqa: S105
NOW = datetime(2026, 9, 30, 12, 0, tzinfo=UTC)
SOURCE = "https://sysupgrade.example.org"

_ids = itertools.count()

CloudEvent = dict[str, Any]


def at(text: str) -> datetime:
    """Return a UTC instant: `2026-09-30 12:00`, with or without time."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def cloudevent(kind: str, time: datetime, data: dict[str, Any], **more: Any) -> CloudEvent:
    """Return an event with an identity of its own."""
    return {
        "specversion": "1.0",
        "id": f"test-{next(_ids)}",
        "source": SOURCE,
        "type": f"asu.{kind}",
        "time": time.isoformat(),
        "data": data,
        **more,
    }


def request(request_hash: str, time: datetime = NOW, /, **data: Any) -> CloudEvent:
    """Return a request, queued unless it says otherwise."""
    defaults = {
        "request_hash": request_hash,
        "outcome": "queued",
        "version": "24.10.2",
        "target": "ath79/generic",
        "profile": "tplink_archer-c7-v5",
        "diff_packages": True,
        "client": "luci/25.1",
    }
    return cloudevent("request.received", time, defaults | data)


def build(
    request_hash: str,
    status: str = "success",
    *,
    end: datetime = NOW,
    seconds: float = 60,
    build_id: str | None = None,
    **data: Any,
) -> list[CloudEvent]:
    """Return start and end of a build."""
    ids = {"build_id": build_id or f"build-{next(_ids)}", "request_hash": request_hash}
    return [
        cloudevent("build.started", end - timedelta(seconds=seconds), ids),
        cloudevent("build.finished", end, {**ids, "status": status, **data}),
    ]


@dataclass(slots=True)
class Stats:
    """A service, with a clock that stands at `now`."""

    client: Client
    engine: Engine
    recorder: Recorder
    builds: BuildService
    settings: Settings
    now: datetime = NOW

    @classmethod
    @contextmanager
    def on(cls, database_url: str, spool_directory: Path, **settings: Any) -> Iterator["Stats"]:
        """Run a service on a database with a current schema."""
        chosen = load(
            database_url=database_url,
            spool_directory=spool_directory,
            ingest_token=TOKEN,
            source=SOURCE,
            **settings,
        )
        engine = engines.create(database_url)
        segments.keep_in(engine, spool_directory.parent / "archive")
        spool = Spool(spool_directory, limit_bytes=1 << 24, reserve_bytes=0)
        process = ProcessMetrics()
        stats: Stats
        extra_writer = extra_writer_of(chosen)
        live = Live(chosen.metrics_clients, lambda: stats.now)
        try:
            with (
                Recorder(
                    process.timed(
                        partial(apply_batch, engine, extra_writer=extra_writer, live=live)
                    ),
                    spool,
                    rehearse=partial(rehearse, engine, extra_writer=extra_writer),
                    probe=partial(probe, engine, extra_writer=extra_writer),
                ) as recorder,
                replica_of(chosen, engine) as replica,
            ):
                builds = BuildService(engine, chosen, recorder.record, waited=process.waited)
                app = create_app(
                    chosen,
                    engine=engine,
                    recorder=recorder,
                    builds=builds,
                    process=process,
                    legacy=legacy_api,
                    replica=replica,
                    now=lambda: stats.now,
                )
                with Client(app, root_path=chosen.root_path) as client:
                    stats = cls(client, engine, recorder, builds, chosen)
                    yield stats
        finally:
            engine.dispose()

    def clear(self) -> None:
        """Forget everything, which is faster than a new database."""
        with engines.write_transaction(self.engine) as connection:
            for table in metadata.tables.values():
                if table is not store_state:
                    connection.execute(table.delete())
            state = {"requests_numbered": 0, "data_since": None}
            state |= {"archived_before": None, "hourly_since": None}
            connection.execute(
                store_state.update().values(changes=store_state.c.changes + 1, **state)
            )

    def post(self, events: object, **options: Any) -> Response:
        """Post events as they are."""
        headers = {"Authorization": f"Bearer {TOKEN}"} | options.pop("headers", {})
        return self.client.post("/api/v1/stats/events", json=events, headers=headers, **options)

    def record(self, *events: CloudEvent | list[CloudEvent]) -> dict[str, int]:
        """Post events and return how many were accepted and known before."""
        flat = [e for item in events for e in (item if isinstance(item, list) else [item])]
        response = self.post(flat)
        assert response.status_code == 200, response.text
        answer: dict[str, int] = response.json()
        return answer

    def bring_in(self, *events: CloudEvent) -> int:
        """Record history as an importer does; return how many events were accepted."""
        found = [from_cloudevent(event, now=self.now, imported=True) for event in events]
        return sum(apply_batch(self.engine, found, extra_writer=extra_writer_of(self.settings)).new)

    def get(self, question: str, **params: object) -> Any:
        """Return the answer to a question."""
        query = {name: str(value) for name, value in params.items()}
        response = self.client.get(f"/api/v1/stats/{question}", params=query)
        assert response.status_code == 200, response.text
        return response.json()
