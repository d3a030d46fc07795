"""Commands and requests in the docs work as they are printed."""

import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests import cli_page
from tests.support import NOW, TOKEN, Stats

ROOT = Path(__file__).parent.parent
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")])
BLOCK = re.compile(r"^ *```[a-z]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_CALL = re.compile(r"(?:^|[\s/])asu-stats (?:asu-stats )?((?:[a-z]|--[a-z]).*)")
_OTHER = re.compile(r"pip install|createdb|useradd|systemctl|install -m|podman (?:run|build)")
STATISTICS = ("/api/v1/stats", "/badge/", "/embed/", "/readyz", "/healthz", "/docs", "/metrics")


@cache
def helps() -> dict[tuple[str, ...], str]:
    """Return the help of each command: not while tests are collected, since it takes a second."""
    return dict(cli_page.commands())


def blocks() -> Iterator[tuple[Path, str]]:
    """Yield the code blocks of all pages, with continued lines joined."""
    for path in PAGES:
        if path != cli_page.PAGE:
            for found in BLOCK.finditer(path.read_text("utf-8")):
                yield path, found[1].replace("\\\n", " ")


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield each call of the program in a code block: its page and its arguments."""
    for path, block in blocks():
        for line in block.splitlines():
            found = _CALL.search(line)
            if found and not _OTHER.search(line):
                text = re.split(r"\s(?:&&|\||;|>)\s|\s{3,}|\s#", found[1])[0]
                yield path.name, shlex.split(text)


CALLS = list(commands())


def test_the_reference_of_commands_is_current() -> None:
    assert cli_page.PAGE.read_text("utf-8") == cli_page.written(), "run `make docs`"


def test_there_are_commands_to_check() -> None:
    assert len(CALLS) >= 50


@pytest.mark.parametrize(
    ("page", "arguments"), CALLS, ids=[f"{p}: {' '.join(a)}" for p, a in CALLS]
)
def test_commands_and_their_options_exist(page: str, arguments: list[str]) -> None:
    known_words = helps()
    groups = {each[0] for each in known_words if len(each) > 1}
    words = tuple(arguments[: 2 if arguments[0] in groups else 1])
    if words not in known_words:  # a group that does something without a word, such as `jobs`
        words = words[:1]
    if not arguments[0].startswith("-"):
        assert words in known_words, page
    known = known_words[words] if words in known_words else cli_page.help_of(())
    for option in re.findall(r"--[a-z][a-z-]*", " ".join(arguments)):
        assert re.search(rf"{option}\b", known), (page, option)


def requests() -> Iterator[tuple[str, str]]:
    for path, block in blocks():
        for found in re.finditer(r"curl [^\n]*(?:\n [^\n]*)*", block):
            yield path.name, found[0]


def test_requests_of_the_docs_are_answered(sqlite_stats: Stats) -> None:
    posted = got = 0
    for page, command in requests():
        stamp = NOW.strftime("%Y-%m-%dT%H:%M:%SZ")
        text = re.sub(r"'\$\(date -u \+%FT%TZ\)'|2026-[\d-]*T[\d:]*Z", stamp, command)
        words = [w for w in shlex.split(text) if w.strip()]
        path = urlsplit(next(w for w in words if w.startswith("http")))
        assert path.path.startswith(STATISTICS), (page, text)
        if path.path.startswith("/api/v1/stats/alerts/silences"):  # test_docs_shell.py
            continue
        headers = dict(w.split(": ", 1) for i, w in enumerate(words) if words[i - 1] == "-H")
        if "Authorization" in headers:
            headers["Authorization"] = f"Bearer {TOKEN}"
        address = f"{path.path}?{path.query}".rstrip("?")
        if "-d" in words:
            body = words[words.index("-d") + 1]
            if body.startswith("$"):  # of a shell loop
                continue
            events = json.loads(body)
            count = len(events) if isinstance(events, list) else 1
            answer = sqlite_stats.client.post(address, content=body, headers=headers)
            posted += 1
            assert answer.status_code == 200, (page, answer.text)
            assert sum(answer.json()[name] for name in ("accepted", "duplicates")) == count
        elif "--data-binary" not in words:
            got += 1
            headers.pop("Authorization", None)
            assert sqlite_stats.client.get(address, headers=headers).status_code == 200, page
    assert posted > 3
    assert got > 3


def test_the_tutorial_counts_one_request_and_one_build(sqlite_stats: Stats) -> None:
    for _ in range(2):
        for page, text in requests():
            body = re.search(r"-d '(\{.*\})'", text, re.DOTALL)
            if page == "tutorial.md" and body:
                event = body[1].replace("'$(date -u +%FT%TZ)'", NOW.isoformat())
                sqlite_stats.record(json.loads(event))
    found = sqlite_stats.client.get("/api/v1/stats/overview?days=1").json()
    assert found["totals"]["requests"] == found["totals"]["successful_builds"] == 1
    assert found["build_performance"]["avg_duration_seconds"] == 73


def test_paths_in_the_docs_exist(sqlite_stats: Stats) -> None:
    known = [
        re.compile(re.sub(r"\{[^}]*\}", "[^/]+", path))
        for path in sqlite_stats.client.get("/openapi.json").json()["paths"]
    ]
    prefixes = {"/api/v1/stats/live", "/api/v1/stats/insights"}  # a WebSocket, and a part of paths
    for path in PAGES:
        for name in re.findall(r"(?<!\w)(/api/v1/stats/[a-z-]+(?:/[a-z-]+)*)", path.read_text()):
            assert name in prefixes or any(each.fullmatch(name) for each in known), (path, name)
