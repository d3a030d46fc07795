"""Error texts for invalid build requests, readable for users of the clients."""

from collections.abc import Mapping
from typing import Any, Final

_SHOWN: Final = 60
_NAMES: Final = "letters, digits, and . _ , + -"
# What the value of a member is, and its allowed characters.
_PATTERNS: Final = {
    "distro": ("a name of a distribution", _NAMES),
    "version": ("a version", f"{_NAMES}, such as 24.10.2"),
    "version_code": ("a revision", f"{_NAMES}, such as r28739-d9340319c6"),
    "target": ("a target", "target/subtarget, such as ath79/generic"),
    "profile": ("a name of a profile", _NAMES),
    "packages": ("a package name", "letters, digits, and . _ , + ~ -"),
    "packages_versions": ("a package name", "letters, digits, and . _ , + ~ -"),
    "repositories": ("a URL", "one that begins with https:// or http:// and has no spaces"),
}
_PACKAGE_VERSION: Final = ("a package version", "letters, digits, and . _ , + ~ -")
_REPOSITORY_NAME: Final = ("a name of a repository", "letters, digits, and . _ -")
_KINDS: Final = {
    "missing": "is missing",
    "string_type": "expected text",
    "bool_parsing": "expected true or false",
    "bool_type": "expected true or false",
    "int_type": "expected a whole number",
    "list_type": "expected a list",
    "dict_type": "expected an object",
    "model_type": "expected an object",
    "model_attributes_type": "expected an object",
    "unstorable": "contains a NUL character",
}


def message_of(error: Mapping[str, Any]) -> str:
    """Return the text for an error of pydantic: the value and what was expected."""
    kind, ctx, location = error["type"], error.get("ctx", {}), error["loc"]
    value = error.get("input")
    if kind == "string_pattern_mismatch":
        what, expected = _pattern(location)
        return f"{shown(value)} is not {what}; expected {expected}"
    if kind in _KINDS:
        return _KINDS[kind]
    if kind == "string_too_long":
        what = f"{shown(value)} " if location[0] in _PATTERNS else ""  # no scripts, no keys
        return f"{what}is longer than {ctx.get('max_length', ctx.get('limit'))} characters"
    if kind == "too_long":
        return f"has more than {ctx['max_length']} entries"
    if kind == "literal_error":
        return f"{shown(value)} is not known; expected {ctx['expected'].replace(chr(39), '')}"
    if kind == "greater_than_equal":
        return f"{shown(value)} is too small; expected at least {ctx['ge']}"
    if kind == "less_than_equal":
        return f"{shown(value)} is too large; expected at most {ctx.get('le', ctx.get('limit'))}"
    message: str = error["msg"]
    return message.removeprefix("Input should be ").strip()


def _pattern(location: tuple[str | int, ...]) -> tuple[str, str]:
    member, is_key = str(location[0]), location[-1] == "[key]"
    if member == "packages_versions" and not is_key:
        return _PACKAGE_VERSION
    if member == "repositories" and is_key:
        return _REPOSITORY_NAME
    return _PATTERNS.get(member, ("a name", _NAMES))


def shown(value: object) -> str:
    """Return a received value, shortened, quoted and without control characters."""
    text = str(value)
    cut = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    clean = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)
    return f'"{clean}"'
