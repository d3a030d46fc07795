"""Options of requests besides packages, and the number of packages."""

from typing import Final

from sqlalchemy import Connection

from asu_stats.dashboard.contents.columns import Content
from asu_stats.dashboard.tables import Column
from asu_stats.dashboard.view import View
from asu_stats.reports import request_patterns

_SHARES: Final = (
    ("with_custom_repositories", "With extra repositories"),
    ("with_defaults", "With a first-boot script"),
    ("with_rootfs_size", "With a root file system size"),
)
_SPREADS: Final = (
    ("package_count", "Packages per request", "Packages"),
    ("rootfs_size_mb", "Root file system sizes", "MB"),
)


def read(db: Connection, view: View) -> Content:
    """Return shares and distributions, of all requests or of one version and client."""
    asked = view.only("version", "client")
    answer = request_patterns.read(db, view.window, **asked)
    return {
        "requests": answer["requests"],
        "shares": [(label, answer[field]) for field, label in _SHARES],  # type: ignore[literal-required]
        "spreads": [_spread(field, title, unit, answer[field]) for field, title, unit in _SPREADS],  # type: ignore[literal-required]
        "asked": asked,
    }


def _spread(
    field: str, title: str, unit: str, spread: request_patterns.ValueDistribution
) -> Content:
    bars = spread["histogram"]
    return {
        "name": field,
        "title": title,
        "spread": spread,
        "columns": (
            Column("from", f"{unit} from"),
            Column("to", "to"),
            Column("requests", "Requests", "share"),
            Column("percentage", "Share", "rate"),
        ),
        "most": {"requests": max((bar["requests"] for bar in bars), default=0)},
    }
