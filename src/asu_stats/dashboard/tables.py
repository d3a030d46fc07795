"""Tables, said as data: columns, and rows found, sorted and cut into pages.

Nothing is computed here: figures come from the reports as they are.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from asu_stats.dashboard.view import View
from asu_stats.releases import order_of

ROWS: Final = 50
Row = Mapping[str, Any]
Link = Callable[[Row], str]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: the field of a row it shows, its heading, and how it is written.

    `kind`: `name`, `text`, `count`, `share` (a count with a bar), `rate`, `seconds`, `time`,
    `names` (the first of a list).
    """

    field: str
    label: str
    kind: str = "count"
    link: Link | None = None
    hint: str = ""
    secondary: bool = False  # left out on narrow screens

    @property
    def is_text(self) -> bool:
        """Whether it is aligned and sorted as text."""
        return self.kind in {"name", "text", "time", "names"}


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it is shown: the rows of one page of those that were found."""

    columns: Sequence[Column]
    rows: Sequence[Row]
    found: int
    total: int
    pages: int
    most: Mapping[str, int]  # the largest value of each `share`, which has the longest bar
    sort: str
    empty: str


def arrange(
    view: View,
    columns: Sequence[Column],
    rows: Sequence[Row],
    *,
    empty: str,
    searched: Sequence[str] = (),
) -> Table:
    """Return the rows whose names contain what is searched for, in the order asked for.

    Without an order they stay as the report has them. `searched` names the fields that are looked
    at; by default the first column's.
    """
    fields = searched or (columns[0].field,)
    words = view.search.casefold().split()
    found = [
        row for row in rows if all(any(w in str(row[f]).casefold() for f in fields) for w in words)
    ]
    descending, field = view.sort.startswith("-"), view.sort.removeprefix("-")
    by = {column.field: column for column in columns if column.kind != "names"}
    if field in by:
        known = [row for row in found if row[field] is not None]
        order = order_of(field)
        known.sort(key=lambda row: order(row[field]), reverse=descending)
        found = known + [row for row in found if row[field] is None]
    pages = max(1, -(-len(found) // ROWS))
    number = min(view.number, pages)
    most = {
        column.field: max((row[column.field] or 0 for row in rows), default=0)
        for column in columns
        if column.kind == "share"
    }
    return Table(
        columns,
        found[(number - 1) * ROWS : number * ROWS],
        len(found),
        len(rows),
        pages,
        most,
        view.sort if field in by else "",
        empty,
    )
