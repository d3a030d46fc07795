"""Blocks of closed days: packed in the background, and again after late events."""

import zlib
from datetime import timedelta

import numpy as np
import pytest
from sqlalchemy import Engine, func, select, update

from asu_stats.store.blocks import cached, packer, reader, spans
from asu_stats.store.blocks.codec import Block
from asu_stats.store.blocks.cubes import BY_PROFILE, CUBES, VERSIONS
from asu_stats.store.blocks.packer import Packer
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.database.schema import packed_days
from tests.builds.support import eventually
from tests.support import NOW, Stats, request

TODAY = NOW.date()


def stored(engine: Engine) -> int:
    with read_snapshot(engine) as connection:
        count: int = connection.execute(select(func.count()).select_from(packed_days)).scalar_one()
        return count


def test_today_is_not_packed(stats: Stats) -> None:
    stats.record(request("h1"))
    assert packer.pack(stats.engine, TODAY) == 0
    assert packer.pack(stats.engine, TODAY + timedelta(days=1)) > 0


def test_a_late_event_makes_the_blocks_of_its_day_anew_and_no_others(stats: Stats) -> None:
    for days in range(1, 9):
        stats.record(request(f"h{days}", NOW - timedelta(days=days)))
    assert packer.pack(stats.engine, TODAY) > 8
    assert packer.stale(stats.engine, TODAY) == []
    late = NOW - timedelta(days=3)
    stats.record(request("late", late))
    stale = packer.stale(stats.engine, TODAY)
    day = late.date().toordinal()
    assert stale
    assert all(span.first <= day < span.first + span.days for span in stale)
    before = stats.get("overview", days=30)
    assert before["totals"]["requests"] == before["totals"]["unique_requests"] == 9
    assert packer.pack(stats.engine, TODAY) == len(stale)
    cached.forget(stats.engine)
    assert stats.get("versions", days=30)[0]["requests"] == 9


def test_blocks_are_what_answers_are_made_of(sqlite_stats: Stats) -> None:
    """The counter-proof: a block with another content changes the answer."""
    sqlite_stats.record(request("h1", NOW - timedelta(days=2)))
    packer.pack(sqlite_stats.engine, TODAY)
    cached.forget(sqlite_stats.engine)
    with write_transaction(sqlite_stats.engine) as connection:
        block = VERSIONS.name
        empty = reader.Reader(connection).encode(VERSIONS, Block(np.zeros((0, 8), int)))
        other = update(packed_days).where(packed_days.c.cube == block).values(payload=empty)
        assert connection.execute(other).rowcount > 0
    assert sqlite_stats.get("versions") == []


def test_the_packer_packs_and_stops(stats: Stats) -> None:
    stats.record(request("h1", NOW - timedelta(days=1)))
    with Packer(stats.engine, lambda: TODAY):
        eventually(lambda: stored(stats.engine) == len(CUBES))


def test_blocks_of_another_release_are_not_read_and_removed(stats: Stats) -> None:
    stats.record(request("h1", NOW - timedelta(days=1)))
    packer.pack(stats.engine, TODAY)
    with write_transaction(stats.engine) as connection:
        connection.execute(update(packed_days).values(cube=packed_days.c.cube + "-other"))
    cached.forget(stats.engine)
    assert stats.get("overview")["totals"]["requests"] == 1
    packer.pack(stats.engine, TODAY)
    assert stored(stats.engine) == len(CUBES)


def test_a_damaged_block_is_summed_again(stats: Stats, caplog: pytest.LogCaptureFixture) -> None:
    yesterday = {day: (TODAY - timedelta(days=1)).isoformat() for day in ("start", "end")}
    stats.record(request("h1", NOW - timedelta(days=1)))
    before = stats.get("versions", **yesterday)
    packer.pack(stats.engine, TODAY)
    wrong = zlib.compress(b'[[[1],["a"]],["O"],9]\n')
    for number, payload in enumerate((b"", b"x", bytes(100), wrong)):
        with write_transaction(stats.engine) as connection:
            connection.execute(update(packed_days).values(payload=payload))
        stats.record(request(f"today-{number}", profile="new"))  # no response is cached
        cached.forget(stats.engine)
        assert stats.get("versions", **yesterday) == before
    assert "a stored block is damaged" in caplog.text


@pytest.mark.parametrize(("first", "last"), [(0, 0), (1, 30), (511, 513), (739_000, 739_364)])
def test_a_window_is_cut_into_few_blocks_that_are_all_of_it(first: int, last: int) -> None:
    found = spans.spans(first, last)
    assert [n for span in found for n in range(span.first, span.first + span.days)] == list(
        range(first, last + 1)
    )
    assert all(span.first % span.days == 0 for span in found)
    assert len(found) <= 16


@pytest.mark.parametrize("limit", ["_CACHE_KEYS", "_NAME_BYTES", "_CACHE_BYTES"])
def test_little_memory_changes_no_answer(
    stats: Stats, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for days in range(20):
        stats.record(request(f"h{days}", NOW - timedelta(days=days), profile=f"p{days % 7}"))
    packer.pack(stats.engine, TODAY)
    questions = ("overview", "versions", "targets", "profiles", "clients", "errors")
    with read_snapshot(stats.engine) as connection:
        windows = [(TODAY - timedelta(days=n), TODAY) for n in (3, 19)]
        before = [reader.read(connection, *w, BY_PROFILE)[0].sums.sum() for w in windows]
    plenty = [stats.get(question) for question in questions]
    monkeypatch.setattr(cached, limit, 3)
    cached.forget(stats.engine)
    with read_snapshot(stats.engine) as connection:
        for _ in range(2):
            again = [reader.read(connection, *w, BY_PROFILE)[0].sums.sum() for w in windows]
            assert again == before == [4, 20]
    stats.record(request("h0", profile="p0"))
    stats.record(request("h0", outcome="rejected", profile="p0"))
    assert [len(stats.get(question)) for question in questions] == list(map(len, plenty))
