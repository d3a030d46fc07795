"""Starts the longest tests first: the end of a run then waits for none of them alone."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar

# Tests of more than 4 s of processor time or 10 s of waiting, the longest first.
LONGEST: Final = (
    "tests/api/test_openapi.py::test_every_operation_is_as_documented",
    "tests/crash/test_several_processes.py::test_two_servers_and_two_workers",
    "tests/api/test_oracle.py::test_every_figure_equals_the_oracle",
    "tests/test_clocks.py::test_a_clock_that_was_days_ahead_for_a_moment",
    "tests/browser/test_manual.py::test_the_manual",
    "tests/crash/test_writers.py::test_every_writer_and_postgresql_are_killed",
    "tests/integrations/test_campaign.py::test_every_figure_equals_what_the_server_answered",
    "tests/crash/test_kill.py::test_nothing_acknowledged_is_lost_and_nothing_counts_twice",
    "tests/store/test_retention.py::test_history_is_archived_and_no_answer_changes",
    "tests/api/test_smuggling.py::test_a_request_of_two_lengths_is_refused",
    "tests/browser/test_use.py::test_the_api_reference_finds_shows_and_tries_endpoints",
    "tests/store/test_failover.py::test_a_host_that_does_not_respond",
    "tests/importers/test_command.py::test_killed_and_run_again_is_as_run_once",
    "tests/monitor/test_campaign.py::test_quiet_days_are_quiet_and_incidents_are_found",
    "tests/demo/test_incidents.py::test_one_goes_on_and_two_are_over",
    "tests/crash/test_writers.py::test_every_writer_is_killed_on_sqlite",
    "tests/crash/test_retention.py::test_nothing_is_lost_and_nothing_is_double",
    "tests/integrations/test_rq_builds.py::test_the_command_follows_until_it_is_stopped",
    "tests/integrations/test_upstream_worker.py::test_a_fault_in_statistics_changes_no_job",
    "tests/test_benchmarks.py::test_sql_on_the_details_has_the_same_results",
    "tests/store/test_partition_upgrades.py::test_an_upgrade_copies_nothing_and_changes_no_figure",
    "tests/store/test_partition_upgrades.py::test_a_backup_has_all_months_and_a_restored_database_goes_on",
    "tests/builds/test_worker.py::test_several_processes_one_of_them_killed",
    "tests/api/test_lists.py::test_long_csv_takes_little_memory",
    "tests/store/test_partitions.py::test_a_month_leaves_with_its_partition",
    "tests/insights/test_failures.py::test_figures_equal_naive_counts_in_any_order",
    "tests/store/test_one_spelling.py::test_rows_of_older_releases_are_merged",
    "tests/importers/test_command.py::test_no_room_left_and_run_again_is_as_run_once",
    "tests/builds/test_command_builder.py::test_the_events_tell_the_ends_apart",
    "tests/test_packages.py::test_the_wheel_holds_the_package_and_the_files_for_operators",
    "tests/backup/test_backup.py::test_a_backup_under_load",
    "tests/api/test_fuzz.py::test_build_requests",
    "tests/store/test_verify.py::test_rebuild_shows_no_wrong_figure_while_events_come_in",
    "tests/crash/test_upgrade.py::test_a_killed_upgrade_is_repeated",
    "tests/test_benchmarks.py::test_times_of_insights_are_listed",
    "tests/cli/test_commands.py::test_tokens_rollups_and_export",
    "tests/cli/test_commands.py::test_database_from_nothing",
    "tests/store/test_one_spelling.py::test_late_events_find_builds_in_files_of_older_releases",
    "tests/store/test_retention.py::test_rebuild_reads_the_archive_and_makes_no_hours_anew",
    "tests/store/test_replica.py::test_promotion_of_the_standby",
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


def worker() -> int:
    """Return the number of this process among them, from 0."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


def missing(root: Path) -> list[str]:
    """Return which of the longest tests are not there any more."""
    return [
        name
        for name in LONGEST
        for file, _, function in [name.partition("::")]
        if f"def {function}(" not in (root / file).read_text()
    ]
