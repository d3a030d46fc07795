"""Compares an expected and a received JSON value, row by row and member by member."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

# Members that identify a row of a list, as far as the row has them.
_KEY_MEMBERS: Final = (
    *("timestamp", "date", "version", "target", "profile", "client", "client_version"),
    *("category", "type", "package", "figure", "weekday", "hour"),
)
_SHOWN_CHARACTERS: Final = 60


@dataclass(frozen=True, slots=True)
class Difference:
    """An expected value, the received one, and its path in the response (`place`)."""

    request: str
    place: str
    expected: str
    received: str


@dataclass(frozen=True, slots=True)
class Absent:
    """Stands for an absent member or row."""

    def __str__(self) -> str:
        return "nothing"


ABSENT: Final = Absent()


def differences(
    request: str, expected: Any, received: Any, optional: frozenset[str] = frozenset()
) -> list[Difference]:
    """Return the differences between two values.

    Additional members of `received` are ignored, and so are absent members in `optional`.
    """
    return [
        Difference(request, place or "body", _shortened(value), _shortened(other))
        for place, value, other in _compared("", expected, received, optional)
    ]


_Found = Iterator[tuple[str, Any, Any]]


def _compared(place: str, expected: Any, received: Any, optional: frozenset[str]) -> _Found:
    if isinstance(expected, Mapping) and isinstance(received, Mapping):
        for name, value in expected.items():
            other = received.get(name, ABSENT)
            if other is ABSENT and name in optional:
                continue
            yield from _compared(f"{place}.{name}" if place else name, value, other, optional)
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
    """Compare rows with equal keys, then the order of the rows."""
    members = [name for name in _KEY_MEMBERS if expected and _has(expected[0], name)]
    rows, others = _by_key(expected, members), _by_key(received, members)
    if rows is None or others is None:  # rows without key, or with the same key
        for index in range(max(len(expected), len(received))):
            row, other = (
                side[index] if index < len(side) else ABSENT for side in (expected, received)
            )
            yield from _compared(f"{place}[{index}]", row, other, optional)
        return
    for key in [*rows, *(key for key in others if key not in rows)]:
        row, other = rows.get(key, ABSENT), others.get(key, ABSENT)
        yield from _compared(f"{place}[{', '.join(map(str, key))}]", row, other, optional)
    if rows.keys() == others.keys() and list(rows) != list(others):
        yield f"{place} (order)", [*map(list, rows)], [*map(list, others)]


def _has(row: Any, name: str) -> bool:
    return isinstance(row, Mapping) and isinstance(row.get(name), str | int)


def _by_key(rows: Sequence[Any], members: Sequence[str]) -> dict[tuple[Any, ...], Any] | None:
    by_key = {}
    for row in rows:
        if not members or not isinstance(row, Mapping):
            return None
        by_key[tuple(_hashable(row.get(name)) for name in members)] = row
    return by_key if len(by_key) == len(rows) else None


def _hashable(value: Any) -> Any:
    return value if isinstance(value, str | int | float | None) else json.dumps(value)


def _shortened(value: Any) -> str:
    text = str(value) if isinstance(value, Absent) else json.dumps(value, default=str)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."
