"""Free memory goes back to the system."""

import os
import platform
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from asu_stats import memory, server, settings
from asu_stats.cli.program import app
from asu_stats.loops import Loop
from asu_stats.store import migrate
from asu_stats.store.database import engine as engines
from tests.importers.go_history import GoHistory

# Frees all but one in ten of many small pieces, and prints the MiB in memory before and after.
CODE = """
import os, sys
from pathlib import Path
from asu_stats import memory
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
    monkeypatch.setattr(memory, "_GIVING_BACK_SECONDS", 0.01)
    chosen = settings.load(
        database_url=f"sqlite:///{tmp_path}/stats.db",
        spool_directory=tmp_path / "spool",
        spool_reserve_bytes=0,
        build_api=False,
        jobs=False,
    )
    with TestClient(server.create(chosen)):
        assert given.wait(10)


@pytest.mark.parametrize("command", ["worker --builder demo", "import --follow"])
def test_commands_that_run_for_long_keep_memory_low(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, started = list[str](), signal.getsignal(signal.SIGTERM)

    def end() -> None:
        if signal.getsignal(signal.SIGTERM) is not started:  # the command waits for its end
            os.kill(os.getpid(), signal.SIGTERM)

    def give_back() -> None:
        done.append("given back")
        end()

    monkeypatch.setattr(memory, "give_back", give_back)
    monkeypatch.setattr(memory, "share_arena", lambda: done.append("shared"))
    monkeypatch.setattr(memory, "_GIVING_BACK_SECONDS", 0.05)
    monkeypatch.setenv("ASU_STATS_DATABASE_URL", f"sqlite:///{tmp_path}/stats.db")
    monkeypatch.chdir(tmp_path)
    migrate.upgrade(engine := engines.create(f"sqlite:///{tmp_path}/stats.db"))
    engine.dispose()
    if command.startswith("import"):
        file = GoHistory(1).run(5).write(tmp_path / "builder.db")
        command = f"import go-builder {file} --follow"
    with Loop("end", end, seconds=10):
        result = CliRunner().invoke(app, command.split())
    assert result.exit_code == 0, result.output
    assert done[:2] == ["shared", "given back"]
