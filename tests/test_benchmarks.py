"""The reports of the benchmarks in SQL have the same results as those of asu-stats."""

from pathlib import Path

from asu_stats.store.database import engine as engines
from asu_stats.windows import Window
from benchmarks import databases, other_databases, systems
from benchmarks.data import LAST_DAY


def test_sql_on_the_details_has_the_same_results(tmp_path: Path) -> None:
    prepared = databases.prepare(tmp_path, 2_000, with_raw=False)
    engine = engines.create(prepared.url)
    details = other_databases.Details(prepared.file)
    try:
        for days in (30, 365):
            systems.check_equal(engine, [details], Window.last(days, today=LAST_DAY))
    finally:
        details.close()
        engine.dispose()
