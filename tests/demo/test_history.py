"""Demo histories: requested length and size, plausible, deterministic."""

import itertools
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import Engine, func, select

from asu_stats.builds.catalogue import Catalogue
from asu_stats.cloudevents import from_cloudevent, to_cloudevent
from asu_stats.demo import catalogue
from asu_stats.demo.history import SOURCE, history
from asu_stats.demo.restart import restarted
from asu_stats.demo.troubles import BROKEN_PACKAGE
from asu_stats.demo.world import read_csv
from asu_stats.error_types import classify
from asu_stats.events import BuildFinished, BuildStarted, Event, RequestReceived
from asu_stats.store.apply import apply_batch
from asu_stats.store.database.schema import client_stats
from asu_stats.store.verification import verify
from tests.demo.conftest import DAYS, NOW, REQUESTS
from tests.support import Stats

BREAKAGE_DAY = date(2026, 11, 12)
OUTAGE_DAY = date(2026, 11, 19)
RELEASE_DAY = date(2026, 6, 30)


def requests(events: Iterable[Event]) -> list[RequestReceived]:
    return [event for event in events if isinstance(event, RequestReceived)]


def accepted(events: Iterable[Event]) -> list[RequestReceived]:
    return [event for event in requests(events) if event.outcome != "rejected"]


def started(events: Iterable[Event]) -> list[BuildStarted]:
    return [event for event in events if isinstance(event, BuildStarted)]


def finished(events: Iterable[Event]) -> list[BuildFinished]:
    return [event for event in events if isinstance(event, BuildFinished)]


def failure_rate(builds: Iterable[BuildFinished]) -> float:
    statuses = [build.status for build in builds if build.status != "cancelled"]
    return sum(status != "success" for status in statuses) / len(statuses)


# As asked ---------------------------------------------------------------------------------------


def test_the_same_arguments_give_the_same_events(events: list[Event]) -> None:
    again = history(days=DAYS, requests=REQUESTS, now=NOW)
    assert all(one == other for one, other in itertools.zip_longest(events, again, fillvalue=None))


def test_other_arguments_give_other_identities() -> None:
    histories = [
        history(days=2, requests=50, now=NOW),
        history(days=2, requests=50, now=NOW, seed=2),
        history(days=2, requests=51, now=NOW),
        history(days=3, requests=50, now=NOW),
        history(days=2, requests=50, now=NOW + timedelta(seconds=1)),
    ]
    identities = [{(event.source, event.id) for event in each} for each in histories]
    assert len(set.union(*identities)) == sum(map(len, identities))


@pytest.mark.parametrize(
    ("days", "count"),
    [(30, 2000), (7, 700), (3, 300), (2, 100), (1, 100), (90, 900), (1, 1), (5, 0)],
)
@pytest.mark.parametrize(
    "now",
    [
        NOW,
        datetime(2026, 11, 24, tzinfo=UTC),
        datetime(2026, 11, 24, 0, 0, 10, tzinfo=UTC),
        datetime(2026, 11, 24, 15, tzinfo=UTC),
        datetime(2026, 7, 3, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(2018, 3, 1, 12, tzinfo=UTC),
    ],
    ids=str,
)
def test_it_is_as_long_and_busy_as_asked(days: int, count: int, now: datetime) -> None:
    found = list(history(days=days, requests=count, now=now))
    assert len(accepted(found)) == pytest.approx(count, rel=0.1)
    first = now.date() - timedelta(days=days - 1)
    assert all(first <= event.time.date() and event.time <= now for event in found)
    assert [event.time for event in found] == sorted(event.time for event in found)


def test_now_may_be_in_any_time_zone() -> None:
    local = datetime.fromisoformat("2026-11-25T01:00:00+02:00")
    found = list(history(days=1, requests=50, now=local))
    assert {event.time.date() for event in found} == {date(2026, 11, 24)}
    assert found == list(history(days=1, requests=50, now=local.astimezone(UTC)))


def test_the_source_is_as_given() -> None:
    found = list(history(days=1, requests=50, now=NOW, source="https://asu.example.org"))
    assert {event.source for event in requests(found)} == {"https://asu.example.org"}
    for build in started(found):
        assert build.source == f"https://asu.example.org/workers/{build.worker_id}"


# Well formed ------------------------------------------------------------------------------------


def test_every_event_passes_the_border(events: list[Event]) -> None:
    assert len({(event.source, event.id) for event in events}) == len(events)
    for event in events:
        assert event.id.startswith("demo:")
        assert event.source.startswith(SOURCE)
        assert from_cloudevent(to_cloudevent(event), now=NOW) == event


def test_errors_are_classified_and_their_texts_are_real(events: list[Event]) -> None:
    real = {row["text"] for row in read_csv("errors.csv")}
    ended: list[RequestReceived | BuildFinished] = [*requests(events), *finished(events)]
    for event in ended:
        if event.error_message is None:
            assert event.error_type is None
            continue
        status = event.outcome if isinstance(event, RequestReceived) else event.status
        kind = classify(event.error_message, status=status)
        assert (event.error_category, event.error_type) == kind
        if event.error_message not in real:
            assert BROKEN_PACKAGE in event.error_message
    rejected = [event for event in requests(events) if event.outcome == "rejected"]
    assert {event.error_message for event in rejected} <= real


def test_all_that_is_accepted_is_on_offer(events: list[Event]) -> None:
    offered = Catalogue.model_validate(catalogue.catalogue())
    for request in accepted(events):
        assert request.profile in offered.targets_of(request.version)[request.target]


def test_what_is_refused_is_not_on_offer(events: list[Event]) -> None:
    offered = Catalogue.model_validate(catalogue.catalogue())
    refused = [event for event in requests(events) if event.outcome == "rejected"]
    versions = {r.version for r in refused if r.error_type == "unsupported_version"}
    assert versions
    assert versions.isdisjoint(offered.versions)
    assert {"unsupported_profile", "unsupported_target"} <= {r.error_type for r in refused}


def test_every_request_says_what_size_it_asks_for(events: list[Event]) -> None:
    sizes = [event.rootfs_size_mb for event in requests(events)]
    assert None not in sizes
    assert 0.005 < sum(size != 0 for size in sizes) / len(sizes) < 0.08
    assert len(set(sizes)) >= 4


def test_equal_hashes_mean_equal_contents(events: list[Event]) -> None:
    contents: dict[str, tuple[object, ...]] = {}
    for event in requests(events):
        names = (event.version, event.target, event.profile, event.diff_packages)
        content = (*names, event.rootfs_size_mb, frozenset(event.packages or ()))
        assert contents.setdefault(event.request_hash, content) == content
    assert len(set(contents.values())) == len(contents)


# Like a cache and a queue -----------------------------------------------------------------------


def test_outcomes_follow_from_the_builds_before(events: list[Event]) -> None:
    ended: dict[str, BuildFinished] = {}
    running: set[str] = set()
    for event in events:
        known = ended.get(event.request_hash)
        if isinstance(event, BuildFinished):
            ended[event.request_hash] = event
            running.remove(event.request_hash)
        elif isinstance(event, RequestReceived):
            assert (event.outcome == "joined") == (
                event.request_hash in running and event.outcome != "rejected"
            )
            if event.outcome == "queued":
                running.add(event.request_hash)
            if event.outcome == "cache_hit":
                assert known is not None
                assert known.status == "success"
                assert event.time - known.time < timedelta(days=7)
            if event.outcome == "cached_failure":
                assert known is not None
                assert known.status in {"failure", "timeout"}
                assert event.time - known.time < timedelta(hours=1)


def test_a_worker_builds_one_thing_at_a_time(events: list[Event]) -> None:
    busy: dict[str | None, str] = {}
    durations = []
    begun: dict[str, datetime] = {}
    for event in events:
        if isinstance(event, BuildStarted):
            assert event.worker_id not in busy
            busy[event.worker_id] = event.build_id
            begun[event.build_id] = event.time
        elif isinstance(event, BuildFinished):
            assert busy.pop(event.worker_id) == event.build_id
            took = event.time - begun[event.build_id]
            assert event.duration_seconds == (took + timedelta(seconds=0.5)) // timedelta(seconds=1)
            assert event.phases
            assert sum(event.phases.values()) == pytest.approx(took.total_seconds(), abs=0.3)
            if event.status == "success":
                durations.append(event.duration_seconds)
    durations.sort()
    assert 40 < durations[len(durations) // 2] < 150
    assert durations[-1] > 150


def test_something_is_being_built_and_something_waits_at_the_end(events: list[Event]) -> None:
    queued = sum(event.outcome == "queued" for event in requests(events))
    assert 1 <= len(started(events)) - len(finished(events)) <= 10
    assert 1 <= queued - len(started(events)) <= 20


# Believable -------------------------------------------------------------------------------------


def test_outcomes_are_mixed(events: list[Event]) -> None:
    outcomes = Counter(event.outcome for event in accepted(events))
    assert 0.45 < outcomes["cache_hit"] / outcomes.total() < 0.6
    assert 0.01 < outcomes["joined"] / outcomes.total() < 0.1
    assert 0.005 < outcomes["cached_failure"] / outcomes.total() < 0.05
    statuses = Counter(event.status for event in finished(events))
    assert min(statuses[each] for each in ("success", "failure", "timeout", "cancelled")) > 0


def test_every_day_has_requests_and_weekends_more(events: list[Event]) -> None:
    days = Counter(event.time.date() for event in accepted(events))
    assert len(days) == DAYS
    full = [day for day in days if day != NOW.date()]
    weekend = [days[day] for day in full if day.weekday() >= 5]
    workdays = [days[day] for day in full if day.weekday() < 5]
    assert sum(weekend) / len(weekend) > 1.15 * sum(workdays) / len(workdays)


def test_evenings_are_busier_than_the_early_morning(events: list[Event]) -> None:
    hours = Counter(event.time.hour for event in accepted(events))
    assert sum(hours[hour] for hour in (18, 19, 20)) > 2 * sum(hours[hour] for hour in (4, 5, 6))


def test_clients_ask_in_their_manner(events: list[Event]) -> None:
    asked = accepted(events)
    clients = Counter(event.client for event in asked)
    assert [client for client, _ in clients.most_common(3)] == ["ofs", "luci", "owut"]
    for client, low, high in (("luci", 0.9, 1), ("owut", 0.9, 1), ("ofs", 0.3, 0.8)):
        share = sum(e.diff_packages is True for e in asked if e.client == client) / clients[client]
        assert low < share <= high


def test_a_version_breaks_for_some_days_for_want_of_a_package(events: list[Event]) -> None:
    incident = {BREAKAGE_DAY + timedelta(days=number) for number in range(1, 3)}
    quiet = [build for build in finished(events) if build.time.date() < BREAKAGE_DAY]
    broken = [build for build in finished(events) if build.time.date() in incident]
    assert 0.025 < failure_rate(quiet) < 0.075
    assert failure_rate(broken) > 0.2
    worst, count = Counter(
        (build.names.version, build.error_type) for build in broken if build.status == "failure"
    ).most_common(1)[0]
    assert worst == ("25.12.5", "package_not_found")
    assert count > 20
    others = [build for build in broken if build.names.version != "25.12.5"]
    assert failure_rate(others) < 0.15


def test_one_afternoon_the_engine_is_down(events: list[Event]) -> None:
    afternoon = [
        build
        for build in finished(events)
        if build.time.date() == OUTAGE_DAY and 14 <= build.time.hour < 17
    ]
    assert failure_rate(afternoon) > 0.5
    assert len({build.worker_id for build in afternoon}) > 1
    failed = [build for build in afternoon if build.status != "success"]
    categories = Counter(build.error_category for build in failed)
    timeouts = sum(build.status == "timeout" for build in failed)
    assert categories["container"] + timeouts > 0.8 * len(failed)
    full = [event for event in requests(events) if event.error_type == "queue_full"]
    assert {event.time.date() for event in full} == {OUTAGE_DAY}


def test_a_release_draws_a_crowd() -> None:
    now = datetime(2026, 7, 6, tzinfo=UTC)
    found = accepted(history(days=20, requests=6000, now=now))
    days = Counter(event.time.date() for event in found)
    assert days[RELEASE_DAY] > 1.4 * days[RELEASE_DAY - timedelta(days=7)]
    of_release = Counter(event.time.date() for event in found if event.version == "25.12.5")
    assert min(of_release) == RELEASE_DAY
    assert of_release[RELEASE_DAY] > 0.2 * days[RELEASE_DAY]
    joined = Counter(event.time.date() for event in found if event.outcome == "joined")
    assert joined[RELEASE_DAY] > joined[RELEASE_DAY - timedelta(days=7)]


# In the store -----------------------------------------------------------------------------------


def test_a_store_takes_it_in_and_every_figure_adds_up(engine: Engine) -> None:
    small = list(history(days=8, requests=400, now=NOW))
    for start in range(0, len(small), 150):
        assert all(apply_batch(engine, small[start : start + 150]).new)
    assert list(verify.differences(engine)) == []
    assert not any(apply_batch(engine, small).new)


def test_builds_that_go_on_at_the_end_are_cancelled_by_the_restart() -> None:
    events = list(history(days=3, requests=3000, now=NOW))
    found = list(restarted(events, NOW))
    assert found[: len(events)] == events
    started = {event.build_id for event in found if isinstance(event, BuildStarted)}
    ended = [event.build_id for event in found if isinstance(event, BuildFinished)]
    assert started <= set(ended)
    assert len(ended) == len(set(ended))
    cancelled = found[len(events) :]
    assert all(isinstance(e, BuildFinished) and e.status == "cancelled" for e in cancelled)


def test_nothing_of_the_history_waits_for_ever(stats: Stats) -> None:
    events = list(history(days=2, requests=2000, now=NOW))
    stats.now = NOW
    apply_batch(stats.engine, events)
    before = stats.get("now")
    assert before["queue_length"] > 0
    assert before["builds_running"] > 0

    apply_batch(stats.engine, list(restarted(events, NOW)))

    now = stats.get("now")
    assert (now["queue_length"], now["builds_running"]) == (0, 0)
    waits = select(func.count()).where(client_stats.c.status == "queued")
    with stats.engine.connect() as connection:
        assert connection.execute(waits).scalar_one() == 0
