"""Build statistics for OpenWrt firmware-on-demand servers.

- `Emitter` sends the events of another build server; it needs the standard library alone.
- `server.create(settings.load(…))` is the server as an ASGI application.
- `AsuStatsError` is the base of the errors that these two raise.

See docs/python.md. All names are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asu_stats import server as server
    from asu_stats import settings as settings
    from asu_stats.emit import Emitter as Emitter
    from asu_stats.exceptions import AsuStatsError as AsuStatsError

__all__ = ["AsuStatsError", "Emitter", "__version__", "server", "settings"]

__version__: str

_MODULES = {"AsuStatsError": "exceptions", "Emitter": "emit"}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # half of the import time of `asu_stats.emit`

        return version("asu-stats")
    if name in _MODULES:
        return getattr(import_module(f"asu_stats.{_MODULES[name]}"), name)
    if name in __all__:
        return import_module(f"asu_stats.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
