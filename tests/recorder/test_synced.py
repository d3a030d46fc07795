"""Events and archive files are synced to disk before anybody relies on them.

A killed process loses nothing that the system has; a power failure does. So the calls are watched.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from asu_stats.events import Event
from asu_stats.store.archive import files
from asu_stats.store.database.schema import error_stats
from tests.recorder.test_recorder import events, into, spool_in

WATCHED = ("write", "pwrite", "fsync", "ftruncate", "replace", "unlink")


@contextmanager
def watched(fail: str = "") -> Iterator[list[str]]:
    """Note the calls that change a file, and the syncs of directories; let one kind fail."""
    calls: list[str] = []

    def note(name: str, real: Any) -> Any:
        def called(*given: Any, **more: Any) -> Any:
            is_directory = name == "fsync" and os.path.isdir(f"/proc/self/fd/{given[0]}")  # noqa: PTH112
            calls.append("fsync directory" if is_directory else name)
            if name == fail:
                raise OSError(5, os.strerror(5))
            return real(*given, **more)

        return called

    with pytest.MonkeyPatch.context() as patch:
        for name in WATCHED:
            patch.setattr(os, name, note(name, getattr(os, name)))
        yield calls


def test_a_new_spool_file_is_in_its_directory_before_it_is_used(tmp_path: Path) -> None:
    with watched() as calls:
        spool = spool_in(tmp_path)
    assert calls[-2:] == ["fsync", "fsync directory"]
    spool.close()


def test_what_the_spool_took_is_synced(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    with watched() as calls:
        assert spool.put(events(20)) == 20
    assert calls == ["pwrite", "fsync"]
    with watched() as calls:
        assert spool.put([]) == 0
    assert calls == []
    spool.close()


@pytest.mark.parametrize("fail", ["pwrite", "fsync"])
def test_what_could_not_be_synced_was_not_taken(tmp_path: Path, fail: str) -> None:
    spool = spool_in(tmp_path)
    assert spool.put(events(2, "before")) == 2
    with watched(fail) as calls:
        assert spool.put(events(3)) == 0
    assert calls[-1] == "ftruncate"  # no half record is left
    assert spool.events == 2
    assert spool.put(events(1, "after")) == 1
    taken: list[Event] = []
    assert spool.replay(into(taken), 10)
    assert [event.id for event in taken] == ["before0", "before1", "after0"]
    spool.close()


def test_an_emptied_spool_is_synced(tmp_path: Path) -> None:
    """Else events would be replayed once more after a power failure, over newer ones."""
    spool = spool_in(tmp_path)
    spool.put(events(2))
    with watched() as calls:
        assert spool.replay(into([]), 10)
    assert calls == ["ftruncate", "fsync"]
    spool.close()


def test_a_dead_letter_is_synced_before_its_event_counts_as_taken(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    with watched() as calls:
        assert spool.add_dead_letter(events(1)[0], "a reason")
    assert calls[:2] == ["write", "fsync"]
    with watched("fsync"):
        assert not spool.add_dead_letter(events(1)[0], "a reason")
    spool.close()


def test_damaged_lines_are_kept_before_their_file_is_removed(tmp_path: Path) -> None:
    (tmp_path / "orphan.spool").write_bytes(b"damaged\n")
    spool = spool_in(tmp_path)
    with watched() as calls:
        assert spool.replay(into([]), 10)
    assert calls == ["write", "fsync", "unlink"]
    spool.close()


ROW = {"id": 1, "timestamp": datetime(2026, 9, 1), "request_hash": "h"}  # noqa: DTZ001


def test_an_archive_file_is_synced_before_and_after_it_gets_its_name(tmp_path: Path) -> None:
    path = tmp_path / "file.csv.gz"
    row = tuple(ROW.get(column.name, "") for column in error_stats.columns)
    with watched() as calls:
        files.write(path, error_stats, [row])
    assert calls[-3:] == ["fsync", "replace", "fsync directory"]
