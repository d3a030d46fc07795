"""Properties of requested images except package names."""

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
_DISTRIBUTIONS: Final = (
    ("package_count", "Packages per request", "packages"),
    ("rootfs_size_mb", "Root file system sizes", "MB"),
)


def read(db: Connection, view: View) -> Content:
    """Return shares and distributions, optionally of one version and client."""
    filters = view.only("version", "client")
    response = request_patterns.read(db, view.window, **filters)
    return {
        "requests": response["requests"],
        "shares": [(label, response[field]) for field, label in _SHARES],  # type: ignore[literal-required]
        "distributions": [
            _distribution(field, title, unit, response[field])  # type: ignore[literal-required]
            for field, title, unit in _DISTRIBUTIONS
        ],
        "filters": filters,
    }


def _distribution(
    field: str, title: str, unit: str, figures: request_patterns.ValueDistribution
) -> Content:
    bars = figures["histogram"]
    return {
        "name": field,
        "title": title,
        "unit": unit,
        "figures": figures,
        "columns": (
            Column("from", f"{unit[0].upper()}{unit[1:]} from"),
            Column("to", "to"),
            Column("requests", "Requests", "share"),
            Column("percentage", "Share", "rate"),
        ),
        "most": {"requests": max((bar["requests"] for bar in bars), default=0)},
    }
