"""Names and heartbeats of workers, in the database.

A worker takes the first free name of `w1`, `w2`, …. Names are therefore the same after a restart,
and unique on any number of hosts.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from sqlalchemy import Engine, delete, insert, select, update

from asu_stats.builds import statements as sql
from asu_stats.builds.queue import Clock
from asu_stats.builds.schema import BUILDING, build_jobs, build_workers
from asu_stats.settings import Settings
from asu_stats.store.database.engine import write_transaction
from asu_stats.times import naive, utc_now

j, w = build_jobs.c, build_workers.c
MAX_NAMES: Final = 10_000


class Registry:
    """The registered workers. Raises `StoreUnavailableError` when the database is unreachable."""

    def __init__(self, engine: Engine, settings: Settings, *, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._silence = timedelta(seconds=settings.worker_timeout_seconds)
        self._clock = clock

    def take_name(self, holder: str) -> str:
        """Return a name that belongs to `holder` as long as it sends heartbeats."""
        now = naive(self._clock())
        with write_transaction(self._engine) as connection:
            sql.exclude_others(connection)
            held = set(
                connection.execute(
                    select(w.worker_id).where(w.heartbeat_at >= now - self._silence)
                ).scalars()
            )
            names = (f"w{number}" for number in range(1, MAX_NAMES + 1))
            name = next(name for name in names if name not in held)
            connection.execute(delete(build_workers).where(w.worker_id == name))
            connection.execute(
                insert(build_workers).values(worker_id=name, holder=holder, heartbeat_at=now)
            )
            return name

    def heartbeat(self, holders: Mapping[str, str | None]) -> tuple[set[str], set[str]]:
        """Store heartbeats of workers (by holder) and of the builds that they run.

        Returns the holders that lost their name to another worker, and the builds that were ended
        because no heartbeat arrived in time.
        """
        now = naive(self._clock())
        lost_names, lost_builds = set(), set()
        with write_transaction(self._engine) as connection:
            for holder, build_id in sorted(holders.items()):
                alive = update(build_workers).where(w.holder == holder)
                if (
                    connection.execute(alive.values(heartbeat_at=now, build_id=build_id)).rowcount
                    == 0
                ):
                    lost_names.add(holder)
                running = update(build_jobs).where(j.build_id == build_id, j.status == BUILDING)
                if build_id and connection.execute(running.values(heartbeat_at=now)).rowcount == 0:
                    lost_builds.add(build_id)
        return lost_names, lost_builds

    def release(self, holder: str) -> None:
        """Release the name of a worker that stops."""
        with write_transaction(self._engine) as connection:
            connection.execute(
                update(build_workers)
                .where(w.holder == holder)
                .values(holder=None, heartbeat_at=None, build_id=None)
            )
