"""`asu-stats jobs`: list the scheduled jobs, and run one now."""

from typing import Annotated

import typer

from asu_stats.cli import options, output
from asu_stats.jobs import listing
from asu_stats.jobs.runner import Runner
from asu_stats.service.jobs import jobs_of
from asu_stats.settings import load
from asu_stats.store import migrate
from asu_stats.text import plainly

app = typer.Typer(help="Scheduled jobs and their last results.")


@app.callback(invoke_without_command=True)
def list_jobs(
    context: typer.Context, database: options.Database = None, json: options.Json = False
) -> None:
    """List the jobs: last run, duration, result, next run. Times are UTC."""
    if context.invoked_subcommand is None:
        _list(database, json=json)


@app.command("list")
def list_too(database: options.Database = None, json: options.Json = False) -> None:
    """List the jobs: last run, duration, result, next run. Times are UTC."""
    _list(database, json=json)


def _list(database: str | None, *, json: bool) -> None:
    with options.opened(database, writes=False) as engine:
        migrate.check(engine)
        found = listing.read(engine, jobs_of(load(database_url=database), engine))
        errors = listing.errors(engine)
    if json:
        output.print_json([{**row, "last_error": errors.get(row["name"])} for row in found])
        return
    output.print_table(
        ("job", "schedule", "last run", "seconds", "status", "next run", "error"),
        [
            (
                row["name"],
                row["schedule"],
                row["last_started_at"],
                row["last_duration_seconds"],
                "running" if row["running"] else row["last_status"],
                row["next_run_at"],
                errors.get(row["name"]),
            )
            for row in found
        ],
    )


@app.command("run")
def run_job(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Name of the job: alerts, queue, retention or verify."),
    ],
    database: options.Database = None,
    json: options.Json = False,
) -> None:
    """Run a job now, regardless of its schedule: for cron and systemd timers.

    Exits with status 1 if it fails. If another process is running it, nothing happens.
    """
    run_named(name, database, json=json)


def run_named(name: str, database: str | None, *, json: bool, force: bool = False) -> None:
    """Run the job `name` and print its result. Exits with status 1 if it fails."""
    with options.opened(database) as engine:
        migrate.check(engine)
        jobs = jobs_of(load(database_url=database), engine, force=force)
        job = next((job for job in jobs if job.name == name), None)
        if job is None:
            known = ", ".join(job.name for job in jobs)
            raise typer.BadParameter(f"NAME {name}: expected one of {known}")
        runner = Runner(engine, jobs)
        runner.register()
        run = runner.run_now(job)
    if run is None:
        typer.echo(f"{name}: already running in another process", err=True)
        return
    if json:
        output.print_json({"status": run.status, "result": run.result, "error": run.error})
    else:
        values = [
            f"{key.replace('_', ' ')} {plainly(value)}" for key, value in (run.result or {}).items()
        ]
        details = ", ".join(values) or run.error
        typer.echo(f"{name}: {run.status}" + (f" ({details})" if details else ""))
    if run.status != "ok":
        raise typer.Exit(1)
