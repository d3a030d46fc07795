"""Tables, declared as data: columns, and rows that are searched, sorted and cut into pages.

They show figures of the reports unchanged.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final

from asu_stats.dashboard.view import View
from asu_stats.releases import order_of
from asu_stats.reports.listing import Listing

ROWS: Final = 50
Row = Mapping[str, Any]
Link = Callable[[Row], str]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its field, its heading, and its format.

    `kind`: `name`, `text`, `count`, `share` (a count with a bar), `rate`, `seconds`, `time`,
    `names` (the first of a list), `plain` (as many decimals as it has, two at most), `words` (a
    name of the API, without underscores), `measured` (of what the field `measure` of the row says).
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
        return self.kind in {"name", "text", "time", "names", "words"}


@dataclass(frozen=True, slots=True)
class Table:
    """A table as shown: one page of the rows found."""

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
    """Return the rows that match the search, in the requested order.

    Without an order they stay as the report sorts them. `searched` names the fields to search, by
    default the first column.
    """
    fields = searched or (columns[0].field,)
    words = view.search.casefold().split()
    by = {column.field for column in columns if column.kind != "names"}
    field = view.sort.removeprefix("-") if view.sort.removeprefix("-") in by else ""
    places: Sequence[int] = range(len(rows))
    if words or field:
        places = _places(rows, words, fields, field, descending=view.sort.startswith("-"))
    pages = max(1, -(-len(places) // ROWS))
    number = min(view.number, pages)
    return Table(
        columns,
        [rows[place] for place in places[(number - 1) * ROWS : number * ROWS]],
        len(places),
        len(rows),
        pages,
        {column.field: _most(rows, column.field) for column in columns if column.kind == "share"},
        view.sort if field else "",
        empty,
    )


def _places(
    rows: Sequence[Row], words: Sequence[str], fields: Sequence[str], by: str, *, descending: bool
) -> list[int]:
    """Return the places of the rows that contain all of `words`, sorted by the field `by`.

    Unknown values come last.
    """
    order = order_of(by)
    known: list[tuple[Any, int]] = []
    unknown: list[int] = []
    for place, row in enumerate(rows):
        if all(any(word in str(row[f]).casefold() for f in fields) for word in words):
            value = row[by] if by else None
            if value is None:
                unknown.append(place)
            else:
                known.append((order(value), place))
    known.sort(key=itemgetter(0), reverse=descending)
    return [place for _, place in known] + unknown


def _most(rows: Sequence[Row], field: str) -> int:
    if isinstance(rows, Listing) and rows.ranked_by == field:
        return rows[0][field] if rows else 0
    return max((row[field] or 0 for row in rows), default=0)
