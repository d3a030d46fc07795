"""What every plug-in needs: its emitter, from the environment, and faults that stay inside."""

import atexit
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final

from asu_stats.emit import Emitter
from asu_stats.exceptions import InvalidSettingError
from asu_stats.logs import Condition

log = logging.getLogger(__name__)

_REQUIRED: Final = ("ASU_STATS_REMOTE_URL", "ASU_STATS_TOKEN", "ASU_STATS_SPOOL_DIRECTORY")
_SOURCE: Final = "ASU_STATS_SOURCE"
_sound = Condition(log, "asu-stats: statistics are incomplete")


@cache
def emitter() -> Emitter | None:
    """Return the emitter of this process, `None` if the settings name no server.

    The first call logs what is missing. `ASU_STATS_SOURCE` is the source of the events (default:
    made from the host name).
    """
    values = {name: os.environ.get(name, "").strip() for name in _REQUIRED}
    missing = [name for name, value in values.items() if not value]
    if missing:
        log.warning("asu-stats: no statistics: set %s", ", ".join(missing))
        return None
    try:
        found = Emitter(*values.values(), source=os.environ.get(_SOURCE, "").strip() or None)
    except InvalidSettingError as error:
        log.warning("asu-stats: no statistics: %s: %s", _REQUIRED[0], error)
        return None
    atexit.register(found.close)
    return found


@contextmanager
def unharmed(*passed: type[BaseException]) -> Iterator[None]:
    """Log what is raised within instead of letting it out; only `passed` are raised."""
    try:
        yield
    except passed:
        raise
    except Exception as error:  # statistics must not break a build
        failed(error)


def failed(error: Exception) -> None:
    """Log a fault of a plug-in, once until it works again."""
    _sound.failed(f"{type(error).__name__}: {error}", exc_info=error)
