"""What fails, and why: failed builds and rejected requests (contract §2.8)."""

from collections import defaultdict

import numpy as np
from sqlalchemy import Connection

from asu_stats.reports import figures, sums
from asu_stats.reports.answers import ErrorCategory, Errors, ErrorType, VersionErrors
from asu_stats.store.packs import FAILURES, Totals
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
    categories, category_codes = failures.column(0)
    types, type_codes = failures.column(1)
    versions, version_codes = failures.column(2)
    groups = category_codes * len(types) + type_codes
    errors = failures.sums[:, 0]
    counts = np.bincount(groups, errors).astype(np.int64)  # exact up to 2 ** 53
    found: dict[str, list[ErrorType]] = defaultdict(list)
    tops = figures.top_of_each(groups, version_codes, errors, _VERSIONS)
    for group, (_, affected) in tops.items():
        category, error_type = divmod(group, len(types))
        found[categories[category]].append(
            {
                "type": types[error_type],
                "count": int(counts[group]),
                "affected_versions": [versions[version] for version, _ in affected],
            }
        )
    return found


def _by_version(failures: Totals) -> list[VersionErrors]:
    versions, codes = failures.column(2)
    counts = np.bincount(codes, failures.sums[:, 0], len(versions)).astype(np.int64).tolist()
    named = list(zip(versions, counts, strict=True))
    return [{"version": version, "errors": n} for version, n in figures.top(named, len(named))]
