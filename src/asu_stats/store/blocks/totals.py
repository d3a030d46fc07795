"""Sums of blocks over a time range: totals, counts, ranks and distributions.

Reports get whole numbers, names and lists, and insights also columns of them.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, NamedTuple, Self, TypeAlias

import numpy as np

from asu_stats.store.blocks.columns import Names
from asu_stats.store.blocks.distribution import Distribution, Summary, percentiles, summaries
from asu_stats.store.blocks.keys import Column, Groups, Ints, Key, Values, Vocabulary, as_values


@dataclass(frozen=True, slots=True)
class Before:
    """Condition that a part of a key, which is a day, lies before `day`."""

    day: date


# By the place of a part in the key: the value that it must have, or a condition.
Where: TypeAlias = Mapping[int, Any]


class Ranked:
    """Names and their sums: by the first sum, the largest first, then in the order given."""

    def __init__(self, names: Values, sums: Ints, deciding: int = 1) -> None:
        """Take names in order, each once, and a row of sums for each.

        Only names with one of the first `deciding` sums other than 0 are ranked.
        """
        some = np.flatnonzero(sums[:, :deciding].any(axis=1) if deciding > 1 else sums[:, 0])
        order = some[np.argsort(-sums[some, 0], kind="stable")]
        self._names, self._sums = names[order], sums[order]

    @classmethod
    def of(cls, rows: Iterable[tuple[Any, Sequence[int]]], width: int, deciding: int = 1) -> Self:
        """Rank rows of a name and its `width` sums, which come in the order of names."""
        found = list(rows)
        sums = np.array([sums for _, sums in found], np.int64).reshape(-1, width)
        return cls(as_values([name for name, _ in found]), sums, deciding)

    def __len__(self) -> int:
        return len(self._sums)

    def folded(self, least: int, name: str) -> tuple["Ranked", list[Any]]:
        """Return the ranks with names whose first sum is below `least` added up as `name`.

        The names in it are returned too; `name` itself is always one of them.
        """
        few = (self._sums[:, 0] < least) | (self._names == name)
        hidden: list[Any] = self._names[few].tolist()
        if not hidden:
            return self, []
        rows = zip(self._names[~few].tolist(), self._sums[~few].tolist(), strict=True)
        rest = name, self._sums[few].sum(axis=0).tolist()
        width = self._sums.shape[1]
        return Ranked.of([*rows, rest], width, deciding=width), hidden

    def names(self, first: int, after: int) -> list[Any]:
        """Return the names of the ranks from `first` to before `after`; the first rank is 0."""
        found: list[Any] = self._names[first:after].tolist()
        return found

    def counts(self, first: int, after: int) -> list[int]:
        """Return the first sum of each of these ranks."""
        found: list[int] = self._sums[first:after, 0].tolist()
        return found

    def rows(self, first: int, after: int) -> list[list[int]]:
        """Return all sums of these ranks, a row for each name."""
        found: list[list[int]] = self._sums[first:after].tolist()
        return found

    def columns(self, first: int, after: int) -> list[list[int]]:
        """Return all sums of these ranks, a column for each sum."""
        found: list[list[int]] = self._sums[first:after].T.tolist()
        return found

    def pairs(self, first: int, after: int) -> Iterator[tuple[Any, int]]:
        """Yield (name, first sum)."""
        return zip(self.names(first, after), self.counts(first, after), strict=True)


class Top(NamedTuple):
    """How many names there are below a head, and those with the largest counts."""

    names: int
    first: list[tuple[Any, int]]


NOTHING: Final = Top(0, [])


class Tops:
    """Counts of keys with two parts or more, grouped by head: all parts of a key but the last."""

    def __init__(self, groups: Groups, counts: Ints, places: int) -> None:
        """Take the keys in order and the count of each; at most `places` names are shown."""
        self._groups, self._counts = groups, counts
        self._ranked, self._sizes = top_of_each(groups.group, counts, places)
        self._shown = np.minimum(self._sizes, places)
        self._ends = np.cumsum(self._shown)

    def counts(self) -> list[tuple[Key, int]]:
        """Return the heads that have a count other than 0, in order, and their counts."""
        if not len(self._counts):
            return []
        counts = np.add.reduceat(self._counts, self._groups.starts).tolist()
        return [pair for pair in zip(self._groups.heads, counts, strict=True) if pair[1]]

    def counts_of(self, heads: Iterable[Key]) -> dict[Any, int]:
        """Return the count of each name below some heads together, of those that have one."""
        found: dict[Any, int] = defaultdict(int)
        for head in heads:
            place = self._groups.places.get(head, len(self._sizes))
            if place < len(self._sizes):
                selected = self._groups.group == place
                selected &= self._counts != 0
                names, counts = self._groups.tails[selected], self._counts[selected]
                for name, n in zip(names.tolist(), counts.tolist(), strict=True):
                    found[name] += n
        return found

    def of(self, heads: Sequence[Key]) -> list[Top]:
        """Return the names below each of `heads`: by count descending, then in order."""
        if not len(self._sizes):
            return [NOTHING] * len(heads)
        known, last = self._groups.places, len(self._sizes)
        found = np.array([known.get(head, last) for head in heads], np.int64)
        here = found < last
        places = np.where(here, found, 0)
        sizes, shown = (np.where(here, of[places], 0) for of in (self._sizes, self._shown))
        up_to = np.cumsum(shown)
        taken = np.arange(shown.sum()) + np.repeat(self._ends[places] - up_to, shown)
        ranked = self._ranked[taken]
        first = list(
            zip(self._groups.tails[ranked].tolist(), self._counts[ranked].tolist(), strict=True)
        )
        rows = zip(sizes.tolist(), shown.tolist(), up_to.tolist(), strict=True)
        return [Top(size, first[end - n : end]) for size, n, end in rows]


def top_of_each(group: Ints, counts: Ints, places: int) -> tuple[Ints, Ints]:
    """Return the places of the largest counts above 0 of each group, and how many it has.

    `group` ascends, and so do the names in each. At most `places` of a group are returned, by count
    descending, then by name. No count is negative.
    """
    some = np.flatnonzero(counts)
    size = len(some)
    if not size:
        return some, np.zeros(0, np.int64)
    of_group, less = group[some], counts.max() - counts[some]
    if (int(of_group[-1]) + 1) * (int(less.max()) + 1) * size < 1 << 63:
        # Sorting one combined number is several times as fast.
        key = (of_group * (less.max() + 1) + less) * size + np.arange(size)
        order = some[np.sort(key) % size]
    else:
        order = some[np.lexsort((less, of_group))]
    sizes = np.bincount(of_group)
    shown = np.minimum(sizes, places)
    skipped = np.cumsum(sizes - shown) - (sizes - shown)
    return order[np.arange(shown.sum()) + np.repeat(skipped, shown)], sizes


@dataclass(frozen=True, slots=True)
class Totals:
    """A cube over a time range: a row of sums for every key of the vocabulary, most of them 0.

    Only keys that match `where` count where a method takes it.
    """

    vocabulary: Vocabulary
    sums: Ints

    def renamed(self, place: int, names: Iterable[Any], name: Any) -> Self:
        """Return the totals with some values of one part of the keys added up as `name`."""
        changed = dict.fromkeys(names, name)
        rows = [
            ((*key[:place], changed.get(key[place], key[place]), *key[place + 1 :]), sums)
            for key, sums in self.rows()
        ]
        if not rows:
            return self
        vocabulary = self.vocabulary.new()
        numbers = vocabulary.numbers(
            [Column.of(part) for part in zip(*(key for key, _ in rows), strict=True)]
        )
        found = np.zeros((vocabulary.size, self.sums.shape[1]), np.int64)
        np.add.at(found, numbers, np.array([sums for _, sums in rows], np.int64))
        return type(self)(vocabulary, found)

    def total(self, where: Where | None = None) -> list[int]:
        """Return each sum over all keys."""
        found: list[int] = self.sums[self._rows(where)].sum(axis=0).tolist()
        return found

    def rows(self) -> Iterator[tuple[Key, list[int]]]:
        """Yield the keys that have a sum other than 0, and their sums."""
        numbers = np.flatnonzero(self.sums.any(axis=1))
        return zip(self.vocabulary.keys(numbers), self.sums[numbers].tolist(), strict=True)

    def columns(self) -> tuple[list[Names], Ints]:
        """Return the keys with a first sum other than 0, a column per part, and that sum."""
        some = np.flatnonzero(self.sums[:, 0])
        parts = map(self.vocabulary.unsorted, range(self.vocabulary.width))
        return [Names(values, codes[some]) for values, codes in parts], self.sums[some, 0]

    def by_name(self, *sums: int) -> dict[Any, int]:
        """Return some sums together, by key, of a cube whose keys are single names."""
        found = np.zeros(len(self.sums), np.int64)
        for place in sums:
            found += self.sums[:, place]
        values, codes = self.vocabulary.unsorted(0)
        some = np.flatnonzero(found)
        names = map(values.__getitem__, codes[some].tolist())
        return dict(zip(names, found[some].tolist(), strict=True))

    def of(self, *parts: Sequence[Any], sums: Sequence[int] = (0,)) -> Ints:
        """Return some sums together of keys, given by all of their parts; 0 for unknown ones."""
        numbers = self.vocabulary.find(*parts)
        some = np.flatnonzero((numbers >= 0) & (numbers < len(self.sums)))
        found = np.zeros(len(numbers), np.int64)
        for place in sums:
            found[some] += self.sums[numbers[some], place]
        return found

    def counts(self, place: int, where: Where | None = None) -> dict[Any, int]:
        """Return the first sum by one part of the keys, of values with a sum other than 0."""
        values, sums = self._spread(place, where)
        some = np.flatnonzero(sums)
        return dict(zip(values[some].tolist(), sums[some].tolist(), strict=True))

    def ranked(self, place: int, where: Where | None = None) -> Ranked:
        """Return `counts`, ranked."""
        values, sums = self._spread(place, where)
        return Ranked(values, sums.reshape(-1, 1))

    def ranked_rows(self, deciding: int = 1) -> Ranked:
        """Rank the keys of a cube whose keys are single names, with all sums of each.

        Keys whose first `deciding` sums are 0 are left out.
        """
        groups = self.vocabulary.groups(len(self.sums))
        return Ranked(groups.tails, self.sums[groups.order], deciding)

    def tops(self, places: int = 5, where: Where | None = None) -> Tops:
        """Return the first sums by head, with the `places` names of the last part with most."""
        groups = self.vocabulary.groups(len(self.sums))
        counts = self.sums[:, 0]
        if where:
            selected = self._rows(where)
            counts = np.zeros(len(counts), np.int64)
            counts[selected] = self.sums[selected, 0]
        return Tops(groups, counts[groups.order], places)

    def distribution(self, place: int, where: Where | None = None) -> Distribution:
        """Return the distribution of one part of the keys, a whole number."""
        values, sums = self._spread(place, where)
        some = np.flatnonzero(sums)
        return Distribution(values[some], sums[some])

    def distributions(self, *places: int) -> dict[Key, Distribution]:
        """Return how the last part of the keys, a whole number, is distributed.

        The distributions are by the other parts at `places`, in the order of those.
        """
        some = np.flatnonzero(self.sums[:, 0])
        if not len(some):
            return {}
        columns = [self._column(place) for place in places]
        values, of_values = self._column(-1)
        number = np.zeros(len(some), np.int64)
        for names, codes in columns:
            number = number * len(names) + codes[some]
        # Sorting one combined number is several times as fast.
        order = np.argsort(number * len(values) + of_values[some])
        number, some = number[order], some[order]
        starts = np.flatnonzero(np.diff(number, prepend=-1))
        heads = zip(*(names[codes[some[starts]]].tolist() for names, codes in columns), strict=True)
        found, counts = values[of_values[some]], self.sums[some, 0]
        ends = [*starts[1:].tolist(), len(some)]
        return {
            head: Distribution(found[start:end], counts[start:end])
            for head, start, end in zip(heads, starts.tolist(), ends, strict=True)
        }

    def summaries(self) -> list[tuple[Key, Summary]]:
        """Return the distribution of the last part of the keys, a whole number, for each head."""
        groups = self.vocabulary.groups(len(self.sums))
        found = zip(groups.heads, summaries(groups, self.sums[groups.order, 0]), strict=True)
        return [(head, summary) for head, summary in found if summary.count]

    def percentiles(self, *percents: int) -> list[tuple[Key, int, list[int]]]:
        """Return head, count and percentiles of the last part of the keys, a whole number."""
        groups = self.vocabulary.groups(len(self.sums))
        if not len(groups.order):
            return []
        sizes, found = percentiles(groups, self.sums[groups.order, 0], *percents)
        rows = zip(groups.heads, sizes.tolist(), np.stack(found, axis=1).tolist(), strict=True)
        return [row for row in rows if row[1]]

    def _column(self, place: int) -> tuple[Values, Ints]:
        """Return the distinct values of one part of the keys, sorted, and each key's place."""
        column = self.vocabulary.column(place, len(self.sums))
        return column.values, column.codes[: len(self.sums)]

    def _spread(self, place: int, where: Where | None) -> tuple[Values, Ints]:
        """Return the sorted distinct values of one part of the keys, and the first sum of each."""
        values, codes = self._column(place)
        selected = self._rows(where)
        # bincount adds floats up: exact up to 2 ** 53
        sums = np.bincount(codes[selected], self.sums[selected, 0], len(values))
        return values, sums.astype(np.int64)

    def _rows(self, where: Where | None) -> Any:
        """Return an index of the rows that count."""
        if not where:
            return slice(None)
        selected = np.ones(len(self.sums), bool)
        for place, expected in where.items():
            values, codes = self._column(place)
            if isinstance(expected, Before):
                selected &= (values < expected.day.toordinal())[codes]
            else:
                found = np.flatnonzero(values == expected)
                selected &= codes == (found[0] if len(found) else -1)
        return np.flatnonzero(selected)
