"""Results of a run: figures, targets, and tables."""

import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Target:
    """A figure with its target."""

    part: str
    name: str
    value: float
    side: Literal["at least", "at most"]
    bound: float

    @property
    def ok(self) -> bool:
        """Whether the figure meets the target."""
        return self.value >= self.bound if self.side == "at least" else self.value <= self.bound


@dataclass(slots=True)
class Table:
    """A table with a title, and a note below it."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[object]]
    note: str = ""


@dataclass(slots=True)
class Results:
    """The results of all parts of a run."""

    size: int
    results: dict[str, Any] = field(default_factory=dict)
    targets: list[Target] = field(default_factory=list)
    tables: dict[str, list[Table]] = field(default_factory=dict)

    def add(
        self, part: str, result: Any, tables: Iterable[Table], targets: Iterable[Target]
    ) -> None:
        """Add the results of a part, and print them."""
        self.results[part] = result
        self.tables[part] = list(tables)
        of_part = list(targets)
        self.targets += of_part
        for table in self.tables[part]:
            print(f"\n{as_text(table)}")
        if of_part:
            print(f"\n{as_text(targets_table(of_part))}")

    def to_json(self) -> str:
        """Return all results, with a description of the machine."""
        return json.dumps(
            {
                "measured": datetime.now(UTC).isoformat(timespec="seconds"),
                "machine": machine(),
                "size": self.size,
                "results": self.results,
                "targets": [{**asdict(target), "ok": target.ok} for target in self.targets],
            },
            indent=1,
        )


def machine() -> dict[str, Any]:
    """Describe the machine, without names."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "system": platform.system(),
    }


def targets_table(targets: Sequence[Target]) -> Table:

    rows: list[Sequence[object]] = [
        (m.part, m.name, number(m.value), f"{m.side} {number(m.bound)}", "ok" if m.ok else "missed")
        for m in targets
    ]
    return Table("Targets", ("part", "figure", "measured", "target", ""), rows)


def number(value: object) -> str:
    """Return a number with two or three significant digits."""
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

    head, *rows = _cells(table)
    rule = ["---", *["---:"] * (len(head) - 1)]
    lines = ["| " + " | ".join(row) + " |" for row in (head, rule, *rows)]
    return "\n".join([f"**{table.title}**", "", *lines, *(["", table.note] if table.note else [])])


def markdown(results: Results) -> str:
    """Return all tables of a run, for `benchmarks/README.md`."""
    cores, memory, architecture, python, _ = machine().values()
    head = (
        f"Measured on {datetime.now(UTC).date()} with {results.size:,} requests: {cores} cores, "
        f"{memory} GiB, {architecture}, Python {python}."
    )
    parts = [as_markdown(table) for tables in results.tables.values() for table in tables]
    targets = [as_markdown(targets_table(results.targets))] if results.targets else []
    return "\n\n".join([head, *targets, *parts]) + "\n"


def write(path: Path | None, text: str) -> None:
    """Write a file, if there is a path."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
