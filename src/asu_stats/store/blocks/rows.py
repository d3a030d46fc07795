"""Rows of rollups over a time range as columns of numbers, for what no sum of cubes can say.

Rows are remembered day by day while a day does not change. Names are numbers of a vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
from sqlalchemy import Connection, Select

from asu_stats.store.blocks import reader
from asu_stats.store.blocks.columns import Mask, Names
from asu_stats.store.blocks.keys import Column, Ints, Vocabulary
from asu_stats.store.blocks.reader import Daily
from asu_stats.store.database.dialects import Row


@dataclass(frozen=True, slots=True, eq=False)
class DayRows:
    """Rows of a day: values of the columns `names`, then whole numbers for `numbers`.

    `split` turns a row of `of_day` into that.
    """

    of_day: Select[Any]
    names: tuple[str, ...]
    numbers: tuple[str, ...]
    split: Callable[[Row], Sequence[Any]]


_ALL: Final = slice(None)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows of a time range. `day` has the ordinals of their days."""

    of: DayRows
    vocabulary: Vocabulary
    day: Ints
    columns: Ints  # number of the names in the vocabulary, then the numbers

    def __len__(self) -> int:
        return len(self.day)

    def where(self, mask: Mask) -> "Rows":
        """Return some of the rows."""
        return replace(self, day=self.day[mask], columns=self.columns[:, mask])

    def of_keys(self, keys: Ints) -> "Rows":
        """Return rows with given keys; all numbers are 0."""
        columns = np.zeros((1 + len(self.of.numbers), len(keys)), np.int64)
        columns[0] = keys
        return replace(self, day=np.zeros(len(keys), np.int64), columns=columns)

    def number(self, name: str) -> Ints:
        """Return a column of whole numbers."""
        found: Ints = self.columns[1 + self.of.numbers.index(name)]
        return found

    def name(self, name: str, rows: slice = _ALL) -> Names:
        """Return a column of names, of some rows."""
        values, codes = self.vocabulary.unsorted(self.of.names.index(name))
        return Names(values, codes[self.columns[0, rows]])

    def equal(self, name: str, value: str, rows: slice = _ALL) -> Mask:
        """Return which rows, of some, have a value in a column of names."""
        values, codes = self.vocabulary.unsorted(self.of.names.index(name))
        keys = Names(values, codes).equal(value)  # fewer than rows
        found: Mask = keys[self.columns[0, rows]]
        return found


class Declared(NamedTuple):
    """What the process remembers of the rows `of` days, and the vocabulary of their names.

    The process may forget both at any time: rows that belong together come from the same one.
    """

    of: DayRows
    vocabulary: Vocabulary
    daily: Daily[Ints]

    def nothing(self) -> Rows:
        """Return no rows."""
        return Rows(self.of, self.vocabulary, np.zeros(0, np.int64), _no_columns(self.of))

    def days(self, connection: Connection, first: int, last: int) -> Iterator[tuple[int, Rows]]:
        """Yield the days from `first` to `last` with data, which are ordinals, and their rows."""
        days = date.fromordinal(first), date.fromordinal(last)
        for day, columns in reader.read_days(connection, *days, self.daily):
            ordinal = day.toordinal()
            here = np.full(columns.shape[1], ordinal)
            yield ordinal, Rows(self.of, self.vocabulary, here, columns)


def declared(connection: Connection, of: DayRows) -> Declared:
    """Return what the process remembers now."""
    return Declared(of, *reader.remembered(connection, of, _declared))


def send(connection: Connection, start: date, end: date, of: DayRows) -> None:
    """Ask for what `read` needs later in this snapshot, and do not wait for it."""
    reader.send_days(connection, start, end, declared(connection, of).daily)


def read(connection: Connection, start: date, end: date, of: DayRows) -> Rows:
    """Return the rows of the days from `start` to `end`, in the order of days."""
    known = declared(connection, of)
    days = (rows for _, rows in known.days(connection, start.toordinal(), end.toordinal()))
    return joined([known.nothing(), *days])


def joined(rows: Sequence[Rows]) -> Rows:
    """Return the rows of one or more with the same vocabulary, in their order."""
    columns = np.concatenate([each.columns for each in rows], axis=1)
    return replace(rows[0], day=np.concatenate([each.day for each in rows]), columns=columns)


def _no_columns(of: DayRows) -> Ints:
    return np.zeros((1 + len(of.numbers), 0), np.int64)


def _declared(of: DayRows) -> tuple[Vocabulary, Daily[Ints]]:
    vocabulary = Vocabulary([str] * len(of.names))
    return vocabulary, Daily(of.of_day, partial(_numbered, of, vocabulary), lambda of: of.nbytes)


def _numbered(of: DayRows, vocabulary: Vocabulary, rows: Sequence[Row]) -> Ints:
    """Return the rows of a day as columns."""
    if not rows:
        return _no_columns(of)
    columns, width = list(zip(*map(of.split, rows), strict=True)), len(of.names)
    keys = vocabulary.numbers([Column.of(column) for column in columns[:width]])
    return np.stack([keys, *(np.array(column, np.int64) for column in columns[width:])])
