"""The list of jobs: schedule, last result and next run of each."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import Engine, Row
from typing_extensions import TypedDict

from asu_stats.cloudevents import format_time
from asu_stats.jobs.job import Job
from asu_stats.store.database import leases
from asu_stats.times import aware

Moment = Annotated[str | None, Field(description="RFC 3339, UTC; null if there is none.")]


class JobRow(TypedDict):
    """A job and its last run."""

    name: Annotated[str, Field(description="Name of the job.")]
    summary: Annotated[str, Field(description="What the job does.")]
    schedule: Annotated[str, Field(description="Crontab, in UTC.")]
    running: Annotated[bool, Field(description="Whether it is running now.")]
    last_started_at: Moment
    last_finished_at: Annotated[Moment, Field(description="End of the last finished run.")]
    last_duration_seconds: Annotated[float | None, Field(description="Duration of that run.")]
    last_status: Annotated[
        str | None,
        Field(description="ok, failed, or stopped (ended early; the next run continues)."),
    ]
    last_result: Annotated[dict[str, Any] | None, Field(description="Result of that run.")]
    last_success_at: Moment
    next_run_at: Moment


def read(engine: Engine, jobs: Sequence[Job]) -> list[JobRow]:
    """Return the state of `jobs`, in their order. Raises `StoreUnavailableError`."""
    known = {row.name: (row, running) for row, running in leases.states(engine)}
    return [_row(job, *known.get(job.name, (None, False))) for job in jobs]


def errors(engine: Engine) -> dict[str, str]:
    """Return why the last run of a job failed. It may name files: for the operator only."""
    return {row.name: row.error for row, _ in leases.states(engine) if row.error}


def _row(job: Job, row: Row[Any] | None, running: bool) -> JobRow:
    return {
        "name": job.name,
        "summary": job.summary,
        "schedule": job.schedule.crontab,
        "running": running,
        "last_started_at": _time(row and row.started_at),
        "last_finished_at": _time(row and row.finished_at),
        "last_duration_seconds": row and row.duration_seconds,
        "last_status": row and row.status,
        "last_result": row and row.result,
        "last_success_at": _time(row and row.succeeded_at),
        "next_run_at": _time(row and row.next_run_at),
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(aware(moment))
