"""Tables, declared as data: columns, and rows with search, order and pages.

They show the figures of reports unchanged.
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
    `names` (the first ones of a list), `plain` (with up to two decimals), `hours` (with two
    decimals), `words` (a name of the API, without underscores), `measured` (in the unit of the
    field `measure` of the row).
    """

    field: str
    label: str
    kind: str = "count"
    link: Link | None = None
    hint: str = ""
    secondary: bool = False  # hidden on narrow screens

    @property
    def is_text(self) -> bool:
        """Whether it is aligned and sorted as text."""
        return self.kind in {"name", "text", "time", "names", "words"}


@dataclass(frozen=True, slots=True)
class Table:
    """One page of the matching rows. `found` rows match, of `total`."""

    columns: Sequence[Column]
    rows: Sequence[Row]
    found: int
    total: int
    pages: int
    most: Mapping[str, int]  # the largest value of each `share` column, for the length of bars
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
    """Return the current page of the rows that match the search, in the requested order.

    The default order is that of the report. `searched` are the fields to search; default: that of
    the first column.
    """
    fields = searched or (columns[0].field,)
    words = view.search.casefold().split()
    sortable = {column.field for column in columns if column.kind != "names"}
    field = view.sort.removeprefix("-") if view.sort.removeprefix("-") in sortable else ""
    indexes: Sequence[int] = range(len(rows))
    if words or field:
        indexes = _matching(rows, words, fields, field, descending=view.sort.startswith("-"))
    pages = max(1, -(-len(indexes) // ROWS))
    number = min(view.number, pages)
    return Table(
        columns,
        [rows[index] for index in indexes[(number - 1) * ROWS : number * ROWS]],
        len(indexes),
        len(rows),
        pages,
        {
            column.field: _largest(rows, column.field)
            for column in columns
            if column.kind == "share"
        },
        view.sort if field else "",
        empty,
    )


def _matching(
    rows: Sequence[Row], words: Sequence[str], fields: Sequence[str], by: str, *, descending: bool
) -> list[int]:
    """Return the indexes of the rows that contain all of `words`, sorted by the field `by`.

    Rows without a value come last.
    """
    order = order_of(by)
    known: list[tuple[Any, int]] = []
    unknown: list[int] = []
    for index, row in enumerate(rows):
        if all(any(word in str(row[f]).casefold() for f in fields) for word in words):
            value = row[by] if by else None
            if value is None:
                unknown.append(index)
            else:
                known.append((order(value), index))
    known.sort(key=itemgetter(0), reverse=descending)
    return [index for _, index in known] + unknown


def _largest(rows: Sequence[Row], field: str) -> int:
    if isinstance(rows, Listing) and rows.ranked_by == field:
        return rows[0][field] if rows else 0
    return max((row[field] or 0 for row in rows), default=0)
