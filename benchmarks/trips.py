"""How often each question of the API waits for a PostgreSQL on another host, and for what.

A proxy counts the round trips and delays each of them. `new`: the process has nothing in memory.
`changed`: something was recorded since the question was asked. `known`: it is asked once more.
"""

import tempfile
from pathlib import Path
from typing import Any, Final

from asu_stats.store import migrate
from asu_stats.store.database import engine as engines
from benchmarks import databases
from benchmarks.report import Results, Table, Target
from tests import servers, trips

ROUND_TRIP_MS: Final = 5.0
_REQUESTS: Final = 3_000
_MOST: Final = 2


def run(results: Results, keep: Path, size: int) -> None:
    """Measure on a database of its own: neither `keep` nor `size` matters."""
    del keep, size
    found: dict[str, dict[str, Any]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="asu-stats-trips-") as directory,
        servers.primary() as server,
        servers.proxy(server.port, ROUND_TRIP_MS / 2_000) as proxy,
    ):
        engine = engines.create(server.url())
        migrate.upgrade(engine)
        trips.fill(engine, _REQUESTS)
        engine.dispose()
        _measure(found, server, proxy, Path(directory))
    worst = max(of["changed"]["round_trips"] for of in found.values())
    target = Target("trips", "round trips of a question after a change", worst, "at most", _MOST)
    results.add("trips", found, [_table(found)], [target])


def _measure(
    found: dict[str, dict[str, Any]], server: servers.Server, proxy: servers.Proxy, directory: Path
) -> None:
    with trips.service(server, proxy.port, directory) as stats:
        for question in trips.questions():
            databases.progress(f"trips: {question}")
            for asked in trips.ask(stats, proxy, question):
                found.setdefault(question, {})[asked.state] = {
                    "round_trips": len(asked.trips),
                    "ms": 1e3 * asked.seconds,
                    "carry": [trips.described(trip) for trip in asked.trips],
                }


def _table(found: dict[str, dict[str, Any]]) -> Table:
    rows = [
        (
            question,
            *(of[state]["round_trips"] for state in trips.STATES),
            f"{of['changed']['ms']:.0f}",
            " / ".join(of["changed"]["carry"]),
        )
        for question, of in found.items()
    ]
    columns = ("question", *trips.STATES, "ms", "after a change, they carry")
    note = f"Round trips, and ms after a change with a round trip of {ROUND_TRIP_MS:g} ms."
    return Table("Round trips of questions", columns, [*rows], note)
