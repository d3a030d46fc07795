"""The request in the arguments of an RQ job, read from the pickle without unpickling it.

A pickle is a program. Its instructions are listed here, not executed: nothing is imported, created
or called. Upstream's request has its fields in a fixed order, and where a name is expected, no
value can be a boolean, list or object. So client input cannot be mistaken for another field.
"""

import pickletools
import zlib
from collections.abc import Iterator
from typing import Any, Final

from asu_stats.text import NAME_LENGTH

_MAX_BYTES: Final = 1 << 20
_FIELDS: Final = ("distro", "version", "version_code", "target", "profile", "packages")
_OTHER: Final = object()
_CONSTANTS: Final = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LIST, _DICT = "EMPTY_LIST", "EMPTY_DICT"
_IGNORED: Final = frozenset({"PROTO", "FRAME", "MARK"})


class _Mark(str):
    """An instruction that stands for no text."""


def request(data: bytes) -> dict[str, Any]:
    """Return the request in a job's `data` as members of events, empty if it is unreadable."""
    try:
        tokens = list(_tokens(zlib.decompressobj().decompress(data, _MAX_BYTES)))
        return _read(tokens)
    except (zlib.error, ValueError, IndexError, StopIteration):
        return {}


def _tokens(pickle: bytes) -> Iterator[Any]:
    """Yield the values of a pickle in order: texts, constants, and marks for everything else."""
    memo: dict[Any, Any] = {}
    last: Any = _OTHER
    for instruction, argument, _ in pickletools.genops(pickle):
        name = instruction.name
        if name == "MEMOIZE":
            memo[len(memo)] = last
            continue
        if name in {"BINPUT", "LONG_BINPUT"}:
            memo[argument] = last
            continue
        if name in _IGNORED:
            continue
        if name in {"BINGET", "LONG_BINGET"}:
            last = memo.get(argument, _OTHER)
        elif name in _CONSTANTS:
            last = _CONSTANTS[name]
        elif isinstance(argument, str) and "UNICODE" in name:
            last = argument
        else:
            last = _Mark(name)
        yield last


def _text(token: Any) -> str | None:
    return token if isinstance(token, str) and not isinstance(token, _Mark) else None


def _read(tokens: list[Any]) -> dict[str, Any]:
    texts = [_text(token) for token in tokens]
    start = next(
        place
        for place in range(len(texts) - 2 * len(_FIELDS))
        if tuple(texts[place : place + 2 * len(_FIELDS) : 2]) == _FIELDS
    )
    version, target, profile = (texts[start + place] for place in (3, 7, 9))
    if not (version and target and profile):
        return {}
    lists = start + 11
    end = next(
        place
        for place in range(lists, len(texts))
        if texts[place] == "packages_versions" and tokens[place + 1] == _Mark(_DICT)
    )
    diff = next(
        place
        for place in range(end, len(texts))
        if texts[place] == "diff_packages" and isinstance(tokens[place + 1], bool)
    )
    between = [name for name in texts[end + 2 : diff] if name is not None]
    packages = between[::2] or [name for name in texts[lists:end] if name is not None]
    client = next(
        (texts[place + 1] for place in range(diff, len(texts) - 2) if _ends(texts, place)), None
    )
    return {
        "version": version[:NAME_LENGTH],
        "target": target[:NAME_LENGTH],
        "profile": profile[:NAME_LENGTH],
        "packages": [name.removeprefix("+")[:NAME_LENGTH] for name in packages],
        "diff_packages": tokens[diff + 1],
        **({"client": client[:NAME_LENGTH]} if client else {}),
    }


def _ends(texts: list[str | None], place: int) -> bool:
    """Return whether the last field of the request is at a place."""
    after = texts[place + 2]
    return texts[place] == "client" and (after is None or after.startswith("__pydantic"))
