"""Strict query strings: unknown or repeated parameters are errors (docs/reference/api.md)."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final
from urllib.parse import parse_qsl

from asu_stats.exceptions import InvalidParameterError

_SHOWN: Final = 40  # characters of an unknown name


def read(query: bytes, known: Iterable[str]) -> dict[str, str]:
    """Return the parameters of a query string.

    Raises `InvalidParameterError` for a repeated parameter, and for one that is not `known`; the
    error names the most similar known parameter, else all of them.
    """
    names = list(known)
    given: dict[str, str] = {}
    text = query.decode("ascii", "backslashreplace")
    for name, value in parse_qsl(text, keep_blank_values=True, errors="surrogateescape"):
        if name not in names:
            raise InvalidParameterError(name[:_SHOWN], got=value, expected=_instead_of(name, names))
        if name in given:
            raise InvalidParameterError(name, got=value, expected="only one value")
        given[name] = value
    return given


def _instead_of(name: str, known: list[str]) -> str:
    nearest = get_close_matches(name[:_SHOWN].lower(), known, n=1)
    if nearest:
        return f"a parameter of this endpoint; the nearest is {nearest[0]}"
    return f"a parameter of this endpoint: {', '.join(known)}"
