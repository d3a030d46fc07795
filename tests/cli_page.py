"""Writes docs/reference/cli.md from the commands. Run it with `make docs`."""

import re
from collections.abc import Iterator
from pathlib import Path

from typer.testing import CliRunner

from asu_stats.cli.program import app

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "cli.md"
_HEAD = """# Command line

Options override [settings](../configuration.md). Commands print tables for people; `--json`, where
a command has it, prints JSON for programs. The exit status is 0 for success, 1 for a failure, 2 for
a wrong option.

<!-- `make docs` writes everything below from the commands. -->
"""


def commands(words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the words and the help of every command and group of commands."""
    text = help_of(words)
    if words:
        yield words, text
    listed = text.partition("\nCommands:\n")[2].partition("\n\n")[0]
    for name in re.findall(r"^  (\S+)", listed, re.MULTILINE):
        yield from commands((*words, name))


def help_of(words: tuple[str, ...]) -> str:
    result = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "88"}, terminal_width=88)
    assert result.exit_code == 0, result.output
    return "\n".join(line.rstrip() for line in result.output.strip().splitlines())


def written() -> str:
    """Return the page as it should be."""
    parts = [_HEAD]
    for words, text in commands():
        level = "##" if len(words) == 1 else "###"
        parts.append(f"{level} {' '.join(words)}\n\n```\n{text}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(written(), "utf-8")
