"""Lists that create their rows on access: a page costs only the rows that it shows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar, overload

Row = TypeVar("Row")

ROWS_AT_A_TIME: Final = 1_000


class Listing(Sequence[Row]):
    """A sorted list. It holds sums in memory, so taking rows needs no connection."""

    def __init__(
        self, size: int, rows: Callable[[int, int], list[Row]], ranked_by: str = "requests"
    ) -> None:
        """Take a function that creates the rows from one place to before another.

        `ranked_by` is the field by which the rows descend.
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
        """Return the list without its first `offset` rows."""
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
    """The part of the lists in a response: `limit` rows from `offset`, or all."""

    limit: int | None = None
    offset: int = 0

    def of(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Return the rows of the page."""
        if self.limit is None and isinstance(rows, Listing):
            return rows.beyond(self.offset)
        return rows if self == ALL else rows[self.places]

    @property
    def places(self) -> slice:
        return slice(self.offset, None if self.limit is None else self.offset + self.limit)

    def most(self, places: int) -> int:
        """Return the length of a list inside a row that has at most `places` entries."""
        return places if self.limit is None else min(places, self.limit)


ALL: Final = Page()
