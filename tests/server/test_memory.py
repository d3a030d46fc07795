"""Free memory goes back to the system."""

import platform
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from asu_stats import server, settings
from asu_stats.server import application, memory

# Frees all but one in ten of many small pieces, and prints the MiB in memory before and after.
CODE = """
import os, sys
from pathlib import Path
from asu_stats.server import memory
def resident():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20
memory.share_arena()
pieces = [bytes(9_000) for _ in range(int(sys.argv[1]) * 111)]
kept = pieces[::10]
del pieces
before = resident()
memory.give_back()
print(before, resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs the malloc of glibc")
@pytest.mark.parametrize(("mib", "least", "most"), [(100, 50, 100), (10, 0, 1)])
def test_much_free_memory_is_given_back(mib: int, least: int, most: int) -> None:
    command = [sys.executable, "-c", CODE, str(mib)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert least <= before - after <= most


def test_a_server_gives_memory_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = threading.Event()
    monkeypatch.setattr(memory, "give_back", given.set)
    monkeypatch.setattr(application, "_GIVING_BACK_SECONDS", 0.01)
    chosen = settings.load(
        database_url=f"sqlite:///{tmp_path}/stats.db",
        spool_directory=tmp_path / "spool",
        spool_reserve_bytes=0,
        build_api=False,
        jobs=False,
    )
    with TestClient(server.create(chosen)):
        assert given.wait(10)
