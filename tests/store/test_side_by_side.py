"""Batches of several writers side by side on PostgreSQL: figures, locks and the change counter.

Writers are behind a proxy that delays every piece of a conversation by another time.
"""

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, func, select, text

from asu_stats.cloudevents import from_cloudevent
from asu_stats.events import Event
from asu_stats.exceptions import StoreUnavailableError
from asu_stats.store import migrate
from asu_stats.store.apply import apply, apply_batch
from asu_stats.store.archive import retention, segments
from asu_stats.store.archive.archive import everything
from asu_stats.store.archive.expiry import Policy
from asu_stats.store.archive.retention import ArchiveDirectory
from asu_stats.store.database import changes, locks, statements
from asu_stats.store.database import engine as engines
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.database.schema import (
    build_metrics,
    client_stats,
    error_fingerprints,
    error_stats,
    request_metadata,
)
from asu_stats.store.rollups.definitions import DAILY
from asu_stats.store.verification import verify
from tests import forked, histories, servers
from tests.api.test_oracle import answers, expected
from tests.oracle import Oracle, client_of
from tests.support import NOW, CloudEvent, Stats, build, request

WRITERS = 8
MOST_DELAY = 0.004  # seconds, each way
TODAY = date(2026, 9, 30)
WINDOWS = [(TODAY - timedelta(days=6), TODAY), (date(2026, 9, 27), date(2026, 9, 28))]


@pytest.fixture(scope="module")
def server() -> Iterator[servers.Server]:
    with servers.primary() as made:
        engine = engines.create(made.url())
        migrate.upgrade(engine)
        engine.dispose()
        yield made


@pytest.fixture(scope="module")
def far(server: servers.Server) -> Iterator[list[Engine]]:
    """An engine for each writer."""
    with servers.proxy(server.port, MOST_DELAY, jitter=True) as proxy:
        found = [engines.create(server.url(proxy.port)) for _ in range(WRITERS)]
        yield found
        for engine in found:
            engine.dispose()


@pytest.fixture
def stats(server: servers.Server, tmp_path: Path) -> Iterator[Stats]:
    with Stats.on(server.url(), tmp_path / "spool") as found:
        found.clear()
        yield found


def parsed(history: Sequence[CloudEvent]) -> list[Event]:
    return [from_cloudevent(event, now=NOW, imported=True) for event in history]


def shares(history: Sequence[CloudEvent], rng: random.Random) -> list[list[list[Event]]]:
    """Return the batches of each writer, in any order; every third event goes to two writers."""
    found: list[list[Event]] = [[] for _ in range(WRITERS)]
    for event in parsed(history):
        for share in rng.sample(found, rng.choice((1, 1, 2))):
            share.append(event)
    batches = []
    for share in found:
        rng.shuffle(share)
        size = rng.choice((1, 3, 10))
        batches.append([share[start : start + size] for start in range(0, len(share), size)])
    return batches


def write(engine: Engine, batches: Sequence[Sequence[Event]]) -> int:
    """Apply batches; return how many events were new."""
    return sum(sum(_applied(engine, batch)) for batch in batches)


def _applied(engine: Engine, batch: Sequence[Event]) -> Sequence[bool]:
    while True:
        try:
            return apply_batch(engine, batch).new
        except StoreUnavailableError as error:  # a machine that is overloaded
            if "deadlock" in str(error):
                raise


def together(far: Sequence[Engine], batches: Sequence[Sequence[Sequence[Event]]]) -> int:
    """Let all writers write at once; return how many events were new."""
    with ThreadPoolExecutor(WRITERS) as pool:
        return sum(pool.map(write, far, batches))


def assert_figures(
    stats: Stats, history: Sequence[CloudEvent], *windows: tuple[date, date]
) -> None:
    oracle = Oracle(list(history))
    clients = {client_of(e["data"].get("client"))[0] for e in history if "outcome" in e["data"]}
    for window in windows or WINDOWS:
        assert answers(stats, *window, clients) == expected(oracle, *window, clients)
    assert list(verify.differences(stats.engine)) == []
    with read_snapshot(stats.engine) as connection:
        e, f = everything(error_stats).c, error_fingerprints.c
        errors = connection.execute(select(e.fingerprint, e.timestamp, e.request_hash)).all()
        examples = connection.execute(select(f.fingerprint, f.example_at, f.example_hash)).all()
    first: dict[str, tuple[object, ...]] = {}
    for name, *error in sorted(map(tuple, errors)):
        first.setdefault(name, tuple(error))
    assert {name: tuple(example) for name, *example in examples if example[0]} == first


@given(
    history=st.one_of(histories.histories(), histories.histories(imported=True)),
    seed=st.integers(0, 2**32),
    archived=st.booleans(),
)
@histories.examples(3)
def test_eight_writers(
    stats: Stats, far: list[Engine], history: list[CloudEvent], seed: int, archived: bool
) -> None:
    rng = random.Random(seed)
    stats.clear()
    half = len(history) // 2 if archived else 0
    new = together(far, shares(history[:half], rng))
    if archived:  # much of what comes after is late
        retention.run(stats.engine, Policy(2, 1, 1, 3650, latest=1), TODAY)
    new += together(far, shares(history[half:], rng))
    assert new == len({event["id"] for event in history})
    assert_figures(stats, history)


def busy(requests: int, rng: random.Random) -> list[CloudEvent]:
    """Return requests for few hashes and devices, most with a list or an error of their own."""
    found: list[CloudEvent] = []
    for number in range(requests):
        hash_, at = f"busy {rng.randrange(12)}", NOW - timedelta(minutes=rng.randrange(4000))
        outcome = ("queued", "joined", "cache_hit", "rejected")[number % 4]
        packages = ["luci", f"package{number}", f"package{number // 5}"]
        error: dict[str, Any] = {"error_category": "build", "error_type": "image_too_big"}
        error["error_message"] = f"{'x' * (number // 10)} is too big: {number}"
        found.append(request(hash_, at, outcome=outcome, packages=packages, **error))
        status = ("success", "failure", "timeout")[number % 3]
        failed: dict[str, Any] = {} if status == "success" else error
        end = at + timedelta(minutes=1)
        found += build(hash_, status, end=end, build_id=f"b{number // 2}", **failed)
    return found


def test_no_deadlock(stats: Stats, far: list[Engine]) -> None:
    history = busy(80, random.Random(1))
    batches = shares(history, random.Random(2))
    # Two writers with the same events, in opposite orders.
    batches[1] = [batch[::-1] for batch in batches[0][::-1]] + batches[1]
    together(far, batches)
    assert_figures(stats, history)


def test_late_events_of_archived_requests(stats: Stats, far: list[Engine], tmp_path: Path) -> None:
    """Writers of different requests restore rows of the same archive files."""
    old = NOW - timedelta(days=60)
    early = [
        event
        for number in range(2 * WRITERS)
        for event in (
            request(f"old {number}", old - timedelta(hours=1)),
            *build(f"old {number}", "cancelled", end=old, build_id="b"),
        )
    ]
    late = [
        [
            request(f"old {number}", old - timedelta(hours=2)),
            *build(f"old {number}", end=old - timedelta(minutes=number + 1), build_id="b"),
        ]
        for number in range(2 * WRITERS)
    ]
    all_late = [event for events in late for event in events]  # retention keeps one of the builds
    directory = tmp_path / "archive"
    for engine in (stats.engine, *far):
        segments.keep_in(engine, directory)
    write(stats.engine, [parsed(early)])
    retention.run(
        stats.engine,
        Policy(2, 1, 1, 3650, latest=1),
        TODAY,
        archive_directory=ArchiveDirectory(directory, "csv.gz"),
    )
    assert list(directory.glob("*/*/*"))
    with pytest.raises(locks.NotAloneError), engines.write_transaction(stats.engine) as connection:
        apply(connection, parsed(all_late), alone=False)
    together(far, [[parsed(events) for events in late[place::WRITERS]] for place in range(WRITERS)])
    window = old.date() - timedelta(days=1), old.date()
    assert_figures(stats, [*early, *all_late], window)


@contextlib.contextmanager
def held_up(
    holder: Engine, hold: Callable[[Connection], object], writer: Engine, batch: Sequence[Event]
) -> Iterator[None]:
    """Write a batch, which waits until the block is over for what `hold` has done."""
    with ThreadPoolExecutor(1) as pool:
        with engines.write_transaction(holder) as connection:
            hold(connection)
            statements.settle(connection)
            waiting = pool.submit(write, writer, [batch])
            while not _somebody_waits(holder):
                assert not waiting.done()
                time.sleep(0.01)
            yield
        assert waiting.result() == len(batch)


def _somebody_waits(engine: Engine) -> bool:
    with read_snapshot(engine) as connection:
        blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        return bool(connection.execute(text(blocked)).scalar_one())


@pytest.mark.usefixtures("stats")
def test_batches_of_other_requests_do_not_wait(far: list[Engine]) -> None:
    first, second = parsed([request("first"), request("second")])
    with held_up(far[0], lambda it: locks.lock_requests(it, ["first"]), far[1], [first]):
        assert write(far[2], [[second]]) == 1


@pytest.mark.usefixtures("stats")
def test_a_batch_waits_for_what_runs_alone(far: list[Engine]) -> None:
    with held_up(far[0], locks.lock_writers, far[1], parsed([request("any")])):
        pass


def test_a_new_list_of_two_batches(stats: Stats, far: list[Engine]) -> None:
    first, second = (request(name, packages=["new", "newer"]) for name in ("first", "second"))
    write(
        far[0], [parsed([request("before", packages=["new"]), request("it", packages=["newer"])])]
    )
    apply_first = partial(apply, events=parsed([first]), alone=False)
    with held_up(far[0], apply_first, far[1], parsed([second])):
        pass
    packages = stats.get("packages", days=1)
    assert {row["package"]: row["requests"] for row in packages} == {"new": 3, "newer": 3}


def test_an_example_that_no_longer_holds(stats: Stats, far: list[Engine]) -> None:
    """The next example may be an error that another batch is about to commit."""
    error: dict[str, Any] = {"error_category": "build", "error_type": "unknown"}
    error["error_message"] = "No such thing"
    ends = [NOW - timedelta(minutes=minutes) for minutes in (3, 2, 1)]
    names = ("first", "second", "third")
    first, second, third = (
        build(name, "failure", end=end, build_id="b", **error)
        for name, end in zip(names, ends, strict=True)
    )
    earlier = build("first", end=ends[0] - timedelta(minutes=1), build_id="b")
    write(far[0], [parsed([*first, *third])])
    apply_second = partial(apply, events=parsed(second), alone=False)
    with held_up(far[0], apply_second, far[1], parsed(earlier)):
        pass
    assert_figures(stats, [*first, *second, *third, *earlier])


def test_the_earlier_of_two_examples(stats: Stats, far: list[Engine]) -> None:
    error: dict[str, Any] = {"error_category": "build", "error_type": "unknown"}
    error["error_message"] = "No such thing"
    first, second, third = (
        build(name, "failure", end=NOW - timedelta(minutes=minutes), build_id="b", **error)
        for name, minutes in (("first", 3), ("second", 2), ("third", 1))
    )
    write(far[0], [parsed(third)])
    apply_first = partial(apply, events=parsed(first), alone=False)
    with held_up(far[0], apply_first, far[1], parsed(second)):
        pass
    assert_figures(stats, [*first, *second, *third])


# The change counter ------------------------------------------------------------------------------


def figures(engine: Engine) -> tuple[int, tuple[object, ...]]:
    """Return the change counter and some sums, all of one snapshot."""
    sums = [
        select(func.sum(DAILY.table.c[name])).scalar_subquery()
        for name in ("total_requests", "successful_builds", "rejected_requests", "unique_clients")
    ]
    rows = [
        select(func.count()).select_from(table).scalar_subquery()
        for table in (client_stats, build_metrics, request_metadata)
    ]
    with read_snapshot(engine) as connection:
        counted = changes.COUNTER.scalar_subquery()
        number, *rest = connection.execute(select(counted, *sums, *rows)).one()
    return number, tuple(rest)


def test_a_number_stands_for_one_state(
    stats: Stats, far: list[Engine], server: servers.Server, tmp_path: Path
) -> None:
    """Readers that race with writers never see two states under one number, or one ETag."""
    history = busy(50, random.Random(3))
    batches = shares(history, random.Random(4))
    states: dict[object, object] = {}
    over = threading.Event()

    def see(key: object, state: object) -> None:
        assert states.setdefault(key, state) == state

    def watch(engine: Engine) -> int:
        seen = 0
        while not over.is_set():
            see(*figures(engine))
            seen += 1
        return seen

    with (
        Stats.on(server.url(), tmp_path / "other") as other,
        ThreadPoolExecutor(WRITERS + 2) as pool,
    ):
        watching = [pool.submit(watch, stats.engine) for _ in range(2)]
        writing = [pool.submit(write, engine, of) for engine, of in zip(far, batches, strict=True)]
        while not all(each.done() for each in writing):
            for service in (stats, other):  # each remembers responses by number
                for path in ("overview", "clients"):
                    response = service.client.get(f"/api/v1/stats/{path}")
                    see((path, response.headers["etag"]), response.json())
        over.set()
        assert all(each.result() for each in (*writing, *watching))
        for service in (stats, other):
            for path in ("overview", "clients"):
                response = service.client.get(f"/api/v1/stats/{path}")
                see((path, response.headers["etag"]), response.json())
    assert_figures(stats, history)


# Processes that are killed -----------------------------------------------------------------------


def _process(url: str, batches: Sequence[Sequence[Event]]) -> None:
    engine = engines.create(url)
    write(engine, batches)
    engine.dispose()


def test_killed_writers(stats: Stats, server: servers.Server) -> None:
    rng = random.Random(5)
    history = busy(60, rng)
    batches = shares(history, rng)
    start: Callable[..., Any] = forked.context.Process
    with servers.proxy(server.port, MOST_DELAY, jitter=True) as proxy:
        url = server.url(proxy.port)
        killed = 0
        for _ in range(2):
            running = [start(target=_process, args=(url, of)) for of in batches[:4]]
            for process in running:
                process.start()
            while not figures(stats.engine)[1][-1]:  # until they write
                time.sleep(0.01)
            for process in running:
                process.join(rng.uniform(0, 0.2))
                process.kill()
                process.join()
                killed += process.exitcode == -9
        assert killed, "nobody was killed: the test shows nothing"
        engine = engines.create(url)
        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(write, [engine] * WRITERS, batches))
        engine.dispose()
    assert_figures(stats, history)
