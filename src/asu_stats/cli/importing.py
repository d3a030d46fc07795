"""`asu-stats import`: history of older servers, as events through the recorder."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Final

import typer

from asu_stats import memory
from asu_stats.cli import comparison_table, options, output
from asu_stats.cloudevents import check_source
from asu_stats.event_times import Acceptable
from asu_stats.events import Event
from asu_stats.exceptions import (
    ForeignDataError,
    InvalidEventError,
    OtherHistoryError,
    StoreUnavailableError,
)
from asu_stats.importers import reimport
from asu_stats.importers.go_builder import GoBuilder
from asu_stats.importers.redis_server import RedisServer, connect, shown
from asu_stats.importers.report import Rejected, Summary
from asu_stats.importers.rq_builds import BUILD_ID, RqBuilds
from asu_stats.importers.sending import Commit, Sender
from asu_stats.logs import Condition
from asu_stats.metrics.process import ProcessMetrics
from asu_stats.recorder import Recorder
from asu_stats.service import comparison
from asu_stats.service.database import opened
from asu_stats.service.running import recorder_on
from asu_stats.settings import Settings, load
from asu_stats.store import migrate
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.database.partitions import Preparation
from asu_stats.store.details.builds import ends_of
from asu_stats.text import plainly
from asu_stats.times import naive, utc_now, utc_today

log = logging.getLogger(__name__)
app = typer.Typer(help="Import the history of an older server.", no_args_is_help=True)

_MAX_BUSY_SECONDS: Final = 60.0
_CHECK_SECONDS: Final = 1.0
_REQUESTS_SECONDS: Final = 60.0
# Maximum time between the sample of a build and its end in RQ.
_SAME_BUILD: Final = timedelta(seconds=5)
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be imported, and import nothing.")
]
Verify = Annotated[
    bool,
    typer.Option(
        "--verify",
        help="Then compare totals by day, and by version if the source has it; exit status 1 if "
        "some are missing here. With --dry-run compare only.",
    ),
]
Force = Annotated[
    bool,
    typer.Option("--force", help="Import history again that was imported under another source."),
]
Check = Callable[[str], Callable[[Sequence[Event]], None]]
RejectedFile = Annotated[
    Path | None,
    typer.Option(
        "--rejected",
        help="File for rows that cannot be imported. Default: NAME.rejected.ndjson in the current "
        "directory, where NAME is that of the source file, or redis.",
    ),
]


@app.command("go-builder")
def go_builder(
    path: Annotated[Path, typer.Argument(help="The Go server's SQLite file.", metavar="PATH")],
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Follow the source and import new rows until interrupted."),
    ] = False,
    dry_run: DryRun = False,
    verify: Verify = False,
    source: Annotated[
        str,
        typer.Option(
            help="Source of the events. Default: derived from the file's first row.",
            metavar="URI",
        ),
    ] = "",
    rejected: RejectedFile = None,
    force: Force = False,
    database: options.Database = None,
    json: options.Json = False,
) -> None:
    """Import the statistics of a Go server, which can keep running.

    The file is only read. Rows are never counted twice: run the import again after an
    interruption, or to import rows that were added since.
    """
    if follow and dry_run:
        raise typer.BadParameter("--follow and --dry-run: expected only one of them")
    summary = Summary(source=_source(source))
    file = rejected or Path(f"{path.name or 'go-builder'}.rejected.ndjson")
    with (
        memory.kept_low(),
        Rejected(file) as aside,
        _target(database, dry_run=dry_run, force=force) as (
            commit,
            check,
            settings,
        ),
    ):
        history = GoBuilder(
            path, summary, aside, lambda: Acceptable(utc_now(), settings.oldest_event)
        )
        sender = Sender(commit, summary, check(str(path)))
        with output.progress(0, "import") as bar:
            task = bar.task_ids[0]

            def begin(rows: int) -> None:
                bar.update(task, total=(bar.tasks[0].completed + rows))

            def advance(rows: int) -> None:
                bar.advance(task, rows)

            history.read(sender, advance, begin)
            if follow:
                _follow(lambda: history.read(sender, advance, begin))
        found = comparison.compare(settings, history.totals) if verify else []
    _print_summary(summary, aside, found, json=json, dry_run=dry_run)
    if any(row.missing for row in found):
        raise typer.Exit(1)


@app.command("redis")
def redis(
    url: Annotated[
        str,
        typer.Argument(
            help="URL of the Redis server, such as redis://localhost:6379/0.", metavar="URL"
        ),
    ],
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Continue with new requests and builds until interrupted."),
    ] = False,
    dry_run: DryRun = False,
    verify: Verify = False,
    source: Annotated[
        str,
        typer.Option(
            help="Source of the events. Default: derived from the first sample.",
            metavar="URI",
        ),
    ] = "",
    rejected: RejectedFile = None,
    force: Force = False,
    database: options.Database = None,
    json: options.Json = False,
) -> None:
    """Import the statistics of the upstream server from its Redis, which can keep running.

    The last five minutes are left for the next import. Nothing is counted twice. With --follow,
    starts and ends of builds come from the results that RQ keeps; requests come from
    RedisTimeSeries (setting server_stats of the upstream server). Without TimeSeries, only requests
    that queued a build are known.
    """
    if follow and dry_run:
        raise typer.BadParameter("--follow and --dry-run: expected only one of them")
    summary = Summary(source=_source(source))
    file = rejected or Path("redis.rejected.ndjson")
    with (
        Rejected(file) as aside,
        _target(database, dry_run=dry_run, force=force) as (
            commit,
            check,
            settings,
        ),
    ):
        oldest = settings.oldest_event
        imported, known = (None, None) if dry_run else _build_times(settings)
        history = RedisServer(
            url, summary, aside, utc_now(), oldest=oldest, builds_before=known and known[0]
        )
        sender = Sender(commit, summary, check("redis"))
        with output.progress(0, "import") as bar:
            task = bar.task_ids[0]
            if not follow or history.has_requests():
                history.read(
                    sender,
                    lambda days: bar.update(task, total=days),
                    lambda: bar.advance(task),
                )
            if follow:
                imported, known = _build_times(settings)
                after = None if imported is None else imported[1] + _SAME_BUILD
                _follow(
                    _RedisFollower(url, summary, aside, Sender(commit, summary), oldest, after).read
                )
        found = comparison.compare_days(settings, history.totals) if verify else []
    _print_summary(summary, aside, found, json=json, dry_run=dry_run)
    if any(row.missing for row in found):
        raise typer.Exit(1)


class _RedisFollower:
    """Imports new requests and builds from an upstream server's Redis repeatedly."""

    def __init__(
        self,
        url: str,
        summary: Summary,
        rejected: Rejected,
        sender: Sender,
        oldest: date,
        after: datetime | None,
    ) -> None:
        self._builds = RqBuilds(
            connect(url),
            shown(url),
            summary,
            rejected,
            lambda: Acceptable(utc_now(), oldest),
            after=after,
        )
        self._history = partial(
            RedisServer, url, summary, rejected, oldest=oldest, builds_before=_FIRST
        )
        self._sender = sender
        self._requests_at = time.monotonic() + _REQUESTS_SECONDS

    def read(self) -> None:
        """Send new builds, and once a minute new requests."""
        now = utc_now()
        history = self._history(now)
        has_requests = history.has_requests()
        self._builds.read(self._sender, requests=not has_requests)
        if has_requests and time.monotonic() >= self._requests_at:
            self._requests_at = time.monotonic() + _REQUESTS_SECONDS
            yesterday = (now - timedelta(days=1)).date()
            history.read(self._sender, lambda _: None, lambda: None, since=yesterday)


def _build_times(
    settings: Settings,
) -> tuple[tuple[datetime, datetime] | None, tuple[datetime, datetime] | None]:
    """Return the first and last end of the imported builds, from TimeSeries and from RQ.

    Neither source then imports builds that were imported from the other one.
    """
    with opened(settings) as engine, read_snapshot(engine) as connection:
        first, second = (ends_of(connection, prefix) for prefix in ("redis:", BUILD_ID))
        return first, second


def _source(source: str) -> str:
    """Return `--source`. Raises `typer.BadParameter` unless it is an absolute URI."""
    try:
        if source:
            check_source(source)
    except InvalidEventError as error:
        raise typer.BadParameter(f"--source: {error.problem}") from None
    return source


@contextmanager
def _target(
    database: str | None, *, dry_run: bool, force: bool
) -> Iterator[tuple[Commit, Check, Settings]]:
    """Return a function that commits events (or drops them in a dry run), a check, and settings.

    The check gets the name of the imported file or server.
    """
    settings = load(database_url=database)
    if dry_run:
        yield (lambda _: 0), _no_check, settings
        return
    with opened(settings, make=True) as engine:
        if settings.database_file:
            migrate.upgrade(engine, plan_indexes=settings.plan_indexes)
        migrate.check(engine)
        migrate.check_writable(engine)
        # A file that was converted in place already has rows in `build_stats`.
        without_legacy = settings.model_copy(update={"legacy_build_stats": False})
        with recorder_on(without_legacy, engine, ProcessMetrics(), live=False) as recorder:
            check = _no_check if force else partial(reimport.duplicate_check, engine)
            preparation = Preparation(engine, utc_today)
            yield _committing(recorder, preparation), check, settings


def _no_check(_: str) -> Callable[[Sequence[Event]], None]:
    return lambda _: None


def _committing(recorder: Recorder, preparation: Preparation) -> Commit:
    def commit(events: Sequence[Event]) -> int:
        """Commit events, retrying for up to a minute while the database is busy."""
        preparation.before(naive(min(event.time for event in events)).date())
        until = time.monotonic() + _MAX_BUSY_SECONDS
        while True:
            try:
                return recorder.commit(events).accepted
            except StoreUnavailableError as error:
                if "locked" not in str(error) and "too long" not in str(error):
                    raise StoreUnavailableError(f"{error}; {_RESUME}") from error
                if time.monotonic() > until:
                    raise StoreUnavailableError(f"{error}; {_RESUME}") from error

    return commit


_RESUME: Final = "all rows imported so far are complete; run the command again to continue"


def _follow(read: Callable[[], None]) -> None:
    """Read new rows repeatedly until SIGINT or SIGTERM."""
    stop = threading.Event()
    condition = Condition(log, "import")

    def end(_: int, __: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        while not stop.wait(_CHECK_SECONDS):
            try:
                read()
                condition.works()
            except OtherHistoryError:
                raise
            except ForeignDataError as error:  # for example while the file is replaced or locked
                condition.failed(str(error))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_summary(
    summary: Summary,
    rejected: Rejected,
    compared: Sequence[comparison.Comparison],
    *,
    json: bool,
    dry_run: bool,
) -> None:
    is_written = (summary.rejected or summary.doubtful) and not rejected.problem
    aside = str(rejected.path) if is_written else None
    events: dict[str, Any] = {"events": summary.events}
    if not dry_run:
        events |= {"accepted": summary.accepted, "duplicates": summary.duplicates}
    facts = {
        "source": summary.source,
        "dry_run": dry_run,
        "rows": summary.rows,
        **events,
        "rejected": summary.rejected,
        "doubtful": summary.doubtful,
        "early": summary.early,
        "rejected_file": aside,
        "first": summary.first,
        "last": summary.last,
        "kinds": dict(sorted(summary.kinds.items())),
        "matched": dict(sorted(summary.matched.items())),
        "unknown": summary.unknown,
    }
    if json:
        output.print_json({**facts, "compared": [asdict(row) for row in compared]})
        return
    if compared:
        comparison_table.print_comparison(compared)
    shown = {
        key.replace("_", " "): ", ".join(f"{n:,} {name}" for name, n in value.items())
        if isinstance(value, dict)
        else "; ".join(value)
        if isinstance(value, list)
        else value
        if isinstance(value, datetime)
        else plainly(value)
        for key, value in facts.items()
        if value not in (None, "", {}, [])
    }
    output.print_table(("", ""), list(shown.items()))
