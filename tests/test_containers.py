"""The container and compose files name files, commands and settings that exist."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from asu_stats.cli.program import app
from asu_stats.settings import Settings

ROOT = Path(__file__).parent.parent
CONTAINER = ROOT / "deploy" / "container"
CONTAINERFILE = (CONTAINER / "Containerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((CONTAINER / "compose.yaml").read_text())
OWN = {name: each for name, each in COMPOSE["services"].items() if "build" in each}


def started() -> Iterator[list[str]]:
    """Return the arguments of every `asu-stats` that the files start."""
    (arguments,) = re.findall(r"^CMD (.*)$", CONTAINERFILE, re.MULTILINE)
    yield json.loads(arguments)
    for service in OWN.values():
        yield service["command"]


@pytest.mark.parametrize("arguments", list(started()), ids=" ".join)
def test_commands_and_their_options_exist(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, [*arguments, "--help"])
    assert result.exit_code == 0, result.output


def test_settings_exist() -> None:
    texts = CONTAINERFILE, json.dumps([each["environment"] for each in OWN.values()])
    named = {name.lower() for text in texts for name in re.findall(r"ASU_STATS_(\w+)", text)}
    assert len(named) > 4
    assert named <= set(Settings.model_fields)


def test_copied_files_exist_and_are_in_the_context() -> None:
    kept = (ROOT / ".dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (?!--from)(.*)$", CONTAINERFILE, re.MULTILINE):
        source = shlex.split(line)[0]
        assert (ROOT / source).exists()
        assert source == "." or f"!{source}" in kept
    for line in kept:
        if line.startswith("!"):
            assert (ROOT / line[1:]).exists()


def test_mounted_files_exist() -> None:
    services = COMPOSE["services"].values()
    volumes = {each for service in services for each in service.get("volumes", ())}
    assert {each.partition(":")[0] for each in volumes if each[0] != "."} == set(COMPOSE["volumes"])
    mounted = {each.partition(":")[0] for each in volumes if each[0] == "."}
    assert len(mounted) > 4
    assert [path for path in mounted if not (CONTAINER / path).exists()] == []
