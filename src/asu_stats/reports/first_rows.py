"""The first rows of a ranking. The database orders and cuts: names are untrusted, so many."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Select, case, func, literal, select

from asu_stats.releases import as_text, order_of
from asu_stats.reports import floor, sums
from asu_stats.reports.listing import Page
from asu_stats.store.rollups.definitions import Rollup
from asu_stats.windows import Window

_AMOUNT: Final = "amount"


class FirstRows(NamedTuple):
    """Rows of names and their sum, the largest first, then by name."""

    rows: Sequence[tuple[Any, ...]]
    total: int  # of rows, without the cut
    amount: int  # of all rows together


def read(
    connection: Connection,
    rollup: Rollup,
    columns: Sequence[str],
    window: Window,
    filters: Mapping[str, str],
    page: Page,
    *,
    fold: bool = False,
) -> FirstRows:
    """Return the rows of `page`: the first sum of `rollup` by `columns`, without sums of 0.

    With `fold`, names of a single column that are below the public floor are added up as `other`.
    SQL cannot sort by release. Of version columns all rows that tie with the last one are read.
    """
    order = order_of(columns[0]) if len(columns) == 1 else as_text
    after = page.places.stop
    statement = _ranked(rollup, columns, window, filters, fold=fold)
    if after is not None and order is as_text:
        statement = statement.limit(after)
    elif after is not None:
        ranked = statement.subquery()
        statement = select(ranked).where(ranked.c.place <= after)
    found = connection.execute(statement).all()
    rows = [(*row[: len(columns)], int(row.amount)) for row in found]
    if order is not as_text:
        rows.sort(key=lambda row: (-row[1], order(row[0])))
    if not found:
        return FirstRows([], 0, 0)
    return FirstRows(rows[page.places], int(found[0].total), int(found[0].together))


def _ranked(
    rollup: Rollup,
    columns: Sequence[str],
    window: Window,
    filters: Mapping[str, str],
    *,
    fold: bool,
) -> Select[Any]:
    t = rollup.table
    amount = func.sum(t.c[rollup.adds[0]])
    keys = [t.c[column] for column in columns]
    same = [t.c[column] == value for column, value in filters.items()]
    groups = (
        select(*keys, amount.label(_AMOUNT))
        .where(sums.in_window(rollup, window), *same)
        .group_by(*keys)
        .having(amount > 0)
        .subquery()
    )
    if fold and floor.least():
        (column,) = columns
        name = groups.c[column]
        is_rare = groups.c.amount < floor.least()
        shown = case((is_rare, literal(floor.OTHER)), else_=name).label(column)
        names = select(shown, groups.c.amount).subquery()
        together = func.sum(names.c.amount).label(_AMOUNT)
        groups = select(names.c[column], together).group_by(names.c[column]).subquery()
    by_amount = groups.c.amount.desc()
    return select(
        *groups.c,
        func.count().over().label("total"),
        func.sum(groups.c.amount).over().label("together"),
        func.rank().over(order_by=by_amount).label("place"),
    ).order_by(by_amount, *(groups.c[column] for column in columns))
