"""All reports that the API serves, in the order of its documentation."""

from typing import Final

from asu_stats.reports import (
    adoption,
    annotations,
    client,
    clients,
    comparison,
    diff_packages,
    distribution,
    duration_timeseries,
    error_examples,
    error_timeseries,
    error_types,
    errors,
    overview,
    packages,
    performance,
    profiles,
    request_patterns,
    targets,
    timeseries,
    versions,
    week,
)
from asu_stats.reports.insights import adoption as version_adoption
from asu_stats.reports.insights import (
    cache,
    capacity,
    failures,
    fingerprints,
    phases,
    queue,
    warmup,
)
from asu_stats.reports.insights import packages as failing_packages
from asu_stats.reports.report import Report

REPORTS: Final[tuple[Report, ...]] = (
    overview.REPORT,
    versions.REPORT,
    targets.REPORT,
    profiles.REPORT,
    clients.REPORT,
    diff_packages.REPORT,
    packages.REPORT,
    errors.REPORT,
    performance.REPORT,
    timeseries.REPORT,
    comparison.REPORT,
    week.REPORT,
    adoption.REPORT,
    request_patterns.REPORT,
    distribution.REPORT,
    duration_timeseries.REPORT,
    error_types.REPORT,
    error_timeseries.REPORT,
    error_examples.REPORT,
    client.REPORT,
    annotations.REPORT,
    failures.REPORT,
    fingerprints.REPORT,
    fingerprints.ONE,
    failing_packages.REPORT,
    cache.REPORT,
    queue.REPORT,
    version_adoption.REPORT,
    phases.REPORT,
    warmup.REPORT,
    capacity.REPORT,
)
