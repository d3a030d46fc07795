"""Damaged and unreadable spool files: no readable record is lost."""

import os
import shutil
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from asu_stats.events import Event
from asu_stats.recorder.records import encode
from asu_stats.recorder.spool import Spool
from tests.recorder.test_recorder import FakeStore, events, into, recorder_of, spool_in, until
from tests.support import Stats

RECORDS = [encode(event) for event in events(100)]
CONTENT = b"".join(RECORDS)
STARTS = [sum(map(len, RECORDS[:number])) for number in range(101)]
NOBODY = 65534


def replayed(path: Path, content: bytes, batch: int = 7) -> tuple[list[str], Spool]:
    """Return the ids that come back from an orphan of a content, and the spool that read it."""
    (path / "orphan.spool").write_bytes(content)
    spool, taken = spool_in(path), list[Event]()
    assert spool.replay(into(taken), batch)
    assert not (path / "orphan.spool").exists()
    spool.close()
    return [event.id for event in taken], spool


def ids(*missing: int) -> list[str]:
    return [f"e{number}" for number in range(100) if number not in missing]


def zeroed(first: int, length: int) -> bytes:
    return CONTENT[:first] + b"\0" * length + CONTENT[first + length :]


def inserted(place: int, garbage: bytes) -> bytes:
    return CONTENT[:place] + garbage + CONTENT[place:]


IN_50 = STARTS[50] + 30
DAMAGES: dict[str, tuple[bytes, set[int], int]] = {
    "nothing": (CONTENT, set(), 0),
    "reserved space": (CONTENT + b"\0" * 100_000, set(), 0),
    "a zeroed byte in a record": (zeroed(IN_50, 1), {50}, 1),
    "a zeroed line end": (zeroed(STARTS[51] - 1, 1), set(), 0),
    "a line end that became a letter": (
        CONTENT[: STARTS[51] - 1] + b"K" + CONTENT[STARTS[51] :],
        set(),
        0,
    ),
    "a zeroed record": (zeroed(STARTS[50], len(RECORDS[50])), {50}, 1),
    "a zeroed page": (zeroed(STARTS[10] + 5, STARTS[20] - STARTS[10]), set(range(10, 21)), 1),
    "a zeroed beginning": (zeroed(0, STARTS[3] + 9), {0, 1, 2, 3}, 1),
    "a zeroed end": (zeroed(STARTS[98] + 9, len(CONTENT) - STARTS[98] - 9), {98, 99}, 1),
    "cut off": (CONTENT[: STARTS[99] + 40], {99}, 1),
    "without the last line end": (CONTENT[:-1], set(), 0),
    "a stray line": (inserted(STARTS[50], b"what is this\n"), set(), 1),
    "a stray byte": (inserted(STARTS[50], b"\xff\n"), set(), 1),
    "garbage before a record": (inserted(STARTS[50], b"\xff\0garbage"), set(), 1),
    "half a record before a whole one": (inserted(STARTS[50], RECORDS[7][:90]), set(), 1),
    "carriage returns": (CONTENT.replace(b"\n", b"\r\n"), set(), 0),
    "other line ends of Unicode": (inserted(STARTS[50], b"\x0b\x0c\x1c\x85\n"), set(), 1),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("batch", [1, 1000])
def test_every_intact_record_comes_back(
    tmp_path: Path, damage: tuple[bytes, set[int], int], batch: int
) -> None:
    content, missing, damaged = damage
    taken, spool = replayed(tmp_path, content, batch)
    assert taken == ids(*missing)
    assert spool.damaged == damaged
    kept = tmp_path / "damaged.ndjson"
    assert (len(kept.read_bytes().splitlines()) if kept.exists() else 0) >= min(damaged, 1)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0" * 20_000_000,
        os.urandom(1_000_000),
        b"\n" * 300_000,
        b"x" * 20_000_000,
        b'00000000 {"' * 100_000,
        b"\0x" * 2_000_000,
    ],
    ids=["nul", "random", "line ends", "one line", "beginnings", "nul and x"],
)
def test_garbage_costs_linear_time_and_little_memory(tmp_path: Path, garbage: bytes) -> None:
    half = STARTS[50]
    content = CONTENT[:half] + garbage + b"\n" + CONTENT[half:]
    tracemalloc.start()
    began = time.process_time()
    taken, spool = replayed(tmp_path, content, 2000)
    seconds = time.process_time() - began
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken == ids()
    assert bool(spool.damaged) == bool(garbage.strip(b"\n"))
    assert seconds < 30
    assert peak < 120_000_000


def test_a_damaged_record_is_counted_once_however_often_it_is_tried(tmp_path: Path) -> None:
    (tmp_path / "orphan.spool").write_bytes(zeroed(IN_50, 1))
    spool, taken, away = spool_in(tmp_path), list[Event](), True

    def take(batch: list[Event]) -> bool:
        taken.extend(batch)
        return not (away and "e52" in {e.id for e in batch})  # with the damaged one

    for _ in range(8):
        assert not spool.replay(take, 10)
    assert spool.damaged == 0
    away = False
    assert spool.replay(take, 10)
    assert spool.damaged == 1
    assert len((tmp_path / "damaged.ndjson").read_bytes().splitlines()) == 1
    assert {event.id for event in taken} == set(ids(50))
    spool.close()


def test_a_file_is_replayed_from_where_it_was_left(tmp_path: Path) -> None:
    (tmp_path / "orphan.spool").write_bytes(CONTENT)
    spool, taken = spool_in(tmp_path), list[str]()

    def take(batch: list[Event]) -> bool:
        taken.extend(event.id for event in batch)
        return len(taken) != 40

    assert not spool.replay(take, 20)
    other = spool_in(tmp_path)
    assert other.replay(into([]), 20)  # whoever began goes on with it
    assert spool.replay(take, 20)
    assert taken == [*ids()[:40], *ids()[20:]]
    spool.close()
    other.close()


@contextmanager
def as_nobody() -> Iterator[Path]:
    """Give a directory that is somebody else's, and be that one: root may read everything."""
    directory = Path(tempfile.mkdtemp(prefix="asu-stats-spool-"))
    root = os.geteuid() == 0
    if root:
        os.chown(directory, NOBODY, -1)
        os.seteuid(NOBODY)
    try:
        yield directory
    finally:
        if root:
            os.seteuid(0)
        shutil.rmtree(directory)


def test_a_file_of_another_user_is_named(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with as_nobody() as directory:
        path = directory / "theirs.spool"
        path.write_bytes(CONTENT)
        path.chmod(0)
        taken: list[Event] = []
        spool = spool_in(directory)
        for _ in range(5):
            assert spool.replay(into(taken), 10)
        assert spool.unreadable == {"theirs.spool": "Permission denied"}
        assert [r.getMessage() for r in caplog.records] == [
            f"spool: cannot read {path}, its events are not in the database: Permission denied"
        ]
        path.chmod(0o400)  # readable is enough
        assert spool.replay(into(taken), 10)
        assert (spool.unreadable, len(taken), path.exists()) == ({}, 100, False)
        spool.close()


def test_what_another_user_set_aside_does_not_cost_an_event(tmp_path: Path) -> None:
    (tmp_path / "dead-letter.ndjson").mkdir()  # as little to be written to as another user's file
    (tmp_path / "damaged.ndjson").mkdir()
    (tmp_path / "orphan.spool").write_bytes(zeroed(IN_50, 1))
    store = FakeStore(refuses=lambda event: event.id == "e7")
    with recorder_of(store, spool_in(tmp_path)) as recorder:
        until(lambda: len(store.stored) == 98)
        until(lambda: recorder.damaged == 1)
        assert recorder.counters.dead_lettered == 1
    (dead,) = tmp_path.glob("dead-letter-*.ndjson")
    (damaged,) = tmp_path.glob("damaged-*.ndjson")
    assert b'"e7"' in dead.read_bytes()
    assert damaged.read_bytes().count(b"\n") == 1


MAKE: dict[str, Callable[[Path], object]] = {
    "directory": lambda path: path.mkdir(),
    "pipe": os.mkfifo,
    "link": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_readiness_and_metrics_name_what_can_not_be_read(
    database_url: str, tmp_path: Path, make: Callable[[Path], object]
) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    make(spool / "theirs.spool")
    with Stats.on(database_url, spool) as stats:
        until(lambda: bool(stats.recorder.unreadable))
        answer = stats.client.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        assert "theirs.spool" in answer.json()["problems"][0]
        assert str(spool) not in answer.text
        assert "asu_stats_spool_unreadable_files 1.0" in stats.client.get("/metrics").text


def test_a_removed_space_does_not_bring_old_records_back(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    spool.put(events(20))
    spool.replay(into([]), 100)
    spool.put(events(1, "late"))
    (path,) = tmp_path.glob("*.spool")
    content = path.read_bytes()
    spool.close()
    path.unlink()
    (tmp_path / "again").mkdir()
    taken, other = replayed(tmp_path / "again", content)
    assert (taken, other.damaged) == (["late0"], 0)
