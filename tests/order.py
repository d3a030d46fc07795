"""Starts the longest tests first: the end of a run then waits for none of them alone."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar

# Tests of more than 10 s, the longest first.
LONGEST: Final = (
    "tests/api/test_openapi.py::test_every_operation_is_as_documented",
    "tests/api/test_oracle.py::test_every_figure_equals_the_oracle",
    "tests/crash/test_several_processes.py::test_two_servers_and_two_workers",
    "tests/insights/test_failures.py::test_figures_equal_naive_counts_in_any_order",
    "tests/store/test_retention.py::test_history_is_archived_and_no_answer_changes",
    "tests/test_clocks.py::test_a_clock_that_was_days_ahead_for_a_moment",
    "tests/store/test_failover.py::test_a_host_that_does_not_respond",
    "tests/crash/test_kill.py::test_nothing_acknowledged_is_lost_and_nothing_counts_twice",
    "tests/api/test_lists.py::test_long_csv_takes_little_memory",
    "tests/api/test_policies.py::test_every_path_and_method_is_open_and_limited_as_written",
    "tests/api/test_fuzz.py::test_build_requests",
    "tests/api/test_fuzz.py::test_events",
    "tests/monitor/test_campaign.py::test_quiet_days_are_quiet_and_incidents_are_found",
    "tests/store/test_failover.py::test_an_address_that_moves_to_the_new_primary",
    "tests/crash/test_retention.py::test_nothing_is_lost_and_nothing_is_double",
    "tests/store/test_one_spelling.py::test_rows_of_older_releases_are_merged",
    "tests/integrations/test_campaign.py::test_every_figure_equals_what_the_server_answered",
    "tests/store/test_rejections.py::test_a_hash_rejected_in_files_and_tables_counts_once",
)

Item = TypeVar("Item")


def dealt(items: Sequence[Item], names: Sequence[str], workers: int) -> list[Item]:
    """Return items so that each worker's part, of equal length, begins with some of the longest.

    `names` are the node ids of `items`. Workers of `--dist worksteal` start with one part each, in
    order, and give away the end of what they have left.
    """
    places = {name: place for place, name in enumerate(LONGEST)}
    of = {
        number: places.get(name.partition("[")[0], len(places)) for number, name in enumerate(names)
    }
    long = sorted((number for number in of if of[number] < len(places)), key=of.__getitem__)
    others = iter([number for number in of if of[number] == len(places)])
    parts = [long[worker::workers] for worker in range(workers)]
    left = len(items)
    for worker, part in enumerate(parts):
        length = left // (workers - worker)
        part += [number for _, number in zip(range(length - len(part)), others, strict=False)]
        left -= len(part)
    return [items[number] for part in (*parts, list(others)) for number in part]


def workers() -> int:
    """Return how many processes share the tests."""
    return int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


def missing(root: Path) -> list[str]:
    """Return which of the longest tests are not there any more."""
    return [
        name
        for name in LONGEST
        for file, _, function in [name.partition("::")]
        if f"def {function}(" not in (root / file).read_text()
    ]
