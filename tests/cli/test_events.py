"""`asu-stats events send`, as typed."""

import json
import subprocess
from pathlib import Path

from tests import forked, processes
from tests.recorder.receiver import receiving
from tests.recorder.test_file_sender import line


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = processes.environment(directory, "sqlite:///unused.db")
    return forked.run(("events", "send", *arguments), env=environment, cwd=directory)


def test_a_file_is_sent_with_a_report(tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_text(f"{line(1)}\nnonsense\n{line(2)}\n")
    checked = run(tmp_path, str(file), "--dry-run")
    assert (checked.returncode, checked.stdout) == (1, "3 lines checked, 1 invalid line\n")
    with receiving() as receiver:
        there = (str(file), "--url", receiver.url, "--token", "t")
        done = run(tmp_path, *there)
        assert (done.returncode, done.stdout) == (
            1,
            "2 events sent, 0 duplicates among them, 1 invalid line\n",
        )
        assert done.stderr.startswith("line 2: not JSON")
        file.write_text(f"{line(1)}\n{line(2)}\n")
        again = run(tmp_path, *there, "--json")
        assert again.returncode == 0
        assert json.loads(again.stdout) == {
            "complete": True,
            "lines": 2,
            "sent": 2,
            "duplicates": 0,
            "invalid": 0,
            "stopped_at": None,
            "error": None,
            "invalid_lines": [],
        }
    gone = run(tmp_path, *there, "--retry-seconds", "0")
    assert gone.returncode == 1
    assert gone.stderr.startswith("stopped at line 1: server: ")


def test_mistakes_are_named(tmp_path: Path) -> None:
    for arguments, status, words in (
        (("none.ndjson",), 2, "--token"),
        (("none.ndjson", "--token", "t"), 1, "none.ndjson: No such file"),
        (("none.ndjson", "--token", "t", "--url", "stats"), 1, "expected http://HOST"),
    ):
        done = run(tmp_path, *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (status, 1)
        assert words in done.stderr
