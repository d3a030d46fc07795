"""The shipped Prometheus rules, played: a table of situations and the rules that fire in each.

Each situation acts on a real server. What `/metrics` says after each act becomes the series that
`promtool test rules` evaluates the shipped file on, minute by minute.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import update

from asu_stats.builds.jobs import Ending
from asu_stats.builds.workers import Registry
from asu_stats.jobs import definitions
from asu_stats.jobs.job import Job, Schedule
from asu_stats.jobs.runner import Runner
from asu_stats.monitor import state
from asu_stats.recorder import Recorder
from asu_stats.reports import now as now_report
from asu_stats.store.database.engine import write_transaction
from asu_stats.store.database.leases import scheduled_jobs
from asu_stats.store.database.reading import State
from asu_stats.store.rollups.definitions import DAILY
from tests.builds.support import body
from tests.metrics.play import RULES, Play
from tests.support import CloudEvent, Stats, build, request

pytestmark = pytest.mark.skipif(
    not shutil.which("promtool"), reason="no Prometheus on this machine (Debian's package)"
)

# Ordinary ---------------------------------------------------------------------------------------


def a_day(play: Play, *, good: int = 40, bad: int = 0, hits: int = 40, seconds: int = 60) -> None:
    """Record builds that ended and cache hits, now."""
    events: list[CloudEvent] = []
    for number in range(good + bad):
        name = f"{play.now.isoformat()}-{number}"
        status = "success" if number < good else "failure"
        events += [
            request(name, play.now - timedelta(seconds=seconds)),
            *build(name, status, end=play.now, seconds=seconds),
        ]
    events += [request(f"hit{number}", play.now, outcome="cache_hit") for number in range(hits)]
    play.record(events)


def nothing(play: Play) -> None:
    """Nobody uses the server."""


def an_ordinary_day(play: Play) -> None:
    for minute in (10, 30, 50):
        a_day(play, bad=2)
        play.go_to(minute)


def failed_builds_that_clients_ask_for(play: Play) -> None:
    """The build API answers 500 for them: to POST once, to GET and HEAD again and again."""
    a_day(play, hits=100)
    for number in range(3):
        wish = play.stats.client.post("/api/v1/build", json=body(profile=f"device-{number}"))
        job = play.stats.builds.queue.claim("w1")
        assert job
        play.stats.builds.queue.finish(job, Ending(status="failure", error_message="no"))
        path = f"/api/v1/build/{wish.json()['request_hash']}"
        for minute in range(10 * number + 1, 10 * number + 9):
            assert play.stats.client.get(path).status_code == 500
            assert play.stats.client.head(path).status_code == 500
            again = play.stats.client.post("/api/v1/build", json=body(profile=f"device-{number}"))
            assert again.status_code == 500
            play.go_to(minute)


def rejections(play: Play) -> None:
    """Requests that do not parse, and those of other servers that are refused."""
    a_day(play)
    for minute in range(5, 60, 5):
        for wrong in ({}, {"version": 1}, body(packages="no list")):
            assert play.stats.client.post("/api/v1/build", json=wrong).status_code == 422
        play.record([request(f"{minute}-{n}", play.now, outcome="rejected") for n in range(30)])
        assert play.stats.post([{"type": "asu.nonsense"}]).status_code == 422
        assert play.stats.client.get("/api/v1/stats/overview?days=0").status_code == 422
        assert play.stats.client.get("/nowhere").status_code == 404
        play.go_to(minute)


def old_history(days: int) -> list[CloudEvent]:
    """Return what every rule on rates would fire for if it were of today."""
    then = datetime.now(UTC) - timedelta(days=days)
    events = []
    for number in range(100):
        name = f"old{days}-{number}"
        events += [request(name, then), *build(name, "failure", end=then, seconds=900)]
        events += build(f"slow{days}-{number}", end=then, seconds=900)
    return events


def an_import_of_history(play: Play) -> None:
    a_day(play)
    play.go_to(5)
    play.stats.bring_in(*old_history(700), *old_history(2))
    play.go_to(10)


def late_events(play: Play) -> None:
    a_day(play)
    play.go_to(5)
    play.record(old_history(1))
    play.go_to(10)


def corrections(play: Play) -> None:
    """Ends that arrive later, of builds that turn out to have failed before."""
    a_day(play)
    name = f"{play.now.isoformat()}-"
    ids = [f"again{number}" for number in range(40)]
    play.record(
        [e for n, i in enumerate(ids) for e in build(f"{name}{n}", build_id=i, end=play.now)]
    )
    play.go_to(5)
    earlier = play.now - timedelta(minutes=9)
    play.record(
        [build(f"{name}{n}", "failure", build_id=i, end=earlier)[1] for n, i in enumerate(ids)]
    )
    play.go_to(10)


def a_short_queue_after_an_idle_night(play: Play) -> None:
    """The first request after hours waits for some minutes."""
    play.record(build("h", end=play.now - timedelta(hours=9)))
    play.scrape(0)
    play.go_to(30)
    play.record(request("first", play.now))
    play.go_to(31)
    play.go_to(40)
    play.record(build("first", end=play.now))
    play.go_to(41)


def a_queue_that_moves(play: Play) -> None:
    """150 wait for half an hour while builds end."""
    a_day(play, hits=200)
    play.record([request(f"q{n}", play.now) for n in range(150)])
    for minute in range(5, 40, 5):
        play.record(build(f"q{minute}", end=play.now))
        play.go_to(minute)
    play.record([e for n in range(150) for e in build(f"q{n}", end=play.now)])
    play.go_to(40)


def requests_that_no_end_was_told_of(play: Play) -> None:
    """A foreign server crashed; after six hours its queue counts no longer."""
    play.record([request(f"q{n}", play.now - timedelta(hours=6, minutes=1)) for n in range(150)])


def a_restart(play: Play) -> None:
    a_day(play)
    play.go_to(10)
    play.down(20)
    play.go_to(23)


def a_short_outage_of_the_database(play: Play) -> None:
    a_day(play)
    play.go_to(10)
    without_database(play)
    play.go_to(13)
    with_database(play)
    play.go_to(16)


# Not ordinary -----------------------------------------------------------------------------------


def without_database(play: Play) -> None:
    file = play.stats.settings.database_file
    assert file
    play.stats.engine.dispose()
    file.rename(file.with_suffix(".away"))
    file.mkdir()
    for path in ("/api/v1/stats/overview", "/", "/api/v1/build/" + "a" * 64):
        assert play.stats.client.get(path).status_code == 503
    assert play.stats.post([request("h")]).status_code == 503


def with_database(play: Play) -> None:
    file = play.stats.settings.database_file
    assert file
    file.rmdir()
    file.with_suffix(".away").rename(file)


def an_outage_of_the_database(play: Play) -> None:
    a_day(play)
    play.go_to(10)
    without_database(play)
    play.go_to(11)


def an_outage_of_the_server(play: Play) -> None:
    play.down(10)


def builds_that_fail(play: Play) -> None:
    a_day(play, good=20, bad=20)


def slow_builds(play: Play) -> None:
    a_day(play, seconds=400)


def a_cold_cache(play: Play) -> None:
    a_day(play, good=60, hits=10)


def a_long_queue(play: Play) -> None:
    a_day(play, hits=200)
    for minute in range(0, 90, 5):
        play.record([request(f"q{minute}-{n}", play.now) for n in range(120 if not minute else 5)])
        play.record(build(f"q{minute}", end=play.now))
        play.go_to(minute + 1)


def a_queue_that_stands_still(play: Play) -> None:
    play.record(build("h", end=play.now), request("waits", play.now))


def a_worker_that_was_lost(play: Play) -> None:
    Registry(play.stats.engine, play.stats.settings).take_name("worker")
    play.go_to(5)


def an_error_of_the_program(play: Play) -> None:
    """One request, once, ends with an exception; the first of its kind since the start."""
    play.go_to(10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(now_report, "read", lambda *_: 1 / 0)
        assert play.stats.client.get("/api/v1/stats/now").status_code == 500
    play.go_to(11)


def an_error_of_the_program_in_the_build_api(play: Play) -> None:
    play.go_to(10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(play.stats.builds), "look_up", lambda *_: 1 / 0)
        assert play.stats.client.get("/api/v1/build/" + "a" * 64).status_code == 500
    play.go_to(11)


def lost_events(play: Play) -> None:
    play.go_to(10)
    play.stats.recorder.counters.lost += 7
    play.go_to(11)


def events_in_the_spool(play: Play) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recorder, "spooled", property(lambda _: 3))
        play.go_to(10)


def mismatches(play: Play) -> None:
    play.record(request("h", play.now - timedelta(days=2)))
    with write_transaction(play.stats.engine) as connection:
        connection.execute(update(DAILY.table).values(total_requests=7))
    verify(play)


def verify(play: Play, ago: timedelta = timedelta()) -> None:
    """Run the job `verify`, some time ago."""
    run(
        play, definitions.verification(play.stats.engine, Schedule("0 3 * * *"), play.now.date), ago
    )


def run(play: Play, job: Job, ago: timedelta) -> None:
    runner = Runner(play.stats.engine, [job])
    runner.register()
    runner.run_now(job)
    with write_transaction(play.stats.engine) as connection:
        at = (play.now - ago).replace(tzinfo=None)
        connection.execute(update(scheduled_jobs).values(succeeded_at=at))


def a_verification_of_last_night(play: Play) -> None:
    verify(play, timedelta(hours=20))


def a_verification_that_is_late(play: Play) -> None:
    verify(play, timedelta(days=2, hours=1))


def evaluate(play: Play) -> None:
    """Run the job `alerts`, now."""
    run(play, Job("alerts", "", Schedule("* * * * *"), lambda _: {}), timedelta())


def a_restart_after_an_hour(play: Play) -> None:
    """The first evaluation is due within a minute."""
    evaluate(play)
    play.scrape(0)
    play.down(1)
    play.go_to(4)
    play.down(5)
    play.go_to(65)
    for minute in range(68, 90, 8):
        evaluate(play)
        play.go_to(minute)


def rules_that_nobody_evaluates(play: Play) -> None:
    evaluate(play)


def an_outbreak(play: Play) -> None:
    """One version fails far more than before: only asu-stats itself can tell."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "firing", lambda _: {"failures_now"})
        play.go_to(10)


Situation = Callable[[Play], None]


# Situation → the rules that fire in it at some time in the 90 minutes, and no other does.
def a_replica(play: Play) -> None:
    """The replica is in use, and never more than a little behind."""
    for minute in range(0, 60, 10):
        play.replica = State("in use", lag_seconds=minute / 10, lag_bytes=minute)
        play.go_to(minute)


def a_replica_that_restarts(play: Play) -> None:
    for minute, status in ((0, "in use"), (1, "unreachable"), (4, "in use")):
        play.replica = State(status)  # type: ignore[arg-type]
        play.go_to(minute)


def a_replica_that_is_behind(play: Play) -> None:
    play.replica = State("behind", lag_seconds=60, lag_bytes=1 << 20)
    play.go_to(1)


def a_replica_that_is_gone(play: Play) -> None:
    play.replica = State("unreachable")
    play.go_to(1)


TABLE: Final[dict[Situation, set[str]]] = {
    nothing: set(),
    an_ordinary_day: set(),
    failed_builds_that_clients_ask_for: set(),
    rejections: set(),
    an_import_of_history: set(),
    late_events: set(),
    corrections: set(),
    a_short_queue_after_an_idle_night: set(),
    a_queue_that_moves: set(),
    requests_that_no_end_was_told_of: set(),
    a_restart: set(),
    a_short_outage_of_the_database: set(),
    a_verification_of_last_night: set(),
    an_outage_of_the_database: {"AsuStatsDatabaseAway"},
    a_replica: set(),
    a_replica_that_restarts: set(),
    a_replica_that_is_behind: {"AsuStatsReplicaNotUsed"},
    a_replica_that_is_gone: {"AsuStatsReplicaNotUsed"},
    an_outage_of_the_server: {"AsuStatsDown"},
    builds_that_fail: {"AsuSuccessRateLow"},
    slow_builds: {"AsuBuildsSlow"},
    a_cold_cache: {"AsuCacheHitRateLow"},
    a_long_queue: {"AsuQueueLong"},
    a_queue_that_stands_still: {"AsuBuildsStalled"},
    a_worker_that_was_lost: {"AsuWorkersLost"},
    an_error_of_the_program: {"AsuStatsErrors"},
    an_error_of_the_program_in_the_build_api: {"AsuStatsErrors"},
    lost_events: {"AsuStatsEventsLost"},
    events_in_the_spool: {"AsuStatsEventsWait"},
    mismatches: {"AsuStatsRollupMismatches"},
    a_verification_that_is_late: {"AsuStatsTaskLate"},
    a_restart_after_an_hour: {"AsuStatsDown"},
    rules_that_nobody_evaluates: {"AsuStatsAlertsLate"},
    an_outbreak: {"AsuStatsRuleFires"},
}
MINUTES: Final = 90


def firing(play: Play, directory: Path) -> set[str]:
    """Return the rules that fire at some time, as promtool sees it."""
    alerts = f'ALERTS{{alertstate="firing"}}[{MINUTES}m]'
    expression = f"group by (alertname) (max_over_time({alerts}))"
    test: dict[str, Any] = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": play.input_series(MINUTES),
                "promql_expr_test": [
                    {"expr": expression, "eval_time": f"{play.before + MINUTES}m"}
                ],
            }
        ],
    }
    file = directory / "test.yml"
    file.write_text(json.dumps(test))
    done = subprocess.run(  # it expects nothing, and says what there is
        ["promtool", "test", "rules", str(file)],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0 or "got:" in said, said
    return set(re.findall(r'alertname="(\w+)"', said))


@pytest.mark.parametrize("situation", TABLE, ids=lambda situation: situation.__name__)
def test_each_rule_fires_exactly_when_it_should(
    situation: Situation, sqlite_stats: Stats, tmp_path: Path
) -> None:
    sqlite_stats.now = datetime.now(UTC)
    play = Play(sqlite_stats, sqlite_stats.now)
    play.scrape(0)
    situation(play)
    if len(play.seen) == 1:
        play.go_to(5)
    assert firing(play, tmp_path) == TABLE[situation]


def test_every_rule_is_played() -> None:
    rules = set(re.findall(r"alert: (\w+)", RULES.read_text()))
    played = set().union(*TABLE.values())
    assert rules == played
