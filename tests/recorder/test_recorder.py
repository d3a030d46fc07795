"""The recorder: no event is lost, whatever the store does."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from asu_stats import cloudevents
from asu_stats.events import Event
from asu_stats.exceptions import InvalidEventError, StoreUnavailableError
from asu_stats.recorder import Recorder
from asu_stats.recorder.spool import Spool
from asu_stats.store.database.engine import write_transaction
from tests.support import Stats, cloudevent, request

TIME = datetime(2026, 9, 30, 12, tzinfo=UTC)


def event(name: str, **data: object) -> Event:
    item = request("h-" + name, TIME, client=name, **data) | {"id": name}
    return cloudevents.from_cloudevent(item, now=TIME)


def events(count: int, prefix: str = "e") -> list[Event]:
    return [event(f"{prefix}{number}") for number in range(count)]


@dataclass
class Applied:
    new: Sequence[bool]


@dataclass
class FakeStore:
    """A sink that remembers, and that can be made to be away or to refuse."""

    stored: dict[str, Event] = field(default_factory=dict)
    batches: list[int] = field(default_factory=list)
    away: bool = False
    refuses: Callable[[Event], bool] = lambda _: False
    hold: threading.Event | None = None

    def __call__(self, batch: Sequence[Event]) -> Applied:
        if self.hold is not None:
            self.hold.wait(120)
        if self.away:
            raise StoreUnavailableError("database: unreachable")
        if any(map(self.refuses, batch)):
            raise ValueError("constraint failed")
        new = [e.id not in self.stored for e in batch]
        self.stored |= {e.id: e for e in batch}
        self.batches.append(len(batch))
        return Applied(new)

    def rehearse(self, batch: Sequence[Event]) -> None:
        """Do what a call does, and keep nothing."""
        if self.away:
            raise StoreUnavailableError("database: unreachable")
        if any(map(self.refuses, batch)):
            raise ValueError("constraint failed")

    def probe(self) -> None:
        """Try to write a made-up event."""
        self.rehearse(events(1, "probe"))


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


def spool_in(path: Path, limit: int = 1 << 20) -> Spool:
    return Spool(path, limit_bytes=limit, reserve_bytes=4096)


def recorder_of(store: FakeStore, spool: Spool, **options: Any) -> Recorder:
    return Recorder(store, spool, rehearse=store.rehearse, probe=store.probe, **options)


def into(taken: list[Event]) -> Callable[[list[Event]], bool]:
    """Take whatever is replayed."""

    def take(batch: list[Event]) -> bool:
        taken.extend(batch)
        return True

    return take


def until(condition: Callable[[], bool]) -> None:
    """Wait for what must happen by itself."""
    waited = threading.Event()
    for _ in range(12_000):
        if condition():
            return
        waited.wait(0.01)
    raise AssertionError("it did not happen within 120 s")


def test_group_commit_writes_what_has_gathered_in_one_batch(
    store: FakeStore, tmp_path: Path
) -> None:
    store.hold = threading.Event()
    with recorder_of(store, spool_in(tmp_path)) as recorder:
        recorder.record(events(1, "first"), wait=False)
        until(lambda: recorder.waiting == 1)
        for number in range(40):
            recorder.record(events(1, f"more{number}-"), wait=False)
        store.hold.set()
        recorder.record(events(1, "last"))
    assert len(store.stored) == 42
    assert len(store.batches) <= 4


def test_commit_tells_new_from_known(store: FakeStore, tmp_path: Path) -> None:
    with recorder_of(store, spool_in(tmp_path)) as recorder:
        assert recorder.commit(events(3)).accepted == 3
        recorded = recorder.commit(events(5))
    assert (recorded.accepted, recorded.duplicates) == (2, 3)


def test_an_outage_spools_and_comes_back_by_itself(store: FakeStore, tmp_path: Path) -> None:
    with recorder_of(store, spool_in(tmp_path)) as recorder:
        store.away = True
        recorder.record(events(20))
        assert recorder.spooled == 20
        assert recorder.failure == "database: unreachable"
        with pytest.raises(StoreUnavailableError):
            recorder.commit(events(1, "committed"))
        store.away = False
        until(lambda: recorder.spooled == 0)
        assert recorder.failure is None
        assert recorder.counters.replayed == 20
    assert set(store.stored) == {f"e{number}" for number in range(20)}
    assert list(tmp_path.iterdir()) == []


def test_poison_is_set_aside_alone(store: FakeStore, tmp_path: Path) -> None:
    store.refuses = lambda e: e.id == "poison"
    with recorder_of(store, spool_in(tmp_path)) as recorder:
        recorder.record([*events(50), event("poison"), *events(50, "f")])
        assert recorder.counters.dead_lettered == 1
        assert recorder.spooled == 0
    assert len(store.stored) == 100
    assert '"poison"' in (tmp_path / "dead-letter.ndjson").read_text()


def test_an_ill_store_is_not_mistaken_for_poison(store: FakeStore, tmp_path: Path) -> None:
    store.refuses = lambda _: True
    with recorder_of(store, spool_in(tmp_path)) as recorder:
        recorder.record(events(100))
        assert recorder.counters.dead_lettered == 0
        assert recorder.spooled == 100
        with pytest.raises(StoreUnavailableError):
            recorder.commit(events(1))
        store.refuses = lambda _: False
        until(lambda: recorder.spooled == 0)
    assert len(store.stored) == 100


def test_poison_alone_is_set_aside_by_a_store_that_takes_others(
    store: FakeStore, tmp_path: Path
) -> None:
    store.refuses = lambda e: e.id.startswith("poison")
    with recorder_of(store, spool_in(tmp_path)) as recorder:
        recorder.record(events(60, "poison"))
        assert (recorder.spooled, recorder.failure) == (0, None)
        assert recorder.counters.dead_lettered == 60
        with pytest.raises(InvalidEventError, match=r"events\[2\]: the database rejects it"):
            recorder.commit([*events(2), event("poison"), *events(2, "f")])
        assert recorder.failure is None
    assert store.stored == {}


def test_what_is_refused_once_is_to_be_sent_again(store: FakeStore, tmp_path: Path) -> None:
    refusals = iter([True])
    store.refuses = lambda _: next(refusals, False)
    with recorder_of(store, spool_in(tmp_path)) as recorder:
        with pytest.raises(StoreUnavailableError):
            recorder.commit(events(3))
        assert recorder.commit(events(3)).accepted == 3


def test_a_store_that_failed_is_probed_until_it_works(
    store: FakeStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with recorder_of(store, spool_in(tmp_path)) as recorder:
        for name, fault in (("away", True), ("refuses", lambda _: True)):
            setattr(store, name, fault)
            for _ in range(30):
                with pytest.raises(StoreUnavailableError):
                    recorder.commit(events(1))
            assert recorder.failure is not None
            store.away, store.refuses = False, lambda _: False
            until(lambda: recorder.failure is None)  # without an event
    lines = [record.getMessage() for record in caplog.records]
    assert [line.partition(" count=")[0] for line in lines] == [
        "recorder: cannot write to the store: database: unreachable",
        "recorder: cannot write to the store: recovered",
        "recorder: cannot write to the store: constraint failed",
        "recorder: cannot write to the store: recovered",
    ]


def test_what_does_not_fit_is_counted_as_lost(store: FakeStore, tmp_path: Path) -> None:
    store.away = True
    with recorder_of(store, spool_in(tmp_path, limit=2000)) as recorder:
        recorder.record(events(50))
        kept = recorder.spooled
        assert 0 < kept < 50
        assert recorder.counters.lost == 50 - kept


def test_a_full_queue_goes_to_the_spool(store: FakeStore, tmp_path: Path) -> None:
    store.hold = threading.Event()
    with recorder_of(store, spool_in(tmp_path), queue_events=10) as recorder:
        recorder.record(events(8), wait=False)
        recorder.record(events(8, "f"), wait=False)
        assert recorder.spooled == 8
        store.hold.set()
    assert len(store.stored) + 8 >= 16


def test_a_slow_store_does_not_hold_the_caller(store: FakeStore, tmp_path: Path) -> None:
    store.hold = threading.Event()
    with recorder_of(store, spool_in(tmp_path)) as recorder:
        recorder.record(events(3))  # comes back with the events safe in the spool
        assert recorder.spooled == 3
        store.hold.set()
    assert len(store.stored) == 3


def test_close_spools_what_can_not_be_written(store: FakeStore, tmp_path: Path) -> None:
    recorder = recorder_of(store, spool_in(tmp_path))
    store.away = True
    recorder.record(events(5), wait=False)
    recorder.close()
    recorder.record(events(1, "too-late"))
    assert recorder.counters.lost == 1
    store.away = False
    with recorder_of(store, spool_in(tmp_path)):
        until(lambda: len(store.stored) == 5)


def test_spool_survives_damage(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    assert spool.put(events(10)) == 10
    (path,) = tmp_path.glob("*.spool")
    data = bytearray(path.read_bytes())
    lines = bytes(data).split(b"\n")
    position = len(lines[0]) + 1 + len(lines[1]) // 2
    data[position] ^= 1  # one bit of the second record
    cut = sum(len(line) + 1 for line in lines[:9]) + len(lines[9]) // 2
    spool.close()
    (tmp_path / "orphan.spool").write_bytes(bytes(data[:cut]))
    (tmp_path / "empty.spool").write_bytes(b"")
    path.unlink()

    taken: list[Event] = []
    other = spool_in(tmp_path)
    other.replay(into(taken), 3)
    assert [e.id for e in taken] == ["e0", *(f"e{n}" for n in range(2, 9))]
    assert other.damaged == 2
    assert len((tmp_path / "damaged.ndjson").read_bytes().splitlines()) == 2
    other.close()


def test_a_live_spool_belongs_to_its_process(tmp_path: Path) -> None:
    mine, other = spool_in(tmp_path), spool_in(tmp_path)
    mine.put(events(3))
    taken: list[Event] = []
    other.replay(into(taken), 10)
    assert taken == []
    mine.close()
    other.replay(into(taken), 10)
    assert len(taken) == 3
    other.close()


def test_spool_takes_new_records_after_a_replay(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    taken: list[str] = []

    def take(batch: list[Event]) -> bool:
        taken.extend(e.id for e in batch)
        return len(taken) != 4

    spool.put(events(6))
    spool.replay(take, 2)  # the second batch stays
    assert spool.events == 4
    spool.put(events(1, "late"))
    spool.replay(take, 2)
    assert taken == ["e0", "e1", "e2", "e3", "e2", "e3", "e4", "e5", "late0"]
    spool.put(events(1, "again"))
    taken.clear()
    spool.replay(take, 2)
    assert taken == ["again0"]
    spool.close()


def test_every_event_survives_the_spool(tmp_path: Path) -> None:
    names = {"version": "v", "diff_packages": True}
    ids = {"build_id": "b", "request_hash": "h"}
    some = [
        event("r", packages=["a", "b"], rootfs_size_mb=5, has_defaults=True),
        event("rejected", outcome="rejected", error_message="Unsupported version: 1\n\ud800"),
        cloudevents.from_cloudevent(cloudevent("build.started", TIME, ids | names), now=TIME),
        cloudevents.from_cloudevent(
            cloudevent(
                "build.finished",
                TIME,
                ids | {"status": "failure", "phases": {"init": 1.5}, "duration_seconds": 3},
            ),
            now=TIME,
        ),
    ]
    spool = spool_in(tmp_path)
    spool.put(some)
    taken: list[Event] = []
    spool.replay(into(taken), 10)
    spool.close()
    assert taken == some


FAILING = {
    "sqlite": (
        "CREATE TRIGGER ill BEFORE INSERT ON client_stats {when} "
        "BEGIN SELECT RAISE(ABORT, 'ill'); END",
        "WHEN NEW.client = 'poison'",
        ["DROP TRIGGER ill"],
    ),
    "postgresql": (
        "CREATE FUNCTION ill() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'ill'; END $$; "
        "CREATE TRIGGER ill BEFORE INSERT ON client_stats FOR EACH ROW {when} "
        "EXECUTE FUNCTION ill()",
        "WHEN (NEW.client = 'poison')",
        ["DROP TRIGGER ill ON client_stats", "DROP FUNCTION ill"],
    ),
}


def statements(stats: Stats, *sql: str) -> None:
    with write_transaction(stats.engine, streams=True) as connection:  # several in one text
        for statement in sql:
            connection.execute(text(statement))


def test_a_failing_table_spools_and_replays(stats: Stats) -> None:
    create, _, drop = FAILING[stats.engine.dialect.name]
    statements(stats, create.format(when=""))
    stats.recorder.record([event(f"c{n}") for n in range(30)])
    assert stats.recorder.spooled == 30
    assert stats.client.get("/readyz").status_code == 503
    refused = stats.post(request("h-ingest"))
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert stats.get("overview")["totals"]["requests"] == 0
    statements(stats, *drop)
    until(lambda: stats.recorder.spooled == 0)
    assert stats.client.get("/readyz").status_code == 200
    assert stats.get("overview")["totals"]["requests"] == 30


def test_one_poisonous_event_of_a_batch(stats: Stats) -> None:
    create, when, _ = FAILING[stats.engine.dialect.name]
    statements(stats, create.format(when=when))
    stats.recorder.record([*(event(f"c{n}") for n in range(200)), event("poison")], wait=False)
    assert stats.recorder.flush(60)
    assert stats.get("overview")["totals"]["requests"] == 200
    assert stats.recorder.counters.dead_lettered == 1
