"""The docs can't go stale: every setting is in its table, with its words."""

from pathlib import Path

import pytest

from asu_stats.settings import Settings

TABLE = (Path(__file__).parent.parent / "docs" / "configuration.md").read_text()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented(name: str) -> None:
    field = Settings.model_fields[name]
    row = next(line for line in TABLE.splitlines() if f"`ASU_STATS_{name.upper()}`" in line)
    assert field.description
    assert field.description in row
