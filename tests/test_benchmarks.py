"""The benchmarks ask what is asked today: SQL on the details gives our answers."""

from pathlib import Path

from asu_stats.store.database import engine as engines
from asu_stats.windows import Window
from benchmarks import databases, rivals, sides
from benchmarks.data import LAST_DAY


def test_sql_on_the_details_says_the_same(tmp_path: Path) -> None:
    made = databases.prepare(tmp_path, 2_000, with_raw=False)
    engine = engines.create(made.url)
    details = rivals.Details(made.file)
    try:
        for days in (30, 365):
            sides.check_equal(engine, [details], Window.last(days, today=LAST_DAY))
    finally:
        details.close()
        engine.dispose()
