"""Commands: bounded output, reliable timeouts, no processes left behind."""

from pathlib import Path

import pytest

from asu_stats.builds.builders import processes
from asu_stats.builds.builders.processes import Finished, run

from .support import eventually, is_running


def nothing(*_: str) -> None:
    pass


def sh(script: str, directory: Path) -> Finished:
    return run(["/bin/sh", "-c", script], directory=directory, check=nothing, keep=nothing)


def test_output_and_status(tmp_path: Path) -> None:
    assert sh("pwd; echo no >&2; exit 3", tmp_path) == (3, f"{tmp_path}\n", "no\n")
    assert sh("kill -9 $$", tmp_path).returncode == -9
    assert sh("printf '\\377'", tmp_path).stdout == "\ufffd"
    assert sh("exec >&- 2>&-; sleep 0.3; exit 4", tmp_path).returncode == 4


def test_long_output_keeps_its_beginning_and_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_HEAD", 1000)
    text = sh("echo first; seq 100000; echo last", tmp_path).stdout
    assert text.startswith("first\n1\n2\n")
    assert text.endswith("99999\n100000\nlast\n")
    assert "bytes left out" in text
    assert len(text) < 200_000


def test_what_a_command_leaves_in_the_background_is_ended(tmp_path: Path) -> None:
    found = sh("sleep 600 & echo $!", tmp_path)
    assert found.returncode == 0
    eventually(lambda: not is_running(int(found.stdout)))


def test_output_is_kept_when_a_command_is_stopped(tmp_path: Path) -> None:
    kept: list[str] = []
    marker = tmp_path / "marker"

    def check() -> None:
        if marker.exists():
            raise InterruptedError

    with pytest.raises(InterruptedError):
        run(
            ["/bin/sh", "-c", "echo out; echo err >&2; touch marker; sleep 600"],
            directory=tmp_path,
            check=check,
            keep=lambda *texts: kept.extend(texts),
        )
    assert kept == ["out\n", "err\n"]


def test_the_environment_is_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASU_STATS_INGEST_TOKEN", "secret")
    monkeypatch.setenv("MAKEFLAGS", "-n")
    assert "secret" not in sh("env", tmp_path).stdout
    assert "MAKEFLAGS" not in sh("env", tmp_path).stdout
