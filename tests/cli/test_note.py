"""`asu-stats note`: add, list and remove."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from asu_stats.cli import main
from tests import processes
from tests.conftest import sqlite_database

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Runs `asu-stats note` in this process: its exit status, output and errors."""
    url = sqlite_database(request)

    def run(*arguments: str) -> tuple[int, str, str]:
        for name, value in processes.environment(tmp_path, url).items():
            if name.startswith("ASU_STATS_"):
                monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["asu-stats", "note", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


def test_notes_come_and_go(run: Run) -> None:
    status, said, _ = run("add", "moved to new disks", "--at", "2026-09-30T14:00:00+02:00")
    assert (status, said) == (0, "note 1: 2026-09-30 12:00:00 UTC\n")
    status, said, _ = run(
        "add",
        "slow [red]\x1b[31m mirror\nhere",
        "--at",
        "2026-09-01",
        "--until",
        "2026-09-03",
        "--json",
    )
    second = {
        "id": 2,
        "kind": "note",
        "at": "2026-09-01T00:00:00Z",
        "until": "2026-09-03T00:00:00Z",
        "text": "slow [red] [31m mirror here",
    }
    assert json.loads(said) == second
    assert [row["id"] for row in json.loads(run("list", "--json")[1])] == [2, 1]
    table = run("list")[1]
    assert "slow [red] [31m mirror here" in table
    assert "\x1b[31m" not in table
    assert run("remove", "1") == (0, "note 1 removed\n", "")
    assert json.loads(run("remove", "2", "--json")[1]) == {"id": 2, "removed": True}
    unknown = "asu-stats: no such note: 2; `asu-stats note list` lists them\n"
    assert run("remove", "2") == (1, "", unknown)
    assert json.loads(run("list", "--json")[1]) == []
    assert run("add", "now")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("add", ""), "the text of a note is empty"),
        (("add", " \n\u200b"), "the text of a note is empty"),
        (("add", "x" * 501), "has 501 characters: expected at most 500"),
        (("add", "x", "--at", "yesterday"), "--at yesterday: expected a UTC day, YYYY-MM-DD, or a"),
        (("add", "x", "--at", "2026-09-30T12:00:00"), "expected a UTC day, YYYY-MM-DD, or a time"),
        (("add", "x", "--at", "2026-02-30"), "--at 2026-02-30: expected a UTC day"),
        (("add", "x", "--at", "2026-09-30", "--until", "2026-09-29"), "ends before it begins"),
        (("add", "\udcff"), "TEXT: expected text in UTF-8"),
        (("remove", "one"), "NUMBER"),
    ],
)
def test_wrong_usage(run: Run, arguments: tuple[str, ...], words: str) -> None:
    status, said, errors = run(*arguments)
    assert (status, said) == (2, "")
    assert words in errors
    assert len(errors.splitlines()) == 1
    assert json.loads(run("list", "--json")[1]) == []


def test_a_number_that_no_row_has(run: Run) -> None:
    for number in ("0", str(1 << 63), str(10**30)):
        assert run("remove", number)[0] == 1
