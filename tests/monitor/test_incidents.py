"""Incidents: one message with subject, start, size and cause."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from asu_stats.monitor import state
from asu_stats.monitor.schema import alert_messages
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.details.queue_samples import QueueState
from tests.monitor.support import CHANNEL, TARGETS, VERSIONS, Play
from tests.support import NOW, Stats

NAIVE = NOW.replace(tzinfo=None)

MISSING = "Error: Impossible package selection: missing (luci-app-foo)"


def steady(play: Play) -> None:
    """Record two weeks in which one build in twenty failed, on all versions and targets."""
    for day in (12, 7, 3):
        play.builds(200, failed=10, ago=day * 24 * 60, error_type="image_too_big", hits=0)


def test_a_broken_package_in_one_version_of_twenty(stats: Stats) -> None:
    play = Play(stats)
    steady(play)
    play.builds(100, failed=4, error_type="image_too_big", ago=60)
    for _ in range(6):
        broken = {"version": VERSIONS[7], "error_type": "package_not_found"}
        play.builds(5, failed=4, names=broken, error_message=f"{MISSING} in /store/HASH")
        play.builds(40, failed=2, error_type="image_too_big")
        play.go(10, step=5)
    play.go(60, step=10)

    (opened,) = play.messages()
    data = opened["data"]
    assert opened["type"] == "alert.opened"
    assert data["subject"] == {"version": VERSIONS[7], "error_type": "package_not_found"}
    assert data["cause"]["version"] == {"name": VERSIONS[7], "percentage": 100.0}
    assert data["cause"]["package"] == {"name": "luci-app-foo", "percentage": 100.0}
    assert data["cause"]["client"]["name"] == "luci"
    assert data["cause"]["target"] is None
    examples = data["cause"]["examples"]
    assert [len(example["request_hash"]) for example in examples] == [12, 12, 12]
    assert examples[0]["message"] == f"{MISSING} in /store/{examples[0]['request_hash']}"
    for word in (VERSIONS[7], "luci-app-foo", "% of", "Firing since 2026-09-30T12:"):
        assert word in data["subject_line"] + data["body"]
    assert not [name for name in hashes_of(play) if name in json.dumps(opened)]

    play.go(26 * 60, step=60)
    assert [kind for kind, _ in play.told()] == ["alert.opened", "alert.closed"]
    (told,) = play.alerts()["incidents"]
    assert told["closed_at"]
    assert told["rules"] == ["failures_now", "failures_over_hours", "failures_today"]
    assert told["text"].endswith("were expected")
    assert "of 0 builds" not in told["text"]


def hashes_of(play: Play) -> list[str]:
    return [f"{number:040x}" for number in range(next(play.hashes))]


@pytest.mark.parametrize(
    ("what", "subject"),
    [
        ({"target": TARGETS[2]}, {"target": TARGETS[2]}),
        ({"target": TARGETS[2], "version": VERSIONS[3]}, None),
        ({}, {}),
    ],
)
def test_one_cause_is_one_message(
    sqlite_stats: Stats, what: dict[str, str], subject: dict[str, str] | None
) -> None:
    play = Play(sqlite_stats)
    steady(play)
    play.builds(200, failed=10, error_type="image_too_big", ago=120)
    for _ in range(6):
        for kind in ("container_lost", "worker_lost", "build_timeout"):
            play.builds(12, failed=10, error_type=kind, names=what)
        play.builds(40, failed=2, error_type="image_too_big")
        play.go(10, step=5)
    play.go(60, step=20)

    assert len(play.messages()) == 1, play.told()
    (opened,) = play.messages()
    assert opened["data"]["subject"] == (what if subject is None else subject)
    if not what:
        # Nothing of it all is told apart: neither rules nor kinds of errors.
        assert {"failures_now", "failures_today", "success_rate_low"} <= play.firing()


def test_two_causes_are_two_messages(sqlite_stats: Stats) -> None:
    play = Play(sqlite_stats)
    steady(play)
    play.builds(200, failed=10, error_type="image_too_big", ago=30)
    play.builds(40, failed=35, error_type="package_not_found", version=VERSIONS[1])
    play.go(20, step=4)
    play.builds(40, failed=35, error_type="imagebuilder_failed", target=TARGETS[0])
    play.go(20, step=4)

    subjects = [body["data"]["subject"] for body in play.messages()]
    assert subjects[0] == {"version": VERSIONS[1], "error_type": "package_not_found"}
    assert subjects[1].get("target") == TARGETS[0]
    assert len(subjects) == 2


def test_a_client_with_a_tenth_of_the_builds(stats: Stats) -> None:
    play = Play(stats)
    steady(play)
    play.builds(200, failed=10, error_type="image_too_big", ago=12 * 60)
    for number in range(6):
        kind = ("package_conflict", "package_not_found", "imagebuilder_failed")[number % 3]
        play.builds(3, failed=3, error_type=kind, client="script/1")
        play.builds(30, failed=2, error_type="image_too_big")
        play.go(10, step=5)
    play.go(30, step=10)

    (opened,) = play.messages()
    assert opened["data"]["subject"] == {"client": "script"}
    assert opened["data"]["cause"]["client"] == {"name": "script", "percentage": 100.0}


def test_a_version_with_most_of_the_builds_is_named(sqlite_stats: Stats) -> None:
    play = Play(sqlite_stats)
    steady(play)
    # That something fails is certain; that the version is to blame alone would not be.
    play.builds(40, failed=16, error_type="package_not_found", version=VERSIONS[4])
    play.builds(30, failed=1, error_type="image_too_big", version=VERSIONS[5])
    play.go(20, step=5)

    (opened,) = play.messages()
    named = {"version": VERSIONS[4], "error_type": "package_not_found"}
    assert opened["data"]["subject"] == named


def test_an_alert_about_all_builds_does_not_hide_the_next_cause(sqlite_stats: Stats) -> None:
    play = Play(sqlite_stats)
    steady(play)
    play.builds(400, failed=20, error_type="image_too_big", ago=10 * 60)
    play.builds(60, failed=50, error_type="container_engine_down")
    play.go(20, step=5)
    play.go(4 * 60, step=30)
    # All builds fail too often before one type of error does.
    play.builds(86, failed=12, error_type="image_too_big")
    play.builds(14, failed=14, error_type="download_failed")
    play.go(20, step=5)
    assert len(play.messages()) == 1
    play.builds(60, failed=30, error_type="download_failed")
    play.go(20, step=5)

    subjects = [body["data"]["subject"] for body in play.messages()]
    assert subjects == [{"error_type": "container_engine_down"}, {"error_type": "download_failed"}]


def test_clients_that_an_outage_hits_are_no_further_messages(sqlite_stats: Stats) -> None:
    play = Play(sqlite_stats)
    steady(play)
    clients = ("luci/1", "owut/1", "auc/1")
    for client in clients:
        play.builds(20, ago=20 * 60, client=client)
    for _ in range(10):
        for client in clients:
            play.builds(5, failed=4, error_type="container_engine_down", client=client)
        play.go(30, step=10)

    assert "client_failures" in play.firing()
    assert len(play.messages()) == 1, play.told()


def test_a_client_that_failed_hours_ago_is_no_news(sqlite_stats: Stats) -> None:
    play = Play(sqlite_stats)
    play.builds(40, failed=30, client="script/1", ago=10 * 60)
    play.builds(5, client="script/1")
    play.go(30, step=5)

    assert "client_failures" not in play.firing()


def test_one_who_tries_again_and_again_is_one(sqlite_stats: Stats) -> None:
    play = Play(sqlite_stats)
    steady(play)
    play.builds(500, failed=25, ago=30, error_type="image_too_big")
    number = next(play.hashes)
    for _ in range(40):
        play.hashes = iter([number])
        play.builds(1, failed=1, hits=0, version=VERSIONS[2], client="stubborn/1")
    play.hashes = iter(range(10**6, 10**7))
    play.builds(10, version=VERSIONS[2])
    play.go(30, step=5)

    assert play.firing() == {"client_failures"}
    assert [body["data"]["subject"] for body in play.messages()] == [{"client": "stubborn"}]


def test_flapping_does_not_spam(sqlite_stats: Stats) -> None:
    play = Play(sqlite_stats)
    for _ in range(12):  # every half hour, for six hours
        play.queue = QueueState(3, 0, (play.now - timedelta(minutes=30)).replace(tzinfo=None))
        play.go(10, step=5)
        play.queue = QueueState(0, 0, None)
        play.go(20, step=5)

    assert len(play.messages()) <= 8  # without a memory it would be 24
    assert play.told()[0][0] == "alert.opened"
    play.go(6 * 60, step=60)
    assert play.told()[-1][0] == "alert.closed"


def test_what_flaps_within_its_time_says_nothing(sqlite_stats: Stats) -> None:
    play = Play(sqlite_stats)
    for _ in range(15):
        play.queue = QueueState(150, 2, play.now.replace(tzinfo=None))
        play.go(4)
        play.queue = QueueState(90, 2, play.now.replace(tzinfo=None))
        play.go(1)
    assert play.messages() == []


def test_a_silence_keeps_quiet_until_it_is_over(sqlite_stats: Stats) -> None:
    play = Play(sqlite_stats)
    with write_transaction(sqlite_stats.engine) as connection:
        number = state.silence(
            connection,
            rule=None,
            subject=(),
            until=play.now + timedelta(hours=3),
            comment="moving house",
            now=play.now,
        )
    play.queue = QueueState(150, 2, play.now.replace(tzinfo=None))
    play.go(90, step=5)
    assert play.state("queue_long") == "firing"
    assert play.messages() == []
    assert play.alerts()["incidents"][0]["silenced"]
    assert play.alerts()["silences"][0]["id"] == number

    play.go(100, step=5)
    assert [kind for kind, _ in play.told()] == ["alert.opened"]


# Who is told of a beginning is told of the end --------------------------------------------------


def stalled(play: Play) -> None:
    """Let an incident begin."""
    play.queue = QueueState(3, 0, (play.now - timedelta(hours=1)).replace(tzinfo=None))
    play.go(2)


def well(play: Play, minutes: int = 10) -> None:
    """Let it end."""
    play.queue = QueueState(0, 0, None)
    play.go(minutes)


def quiet(play: Play, hours: float = 9) -> None:
    with write_transaction(play.stats.engine) as connection:
        until = play.now + timedelta(hours=hours)
        state.silence(connection, rule=None, subject=(), until=until, comment="", now=play.now)


def heard(play: Play) -> dict[str, list[str]]:
    """Return what each channel was told, in order."""
    columns = (alert_messages.c.channel, alert_messages.c.message_id)
    found: dict[str, list[str]] = {}
    with read_snapshot(play.stats.engine) as connection:
        for channel, message in connection.execute(select(*columns).order_by(alert_messages.c.id)):
            found.setdefault(channel, []).append(message.rpartition("-")[2])
    return found


BOTH = ["opened", "closed"]


def test_the_end_is_told_through_a_silence(stats: Stats) -> None:
    play = Play(stats)
    stalled(play)
    quiet(play)
    well(play)
    assert [kind for kind, _ in play.told()] == ["alert.opened", "alert.closed"]


def test_what_begins_and_ends_in_a_silence_is_not_told(sqlite_stats: Stats) -> None:
    play = Play(sqlite_stats)
    quiet(play)
    stalled(play)
    well(play)
    assert play.alerts()["incidents"][0]["closed_at"]
    assert play.messages() == []


@pytest.mark.parametrize("how", ["removed", "disabled", "limit", "all"])
def test_the_end_is_told_when_rules_change(stats: Stats, how: str) -> None:
    play = Play(stats)
    stalled(play)
    rules = list(play.watch.rules)
    (mine,) = [rule for rule in rules if rule.name == "builds_stalled"]
    rest = [rule for rule in rules if rule is not mine]
    changed = {
        "removed": rest,
        "disabled": [*rest, mine.model_copy(update={"enabled": False})],
        "limit": [*rest, mine.model_copy(update={"above": 600, "recover": 500})],
        "all": [],
    }
    play.watch = replace(play.watch, rules=changed[how])
    play.go(10)
    opened, closed = play.messages()
    assert (opened["type"], closed["type"]) == ("alert.opened", "alert.closed")
    assert ("No enabled rule watches this any more" in closed["data"]["body"]) == (how != "limit")
    assert play.alerts()["incidents"][0]["closed_at"]


def test_the_end_is_told_to_channels_that_have_changed(stats: Stats) -> None:
    play = Play(stats, channels=("one", "two"))
    stalled(play)
    play.watch = replace(play.watch, channels=("two", "three"))
    play.go(5)
    quiet(play)
    play.watch = replace(play.watch, channels=("two", "four"))
    well(play)
    # The one that is new in a silence never heard of it.
    assert heard(play) == {"one": BOTH, "two": BOTH, "three": BOTH}


def test_who_is_told_survives_restarts_and_years(stats: Stats) -> None:
    play = Play(stats)
    stalled(play)
    with write_transaction(stats.engine) as connection:
        connection.execute(alert_messages.update().values(next_at=None, delivered_at=NAIVE))
    play.now += timedelta(days=800)
    play = Play(stats, now=play.now, queue=play.queue)
    play.go(3)
    well(play)
    assert heard(play) == {CHANNEL: BOTH}


def test_many_servers_tell_once(stats: Stats) -> None:
    play = Play(stats)
    play.queue = QueueState(3, 0, (play.now - timedelta(hours=1)).replace(tzinfo=None))
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            play.now += timedelta(minutes=1)
            moments = [play.now + timedelta(microseconds=number) for number in range(4)]
            list(pool.map(play.watch.run, moments))

    assert [kind for kind, _ in play.told()] == ["alert.opened"]


def test_a_clock_that_is_behind_changes_nothing(sqlite_stats: Stats) -> None:
    play = Play(sqlite_stats)
    play.queue = QueueState(3, 0, (play.now - timedelta(hours=1)).replace(tzinfo=None))
    play.go(2)
    before = play.alerts()

    play.queue = QueueState(0, 0, None)
    play.watch.run(play.now - timedelta(hours=2))

    assert play.alerts() == before


def test_names_of_strangers_are_plain_text(sqlite_stats: Stats) -> None:
    play = Play(sqlite_stats)
    evil = "@everyone <b>https://evil.example/\u202e"
    play.builds(30, failed=29, client=evil, error_message=f"{evil}\nmore")
    play.go(10)

    (opened, *_) = [m for m in play.messages() if m["data"]["subject"]]
    said = opened["data"]["subject_line"] + opened["data"]["body"]
    assert "evil.example" in said
    told = json.dumps({**opened["data"], "source": ""}, ensure_ascii=False)
    for bad in ("@", "://", "\u202e"):
        assert bad not in said + told


def test_rules_are_settings(sqlite_stats: Stats) -> None:
    shown = {row["rule"]: row for row in Play(sqlite_stats).alerts()["rules"]}
    assert shown["success_rate_low"]["below"] == 85
    assert shown["success_rate_low"]["value"] is None
    assert shown["success_rate_low"]["state"] == "ok"
    assert Play(sqlite_stats).alerts()["evaluated_at"] is None


def test_every_rule_has_a_value(sqlite_stats: Stats) -> None:
    play = Play(sqlite_stats)
    steady(play)
    play.builds(150, failed=9, ago=30 * 60)
    play.builds(200, failed=12)
    play.go(2)
    values = {row["rule"]: row["value"] for row in play.alerts()["rules"]}
    assert values["success_rate_low"] == 94
    assert values["success_rate_falling"] == 0
    assert values["failures_today"] == 1  # 6 % after 5 %
    assert values["cache_hit_rate_low"] == 50
    assert values["builds_slow"] == 60
    assert values["queue_long"] == 0


def test_yesterdays_trouble_is_no_news(sqlite_stats: Stats) -> None:
    play = Play(sqlite_stats)
    play.builds(150, failed=4, ago=30 * 60)
    play.builds(150, failed=60, ago=20 * 60)
    play.builds(100, failed=2)
    play.go(20, step=4)
    assert "success_rate_low" in play.firing()
    assert play.state("success_rate_falling") == "ok"


@pytest.mark.parametrize("ahead", [timedelta(days=2), timedelta(hours=1)])
def test_an_evaluation_of_a_clock_ahead_holds_up_nothing(stats: Stats, ahead: timedelta) -> None:
    right = NOW
    play = Play(stats, now=right + ahead)
    play.queue = QueueState(3, 0, (right - timedelta(hours=1)).replace(tzinfo=None))
    play.go(20)
    assert "firing" in json.dumps(play.alerts())

    play.now = right
    play.queue = QueueState(0, 0, None)
    play.go(30)
    assert "firing" not in json.dumps(play.alerts())
    with read_snapshot(stats.engine) as connection:
        known = state.read(connection)
    assert known.evaluated_at == play.now
    assert known.incidents == []
    assert all(alert.since <= play.now for alert in known.alerts)


def test_a_silence_of_a_clock_ahead_lasts_as_long_as_it_was_meant(stats: Stats) -> None:
    play = Play(stats)
    made = play.now + timedelta(days=2)
    with write_transaction(stats.engine) as connection:
        state.silence(
            connection,
            rule=None,
            subject=(),
            until=made + timedelta(hours=1),
            comment="",
            now=made,
        )
    play.go(1)
    with read_snapshot(stats.engine) as connection:
        (silence,) = state.silences(connection)
    assert timedelta(0) < silence.until - play.now <= timedelta(hours=1)
