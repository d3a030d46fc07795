"""The docs are current: settings, tables, examples and citations."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from asu_stats.builds import schema as _builds  # noqa: F401 - declares its tables
from asu_stats.legacy import build_stats as _legacy  # noqa: F401
from asu_stats.monitor import schema as _monitor  # noqa: F401
from asu_stats.settings import Settings
from asu_stats.settings.groups import GROUPS
from asu_stats.store.database.metadata import metadata
from tests import configuration_page, openapi_examples
from tests.support import Stats

DOCS = Path(__file__).parent.parent / "docs"
TABLE = (DOCS / "configuration.md").read_text()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented(name: str) -> None:
    field = Settings.model_fields[name]
    row = next(line for line in TABLE.splitlines() if f"`ASU_STATS_{name.upper()}`" in line)
    assert field.description
    assert field.description in row


def test_the_page_of_settings_is_current() -> None:
    assert configuration_page.written(TABLE) == TABLE, "run `make docs`"


def test_the_examples_of_the_api_are_current(sqlite_stats: Stats) -> None:
    """They are what the server responds to a fixed history."""
    written = openapi_examples.written(sqlite_stats)
    assert openapi_examples.FILE.read_text("utf-8") == written, "run `make docs`"


def test_every_setting_is_in_one_group() -> None:
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(Settings.model_fields)


def test_operations_says_of_every_table_how_long_its_rows_stay() -> None:
    section = (DOCS / "operations.md").read_text().split("## Retention and archive")[1]
    table = [line for line in section.split("\n\n")[1].splitlines() if line.startswith("| ")]
    assert len(metadata.tables) > 40
    for name in metadata.tables:
        rows = [line for line in table if f"`{name}`" in line]
        assert rows, name
        for row in rows:
            what, kept, then = (cell.strip() for cell in row.strip("|").split("|"))
            assert what
            assert kept.startswith("forever") or then, row


def test_no_column_of_a_table_is_without_heading() -> None:
    pages = sorted(DOCS.rglob("*.md"))
    assert pages
    for page in pages:
        lines = page.read_text().splitlines()
        for heads, rule in pairwise(lines):
            if re.fullmatch(r"\|(?: *:?-+:? *\|)+", rule):
                empty = [cell for cell in heads.strip("|").split("|") if not cell.strip()]
                assert not empty, f"{page.name}: {heads}"


# A citation is a page, and after a comma the beginning of a heading of it.
_CITED = re.compile(r"(docs/\s*[\w/-]+\.md)(?:,\s+([A-Z][a-z]+))?")


def _sources() -> list[Path]:
    root = DOCS.parent
    return [
        *root.glob("src/**/*.py"),
        *root.glob("tests/**/*.py"),
        *root.glob("benchmarks/**/*.py"),
    ]


def test_sections_are_cited_of_public_standards_alone() -> None:
    standard = re.compile(r"(RFC \d+,?\s+|Fetch )\u00a7[\d.]+")
    for path in _sources():
        assert chr(0xA7) not in standard.sub("", path.read_text()), path


def test_cited_pages_and_sections_exist() -> None:
    cited = 0
    for path in _sources():
        for name, heading in _CITED.findall(path.read_text()):
            page = DOCS.parent / re.sub(r"\s|#", "", name)
            assert page.is_file(), (path, name)
            if heading:
                cited += 1
                assert f"\n## {heading}" in page.read_text(), (path, name, heading)
    assert cited > 10
