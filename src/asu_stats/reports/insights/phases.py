"""Durations of the phases of builds, by worker, version and day."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import Field
from sqlalchemy import Connection, Date, bindparam, func, select
from typing_extensions import TypedDict

from asu_stats.releases import as_text, release_order
from asu_stats.reports import floor, sums
from asu_stats.reports.cover import covers
from asu_stats.reports.fields import Day, Period, Total, Version
from asu_stats.reports.insights.basis import Basis
from asu_stats.reports.listing import ALL, Page
from asu_stats.reports.report import Query, Report
from asu_stats.store.blocks import reader
from asu_stats.store.blocks.cubes import PHASE_VERSIONS, PHASE_WORKERS
from asu_stats.store.blocks.distribution import Distribution
from asu_stats.store.blocks.reader import Daily
from asu_stats.store.blocks.totals import Totals
from asu_stats.store.database.dialects import Row
from asu_stats.store.rollups.definitions import PHASES
from asu_stats.windows import Window

_Builds = Annotated[int, Field(description="Successful builds that reported the phase.")]
_Seconds = Annotated[float | None, Field(description="Seconds, nearest rank; up to 3 decimals.")]


class WorkerPhase(TypedDict):
    """A phase on one worker."""

    worker: Annotated[str, Field(description="Worker, or `unknown`.")]
    builds: _Builds
    p50_seconds: _Seconds
    p95_seconds: _Seconds


class VersionPhase(TypedDict):
    """A phase of the builds of one version."""

    version: Version
    builds: _Builds
    p50_seconds: _Seconds
    p95_seconds: _Seconds


class Phase(TypedDict):
    """The durations of one phase."""

    phase: Annotated[str, Field(description="Name of the phase, as builds report it.")]
    builds: _Builds
    p50_seconds: _Seconds
    p95_seconds: _Seconds
    by_worker: Sequence[WorkerPhase]
    by_worker_total: Total
    by_version: Sequence[VersionPhase]
    by_version_total: Total


class DayPhase(TypedDict):
    """A phase on one day."""

    day: Day
    phase: Annotated[str, Field(description="Name of the phase.")]
    builds: _Builds
    p50_seconds: _Seconds
    p95_seconds: _Seconds


class Phases(TypedDict):
    """`GET /api/v1/stats/insights/phases`."""

    period: Period
    basis: Basis
    phases: Annotated[Sequence[Phase], Field(description="Most builds first.")]
    phases_total: Total
    timeseries: Annotated[
        list[DayPhase],
        Field(description="Days on which builds ended, with those of `phases` that they reported."),
    ]


_PERCENTS: Final = (50, 95)


@covers(Phases)
def read(connection: Connection, window: Window, page: Page = ALL) -> Phases:
    """Return the durations of phases in `window`, by worker, version and day."""
    workers, versions = sums.cubes(connection, window, PHASE_WORKERS, PHASE_VERSIONS)
    versions = floor.rename(connection, window, versions, 1, "version")
    by_worker, by_version = _by_phase(workers), _by_phase(versions)
    found: list[Any] = [
        {
            "phase": phase,
            **_figures_of(distribution),
            **_rows_by("worker", by_worker[phase], page, as_text),
            **_rows_by("version", by_version[phase], page, release_order),
        }
        for (phase,), distribution in workers.distributions(0).items()
    ]
    found.sort(key=lambda row: (-row["builds"], row["phase"]))
    builds = max((row["builds"] for row in found), default=0)
    listed = page.of(found)
    names = {row["phase"] for row in listed}
    days = reader.read_days(connection, window.start, window.end, _BY_DAY)
    return {
        "period": sums.period(connection, window, []),
        "basis": {
            "builds": builds,
            "requests": 0,
            "method": "Percentiles are nearest rank, over the successful builds that reported the "
            "phase.",
            "enough": builds > 0,
        },
        "phases": listed,
        "phases_total": len(found),
        "timeseries": [
            {"day": day.isoformat(), "phase": phase, **phase_figures}  # type: ignore[typeddict-item]
            for day, of_day in days
            for phase, phase_figures in of_day
            if phase in names
        ],
    }


def _of_day(rows: Iterable[Row]) -> list[tuple[str, dict[str, Any]]]:
    """Return the figures of the phases of a day, from builds by phase and milliseconds."""
    builds: dict[str, dict[int, int]] = defaultdict(dict)
    for phase, milliseconds, count in rows:
        builds[phase][milliseconds] = int(count)
    return [
        (phase, _figures_of(distribution))
        for phase, counts in sorted(builds.items())
        if (distribution := Distribution.of(counts)).count
    ]


_p: Final = PHASES.table.c
_BY_DAY: Final = Daily(
    select(_p.phase, _p.milliseconds, func.sum(_p.builds))
    .where(_p.date == bindparam("day", type_=Date))
    .group_by(_p.phase, _p.milliseconds),
    _of_day,
    lambda figures: 500 * len(figures),
)


def _by_phase(totals: Totals) -> dict[str, dict[str, dict[str, Any]]]:
    """Return figures by phase, then by worker or version."""
    found: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for (phase, name), builds, percentiles in totals.percentiles(*_PERCENTS):
        found[phase][name] = _figures(builds, percentiles)
    return found


def _figures(builds: int, percentiles: Sequence[int]) -> dict[str, Any]:
    p50, p95 = percentiles
    return {"builds": builds, "p50_seconds": p50 / 1000, "p95_seconds": p95 / 1000}


def _figures_of(builds: Distribution) -> dict[str, Any]:
    return _figures(builds.count, [builds.percentile(percent) or 0 for percent in _PERCENTS])


def _rows_by(
    dimension: str, names: Mapping[str, dict[str, Any]], page: Page, order: Callable[[str], str]
) -> dict[str, Any]:
    """Return the first rows of workers or versions, and how many there are in all."""
    rows = [{dimension: name, **figures} for name, figures in names.items()]
    rows.sort(key=lambda row: (-row["builds"], order(row[dimension])))
    return {f"by_{dimension}": rows[: page.most(len(rows))], f"by_{dimension}_total": len(rows)}


def _send(connection: Connection, query: Query) -> None:
    window = query.window
    reader.send_days(connection, window.start, window.end, _BY_DAY)
    sums.send_cubes(connection, window, PHASE_WORKERS, PHASE_VERSIONS)


REPORT: Final = Report(
    name="insights/phases",
    summary="Durations of the phases of builds",
    send=_send,
    read=lambda connection, query: read(connection, query.window, query.page),
    response=Phases,
    nested=True,
)
