"""A plug-in of pytest that makes the empty database once.

Each mutant is tried in a session of its own, in a fork of one process.
"""

import functools
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from asu_stats.store import migrate
from asu_stats.store.database import engine as engines

_upgrade = migrate.upgrade
_template = Path(tempfile.mkdtemp(prefix="asu-stats-mutation-")) / "template.db"


def _copied(engine: Engine, *given: Any, **more: Any) -> Any:
    """Copy the template where there is no database yet."""
    path = Path(engine.url.database or "")
    if engine.dialect.name != "sqlite" or given or more or (path.exists() and path.stat().st_size):
        return _upgrade(engine, *given, **more)
    if not _template.exists():
        made = engines.create(f"sqlite:///{_template}")
        _upgrade(made)
        made.dispose()
    shutil.copy(_template, path)
    return None


migrate.upgrade = _copied


def pytest_sessionstart() -> None:
    """Forget what the process that was forked has computed, such as prepared statements."""
    for name, module in list(sys.modules.items()):
        if name.startswith("asu_stats."):
            for each in vars(module).values():
                if isinstance(each, functools._lru_cache_wrapper):
                    each.cache_clear()
