"""Cleans untrusted text once, where it enters (docs/reference/events.md, Data)."""

import re
from collections.abc import Mapping
from functools import cache

NAME_LENGTH = 255
# PostgreSQL indexes keys of at most 2,704 bytes. A key has three names and a time, or
# the category and type of an error and two names.
NAME_BYTES = 880
KIND_BYTES = 420
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_CONTROL = re.compile("[\x01-\x1f\x7f-\x9f]")


@cache
def _uri() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """Return patterns of an absolute URI, of its authority, and of schemes that need a host.

    RFC 3986, §4.3: a scheme and what it names, no fragment. Compiled for receivers of events only.
    """
    return (
        re.compile(
            r"[A-Za-z][A-Za-z0-9+.-]*:(?=[^#])"
            r"(?://(?P<authority>[^/?#]*))?(?:[A-Za-z0-9._~:/?@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*"
        ),
        re.compile(
            r"(?:(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*@)?(?P<host>\[[0-9A-Fa-f:.v]+\]"
            r"|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?"
        ),
        re.compile(r"(?:https?|wss?|ftp):", re.IGNORECASE),
    )


def is_absolute_uri(text: str) -> bool:
    """Return whether `text` is an absolute URI, such as `https://example.org` or `urn:isbn:1`."""
    absolute, with_host, need_host = _uri()
    uri = absolute.fullmatch(text)
    if uri is None:
        return False
    authority = uri["authority"]
    if authority is None:
        return need_host.match(text) is None
    found = with_host.fullmatch(authority)
    return found is not None and (bool(found["host"]) or need_host.match(text) is None)


def is_storable(text: str) -> bool:
    """Return whether every database can store `text`: no NUL, no unpaired surrogate."""
    return _UNSTORABLE.search(text) is None


def clean_text(text: str) -> str:
    """Return `text` with NUL and unpaired surrogates as U+FFFD; lines and tabs stay."""
    return _UNSTORABLE.sub("\ufffd", text)


def clean_name(text: str) -> str:
    """Return `text` as a name: like `clean_text`, and control characters become spaces."""
    if text.isprintable():
        return text
    return _CONTROL.sub(" ", clean_text(text))


def counted(number: int, noun: str) -> str:
    """Return `1 build`, `2 builds`, `1,000 builds`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def plainly(value: object) -> str:
    """Return a JSON value in words for people: `yes`, not `True`, and `1,043`, not `1043`."""
    if value is None:
        return "–"  # noqa: RUF001 - an en dash: no value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {plainly(each)}" for name, each in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(plainly, value)) or "none"
    return f"{value:,}" if isinstance(value, int | float) else str(value)


@cache
def _no_markup() -> re.Pattern[str]:
    """Return code points that neither XML 1.0 nor HTML allows.

    These are controls, surrogates and noncharacters.
    """
    last = "".join(chr(plane << 16 | end) for plane in range(17) for end in (0xFFFE, 0xFFFF))
    return re.compile(f"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{last}]")


@cache
def _only_markup() -> re.Pattern[str]:
    """Return all others, except some of planes 2 to 16: nearly every text consists of these.

    Finding that out takes a twentieth of the time of a substitution.
    """
    return re.compile("[\t\n\r -~\xa0-\ud7ff\ue000-\ufdcf\ufdf0-\ufffd\U00010000-\U0001fffd]*")


def markup(text: str) -> str:
    """Return HTML or XML with U+FFFD for code points that such documents must not contain."""
    return text if _only_markup().fullmatch(text) else _no_markup().sub("\ufffd", text)


def stored_name(text: str, limit: int = NAME_BYTES) -> str:
    """Return `text` as names are stored: cleaned, and at most `limit` bytes long as UTF-8.

    A longer name ends in a digest of the full name, so different names stay different.
    """
    if len(text) * 4 <= limit and text.isprintable():
        return text
    return _fit(clean_name(text), limit)


def one_spelling(profile: str) -> str:
    """Return a profile in the spelling of the image builder.

    Devices call themselves `vendor,model`, image builders `vendor_model`.
    """
    return profile.replace(",", "_")


def stored_profile(text: str, limit: int = NAME_BYTES) -> str:
    """Return `text` as profiles are stored: like `stored_name`, with `_` for each comma."""
    return stored_name(one_spelling(text), limit)


def _fit(name: str, limit: int) -> str:
    whole = name.encode()
    if len(whole) <= limit:
        return name
    from hashlib import blake2b  # rarely needed, and slow to import

    digest = "~" + blake2b(whole, digest_size=6).hexdigest()
    # As many characters are cut as are added, so that the result is within NAME_LENGTH too.
    return cut_utf8(name[: -len(digest)], limit - len(digest)) + digest


def cut_utf8(text: str, limit: int) -> str:
    """Return the longest prefix of `text` with at most `limit` bytes in UTF-8."""
    if len(text) * 4 <= limit:
        return text
    return text.encode()[:limit].decode(errors="ignore")
