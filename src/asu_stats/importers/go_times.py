"""Points in time as the Go server wrote them: Go's `time.String()`, plain, or ISO 8601.

    2026-01-04 09:12:22.12 +0100 CET m=+86412.000000001

The offset is used. The name of the zone and `m=`, a monotonic clock reading, are ignored. A time
without offset is UTC, like SQLite's CURRENT_TIMESTAMP.
"""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from asu_stats.cloudevents import FIRST_YEAR, LAST_YEAR

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIME: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[ Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?"
    r"(?: ?(?:([Zz]|UTC|GMT|[+-]\d\d:?\d\d)(?: [^ =]{1,32})?(?: m=[+-]?\d+(?:\.\d+)?)?))?",
    re.ASCII,
)
_UTC: Final = {None, "Z", "z", "UTC", "GMT"}


def parse(text: object) -> datetime:
    """Return the UTC instant of a stored time, to the microsecond (the rest is cut off).

    Raises `ValueError` with the reason for anything else.
    """
    if text is None:
        raise ValueError("is missing")
    match = _TIME.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError("not a time in the format of the server")
    *numbers, fraction, offset = match.groups()
    micros = int((fraction or "")[:6].ljust(6, "0"))
    try:
        local = datetime(*map(int, numbers), micros, tzinfo=_zone(offset))  # type: ignore[misc,arg-type]
        instant = local.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("a time that does not exist") from None
    if not FIRST_YEAR <= instant.year <= LAST_YEAR:
        raise ValueError(f"not a year from {FIRST_YEAR} to {LAST_YEAR}")
    return instant


def micros(text: object) -> int | None:
    """Return the microseconds since 1970 of a stored time, `None` if it is invalid."""
    try:
        return (parse(text) - _EPOCH) // timedelta(microseconds=1)
    except ValueError:
        return None


def _zone(offset: str | None) -> timezone:
    if offset in _UTC or offset is None:
        return UTC
    digits = offset[1:].replace(":", "")
    minutes = int(digits[:2]) * 60 + int(digits[2:])
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))
