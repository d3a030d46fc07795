"""Columns that several pages share."""

from typing import Any, Final

from asu_stats.dashboard.tables import Column

Content = dict[str, Any]

REQUESTS: Final = Column("requests", "Requests", "share")
SUCCESS: Final = Column(
    "success_rate", "Success rate", "rate", hint="Share of finished builds, not of requests"
)
CACHED: Final = Column("cache_hit_rate", "Cache hit rate", "rate", secondary=True)
BUILT: Final = Column("successful_builds", "Successful builds", secondary=True)
FAILED: Final = Column("failed_builds", "Failed builds", secondary=True)
AVERAGE: Final = Column("avg_build_duration", "Average build time", "seconds", secondary=True)
NO_REQUEST: Final = "No requests in this time range."
