"""Versions: their order (19.07.9 before 19.07.10, candidates before their release), their days."""

import csv
import re
from collections.abc import Callable
from datetime import date
from functools import lru_cache
from typing import Final

MAIN: Final = "SNAPSHOT"
_PARTS: Final = re.compile(r"([0-9]+)|(\.)|([^0-9.]+)")
_CANDIDATE: Final = re.compile(r"[-_~+]?(rc|alpha|beta|pre)", re.IGNORECASE)
_DIGITS: Final = frozenset("0123456789")
RELEASE: Final = r"[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}"
_RELEASE: Final = re.compile(RELEASE)
_BRANCH: Final = re.compile(r"([0-9]{1,4}\.[0-9]{1,4})(?:[.-].*)?", re.DOTALL)
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_VERSION_LENGTH: Final = 255
_LONGEST: Final = 0xD000  # digits: above it, `chr` may return a surrogate


@lru_cache(maxsize=8192)
def release_order(version: str) -> str:
    """Return a sort key that orders versions, or branches, by age.

    A candidate comes before its release, a branch's snapshot before all versions of the branch,
    main last. Names that do not begin with a digit come first. Numbers count as numbers.
    """
    if version == MAIN:
        return "2"
    found = ["1" if version[:1] in _DIGITS else "0"]
    # Order of what can follow at one place: a candidate, the end, text, a dot, a number.
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
    """Return the sort key of names that sort as text."""
    return name


def order_of(column: str) -> Callable[[str], str]:
    """Return the function for sort keys of a column: versions by age, all others as text."""
    return release_order if column in {"version", "client_version"} else as_text


def is_release(version: str) -> bool:
    """Return whether a version is a release, not a candidate or a snapshot: `24.10.2`."""
    return _RELEASE.fullmatch(version) is not None


def branch_of(version: str) -> str | None:
    """Return the branch of a version: `24.10.0-rc1` and `24.10-SNAPSHOT` are of `24.10`.

    Main and names without version numbers have none.
    """
    found = _BRANCH.fullmatch(version)
    return found[1] if found else None


def days_of(text: str) -> dict[str, date]:
    """Return the release days in CSV with the columns `version` and `released`.

    Versions without a day are left out. Raises `ValueError`, which names the line.
    """
    rows = csv.reader(text.splitlines(), strict=True)
    found: dict[str, date] = {}
    try:
        if next(rows, None) != ["version", "released"]:
            raise ValueError("line 1: expected version,released")
        for row in rows:
            if not row:
                continue
            if len(row) != 2 or not 0 < len(row[0]) <= _VERSION_LENGTH or not row[0].isprintable():
                raise ValueError(f"line {rows.line_num}: expected a version and a day")
            version, day = row
            if version in found:
                raise ValueError(f"line {rows.line_num}: {version} is there twice")
            if day:
                found[version] = _day(day, rows.line_num)
    except csv.Error as error:
        raise ValueError(f"line {rows.line_num}: {error}") from None
    return found


def _day(text: str, line: int) -> date:
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise ValueError(f"line {line}: {text[:40]}: expected a day, YYYY-MM-DD")
