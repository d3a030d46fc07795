"""Instants and days, always in UTC: with zone in the program, without in the database."""

from datetime import UTC, date, datetime, time, timedelta


def utc_now() -> datetime:
    """Return the current instant."""
    return datetime.now(UTC)


def utc_today() -> date:
    """Return the current UTC day."""
    return utc_now().date()


def naive(instant: datetime) -> datetime:
    """Return an instant as the database stores it."""
    return instant.astimezone(UTC).replace(tzinfo=None)


def aware(stored: datetime) -> datetime:
    """Return the instant of a stored time."""
    return stored.replace(tzinfo=UTC)


def midnight(day: date) -> datetime:
    """Return the stored time at which a UTC day begins."""
    return datetime.combine(day, time())


def bounds(first: date, last: date | None = None) -> tuple[datetime, datetime]:
    """Return the stored times between which UTC days lie: from the first, before the second.

    Raises `OverflowError` after the last day of the calendar.
    """
    return midnight(first), midnight(last or first) + timedelta(days=1)
