"""Checks packages, programs and directories that settings require, before a server starts.

Without these checks, a missing package would stay unnoticed until the first alert, for example.
"""

import os
import shutil
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Final

from asu_stats.builds.builders.command import Step
from asu_stats.exceptions import InvalidSettingError, reason
from asu_stats.jobs.job import Schedule
from asu_stats.monitor import channels
from asu_stats.ownership import Owner
from asu_stats.service.database import require_postgresql
from asu_stats.settings import Settings

# Setting, package that it needs, extra of asu-stats that installs it.
_EXTRAS: Final = (
    ("database_url", "psycopg", "postgresql"),
    ("archive", "pyarrow", "parquet"),
    ("rate_limit_storage", "redis", "redis"),
    ("notify", "apprise", "alerts"),
)


def check(settings: Settings) -> None:
    """Raise `InvalidSettingError` if a required package or program is missing. Changes nothing."""
    used = {
        "database_url": settings.database_file is None,
        "archive": settings.archive == "parquet",
        "rate_limit_storage": settings.rate_limit_storage,
        "notify": settings.notify,
    }
    for setting, package, extra in _EXTRAS:
        if used[setting]:
            _check_installed(setting, package, extra)
    require_postgresql(settings)
    channels.of_settings(settings)
    Schedule(settings.retention_schedule, "retention_schedule")
    Schedule(settings.verify_schedule, "verify_schedule")
    if settings.builder == "command":
        for template in settings.command:
            _check_program(Step.parse(template).arguments[0])


def check_paths(settings: Settings) -> None:
    """Check that directories exist or can be created, and files are readable. Creates nothing.

    Raises `InvalidSettingError`.
    """
    directories = {"spool_directory": settings.spool_path}
    if settings.database_file:
        directories["database_url"] = settings.database_file.absolute().parent
        if not settings.database_file.absolute().parent.is_dir():
            message = f"database_url: {settings.database_file.parent}: no such directory"
            raise InvalidSettingError(message)
    if settings.archive != "tables":
        directories["archive_directory"] = settings.archive_directory
    if settings.builder != "none":
        directories["store_directory"] = settings.store_directory
    for setting, path in directories.items():
        _check_creatable(setting, path)
    for setting, file in (
        ("catalogue", settings.catalogue),
        ("release_days", settings.release_days),
    ):
        if file is not None:
            try:
                file.open("rb").close()
            except OSError as error:
                raise InvalidSettingError(f"{setting}: {file}: {reason(error)}") from None


def _check_creatable(setting: str, path: Path) -> None:
    found = next(each for each in (path, *path.absolute().parents) if each.exists())
    if not found.is_dir():
        raise InvalidSettingError(f"{setting}: {found}: not a directory")
    if not os.access(found, os.W_OK | os.X_OK, effective_ids=True):
        raise InvalidSettingError(f"{setting}: {found}: not writable for this user")


def check_directories(settings: Settings) -> None:
    """Create the required directories. Raises `InvalidSettingError` for an unusable one."""
    _check_directory(settings, "spool_directory", settings.spool_path)
    if settings.archive != "tables":
        _check_directory(settings, "archive_directory", settings.archive_directory)


def _check_installed(setting: str, package: str, extra: str) -> None:
    try:
        import_module(package)
    except ImportError as error:
        problem = "is missing" if isinstance(error, ModuleNotFoundError) else "cannot be loaded"
        raise InvalidSettingError(
            f"{setting}: the package {package} {problem}: install asu-stats[{extra}]"
        ) from None


def _check_program(name: str) -> None:
    """Check that a program exists. A path relative to the directory of a build is not checked."""
    if "{" in name or ("/" in name and not name.startswith("/")):
        return
    if shutil.which(name) is None:
        raise InvalidSettingError(f"command: {name}: no such program")


def _check_directory(settings: Settings, setting: str, path: Path) -> None:
    try:
        Owner.of(settings.database_file, path).make_directory(path)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        problem = (error.strerror or str(error)).lower()
        raise InvalidSettingError(f"{setting}: {path}: {problem}") from None
