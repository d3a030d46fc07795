"""Stores the release days and changed settings at the start of a server, for annotations."""

from datetime import date, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from asu_stats.exceptions import InvalidSettingError
from asu_stats.releases import days_of
from asu_stats.settings import Settings
from asu_stats.store.details import annotations
from asu_stats.times import naive

# Settings that influence figures. They contain no secrets and no paths.
RECORDED_SETTINGS: Final = (
    "build_api",
    "builder",
    "workers",
    "max_pending_jobs",
    "job_timeout_seconds",
    "worker_timeout_seconds",
    "build_ttl_seconds",
    "build_ttl_unversioned_seconds",
    "build_defaults_ttl_seconds",
    "build_failure_seconds",
    "allow_defaults",
    "max_defaults_length",
    "max_custom_rootfs_size_mb",
    "oldest_event",
    "stale_after_hours",
)
MAX_FILE_BYTES: Final = 1 << 20


def record_start(engine: Engine, settings: Settings, now: datetime) -> None:
    """Store the settings and release days that charts show. Raises `InvalidSettingError`."""
    days = _release_days(settings.release_days) if settings.release_days else {}
    annotations.put_release_days(engine, days)
    current = {name: _text(getattr(settings, name)) for name in RECORDED_SETTINGS}
    annotations.remember_settings(engine, current, naive(now))


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _release_days(path: Path) -> dict[str, date]:
    """Return the release days in a file. Raises `InvalidSettingError`."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InvalidSettingError(f"release_days {path}: larger than {MAX_FILE_BYTES} bytes")
        return days_of(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InvalidSettingError(f"release_days {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidSettingError(f"release_days {path}: not UTF-8") from None
    except ValueError as error:
        raise InvalidSettingError(f"release_days {path}: {error}") from None
