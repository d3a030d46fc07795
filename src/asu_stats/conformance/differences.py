"""What differs between an expected and a received JSON value, row by row and member by member."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

# What names a row of a list; those that a row has, together.
_NAMES: Final = (
    *("timestamp", "date", "version", "target", "profile", "client", "client_version"),
    *("category", "type", "package", "figure", "weekday", "hour"),
)
_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that a server should have returned, and the one that it did return."""

    request: str
    place: str
    expected: str
    received: str


@dataclass(frozen=True, slots=True)
class Absent:
    """Stands for a member or a row that is not there."""

    def __str__(self) -> str:
        return "nothing"


NOTHING: Final = Absent()


def differences(
    request: str, expected: Any, received: Any, optional: frozenset[str] = frozenset()
) -> list[Difference]:
    """Return what differs; members of `received` that are not expected do not count.

    Nor do the members in `optional`, if they are absent.
    """
    return [
        Difference(request, place or "body", _short(wanted), _short(got))
        for place, wanted, got in _compared("", expected, received, optional)
    ]


_Found = Iterator[tuple[str, Any, Any]]


def _compared(place: str, expected: Any, received: Any, optional: frozenset[str]) -> _Found:
    if isinstance(expected, Mapping) and isinstance(received, Mapping):
        for name, value in expected.items():
            got = received.get(name, NOTHING)
            if got is NOTHING and name in optional:
                continue
            yield from _compared(f"{place}.{name}" if place else name, value, got, optional)
    elif isinstance(expected, list) and isinstance(received, list):
        yield from _rows(place, expected, received, optional)
    elif type(expected) is bool or type(received) is bool:
        if expected is not received:
            yield place, expected, received
    elif expected != received:
        yield place, expected, received


def _rows(
    place: str, expected: Sequence[Any], received: Sequence[Any], optional: frozenset[str]
) -> _Found:
    """Compare rows by their names, and then the order of the rows."""
    columns = [name for name in _NAMES if expected and _has(expected[0], name)]
    wanted, got = _by_name(expected, columns), _by_name(received, columns)
    if wanted is None or got is None:  # rows without names, or a name twice
        for index in range(max(len(expected), len(received))):
            row, other = (
                rows[index] if index < len(rows) else NOTHING for rows in (expected, received)
            )
            yield from _compared(f"{place}[{index}]", row, other, optional)
        return
    for name in [*wanted, *(name for name in got if name not in wanted)]:
        row, other = wanted.get(name, NOTHING), got.get(name, NOTHING)
        yield from _compared(f"{place}[{', '.join(map(str, name))}]", row, other, optional)
    if wanted.keys() == got.keys() and list(wanted) != list(got):
        yield f"{place} (order)", [*map(list, wanted)], [*map(list, got)]


def _has(row: Any, name: str) -> bool:
    return isinstance(row, Mapping) and isinstance(row.get(name), str | int)


def _by_name(rows: Sequence[Any], columns: Sequence[str]) -> dict[tuple[Any, ...], Any] | None:
    named = {}
    for row in rows:
        if not columns or not isinstance(row, Mapping):
            return None
        named[tuple(_hashable(row.get(column)) for column in columns)] = row
    return named if len(named) == len(rows) else None


def _hashable(value: Any) -> Any:
    return value if isinstance(value, str | int | float | None) else json.dumps(value)


def _short(value: Any) -> str:
    text = str(value) if isinstance(value, Absent) else json.dumps(value, default=str)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
