"""Checks of settings beyond their types. The errors say what is expected."""

import os
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult

from pydantic import SecretStr

from asu_stats import urls

_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_HOST: Final = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:\d+)?", re.ASCII)


def stripped(value: object) -> object:
    """Strip the strings of a value, also inside lists and objects."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list):
        return [stripped(item) for item in value]
    if isinstance(value, dict):
        return {name: stripped(item) for name, item in value.items()}
    return value


def day(value: object) -> object:
    """Reject other forms that pydantic accepts for a day, such as seconds since 1970."""
    written = isinstance(value, str) and _DAY.fullmatch(value)
    if value is None or written or (isinstance(value, date) and not isinstance(value, datetime)):
        return value
    raise ValueError("expected a day, YYYY-MM-DD")


def path(value: object) -> object:
    """Reject a path with `~`, which no shell expands here, or with NUL."""
    if isinstance(value, str):
        if value.startswith("~"):
            raise ValueError("expected a path without ~, which only shells replace")
        if "\0" in value:
            raise ValueError("expected a path without NUL")
    return value


def not_inside(directory: Path, others: Mapping[str, Path | None]) -> None:
    """Reject a directory of public files if one of `others` is inside.

    Raises a `ValueError` that names them by their keys.
    """
    root = Path(os.path.realpath(directory))
    inside = [
        f"{name} ({other})"
        for name, other in others.items()
        if other is not None and Path(os.path.realpath(other)).is_relative_to(root)
    ]
    if inside:
        raise ValueError(
            f"files in {directory} are public, and inside is {' and '.join(inside)}; "
            "expected a directory of its own"
        )


def url(
    text: str, schemes: tuple[str, ...] = urls.WEB, *, example: str = "https://example.org"
) -> SplitResult:
    """Return the parts of an absolute URL with a host. Raises `ValueError`."""
    expected = f"expected a URL such as {example}"
    found = urls.parse(text, schemes)
    plain = text.isascii() and text.isprintable() and " " not in text and "\\" not in text
    if found is None or found.origin.port == 0 or not plain:
        raise ValueError(expected)
    return found.parts


def public_url(text: str) -> str:
    """Check a URL that is public: no password, no query. Raises `ValueError`."""
    parts = url(without_password(text))
    if "?" in text or "#" in text:
        raise ValueError("expected a URL without ? and #")
    return parts.geturl()


def public_url_or_nothing(text: str) -> str:
    """Check a public URL that may be empty. Raises `ValueError`."""
    return public_url(text) if text else ""


def base_url(text: str) -> str:
    """Return a public URL without trailing slashes; it may be empty. Raises `ValueError`."""
    return public_url_or_nothing(text).rstrip("/")


def without_password(text: str) -> str:
    """Reject a URL with user or password. Raises `ValueError`."""
    if "@" in text.split("://", 1)[-1].split("/")[0]:
        raise ValueError("expected a URL without user and password, since it is public")
    return text


def prefix(text: str) -> str:
    """Check a path prefix, which may be empty. Raises `ValueError`."""
    if not re.fullmatch(r"(/[^/?#\s\\]+)*", text) or not text.isprintable():
        raise ValueError("expected a path such as /stats, without a trailing slash")
    return text


def origin(text: str) -> str:
    """Return an origin as browsers write it in `Origin`. Raises `ValueError`."""
    found = urls.parse(text)
    if found is not None and text.isprintable():
        parts = found.parts
        bare = parts.path in {"", "/"} and not parts.query and not parts.fragment
        if bare and _HOST.fullmatch(parts.netloc):
            return str(found.origin)
    raise ValueError("expected an origin, such as https://example.org")


def redis_url(text: str) -> str:
    """Check the URL of a Redis server, which may be empty. Raises `ValueError`."""
    if text:
        example = "redis://localhost:6379/0"
        parts = url(text, ("redis", "rediss"), example=example)
        if not re.fullmatch(r"(/\d*)?", parts.path, re.ASCII):
            raise ValueError(f"expected a URL such as {example}")
    return text


def token(secret: SecretStr) -> SecretStr:
    """Check that a token fits into the header `Authorization`. Raises `ValueError`."""
    if not re.fullmatch(r"[!-~]+", secret.get_secret_value()):
        raise ValueError("expected printable ASCII characters without white space")
    return secret


def client(name: str) -> str:
    """Check the name of a client, without its version. Raises `ValueError`."""
    if not name or "/" in name or not name.isprintable() or name == "other":
        raise ValueError(f"{name!r}: expected the name of a client without /, such as luci")
    return name


def all_different(values: Sequence[object]) -> None:
    """Raise `ValueError` if a list has a value twice."""
    for number, value in enumerate(values, 1):
        if value in values[: number - 1]:
            raise ValueError(f"number {number} is a duplicate")
