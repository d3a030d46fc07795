"""Indexes for manual queries, which no report needs.

They cost space, and time with every event, so the setting `plan_indexes` can turn them off. Reports
need `idx_client_stats_timestamp` and `idx_error_stats_timestamp`; those two always exist.
"""

from typing import Final

from sqlalchemy import Connection, Index, inspect

from asu_stats.store.database import dialects
from asu_stats.store.database.schema import (
    build_metrics,
    client_stats,
    error_stats,
    request_metadata,
)

_b, _r, _m, _e = build_metrics.c, client_stats.c, request_metadata.c, error_stats.c

# Each with the rows per million that share a value: only the order of magnitude matters.
EXTRA_INDEXES: Final = {
    Index("idx_build_metrics_started", _b.started_at): 1,
    Index("idx_build_metrics_status", _b.status): 250_000,
    Index("idx_build_metrics_request", _b.request_hash): 2,
    Index("idx_client_stats_client", _r.client): 100_000,
    Index("idx_request_metadata_version", _m.version): 50_000,
    Index("idx_request_metadata_target", _m.target): 20_000,
    Index("idx_request_metadata_diff", _m.diff_packages): 500_000,
    Index("idx_error_stats_category", _e.error_category): 200_000,
}


def settle(connection: Connection, *, wanted: bool) -> list[str]:
    """Create missing indexes, or drop existing ones. Returns their names.

    Without statistics, SQLite prefers any index on `column = value` to one on a range of times, and
    would read all successful builds to find those of one day. Therefore it gets statistics here.
    """
    found = inspect(connection)
    there = {
        index["name"]
        for table in (build_metrics, client_stats, request_metadata, error_stats)
        for index in found.get_indexes(table.name)
    }
    changed = [index for index in EXTRA_INDEXES if (index.name in there) != wanted]
    for index in changed:
        if wanted:
            index.create(connection)
        else:
            index.drop(connection)
    if wanted:
        dialects.tell_rows_per_value(connection, EXTRA_INDEXES)
    return [str(index.name) for index in changed]
