"""Writes `docs/configuration.md`: the tables come from the settings, the text before them stays.

Run it with `make docs`.
"""

import json
from datetime import date
from pathlib import Path
from typing import Final

from pydantic.fields import FieldInfo

from asu_stats.settings import Settings
from asu_stats.settings.groups import GROUPS

PAGE: Final = Path(__file__).parents[1] / "docs" / "configuration.md"
_MARK: Final = "<!-- `make docs` writes everything below from src/asu_stats/settings/. -->\n"


def written(page: str) -> str:
    """Return the page with current tables. Raises `ValueError` where the mark is missing."""
    before, mark, _ = page.partition(_MARK)
    if not mark:
        raise ValueError(f"{PAGE}: expected the line {_MARK.strip()}")
    return before + mark + "".join(_section(title, names) for title, names in GROUPS.items())


def _section(title: str, names: tuple[str, ...]) -> str:
    rows = (_row(name, Settings.model_fields[name]) for name in names)
    head = "| variable | default | meaning |\n| --- | --- | --- |\n"
    return f"\n## {title}\n\n{head}{''.join(rows)}"


def _row(name: str, field: FieldInfo) -> str:
    default = "see `docs/alerts.md`" if name == "alerts" else _default(field.default)
    return f"| `ASU_STATS_{name.upper()}` | {default} | {field.description} |\n"


def _default(value: object) -> str:
    if value is None or value in ("", [], ()):
        return "not set"
    if isinstance(value, date | Path):
        return f"`{value}`"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
