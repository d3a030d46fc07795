"""What was found: figures, the marks they are held against, and tables for people to read."""

import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Mark:
    """A figure beside what is asked of it."""

    part: str
    name: str
    value: float
    side: Literal["at least", "at most"]
    bound: float

    @property
    def ok(self) -> bool:
        """Whether it holds."""
        return self.value >= self.bound if self.side == "at least" else self.value <= self.bound


@dataclass(slots=True)
class Table:
    """A table with a sentence above it."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[object]]
    note: str = ""


@dataclass(slots=True)
class Found:
    """Everything that a run has found."""

    size: int
    results: dict[str, Any] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)
    tables: dict[str, list[Table]] = field(default_factory=dict)

    def add(self, part: str, result: Any, tables: Iterable[Table], marks: Iterable[Mark]) -> None:
        """Keep what a part found, and print it."""
        self.results[part] = result
        self.tables[part] = list(tables)
        mine = list(marks)
        self.marks += mine
        for table in self.tables[part]:
            print(f"\n{as_text(table)}")
        if mine:
            print(f"\n{as_text(marks_table(mine))}")

    def to_json(self) -> str:
        """Return everything, with the machine it was measured on."""
        return json.dumps(
            {
                "measured": datetime.now(UTC).isoformat(timespec="seconds"),
                "machine": machine(),
                "size": self.size,
                "results": self.results,
                "marks": [{**asdict(mark), "ok": mark.ok} for mark in self.marks],
            },
            indent=1,
        )


def machine() -> dict[str, Any]:
    """Say what it was measured on, without names."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "system": platform.system(),
    }


def marks_table(marks: Sequence[Mark]) -> Table:
    """Return marks as a table."""
    rows: list[Sequence[object]] = [
        (m.part, m.name, number(m.value), f"{m.side} {number(m.bound)}", "ok" if m.ok else "missed")
        for m in marks
    ]
    return Table("Marks", ("part", "figure", "measured", "wanted", ""), rows)


def number(value: object) -> str:
    """Return a number as short as it can be read."""
    if value is None:
        return "-"
    if isinstance(value, int) or not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    if value and abs(value) < 10:
        return f"{value:.2f}"
    return f"{value:,.1f}" if abs(value) < 100 else f"{value:,.0f}"


def _cells(table: Table) -> list[list[str]]:
    return [list(map(str, table.columns)), *([number(cell) for cell in r] for r in table.rows)]


def as_text(table: Table) -> str:
    """Return a table for a terminal."""
    cells = _cells(table)
    widths = [max(len(row[place]) for row in cells) for place in range(len(table.columns))]
    lines = [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return "\n".join([table.title, *lines, *([table.note] if table.note else [])])


def as_markdown(table: Table) -> str:
    """Return a table for a document."""
    head, *rows = _cells(table)
    rule = ["---", *["---:"] * (len(head) - 1)]
    lines = ["| " + " | ".join(row) + " |" for row in (head, rule, *rows)]
    return "\n".join([f"**{table.title}**", "", *lines, *(["", table.note] if table.note else [])])


def markdown(found: Found) -> str:
    """Return all tables of a run, for `benchmarks/README.md`."""
    on = machine()
    head = (
        f"Measured on {datetime.now(UTC).date()} with {found.size:,} requests: {on['cores']} "
        f"cores, {on['memory_gib']} GiB, {on['architecture']}, Python {on['python']}."
    )
    parts = [as_markdown(table) for tables in found.tables.values() for table in tables]
    marks = [as_markdown(marks_table(found.marks))] if found.marks else []
    return "\n\n".join([head, *marks, *parts]) + "\n"


def write(path: Path | None, text: str) -> None:
    """Write a file where one is wanted."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
