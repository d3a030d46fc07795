"""docs/build-service.md names every placeholder and member."""

import json
import re
import tomllib
from pathlib import Path

from asu_stats.builds.builders import PHASES
from asu_stats.builds.builders.command import DEFAULT_COMMANDS, PLACEHOLDERS, Step
from asu_stats.builds.catalogue import Catalogue
from asu_stats.events import OUTCOMES

PAGE = (Path(__file__).parents[2] / "docs" / "build-service.md").read_text()


def test_placeholders_phases_and_outcomes_are_explained() -> None:
    table = "".join(line for line in PAGE.splitlines() if line.startswith("| `{"))
    assert set(re.findall(r"\{(\w+)\}", table)) == set(PLACEHOLDERS)
    for name in (*PHASES, *OUTCOMES):
        assert f"`{name}`" in PAGE


def test_the_commands_shown_are_the_ones_that_run() -> None:
    default, container = (
        tomllib.loads(text)["command"] for text in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    )
    assert tuple(default) == DEFAULT_COMMANDS
    assert [Step.parse(command).phase for command in container] == ["building_image"]


def test_the_catalogue_shown_is_one() -> None:
    text = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[0]
    catalogue = Catalogue.model_validate(json.loads(text))
    assert "x86/64" not in catalogue.targets_of("24.10.1")
    assert set(Catalogue.model_fields) == set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) - {
        *OUTCOMES
    }
