"""The text that Prometheus scrapes."""

import logging
import platform
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry
from sqlalchemy import Engine

from asu_stats import __version__
from asu_stats.builds import worker_states
from asu_stats.builds.combined_queue import CombinedQueue
from asu_stats.events import UNKNOWN
from asu_stats.exceptions import StoreUnavailableError
from asu_stats.metrics import domain
from asu_stats.metrics.domain import gauge
from asu_stats.metrics.process import ProcessMetrics
from asu_stats.metrics.replica import of_replica
from asu_stats.monitor import state
from asu_stats.recorder import Recorder
from asu_stats.reports import lifetime
from asu_stats.settings import Settings
from asu_stats.store.archive import segments
from asu_stats.store.database import dialects, leases
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.database.reading import Watched
from asu_stats.store.details import live_counts

log = logging.getLogger(__name__)


class Exposition(Collector):
    """All metrics of this process, read on each scrape."""

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        recorder: Recorder,
        process: ProcessMetrics,
        queues: CombinedQueue,
        *,
        now: Callable[[], datetime],
        unreadable_rows: Callable[[], int] = lambda: 0,
        replica: Watched | None = None,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._recorder = recorder
        self._process = process
        self._queues = queues
        self._now = now
        self._unreadable_rows = unreadable_rows
        self._replica = replica
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics and their media type: OpenMetrics if `accept` asks for it."""
        encode, media = choose_encoder(accept)
        # All names are ASCII, so no escaping scheme is needed.
        return encode(self._registry), media.partition("; escaping=")[0]

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics; only those of this process while the database is unreachable."""
        try:
            of_database: Sequence[Metric] = list(self._of_database())
        except StoreUnavailableError as error:
            log.debug("metrics: %s", error)
            of_database = ()
        yield from of_database
        yield gauge(
            "asu_stats_database_up",
            "1 if the database is reachable, else 0.",
            int(bool(of_database)),
        )
        if self._replica:
            yield from of_replica(self._replica)
        yield from self._of_recorder()
        yield from self._of_clock()
        yield from self._process.collect()
        info = GaugeMetricFamily(
            "asu_stats_build_info",
            "Version of asu-stats; always 1.",
            labels=["version", "python_version"],
        )
        info.add_metric([__version__, platform.python_version()], 1)
        yield info

    def _of_database(self) -> Iterator[Metric]:
        now = self._now()
        silence = self._settings.worker_timeout_seconds
        clients = (*self._settings.metrics_clients, UNKNOWN)
        with read_snapshot(self._engine) as connection:
            live = live_counts.read(connection)
            ever = lifetime.read(connection, clients, today=now.date())
            queue = self._queues.state_in(connection)
            workers = worker_states.workers(connection, now=now, silence_seconds=silence)
            firing = state.firing(connection)
            size = dialects.database_size(connection)
            damaged = len(segments.problems(connection))
        tasks = leases.states(self._engine)
        yield from domain.of_live(live, clients)
        yield from domain.of_lifetime(ever)
        yield from domain.of_queue(queue, workers)
        rules = (rule.name for rule in self._settings.alerts if rule.enabled)
        yield from domain.of_alerts(firing, rules)
        yield from domain.of_tasks(tasks)
        yield from domain.of_events(live, self._process.invalid_events)
        yield gauge(
            "asu_stats_archive_missing_files",
            "Archive files that are missing, not readable or damaged.",
            damaged,
        )
        yield gauge("asu_stats_database_size_bytes", "Size of the database.", size)
        yield gauge(
            "asu_stats_database_wal_size_bytes",
            "Size of SQLite's write-ahead log; 0 on PostgreSQL.",
            _wal_size(self._settings.database_file),
        )

    def _of_clock(self) -> Iterator[Metric]:
        clock = self._process.clock
        yield CounterMetricFamily(
            "asu_stats_clock_steps",
            "Jumps of the host's clock by 30 seconds or more since the start.",
            value=clock.check(),
        )
        yield gauge(
            "asu_stats_clock_last_step_seconds",
            "Seconds of the last jump, negative if backwards; 0 if there was none.",
            clock.last.seconds if clock.last else 0,
        )

    def _of_recorder(self) -> Iterator[Metric]:
        counters = self._recorder.counters
        for name, meaning, value in (
            (
                "lost",
                "Events lost because neither database nor spool could store them; must stay 0.",
                counters.lost,
            ),
            ("dead_lettered", "Events that the database rejected.", counters.dead_lettered),
            (
                "damaged",
                "Damaged lines of spool files that this process found and kept in a file.",
                self._recorder.damaged,
            ),
        ):
            yield CounterMetricFamily(f"asu_stats_events_{name}", meaning, value=value)
        for name, meaning, value in (
            ("spool", "Events in this process's spool.", self._recorder.spooled),
            ("recorder_queue", "Events in memory, not written yet.", self._recorder.waiting),
        ):
            yield gauge(f"asu_stats_{name}_events", meaning, value)
        yield gauge(
            "asu_stats_spool_unreadable_files",
            "Spool files that this process can't read, such as those of another user.",
            len(self._recorder.unreadable),
        )
        yield gauge(
            "asu_stats_build_events_unreadable_rows",
            "Unreadable rows of build_events; they stay in the table. From the database.",
            self._unreadable_rows(),
        )


def _wal_size(database: Path | None) -> int:
    if database is None:
        return 0
    try:
        return database.with_name(f"{database.name}-wal").stat().st_size
    except FileNotFoundError:
        return 0
