"""Every block of the docs with `curl` runs in a shell, against a real server."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from asu_stats.api import tokens
from asu_stats.store.database import engine as engines
from tests import processes
from tests.support import TOKEN, request
from tests.test_docs_commands import blocks

_LOCAL = re.compile(r"http://127\.0\.0\.1:80[08]0")
_TIME = re.compile(r"2026-[\d-]*T[\d:]*Z")
BLOCKS = [(path.name, text) for path, text in blocks() if "curl" in text and _LOCAL.search(text)]
_TOOLS = ("bash", "curl", "jq", "zstd")
# Errors of HTTP are errors of the block, and the parts of a pipe are.
# Commands of the program are checked with their options elsewhere; each takes seconds.
_STRICT = """
set -euo pipefail
asu-stats() { :; }
curl() { command curl --fail-with-body -sS "$@"; echo; }
"""


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path
) -> Iterator[dict[str, str]]:
    """A server, and the variables of a shell on its machine."""
    if missing := [tool for tool in _TOOLS if shutil.which(tool) is None]:
        pytest.skip(f"not on this machine: {', '.join(missing)}")
    directory, port = tmp_path_factory.mktemp("shell"), processes.free_port()
    shutil.copy(sqlite_template, directory / "stats.db")
    url = f"sqlite:///{directory}/stats.db"
    engine = engines.create(url)
    operator = tokens.create(engine, "jane", "operator")
    engine.dispose()
    lines = [request(f"past-{number}", datetime.now(UTC)) for number in range(3)]
    (directory / "events.ndjson").write_text("".join(json.dumps(each) + "\n" for each in lines))
    refused = directory / "asu-stats.db.spool"
    refused.mkdir()
    late = [{"reason": "a file is missing", "event": request("late $HOME 'x'", datetime.now(UTC))}]
    (refused / "dead-letter.ndjson").write_text("".join(json.dumps(each) + "\n" for each in late))
    with processes.running(directory, url, "serve", "--port", str(port)):
        processes.wait_ready(port)
        yield {
            **processes.environment(directory, url),
            "PWD": str(directory),
            "SERVER": f"http://127.0.0.1:{port}",
            "TOKEN": TOKEN,
            "OPERATOR": operator,
        }


def test_there_are_blocks_of_every_kind() -> None:
    assert len(BLOCKS) >= 12
    for words in ('-d "$event"', "--data-binary @-", "-X DELETE", "'$(date -u +%FT%TZ)'"):
        assert any(words in text for _, text in BLOCKS), words


@pytest.mark.parametrize(
    ("page", "text"), BLOCKS, ids=[f"{page}-{place}" for place, (page, _) in enumerate(BLOCKS)]
)
def test_a_block_runs(server: dict[str, str], page: str, text: str) -> None:
    script = _LOCAL.sub(server["SERVER"], text).replace("Bearer TOKEN'", f"Bearer {TOKEN}'")
    script = _TIME.sub(datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), script)
    done = subprocess.run(
        [shutil.which("bash") or "", "-c", _STRICT + script],
        env=server,
        cwd=server["PWD"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, (page, done.stdout, done.stderr)
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"accep')]
    sent = "/events" in text
    assert bool(answers) == sent
    assert all(each["accepted"] + each["duplicates"] > 0 for each in answers)
    if "events.ndjson" in text:
        assert answers == [{"accepted": 3, "duplicates": 0}]
    if "dead-letter" in text:
        assert answers == [{"accepted": 1, "duplicates": 0}]
