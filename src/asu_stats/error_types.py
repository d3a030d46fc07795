"""Derives the category and type of an error from its text.

The rules are data, see `error_rules`. Texts are made by others, partly by clients (package names
are echoed), so everything here takes time linear in a bounded length: see `error_phrases`.
"""

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from asu_stats.error_phrases import decide, first_rule
from asu_stats.error_rules import NOISE, RULES

__all__ = ["CATEGORIES", "RULES", "TAXONOMY", "ErrorKind", "classify", "kind_of", "telling_lines"]


class ErrorKind(NamedTuple):
    """Which part failed (`category`) and how (`type`)."""

    category: str
    type: str


_MEANINGS = {
    "validation": {
        "unsupported_version": "version or branch the server does not offer",
        "unsupported_target": "target that version does not have, or not in the form a/b",
        "unsupported_profile": "device profile that target does not have",
        "unsupported_distro": "a distribution other than OpenWrt",
        "repository_not_allowed": "an extra package repository that is not on the server's list",
        "defaults_not_allowed": "a first-boot script, but the server accepts none",
        "invalid_request": "malformed JSON, missing field, wrong type, value out of range",
        "queue_full": "too many builds are waiting; try later",
    },
    "build": {
        "package_not_found": "no feed has a requested package",
        "package_conflict": "two packages exclude each other or own the same file",
        "package_unsatisfiable": (
            "the package solver gave up for another reason (dependency, kernel, "
            "architecture) or names none"
        ),
        "manifest_mismatch": (
            "a package in the result is missing or has another version than requested"
        ),
        "version_mismatch": "the ImageBuilder has another source revision than requested",
        "image_too_big": "the image does not fit the device's flash or the chosen root partition",
        "imagebuilder_failed": "make or one of its tools failed for an unknown reason",
        "imagebuilder_info_invalid": "the ImageBuilder's description of itself could not be read",
        "build_output_missing": (
            "the build succeeded but its result or the profile in it is missing"
        ),
        "build_timeout": "took longer than allowed (status timeout)",
        "build_cancelled": "stopped on purpose (status cancelled)",
        "unknown": "the text does not say what happened",
    },
    "container": {
        "container_image_missing": "no ImageBuilder image of that name and tag",
        "container_pull_failed": "the image could not be fetched, for any reason",
        "container_engine_down": "the container engine does not respond",
        "container_setup_failed": "the container could not be created, started or prepared",
        "container_lost": "the container was missing or not running when needed",
        "worker_lost": "the process running the build died or disappeared",
    },
    "storage": {
        "disk_full": "no space or quota left on the server (not the device: that is image_too_big)",
        "store_failed": "the finished files could not be put into the store (permissions, S3)",
        "state_store_failed": (
            "redis or the database was reachable but refused or failed an operation"
        ),
    },
    "network": {
        "download_failed": "packages, lists or the ImageBuilder could not be downloaded",
        "download_corrupt": "a download is incomplete or fails its checksum",
        "signature_failed": "a package list's signature is bad or not trusted",
        "tls_failed": "certificate or TLS handshake problem",
        "upstream_unreachable": (
            "the server could not get version or profile data from the download site"
        ),
        "queue_unreachable": "redis could not be reached",
    },
}

#: All types of error with their meaning.
TAXONOMY: dict[ErrorKind, str] = {
    ErrorKind(category, error_type): meaning
    for category, types in _MEANINGS.items()
    for error_type, meaning in types.items()
}
CATEGORIES: tuple[str, ...] = tuple(_MEANINGS)

_KINDS = {kind.type: kind for kind in TAXONOMY}
_BY_STATUS = {
    "timeout": _KINDS["build_timeout"],
    "cancelled": _KINDS["build_cancelled"],
    "rejected": _KINDS["invalid_request"],
}

_MAX_TEXT = 64 * 1024
_MAX_LINE = 4 * 1024
_MAX_LINES = 1000
_MAX_READ = 6 * 1024
_MAX_DECIDED = 1024

_CONTROL = "".join(map(chr, (*range(9), *range(14, 32), 127)))
_LOOKS_LIKE = {
    "'": "\u2018\u2019\u201a\u201b\u2032",
    '"': "\u201c\u201d\u201e\u201f\u2033",
    " ": _CONTROL,
}
_PLAIN: dict[int, str] = str.maketrans(
    {odd: plain for plain, odds in _LOOKS_LIKE.items() for odd in odds}
)
_REPLACED = (
    ("\\n", "\n"),
    ("\\t", " "),
    ('\\"', '"'),
    ("%2f", "/"),
    ("signature check passed", ""),
)
_ANSWER_KEYS = ("title", "detail", "message", "error", "error_message", "stderr")
_SPACES = re.compile(r"[^\S\n ][^\S\n]*| [^\S\n]+")
_DIGITS = re.compile(r"[0-9]+")
_TROUBLE = re.compile(
    "error|fail|fatal|cannot|can't|unable|could not|couldn't|denied|invalid|refused|missing|exceed"
    "|conflict|too |no space|not found|no such|not |mismatch|time|unknown|unsupported|killed|lost"
    "|terminated|wrong|corrupt|damaged|full|out of|already provided|impossible|without|died|eof"
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def classify(message: str | None, *, status: str | None = None) -> ErrorKind:
    """Return category and type of an error with any text; never raises.

    `status` is how the attempt ended (`rejected`, `failure`, `timeout`, `cancelled`); it decides
    only where the text says nothing.
    """
    found = (first_rule(_lines(message)) if message else None) or "unknown"
    return _BY_STATUS.get(status or "", _KINDS[found]) if found == "unknown" else _KINDS[found]


def kind_of(error_type: str) -> str | None:
    """Return the category of a known type (a type has only one), else None."""
    kind = _KINDS.get(error_type)
    return kind.category if kind else None


def telling_lines(message: str) -> Sequence[str]:
    """Return the lines that decide the type of a text, plain and lower case, in order.

    Of a text that no rule fits these are the lines that speak of trouble, or else all of them. Of a
    longer text the first and the last 3 KiB are read; there, only lines that speak of trouble,
    those that differ in numbers alone once, and of these again only both ends.
    """
    lines = _lines(_cut(message, _MAX_READ))
    troubled = None
    if len(message) > _MAX_DECIDED:
        troubled = [line for line in lines if _TROUBLE.search(line)] or lines
        alike = _DIGITS.sub("0", "\n".join(troubled)).split("\n")
        once = dict(zip(reversed(alike), reversed(troubled), strict=True))
        troubled = lines = _cut("\n".join(reversed(once.values())), _MAX_DECIDED).split("\n")
    found = decide(lines).lines
    if found:
        return found
    return troubled or [line for line in lines if _TROUBLE.search(line)] or lines


def _lines(message: str) -> list[str]:
    """Return the informative lines, plain and lower case, each once, cut in the middle if long."""
    text = _plain(_COLOUR.sub("", _messages_in_json(_cut(message, _MAX_TEXT)))).lower()
    for old, new in _REPLACED:
        text = text.replace(old, new)
    long = text.splitlines()
    if max(map(len, long), default=0) > _MAX_LINE:
        long = [_cut(line, _MAX_LINE, " ") for line in long]
    # With short lines, doing this line by line would take longer than everything else.
    text = _one_space("\n".join(long)).replace(" \n", "\n").replace("\n ", "\n").strip(" ")
    lines = list(dict.fromkeys(text.split("\n")))
    if len(lines) > _MAX_LINES:
        lines[_MAX_LINES // 2 : -_MAX_LINES // 2] = []
    # A log joined into one line may begin like noise, but there is nothing else.
    return [line for line in lines if not line.startswith(NOISE) or "fail" in line] or lines


def _one_space(text: str) -> str:
    """Return a text with one space for any run of white space within a line."""
    if not text.isascii():
        return _SPACES.sub(" ", text)
    text = text.replace("\t", " ")  # all that is left of other white space
    while "  " in text:  # halved each time
        text = text.replace("  ", " ")
    return text


def _plain(text: str) -> str:
    """Return a text with ASCII quotes and without control characters."""
    if text.isascii():
        return text.translate(_PLAIN)
    for odd, plain in _PLAIN.items():  # ten times as fast as `translate`, beyond ASCII
        text = text.replace(chr(odd), plain)
    return text


def _messages_in_json(text: str) -> str:
    """Return the messages in a JSON response, which also repeats the whole request."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return text
    words = [answer[key] for key in _ANSWER_KEYS if isinstance(answer.get(key), str)]
    return "\n".join(words) or text


def _cut(text: str, limit: int, between: str = "\n") -> str:
    return text if len(text) <= limit else f"{text[: limit // 2]}{between}{text[-limit // 2 :]}"
