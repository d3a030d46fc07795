"""The accuracy benchmark of insights, on one short history: all is found, and nothing else."""

from typing import Any

import pytest

from asu_stats.reports.insights import significance
from benchmarks.insights import histories, incidents
from benchmarks.insights.histories import CLEAR
from benchmarks.report import Results

KINDS = ("package", "worker", "mirror", "storm")
SHOWN_WITHIN = {  # hours
    ("package", "failures, culprit"): 48,
    ("package", "packages"): 24,
    ("worker", "failures, stands out"): 24,
    ("mirror", "phases"): 12,
    ("storm", "queue, storms"): 12,
}


def accuracy(monkeypatch: pytest.MonkeyPatch, *kinds: str) -> Results:
    """Return the results for clear incidents, two days each, among 100 requests a day."""
    monkeypatch.setattr(incidents, "_SEEDS", (1,))
    monkeypatch.setattr(histories, "STRENGTHS", (CLEAR,))
    monkeypatch.setattr(histories, "KINDS", kinds)
    monkeypatch.setattr(histories, "FIRST", 5)
    results = Results(0)
    incidents.run(results, 8 + 2 * len(kinds), 100)
    return results


def test_clear_incidents_are_found_in_time_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results = accuracy(monkeypatch, *KINDS)
    assert [target.name for target in results.targets if not target.ok] == []
    assert len(results.targets) == 7
    (table,) = results.tables["incidents"]
    found: dict[tuple[object, object], Any] = {(row[0], row[3]): row[4] for row in table.rows}
    late = {key: found[key] for key, most in SHOWN_WITHIN.items() if not 0 <= found[key] <= most}
    assert late == {}


def test_an_insight_that_finds_nothing_misses_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(significance, "P", 0.0)
    missed = [target.name for target in accuracy(monkeypatch, "worker").targets if not target.ok]
    assert missed == ["clear incidents shown within a day, %", "the same by each insight, %"]
