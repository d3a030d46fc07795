"""How often a process waits for PostgreSQL on another host. Counted by a proxy, not timed."""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import Connection, Engine, update

from asu_stats.builds.service import BuildService
from asu_stats.cloudevents import from_cloudevent
from asu_stats.events import Event
from asu_stats.store import migrate
from asu_stats.store.apply import apply_batch
from asu_stats.store.database import engine as engines
from asu_stats.store.database import postgresql, statements
from asu_stats.store.database.changes import COUNTER
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.database.schema import store_state
from tests import servers, trips
from tests.builds.support import failure, settings_for, submit, success
from tests.support import NOW, CloudEvent, Stats, build, request

T = TypeVar("T")

BATCH = 8  # of a batch, whatever its size


@pytest.fixture(scope="module")
def server() -> Iterator[servers.Server]:
    """A database with a schema."""
    with servers.primary() as server:
        engine = engines.create(server.url())
        migrate.upgrade(engine)
        engine.dispose()
        yield server


@pytest.fixture(scope="module")
def far(server: servers.Server) -> Iterator[tuple[Engine, servers.Proxy]]:
    """The database behind a proxy. No connection becomes old, however slow the tests are."""
    with servers.proxy(server.port) as proxy, pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgresql, "_TRUSTED_SECONDS", 600.0)
        engine = engines.create(server.url(proxy.port))
        apply_batch(engine, events_of("connects", 1))  # takes more round trips than any later one
        yield engine, proxy
        engine.dispose()


def events_of(name: str, requests: int) -> list[Event]:
    """Return requests of every outcome with ended builds; half of the hashes occur twice."""
    found: list[CloudEvent] = []
    for number in range(requests):
        at = NOW - timedelta(minutes=number)
        hash_ = f"{name} {number // 2}"
        outcome = ("queued", "joined", "cache_hit", "rejected", "cached_failure")[number % 5]
        packages = ["luci", f"package{number % 7}"]
        found.append(request(hash_, at, outcome=outcome, packages=packages))
        status = ("success", "failure", "timeout")[number % 3]
        found += build(hash_, status, end=at + timedelta(minutes=1), error_message="No such file")
    return [from_cloudevent(event, now=None) for event in found]


def counted(far: tuple[Engine, servers.Proxy], events: Sequence[Event]) -> int:
    """Record a batch; return how many round trips that took."""
    engine, proxy = far
    before = proxy.round_trips
    apply_batch(engine, events)
    return proxy.round_trips - before


@pytest.mark.parametrize("archived", [False, True])
def test_a_batch_of_any_size(far: tuple[Engine, servers.Proxy], archived: bool) -> None:
    engine, _ = far
    if archived:
        # Every hash and build may then be in the archive.
        with write_transaction(engine) as connection:
            connection.execute(update(store_state).values(archived_before=NOW.date()))
    apply_batch(engine, events_of(f"first {archived}", 100))
    for size in (1, 100, 1000):
        batch = events_of(f"{archived} {size}", size)
        assert counted(far, batch) <= BATCH, size
        again = [*events_of(f"{archived} {size}", size), *events_of(f"more {size}", size)]
        assert counted(far, again) <= BATCH, f"{size}, known hashes"


def test_a_batch_that_is_known(far: tuple[Engine, servers.Proxy]) -> None:
    events = events_of("known", 100)
    apply_batch(far[0], events)
    assert counted(far, events) <= BATCH


def test_a_batch_of_new_names(far: tuple[Engine, servers.Proxy]) -> None:
    event = request(
        "names", version="99", target="t/t", profile="p", client="n/1", packages=["new", "newer"]
    )
    failed = build("names", "failure", error_message="a text never seen before: 77")
    events = [from_cloudevent(each, now=None) for each in (event, *failed)]
    assert counted(far, events) <= BATCH


def test_a_batch_of_new_lists_of_known_packages(far: tuple[Engine, servers.Proxy]) -> None:
    """The names in the lists are asked for together with the builds of the requests."""
    names = [f"package{number}" for number in range(9)]
    known, *new = (request("lists", packages=names[:size]) for size in range(9, 3, -1))
    apply_batch(far[0], [from_cloudevent(known, now=None)])
    assert counted(far, [from_cloudevent(each, now=None) for each in new]) <= 3


BUILD = 2  # of claiming a build, and of ending it, before its event is recorded


def test_claiming_and_ending_a_build(far: tuple[Engine, servers.Proxy], tmp_path: Path) -> None:
    engine, proxy = far
    service = BuildService(engine, settings_for(tmp_path), record=lambda _: None)

    def trips(step: Callable[[], T]) -> tuple[int, T]:
        before = proxy.round_trips
        found = step()
        return proxy.round_trips - before, found

    assert trips(lambda: service.queue.claim("w")) == (2, None)
    for number, status in enumerate(("success", "failure") * 2):
        submitted, outcome = trips(partial(submit, service, profile=f"p{number}"))
        assert (submitted <= 6, outcome) == (True, "queued")
        claimed, job = trips(lambda: service.queue.claim("w"))
        assert claimed <= BUILD
        assert job
        ending, directory = success(service, job.build_id)
        publish = partial(service.images.publish, directory, job.request_hash)
        end = partial(service.queue.finish, job, ending, publish=publish)
        if status == "failure":
            end = partial(service.queue.finish, job, failure())
        ended, done = trips(end)
        assert ended <= BUILD
        assert done
        known, outcome = trips(partial(submit, service, profile=f"p{number}"))
        assert outcome == ("cache_hit" if status == "success" else "cached_failure")
        assert known <= BUILD


def test_nobody_waits_for_the_end_of_a_snapshot(far: tuple[Engine, servers.Proxy]) -> None:
    engine, proxy = far
    with read_snapshot(engine) as connection:
        statements.fetch(connection, COUNTER)
        proxy.stall()
    proxy.go_on()


def test_a_report_on_a_connection_that_was_lost(far: tuple[Engine, servers.Proxy]) -> None:
    """The connection was idle and is not checked first; the report is read again on another."""
    engine, proxy = far

    def report(connection: Connection) -> int:
        return int(statements.fetch(connection, COUNTER)[0][0])

    counted = engines.read(engine, report)
    proxy.drop()
    assert engines.read(engine, report) == counted


PAGE = 4  # of the overview after a change


def a_day(ago: int) -> list[Event]:
    """Return requests and builds of a day."""
    at = NOW - timedelta(days=ago)
    found = [request(f"{ago} {number}", at) for number in range(5)]
    for number in range(5):
        found += build(f"{ago} {number}", end=at + timedelta(minutes=1))
    return [from_cloudevent(event, now=None) for event in found]


def test_the_overview_page_after_a_change(
    far: tuple[Engine, servers.Proxy], tmp_path: Path
) -> None:
    engine, proxy = far
    apply_batch(engine, [event for ago in (1, 3, 9, 12, 20) for event in a_day(ago)])
    url = engine.url.render_as_string(hide_password=False)
    with Stats.on(url, tmp_path / "spool") as stats:
        assert stats.client.get("/").status_code == 200
        for number in range(3):
            stats.record(request(f"after {number}"), *build(f"after {number}"))
            before = proxy.round_trips
            page = stats.client.get("/").text
            assert 'data-figure="requests"' in page
            assert proxy.round_trips - before <= PAGE


QUESTION = 2  # of a report whose response is not remembered
# What they ask last depends on what they were answered before. The next time it is sent ahead.
FIRST = {
    "performance": 3,  # builds with the longest durations
    "performance?version=24.10.2": 3,
    "insights/failures": 3,  # texts and lists of packages
    "insights/failures?client=luci": 4,  # before them, names of clients
    "insights/fingerprints": 3,  # texts
    "insights/packages": 3,  # texts
    "insights/warmup": 3,  # images, by the branch of the newest release
}
CURRENT = {"comparison", "insights/queue"}  # depend on the clock: nothing is remembered


@pytest.fixture(scope="module")
def far_service(
    server: servers.Server,
    far: tuple[Engine, servers.Proxy],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Stats, servers.Proxy]]:
    """A service with some history behind the proxy."""
    engine, proxy = far
    trips.fill(engine, requests=600)
    with trips.service(server, proxy.port, tmp_path_factory.mktemp("asked")) as stats:
        yield stats, proxy


@pytest.mark.parametrize("question", trips.questions())
def test_a_question(far_service: tuple[Stats, servers.Proxy], question: str) -> None:
    for each in trips.ask(*far_service, question):
        most = FIRST.get(question, QUESTION) if each.state == "new" else QUESTION
        if each.state == "known" and question not in CURRENT:
            most = 1
        assert len(each.trips) <= most, (each.state, *map(trips.described, each.trips))


def test_questions_after_the_same_change(far_service: tuple[Stats, servers.Proxy]) -> None:
    """The first one reads the failures of the changed day, but not all lists of packages."""
    questions = ["insights/failures", "insights/failures?client=luci"]
    for _ in range(2):
        trips.change(far_service[0])
        asked = [trips.ask_once(*far_service, each, "changed") for each in questions]
    for each in asked:
        assert len(each.trips) <= QUESTION, [*map(trips.described, each.trips)]
