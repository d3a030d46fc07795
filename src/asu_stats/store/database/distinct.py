"""Adds to sums, and keeps the number of those above 0 as a sum of another table.

On PostgreSQL that is one statement, whose result nobody waits for.
"""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, cast

from sqlalchemy import (
    BigInteger,
    ClauseElement,
    Connection,
    Table,
    case,
    func,
    literal,
    select,
    union_all,
)
from sqlalchemy.dialects import postgresql

from asu_stats.store.database import dialects, statements
from asu_stats.store.database.dialects import Row
from asu_stats.store.database.statements import Names


class Sums(NamedTuple):
    """A table of sums: `adds` per `key`."""

    table: Table
    key: Names
    adds: Names


class Distinct(NamedTuple):
    """The sum `add` of the table `into` is the number of keys with a sum `having` above 0.

    The key of `into` is the beginning of the other.
    """

    having: str
    into: Table
    key: Names
    add: str


def add(connection: Connection, of: Sums, distinct: Distinct, rows: Sequence[Row]) -> None:
    """Add `rows` of key and sums, and the changes in the number of distinct keys."""
    if not rows:
        return
    dialect = connection.dialect.name
    if dialect == "postgresql":
        columns = (*of.key, *of.adds)
        fields = [(name, of.table.c[name].type) for name in columns]
        values = dialects.given_values(dialect, fields, rows)
        statements.execute(connection, _together(of, distinct), **values)
        return
    width, place = len(distinct.key), len(of.key) + of.adds.index(distinct.having)
    totals = statements.add_returning(connection, *of, rows, distinct.having)
    more: Counter[Row] = Counter()
    for row, total in zip(rows, totals, strict=True):
        more[row[:width]] += (total > 0) - (total - row[place] > 0)
    changed = [(*key, count) for key, count in sorted(more.items()) if count]
    statements.add(connection, distinct.into, distinct.key, (distinct.add,), changed)


@lru_cache(maxsize=16)
def _together(of: Sums, distinct: Distinct) -> ClauseElement:
    table, key, adds = of
    fields = [(name, table.c[name].type) for name in (*key, *adds)]
    given = select(*dialects.given("postgresql", fields).c).cte("given_rows")
    insert: Any = postgresql.insert(table).from_select([*key, *adds], select(*given.c))
    sets = {name: table.c[name] + insert.excluded[name] for name in adds}
    having = table.c[distinct.having]
    added = (
        insert.on_conflict_do_update(index_elements=list(key), set_=sets)
        .returning(*(table.c[name] for name in key), having)
        .cte("added")
    )
    # Grouped rather than joined: a batch is planned without hash joins, see `postgresql`.
    zero = literal(0, BigInteger)
    both = union_all(
        select(
            *(added.c[name] for name in key),
            added.c[distinct.having].label("now"),
            zero.label("more"),
        ),
        select(
            *(given.c[name] for name in key),
            zero.label("now"),
            given.c[distinct.having].label("more"),
        ),
    ).subquery()
    *_, now, more = both.c
    of_key = [both.c[name] for name in key]
    sums = (
        select(*of_key, func.sum(now).label("now"), func.sum(more).label("more"))
        .group_by(*of_key)
        .subquery()
    )
    before = sums.c.now - sums.c.more
    into_key = [sums.c[name] for name in key[: len(distinct.key)]]
    change = func.sum(case((sums.c.now > 0, 1), else_=0) - case((before > 0, 1), else_=0))
    changed = select(*into_key, change).group_by(*into_key).having(change != 0)
    into: Any = postgresql.insert(distinct.into).from_select([*distinct.key, distinct.add], changed)
    total = distinct.into.c[distinct.add] + into.excluded[distinct.add]
    return cast(
        ClauseElement,
        into.on_conflict_do_update(index_elements=list(distinct.key), set_={distinct.add: total}),
    )
