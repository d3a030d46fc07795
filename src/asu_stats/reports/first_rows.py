"""The first rows of a ranking. The database orders and cuts: names are untrusted, so many."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from sqlalchemy import (
    BigInteger,
    Connection,
    Date,
    Select,
    Text,
    bindparam,
    case,
    func,
    literal,
    literal_column,
    select,
)

from asu_stats.releases import as_text, order_of
from asu_stats.reports import floor
from asu_stats.reports.listing import Page
from asu_stats.store.database import statements
from asu_stats.store.rollups.definitions import Rollup
from asu_stats.windows import Window

_AMOUNT: Final = "amount"
# After so many rows, or after all rows that tie with the last of them.
_Cut: TypeAlias = Literal["all", "row", "place"]


class FirstRows(NamedTuple):
    """Rows of names and their sum, the largest first, then by name."""

    rows: Sequence[tuple[Any, ...]]
    total: int  # of rows, without the cut
    amount: int  # of all rows together


def send(
    connection: Connection,
    rollup: Rollup,
    columns: Sequence[str],
    window: Window,
    filters: Mapping[str, str],
    page: Page,
    *,
    fold: bool = False,
) -> Callable[[], FirstRows]:
    """Ask for the rows of `page`: the first sum of `rollup` by `columns`, without sums of 0.

    With `fold`, names of a single column that are below the public floor are added up as `other`.
    SQL cannot sort by release. Of version columns all rows that tie with the last one are read.
    """
    order = order_of(columns[0]) if len(columns) == 1 else as_text
    after = page.places.stop
    cut: _Cut = "all" if after is None else "row" if order is as_text else "place"
    min_requests = floor.min_requests() if fold else 0
    sent = statements.send_once(
        connection,
        _statement(rollup, tuple(columns), tuple(filters), cut, fold=min_requests > 0),
        start=window.start,
        end=window.end,
        **{f"of_{column}": value for column, value in filters.items()},
        **({"min_requests": min_requests} if min_requests else {}),
        **({"after": after} if after is not None else {}),
    )

    def first_rows() -> FirstRows:
        found, width = sent(), len(columns)
        if not found:
            return FirstRows([], 0, 0)
        rows = [(*row[:width], int(row[width])) for row in found]
        if order is not as_text:
            rows.sort(key=lambda row: (-row[1], order(row[0])))
        return FirstRows(rows[page.places], *map(int, found[0][width + 1 : width + 3]))

    return first_rows


@lru_cache(maxsize=64)
def _statement(
    rollup: Rollup, columns: tuple[str, ...], filters: tuple[str, ...], cut: _Cut, *, fold: bool
) -> Select[Any]:
    t = rollup.table
    amount = func.sum(t.c[rollup.adds[0]])
    keys = [t.c[column] for column in columns]
    window = t.c.date.between(bindparam("start", type_=Date), bindparam("end", type_=Date))
    same = [t.c[column] == bindparam(f"of_{column}", type_=Text) for column in filters]
    groups = (
        select(*keys, amount.label(_AMOUNT))
        .where(window, *same)
        .group_by(*keys)
        .having(amount > literal_column("0"))
        .subquery()
    )
    if fold:
        (column,) = columns
        name = groups.c[column]
        is_rare = groups.c.amount < bindparam("min_requests", type_=BigInteger)
        shown = case((is_rare, literal(floor.OTHER, Text)), else_=name).label(column)
        names = select(shown, groups.c.amount).subquery()
        together = func.sum(names.c.amount).label(_AMOUNT)
        groups = select(names.c[column], together).group_by(names.c[column]).subquery()
    by_amount = groups.c.amount.desc()
    ranked = select(
        *groups.c,
        func.count().over().label("total"),
        func.sum(groups.c.amount).over().label("together"),
        func.rank().over(order_by=by_amount).label("place"),
    )
    last = bindparam("after", type_=BigInteger)
    if cut == "place":
        placed = ranked.subquery()
        return select(placed).where(placed.c.place <= last)
    ranked = ranked.order_by(by_amount, *(groups.c[column] for column in columns))
    return ranked.limit(last) if cut == "row" else ranked
