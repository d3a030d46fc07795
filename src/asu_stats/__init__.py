"""Build statistics for OpenWrt firmware-on-demand servers."""

__version__: str


def __getattr__(name: str) -> str:
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version  # half of the import time of `asu_stats.emit`

    return version("asu-stats")
