"""The parts of the program that are mutated, each with the fastest tests that cover it."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Part:
    """Source files below `src/asu_stats`, and tests below `tests`; `only` is pytest's `-k`."""

    files: tuple[str, ...]
    tests: tuple[str, ...]
    only: str = "not postgresql"


PARTS: Final = {
    "figures": Part(("reports/figures.py",), ("test_figures.py",)),
    "windows": Part(("windows.py",), ("test_windows.py",)),
    "counting": Part(
        ("store/rollups/counting.py",),
        ("store/test_counting.py", "store/test_stored_rows.py", "api/test_edges.py"),
    ),
    "waits": Part(
        ("store/details/requests.py",),
        ("store/test_stored_rows.py", "store/test_package_lists.py", "store/test_unhashed.py"),
    ),
    "identities": Part(
        ("store/details/identities.py",), ("store/test_identities.py", "api/test_ingest.py")
    ),
    "leases": Part(
        ("store/database/leases.py",),
        ("jobs/test_leases.py", "jobs/test_lease_model.py", "jobs/test_clocks.py"),
        "not postgresql and not kill_9 and not retention and not rebuild",
    ),
    "retention": Part(
        ("store/archive/retention.py", "store/archive/expiry.py", "store/archive/months.py"),
        (
            *("store/test_retention_report.py", "store/test_retention.py", "store/test_gaps.py"),
            *("store/test_partitions.py", "jobs/test_clocks.py"),
        ),
        "(not postgresql or test_retention_report) and not history_is_archived"
        " and not may_not_write and not rebuild_reads and not leaves_with_its_partition",
    ),
    "outbreaks": Part(("monitor/outbreaks.py",), ("monitor/test_outbreaks.py",)),
    "answering": Part(
        ("api/answering.py",),
        ("api/test_answering.py", "api/test_compression.py", "api/test_repeats.py"),
    ),
    "tokens": Part(
        ("api/tokens.py",),
        ("api/test_tokens.py", "api/test_ingest.py"),
        "not postgresql and (test_tokens or whole_hashes)",
    ),
    "limits": Part(("api/limits.py",), ("api/test_limits.py", "api/test_limit_edges.py")),
}
