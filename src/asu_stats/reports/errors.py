"""What fails, and why: failed builds and rejected requests (contract §2.8)."""

from collections import defaultdict

from sqlalchemy import Connection

from asu_stats.reports import figures, sums
from asu_stats.reports.answers import ErrorCategory, Errors
from asu_stats.store.packs import FAILURES
from asu_stats.windows import Window


def read(connection: Connection, window: Window) -> Errors:
    """Return the errors of `window` by category and type, and by version."""
    by_category: dict[str, int] = defaultdict(int)
    by_version: dict[str, int] = defaultdict(int)
    by_type: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    versions: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    (failures,) = sums.cubes(connection, window, FAILURES)
    for (category, error_type, version), (count,) in failures.rows():
        by_category[category] += count
        by_version[version] += count
        by_type[category][error_type] += count
        versions[category, error_type][version] = count
    total = sum(by_category.values())

    def category_row(category: str, count: int) -> ErrorCategory:
        return {
            "category": category,
            "count": count,
            "percentage": figures.rate(count, total),
            "top_errors": [
                {
                    "type": error_type,
                    "count": of_type,
                    "affected_versions": [
                        version for version, _ in figures.top(versions[category, error_type], 10)
                    ],
                }
                for error_type, of_type in figures.top(by_type[category], 5)
            ],
        }

    return {
        "total_errors": total,
        "by_category": [
            category_row(category, count)
            for category, count in figures.top(by_category, len(by_category))
        ],
        "by_version": [
            {"version": version, "errors": count}
            for version, count in figures.top(by_version, len(by_version))
        ],
    }
