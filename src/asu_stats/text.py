"""Cleaning of text that strangers wrote, done once, at the border (contract §4)."""

import re

NAME_LENGTH = 255
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_CONTROL = re.compile("[\x01-\x1f\x7f-\x9f]")


def is_storable(text: str) -> bool:
    """Tell whether every database takes `text` as it is: no NUL, no unpaired surrogate."""
    return _UNSTORABLE.search(text) is None


def clean_text(text: str) -> str:
    """Return `text` with NUL and unpaired surrogates as U+FFFD; lines and tabs stay."""
    return _UNSTORABLE.sub("\ufffd", text)


def clean_name(text: str) -> str:
    """Return `text` fit for a name: as `clean_text`, and control characters become spaces."""
    if text.isprintable():
        return text
    return _CONTROL.sub(" ", clean_text(text))


def cut_utf8(text: str, limit: int) -> str:
    """Return the longest beginning of `text` that takes at most `limit` bytes as UTF-8."""
    if len(text) * 4 <= limit:
        return text
    return text.encode()[:limit].decode(errors="ignore")
