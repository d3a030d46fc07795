"""Prints the totals of an import source and of this database."""

from collections.abc import Sequence
from typing import Final

from asu_stats.cli import output
from asu_stats.service.comparison import Comparison

# Totals that the table shows, by short names that fit side by side.
_SHOWN: Final = {
    "requests": "requests",
    "cache_hits": "hits",
    "successful_builds": "built",
    "failed_builds": "failed",
    "request": "request",
    "cache_hit": "hit",
    "build_completed": "built",
    "failure": "failed",
    "diff_packages_true": "diff",
    "diff_packages_false": "no diff",
    "seconds": "seconds",
}


def print_comparison(rows: Sequence[Comparison]) -> None:
    """Print a table. A cell has one number if both totals are equal, else `source>here`."""
    shown = [name for name in _SHOWN if name in rows[0].source]
    cells = [(row.name, *(_cell(row, name) for name in shown), row.state) for row in rows]
    output.print_table(("", *(_SHOWN[name] for name in shown), ""), cells)


def _cell(row: Comparison, column: str) -> str:
    source, target = row.source[column], row.target[column]
    return f"{source:,}" if source == target else f"{source:,}>{target:,}"
