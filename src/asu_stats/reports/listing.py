"""Lists whose rows are made when they are taken: a page costs what it shows, whatever is behind."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar, overload

Row = TypeVar("Row")

ROWS_AT_A_TIME: Final = 1_000


class Listing(Sequence[Row]):
    """A list in its order. It holds sums in memory, so no connection is needed to take rows."""

    def __init__(
        self, size: int, rows: Callable[[int, int], list[Row]], ranked_by: str = "requests"
    ) -> None:
        """Take `rows`, which makes those from one place up to another.

        `ranked_by` is the field that descends.
        """
        self._size = size
        self._rows = rows
        self.ranked_by = ranked_by

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, place: int) -> Row: ...

    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...

    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        if isinstance(place, slice):
            first, after, step = place.indices(self._size)
            return self._rows(first, max(first, after))[::step]
        first = range(self._size)[place]
        return self._rows(first, first + 1)[0]

    def beyond(self, offset: int) -> "Listing[Row]":
        """Return the list without its first rows."""
        first = min(offset, self._size)
        return Listing(
            self._size - first,
            lambda place, after: self._rows(place + first, after + first),
            self.ranked_by,
        )

    def __iter__(self) -> Iterator[Row]:
        for first in range(0, self._size, ROWS_AT_A_TIME):
            yield from self._rows(first, min(first + ROWS_AT_A_TIME, self._size))

    def __eq__(self, other: object) -> bool:
        return list(self) == (list(other) if isinstance(other, Listing) else other)

    __hash__ = None  # type: ignore[assignment]  # as of a list


@dataclass(frozen=True, slots=True)
class Page:
    """Which rows of the lists of an answer are wanted: `limit` of them, or all."""

    limit: int | None = None
    offset: int = 0

    def of(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Return the rows that are wanted."""
        if self.limit is None and isinstance(rows, Listing):
            return rows.beyond(self.offset)
        return rows if self == ALL else rows[self.places]

    @property
    def places(self) -> slice:
        """Where they stand."""
        return slice(self.offset, None if self.limit is None else self.offset + self.limit)

    def most(self, places: int) -> int:
        """Return how many a list inside a row holds, which has `places` at most."""
        return places if self.limit is None else min(places, self.limit)


ALL: Final = Page()
