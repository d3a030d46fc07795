"""Rows as CSV (RFC 4180). Cells that a spreadsheet would run as a formula are escaped."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, Literal, get_origin, get_type_hints

from asu_stats.reports.listing import ROWS_AT_A_TIME

MEDIA_TYPE: Final = "text/csv; charset=utf-8; header=present"
_FORMULA: Final = tuple("=+-@\t\r\n＝＋－＠")  # noqa: RUF001 - the full-width forms too


def columns_of(row_type: type) -> list[str]:
    """Return the columns of a row type: its fields that are not nested."""
    hints = get_type_hints(row_type)
    return [name for name, hint in hints.items() if _is_plain(hint)]


def _is_plain(hint: Any) -> bool:
    return hint in _PLAIN or get_origin(hint) is Literal


_PLAIN: Final = {str, int, float, bool, str | None, int | None, float | None, bool | None}


def to_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Yield a table in parts: a header line, then rows; lines end with CR LF (RFC 4180)."""
    yield _lines([columns])
    left = iter(rows)
    while part := [[row[column] for column in columns] for row in islice(left, ROWS_AT_A_TIME)]:
        yield _lines(part)


def _lines(rows: Iterable[Iterable[object]]) -> bytes:
    return "".join(f"{','.join(map(cell, row))}\r\n" for row in rows).encode()


def cell(value: object) -> str:
    """Return the cell of a value: empty for `None`; text is escaped and quoted if needed."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False)
    guarded = value.startswith(_FORMULA)
    if guarded or any(character in value for character in ',"\r\n'):
        return '"' + ("'" if guarded else "") + value.replace('"', '""') + '"'
    return value
