"""`asu-stats stats` and `asu-stats insights`: the statistics API in a terminal.

Each report is a command; its options are the parameters of the endpoint.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any, Final

import typer
from sqlalchemy import Connection, Engine

from asu_stats.builds.combined_queue import CombinedQueue
from asu_stats.cli import options, output, usage
from asu_stats.exceptions import InvalidParameterError
from asu_stats.reports import decimals, overview, query_parsing, timeseries
from asu_stats.reports.endpoints import REPORTS
from asu_stats.reports.parameters import FORMAT, Parameter
from asu_stats.reports.query_parsing import ParameterValues
from asu_stats.reports.report import Query, Report
from asu_stats.reports.week import WEEKDAYS
from asu_stats.service.database import replica_of
from asu_stats.settings import Settings, load
from asu_stats.store import migrate
from asu_stats.store.database.reading import Reading, noted
from asu_stats.text import plainly
from asu_stats.times import utc_now
from asu_stats.windows import Interval

_INSIGHTS: Final = "insights/"
_SUBJECT: Final = "subject"
# Columns whose values are names of fields.
_FIELDS: Final = frozenset({"figure", "measure", "dimension"})

_Basis = Mapping[str, Any] | None

stats = typer.Typer(help="Figures of the statistics API.", no_args_is_help=True)
insights = typer.Typer(
    help="Causes of failures, regressions, queue, cache and capacity.", no_args_is_help=True
)


def _command(report: Report) -> Callable[..., None]:
    """Return a command that prints a report: a function whose signature has the options."""
    parameters = [each for each in report.all_parameters if each.name != FORMAT.name]

    def run(**given: Any) -> None:
        database, json, subject = given["database"], given["json"], given.get(_SUBJECT)
        values = {
            each.name: given[each.name] for each in parameters if given[each.name] is not None
        }
        try:
            _print(report, ParameterValues(values), subject, database, json=json)
        except InvalidParameterError as error:
            raise usage.wrong(error) from None

    signature = [
        *((_argument(report.subject),) if report.subject else ()),
        *(_option(each.name, each.description) for each in parameters),
        _keyword("database", options.Database, None),
        _keyword("json", options.Json, default=False),
    ]
    run.__signature__ = inspect.Signature(signature)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in signature}
    run.__doc__ = f"{report.summary}."
    return run


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, annotation=annotation, default=default)


def _option(name: str, description: str) -> inspect.Parameter:
    flag = f"--{name.replace('_', '-')}"
    option = typer.Option(flag, metavar="VALUE", help=description)
    return _keyword(name, Annotated[str | None, option], None)


def _argument(subject: Parameter) -> inspect.Parameter:
    argument = typer.Argument(metavar=subject.name.upper(), help=subject.description)
    return _keyword(_SUBJECT, Annotated[str, argument], inspect.Parameter.empty)


def _print(
    report: Report, given: ParameterValues, subject: str | None, database: str | None, *, json: bool
) -> None:
    settings = load(database_url=database)
    now = utc_now()
    query = query_parsing.query_of(report, given, now=now, subject=subject, complete=False)
    query_parsing.check(report, query, given, settings.hourly_rollup_days)
    with _reading(settings, database) as (engine, reading), noted() as freshness:
        queues = CombinedQueue(engine, lambda: now, timedelta(hours=settings.stale_after_hours))
        query = replace(query, now=now, queues=queues)

        def read(connection: Connection) -> tuple[Any, Sequence[tuple[str, str]]]:
            query_parsing.check_hours(report, query, given, connection)
            found = report.read(connection, query)
            trends = _trends(connection, query) if report.name == overview.REPORT.name else ()
            return query.page.of(found) if report.paged else found, trends

        found, trends = reading.run(read)
    if freshness.as_of:
        output.errors.print(f"as of {output.shown_time(freshness.as_of)}, from the replica")
    if json:
        output.print_json(found if isinstance(found, Mapping) else list(found))
    else:
        _print_response(found, trends)


@contextmanager
def _reading(settings: Settings, database: str | None) -> Iterator[tuple[Engine, Reading]]:
    """Open the database of `--database`, or that of the settings and its replica."""
    with options.opened(database, writes=False) as engine:
        if database is not None or settings.read_database_url is None:
            migrate.check(engine)
            yield engine, Reading(engine)
            return
        with replica_of(settings, engine) as replica:
            if replica is None or not replica.state.is_usable:
                migrate.check(engine)
            yield engine, Reading(engine, replica)


def _trends(connection: Connection, query: Query) -> Sequence[tuple[str, str]]:
    """Return requests and failed builds over time as sparklines; none of a number of hours."""
    if query.hours:
        return ()
    days = query.window.days
    interval: Interval = "day" if days <= 62 else "week" if days <= 434 else "month"
    rows = timeseries.read(connection, query.window, interval=interval, filters={})
    return [
        (f"{_words(name)} by {interval}", output.sparkline([row[name] for row in rows]))
        for name in ("requests", "failed_builds")
    ]


def _print_response(found: Any, trends: Sequence[tuple[str, str]] = ()) -> None:
    """Print a response: its figures and trends, then each of its lists as a table."""
    if not isinstance(found, Mapping):
        _print_rows(found)
        return
    basis = found.get("basis")
    output.print_table(("figure", "value"), [*_lines(found, basis), *trends])
    for title, rows in _lists(found):
        typer.echo(f"\n{title}")
        _print_rows(rows, basis)


def _print_rows(rows: Sequence[Mapping[str, Any]], basis: _Basis = None) -> None:
    if not rows:
        output.print_table((), ())
        return
    names = [name for name, value in rows[0].items() if not _is_rows(value)]
    shown = [[_shown(row, name, basis) for name in names] for row in rows]
    output.print_table([_heading(name) for name in names], shown)


def _is_rows(value: Any) -> bool:
    """Return whether a value is a list of rows, and not of names."""
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    return is_list and all(isinstance(each, Mapping) for each in value)


def _shown(row: Mapping[str, Any], name: str, basis: _Basis) -> str:
    """Return a value as text: a rate with the decimals that its sample carries."""
    value = row[name]
    if name in _FIELDS and value is not None:
        return _words(value)
    if name == "weekday":  # 1 is Monday
        return WEEKDAYS[value - 1]
    if name == "hour" and "weekday" not in row:  # 0 is Monday, 00:00
        return f"{WEEKDAYS[value // 24]} {value % 24:02}:00"
    if name == "p_value" and value is not None:
        return f"{value:.2g}"
    if value is None or not decimals.is_rate(row, name):
        return plainly(value)
    return decimals.shown(value, decimals.sample_of(row, name, basis))


def _lines(
    figures: Mapping[str, Any], basis: _Basis, prefix: str = ""
) -> Iterable[tuple[str, str]]:
    for name, value in figures.items():
        if _is_rows(value) and (value or not prefix):
            continue
        if isinstance(value, Mapping):
            yield from _lines(value, basis, f"{prefix}{_words(name)}, ")
        else:
            yield prefix + _heading(name), _shown(figures, name, basis)


def _lists(
    figures: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Sequence[Mapping[str, Any]]]]:
    """Return the lists of rows of a response with their titles; nested ones if they have rows."""
    for name, value in figures.items():
        title = prefix + _words(name)
        if _is_rows(value) and (value or not prefix):
            yield title, value
        elif isinstance(value, Mapping):
            yield from _lists(value, f"{title}, ")


def _words(name: str) -> str:
    return name.replace("_", " ")


def _heading(name: str) -> str:
    is_percent = decimals.is_rate({}, name) and name != "change"
    unit = ", %" if is_percent else ", s" if name.endswith("duration") else ""
    return f"{_words(name)}{unit}"


for _report in REPORTS:
    _name = _report.name.partition("/{")[0]
    _app = insights if _name.startswith(_INSIGHTS) else stats
    if _report.subject:
        _name = _name.removesuffix("s")
    _app.command(_name.removeprefix(_INSIGHTS).replace("/", "-"))(_command(_report))
