"""`--help` of every command: working examples, complete sentences."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from typer.testing import CliRunner

from asu_stats.cli import commands, examples
from asu_stats.cli.program import app

WITHOUT_RESULT = {"demo", "serve", "worker", "export"}


def leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the commands that do something."""
    below = getattr(command, "commands", {})
    if not below or getattr(command, "invoke_without_command", False):
        yield path, command
    for name, each in below.items():
        yield from leaves(each, f"{path} {name}")


@cache
def every_command() -> dict[str, Any]:
    names = commands.Commands().list_commands(None)
    return {path: each for name in names for path, each in leaves(commands.load(name), name)}


@cache
def help_of(path: str) -> str:
    return CliRunner().invoke(app, [*path.split(), "--help"], env={"COLUMNS": "80"}).stdout


@pytest.mark.parametrize("path", sorted(every_command()))
def test_every_command_has_examples_that_it_understands(path: str) -> None:
    lines = examples.of(path)
    assert lines
    for line in lines:
        assert f"\n    asu-stats {line}\n" in help_of(path) + "\n"
        words = shlex.split(line)
        depth = len(path.split())
        assert words[:depth] == path.split()
        every_command()[path].make_context(path, words[depth:])


def test_no_example_is_left_over() -> None:
    assert examples.EXAMPLES.keys() <= every_command().keys()


@pytest.mark.parametrize(
    "path", sorted({*every_command(), *commands.Commands().list_commands(None)})
)
def test_nothing_is_cut_or_in_terms_of_python(path: str) -> None:
    text = help_of(path)
    assert "..." not in text.replace("[ARGS]...", "")
    assert "{" not in text.partition("\n")[0], "nobody types these braces"
    assert not re.search(r"<(int|float|str|path|bool)|<=x|range>", text)


@pytest.mark.parametrize("path", sorted(every_command().keys() - WITHOUT_RESULT))
def test_what_is_printed_can_be_json(path: str) -> None:
    assert "--json" in help_of(path)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("srve", "did you mean serve? See `asu-stats --help`"),
        ("db upgade", "did you mean 'upgrade'? See `asu-stats db --help`"),
        ("serve --prot 1", "no such option --prot; did you mean --host or --port? See"),
    ],
)
def test_a_slip_of_the_finger_is_recognised(
    words: str, meant: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from asu_stats.cli import main

    monkeypatch.setattr("sys.argv", ["asu-stats", *words.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert meant in " ".join(capsys.readouterr().err.split())
