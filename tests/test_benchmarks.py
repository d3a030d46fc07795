"""The reports of the benchmarks in SQL have the same results as those of asu-stats."""

from pathlib import Path

import pytest

from asu_stats.reports.endpoints import REPORTS
from asu_stats.store.database import engine as engines
from asu_stats.windows import Window
from benchmarks import databases, insight_times, other_databases, systems
from benchmarks.data import LAST_DAY
from benchmarks.report import Results


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


def test_times_of_insights_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each insight with its time, and a target for each that is read from sums."""
    monkeypatch.setattr(insight_times, "TURNS", 1)
    monkeypatch.setattr(insight_times, "collect_less_garbage", lambda: None)
    results = Results(300)
    insight_times.run(results, tmp_path, 300)
    names = {report.name for report in REPORTS if report.name.startswith("insights/")}
    names -= {"insights/fingerprints/{fingerprint}"}
    (table,) = results.tables["insights"]
    printed = capsys.readouterr().out
    assert {row[0] for row in table.rows} == names | {"overview"}
    assert all(name in printed for name in names)
    assert {target.name.split(" / ")[0] for target in results.targets} <= names
