"""Files of tests are in memory where there is room."""

import tempfile
from pathlib import Path

import pytest

from tests import files

GIB = 1 << 30


@pytest.mark.parametrize(
    ("room", "available", "expected"),
    [
        (GIB >> 10, "2097152", True),
        (GIB >> 10, "2047", False),  # a container with little memory
        (1 << 60, str(1 << 60), False),  # a file system that is full
        (GIB >> 10, "many", False),
    ],
)
def test_memory_is_used_where_there_is_room(
    tmp_path: Path, room: int, available: str, expected: bool
) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal:       99 kB\nMemAvailable:   {available} kB\nBuffers: 1 kB\n")
    assert files.has_room(tmp_path, meminfo, room) is expected
    assert not files.has_room(tmp_path / "nowhere", meminfo, room)
    assert not files.has_room(tmp_path, tmp_path / "nowhere", room)


@pytest.mark.parametrize("named", [False, True])
def test_another_place_can_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(files, "MEMORY", tmp_path)
    monkeypatch.setattr(files, "has_room", lambda *_: True)
    monkeypatch.setenv("TMPDIR", "what is put back is what was there")
    monkeypatch.delenv("TMPDIR")
    place = tmp_path / "place"
    place.mkdir()
    if named:
        monkeypatch.setenv("TMPDIR", str(place))
    files.keep_in_memory()
    assert tempfile.gettempdir() == str(place if named else tmp_path)
