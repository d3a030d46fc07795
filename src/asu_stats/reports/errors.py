"""What fails, and why: failed builds and rejected requests (contract §2.8)."""

from collections import defaultdict

import numpy as np
from sqlalchemy import Connection

from asu_stats.reports import figures, sums
from asu_stats.reports.answers import ErrorCategory, Errors, ErrorType, VersionErrors
from asu_stats.store.blocks import Totals
from asu_stats.store.cubes import FAILURES
from asu_stats.windows import Window

_TOP = 5
_VERSIONS = 10


def read(connection: Connection, window: Window) -> Errors:
    """Return the errors of `window` by category and type, and by version."""
    (failures,) = sums.cubes(connection, window, FAILURES)
    by_type = _by_type(failures)
    by_category = {
        category: sum(row["count"] for row in types) for category, types in by_type.items()
    }
    total = sum(by_category.values())

    def category_row(category: str, count: int) -> ErrorCategory:
        types = sorted(by_type[category], key=lambda row: (-row["count"], row["type"]))
        return {
            "category": category,
            "count": count,
            "percentage": figures.rate(count, total),
            "top_errors": types[:_TOP],
        }

    return {
        "total_errors": total,
        "by_category": [
            category_row(category, count)
            for category, count in figures.top(by_category, len(by_category))
        ],
        "by_version": _by_version(failures),
    }


def _by_type(failures: Totals) -> dict[str, list[ErrorType]]:
    """Return the types of each category, and the versions with most errors of each."""
    groups, errors = failures.grouped()
    counts = np.add.reduceat(errors, groups.starts).tolist() if len(errors) else []
    tops = sums.tops(failures, _VERSIONS)
    found: dict[str, list[ErrorType]] = defaultdict(list)
    for (category, error_type), count in zip(groups.heads, counts, strict=True):
        if count:
            first = tops[category, error_type].first
            found[category].append(
                {
                    "type": error_type,
                    "count": count,
                    "affected_versions": [version for version, _ in first],
                }
            )
    return found


def _by_version(failures: Totals) -> list[VersionErrors]:
    versions, codes = failures.column(2)
    # bincount adds floats up: exact up to 2 ** 53
    counts = np.bincount(codes, failures.sums[:, 0], len(versions)).astype(np.int64)
    some = np.flatnonzero(counts)
    order = some[figures.descending(counts[some])]
    rows = zip(versions[order].tolist(), counts[order].tolist(), strict=True)
    return [{"version": version, "errors": n} for version, n in rows]
