"""Default rules: each fires, notifies once, and resolves."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from asu_stats.alert_rules import DEFAULTS, Rule
from asu_stats.monitor import reporting
from asu_stats.monitor.evaluate import Alert, Incident
from asu_stats.store.details.queue_samples import QueueState
from tests.monitor.support import Play
from tests.support import NOW, Stats

Step = Callable[[Play], None]


def steady(play: Play) -> None:
    """Record the day before, and two weeks: well."""
    for day in (14, 7, 3):
        play.builds(150, failed=4, ago=day * 24 * 60)
    play.builds(150, failed=4, ago=30 * 60)


def long_line(play: Play) -> None:
    play.queue = QueueState(120, 2, NOW.replace(tzinfo=None))


def no_end(play: Play) -> None:
    play.builds(1, ago=1)
    play.queue = QueueState(1, 0, play.now.replace(tzinfo=None))


def no_line(play: Play) -> None:
    play.queue = QueueState(0, 0, None)


def after_steady(**what: Any) -> Step:
    """Return a step that records a steady past, then builds."""

    def step(play: Play) -> None:
        steady(play)
        play.builds(**what)

    return step


def fewer_hits(play: Play) -> None:
    steady(play)
    play.requests(300, "cache_hit", ago=30 * 60)
    play.builds(100, hits=0)
    play.requests(80, "cache_hit")


def cold(play: Play) -> None:
    steady(play)
    play.requests(300, "cache_hit", ago=10 * 60)
    play.requests(100, "queued", ago=10 * 60)
    play.requests(30, "cache_hit")
    play.requests(50, "queued")


def slower(play: Play) -> None:
    play.builds(100, ago=10 * 60)
    play.builds(20, seconds=140)


# What makes a rule fire, and what makes it well again.
SCENARIOS: dict[str, tuple[Step, Step]] = {
    "success_rate_low": (
        lambda play: play.builds(100, failed=20),
        lambda play: play.builds(100),
    ),
    "builds_slow": (
        lambda play: play.builds(30, seconds=330),
        lambda play: play.builds(30, seconds=60),
    ),
    "cache_hit_rate_low": (
        lambda play: play.requests(60, "queued"),
        lambda play: play.requests(60, "cache_hit"),
    ),
    "client_failures": (
        lambda play: play.builds(100, failed=60, client="script/1"),
        lambda play: play.builds(500, client="script/1"),
    ),
    "queue_long": (long_line, no_line),
    "builds_stalled": (no_end, no_line),
    "success_rate_falling": (
        after_steady(count=400, failed=52),
        lambda play: play.builds(400),
    ),
    "durations_rising": (
        after_steady(count=100, seconds=110),
        lambda play: play.builds(300, seconds=60),
    ),
    "builds_slow_now": (
        slower,
        lambda play: play.builds(300, seconds=60),
    ),
    "cache_hit_rate_falling": (fewer_hits, lambda play: play.requests(300, "cache_hit")),
    "cache_cold": (cold, lambda play: play.requests(300, "cache_hit")),
    "failures_now": (
        after_steady(count=20, failed=15, version="24.10.3"),
        lambda play: play.builds(300, version="24.10.3"),
    ),
    "failures_over_hours": (
        after_steady(count=40, failed=15, version="24.10.3"),
        lambda play: play.builds(300, version="24.10.3"),
    ),
    "failures_today": (
        after_steady(count=60, failed=15, version="24.10.3"),
        lambda play: play.builds(300, version="24.10.3"),
    ),
}


def test_every_default_is_played() -> None:
    assert {rule.name for rule in DEFAULTS} == SCENARIOS.keys()


@pytest.mark.parametrize("rule", DEFAULTS, ids=lambda rule: rule.name)
def test_a_default_rule_fires_and_resolves(sqlite_stats: Stats, rule: Rule) -> None:
    play = Play(sqlite_stats)
    name = rule.name
    wrong, well = SCENARIOS[name]
    play.go(1)
    assert play.firing() == set()

    wrong(play)
    play.go(1)
    wait = 16 if name == "builds_stalled" else rule.for_minutes
    if wait:
        assert play.state(name) != "firing"
    play.go(wait + 1, step=max(1, wait // 15))
    assert play.state(name) == "firing"
    (row,) = [row for row in play.alerts()["rules"] if row["rule"] == name]
    assert row["alerts"][0]["since"] <= play.now.isoformat()
    assert len(play.messages()) == 1, play.told()

    well(play)
    play.go(rule.recover_minutes + 2)
    assert play.state(name) == "ok"
    play.go(60, step=5)
    assert play.firing() == set()
    assert [kind for kind, _ in play.told()] == ["alert.opened", "alert.closed"]


def test_three_of_three_failures_say_nothing_sixty_of_a_hundred_do(sqlite_stats: Stats) -> None:
    play = Play(sqlite_stats)
    play.builds(3, failed=3, client="small/1")
    play.builds(100, failed=60, client="large/2", error_type="image_too_big")
    play.go(30)

    (row,) = [row for row in play.alerts()["rules"] if row["rule"] == "client_failures"]
    assert [alert["subject"] for alert in row["alerts"]] == [{"client": "large"}]
    assert row["alerts"][0]["value"] == 60
    assert row["alerts"][0]["sample"] == 100


def test_a_client_that_is_only_turned_away(sqlite_stats: Stats) -> None:
    play = Play(sqlite_stats)
    play.requests(30, "rejected")
    play.go(10)
    assert play.firing() == {"client_failures"}


def test_the_text_of_an_incident_is_of_one_evaluation() -> None:
    """The worst rate with the sample of another evaluation would be a figure that never was."""
    rules = {rule.name: rule for rule in DEFAULTS}
    rule = rules["failures_now"]
    incident = Incident("i", rule.family, rule.name, (), rule.severity, NOW)
    worst = Alert(rule.name, (), "firing", NOW, value=25.0, worst=25.0, sample=28, expected=0.0)
    milder = replace(worst, value=16.0, sample=44, expected=0.5)
    first = reporting.report(rules, incident, [worst], None)
    assert first["text"].startswith("25% of 28 builds failed in 3 h, 0% were expected")
    assert "text" not in reporting.report_changes(rules, incident, [milder], first)
    late = reporting.report(rules, incident, [milder], None)
    assert late["text"].startswith("16.5% of 44 builds failed in 3 h, 0.5% were expected")
    worse = replace(milder, value=60.0, worst=60.0, sample=50)
    changes = reporting.report_changes(rules, incident, [worse], first)
    assert changes["text"].startswith("60.5% of 50 builds")
