"""Rows of rollups over a time range as columns of numbers, for what no sum of cubes can say.

Rows are remembered day by day while a day does not change. Names are numbers of a vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from itertools import islice
from typing import Any, Final, NamedTuple

import numpy as np
from sqlalchemy import Connection, Select

from asu_stats.exceptions import TooManyNamesError
from asu_stats.store.blocks import cached, reader
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

# Names are untrusted, and a table of all of them must fit into memory: each takes 300 to 500 bytes.
MOST_NAMES: Final = 1 << 20
_ROWS_AT_ONCE: Final = 4096


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
    daily: Daily[Ints | None]

    def nothing(self) -> Rows:
        """Return no rows."""
        return Rows(self.of, self.vocabulary, np.zeros(0, np.int64), _no_columns(self.of))

    def days(self, connection: Connection, first: int, last: int) -> Iterator[tuple[int, Rows]]:
        """Yield the days from `first` to `last` with data, which are ordinals, and their rows.

        Raises `TooManyNamesError` if the days have more than `MOST_NAMES` distinct names.
        """
        days = date.fromordinal(first), date.fromordinal(last)
        used = _Used(self.vocabulary)
        for day, columns in reader.read_days(connection, *days, self.daily):
            if columns is None or not used.count(columns[0]):
                raise TooManyNamesError(*days, MOST_NAMES)
            ordinal = day.toordinal()
            here = np.full(columns.shape[1], ordinal)
            yield ordinal, Rows(self.of, self.vocabulary, here, columns)


class _Used:
    """Counts the distinct names of keys."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._waiting: list[Ints] = []
        self._used = [np.zeros(0, bool)] * vocabulary.width

    def count(self, keys: Ints) -> bool:
        """Count the names of some keys; return whether there are at most `MOST_NAMES` so far."""
        self._waiting.append(keys)
        if self._vocabulary.names <= MOST_NAMES:  # the usual case costs nothing
            return True
        for place, before in enumerate(self._used):
            values, codes = self._vocabulary.unsorted(place)
            used = self._used[place] = np.pad(before, (0, max(0, len(values) - len(before))))
            for some in self._waiting:
                used[codes[some]] = True
        self._waiting = []
        return sum(int(used.sum()) for used in self._used) <= MOST_NAMES


def declared(connection: Connection, of: DayRows) -> Declared:
    """Return what the process remembers now."""
    return Declared(of, *cached.of(connection).declared(of, _declared))


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


def _declared(of: DayRows) -> tuple[Vocabulary, Daily[Ints | None]]:
    vocabulary = Vocabulary([str] * len(of.names))
    return vocabulary, Daily(
        of.of_day,
        partial(_numbered, of, vocabulary),
        lambda columns: 0 if columns is None else columns.nbytes,
    )


def _numbered(of: DayRows, vocabulary: Vocabulary, rows: Iterator[Row]) -> Ints | None:
    """Return the rows of a day as columns, `None` if they have too many names."""
    parts, used, width = [_no_columns(of)], _Used(vocabulary), len(of.names)
    while some := list(islice(rows, _ROWS_AT_ONCE)):
        columns = list(zip(*map(of.split, some), strict=True))
        keys = vocabulary.numbers([Column.of(column) for column in columns[:width]])
        if not used.count(keys):
            return None
        parts.append(np.stack([keys, *(np.array(each, np.int64) for each in columns[width:])]))
    return np.concatenate(parts, axis=1)
