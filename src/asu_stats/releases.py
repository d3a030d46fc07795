"""The order of versions: 19.07.9 before 19.07.10, candidates before their release."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

MAIN: Final = "SNAPSHOT"
_PARTS: Final = re.compile(r"([0-9]+)|(\.)|([^0-9.]+)")
_CANDIDATE: Final = re.compile(r"[-_~+]?(rc|alpha|beta|pre)", re.IGNORECASE)
_DIGITS: Final = frozenset("0123456789")
_LONGEST: Final = 0xD000  # digits: what `chr` makes of more may be no character


@lru_cache(maxsize=8192)
def release_order(version: str) -> str:
    """Return a text that sorts versions, or branches, by age; of names that are equal, one text.

    A candidate comes before its release, a branch's snapshot before all versions of the branch,
    main last. Names that do not begin with a digit come first. Numbers count as numbers.
    """
    if version == MAIN:
        return "2"
    found = ["1" if version[:1] in _DIGITS else "0"]
    # What may follow at one place, in ascending order: a candidate, nothing, text, a dot, a number.
    for number, dot, text in _PARTS.findall(version):
        if number:
            digits = number.lstrip("0")
            found.append(f"\x05{chr(min(len(digits), _LONGEST))}{digits}")
        elif dot:
            found.append("\x04")
        else:
            found += ("\x01" if _CANDIDATE.match(text) else "\x03", text, "\x00")
    return f"{''.join(found)}\x02{version}"


def as_text(name: str) -> str:
    """Return what sorts names that have no order of their own."""
    return name


def order_of(column: str) -> Callable[[str], str]:
    """Return what sorts the names of a column: versions by age, all others as text."""
    return release_order if column in {"version", "client_version"} else as_text
