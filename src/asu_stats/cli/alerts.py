"""`asu-stats alerts`: evaluate the rules once, list them, and silence some of them."""

from datetime import datetime, timedelta
from typing import Annotated, Final

import typer

from asu_stats.alert_rules import Rule
from asu_stats.cli import options, output
from asu_stats.exceptions import AsuStatsError
from asu_stats.monitor import channels, reporting, state, texts
from asu_stats.monitor.evaluate import Alert, Evaluation
from asu_stats.monitor.outbreaks import Subject
from asu_stats.monitor.state import MonitorState
from asu_stats.service.jobs import watch_of
from asu_stats.settings import load
from asu_stats.store import migrate
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.text import counted
from asu_stats.times import utc_now

app = typer.Typer(help="Alert rules and incidents.", no_args_is_help=True)

_HISTORY: Final = 20


@app.command()
def check(database: options.Database = None, json: options.Json = False) -> None:
    """Evaluate all rules once, without notifications; exit with status 1 if one fires.

    The output is that of a Nagios plug-in. The evaluation continues that of a running server: a
    rule is pending before it fires. Without a server, a rule beyond its limit fires at once.
    """
    settings, now = load(database_url=database), utc_now()
    with options.opened(database, writes=False) as engine:
        migrate.check(engine)
        result = watch_of(settings, engine).evaluate(now)
    rules = {rule.name: rule for rule in settings.alerts}
    firing = [alert for alert in result.evaluation.alerts if alert.state == "firing"]
    if json:
        output.print_json(_shown(settings.alerts, result.state, result.evaluation, now))
    else:
        _print(rules, firing, result.evaluation)
    if firing:
        raise typer.Exit(1)


def _shown(
    rules: tuple[Rule, ...], before: MonitorState, evaluation: Evaluation, now: datetime
) -> reporting.Alerts:
    current = MonitorState(
        evaluations=before.evaluations,
        evaluated_at=now,
        readings=reporting.readings(rules, evaluation),
        alerts=evaluation.alerts,
        incidents=before.incidents,
        silences=before.silences,
    )
    return reporting.overview(rules, current, before.incidents)


def _print(rules: dict[str, Rule], firing: list[Alert], evaluation: Evaluation) -> None:
    pending = sum(alert.state == "pending" for alert in evaluation.alerts)
    critical = any(rules[alert.rule].severity == "critical" for alert in firing)
    state = "CRITICAL" if critical else "WARNING" if firing else "OK"
    problems = "; ".join(sorted({_line(rules[alert.rule], alert) for alert in firing}))
    evaluated = counted(len(evaluation.readings), "rule")
    typer.echo(
        f"ASU-STATS {state} - {problems or f'{evaluated}, none firing'}"
        f" | firing={len(firing)} pending={pending}"
    )


def _line(rule: Rule, alert: Alert) -> str:
    value = texts.of_value(rule, alert.value, alert.expected, alert.sample)
    return f"{reporting.title_of(rule, alert.subject)}: {value}".replace("|", "/")


@app.command("list")
def list_alerts(database: options.Database = None, json: options.Json = False) -> None:
    """List the rules with their state, the silences, and the latest incidents."""
    settings = load(database_url=database)
    with options.opened(database, writes=False) as engine:
        migrate.check(engine)
        with read_snapshot(engine) as connection:
            current = state.read(connection)
            incidents = state.history(connection, _HISTORY)
            shown = reporting.overview(settings.alerts, current, incidents)
    if json:
        output.print_json(shown)
        return
    output.print_table(
        ("rule", "state", "since", "value", "limit"),
        [
            (
                row["rule"],
                row["state"],
                row["since"],
                None if row["value"] is None else _with_unit(row["value"], row["unit"]),
                f"> {_with_unit(row['above'], row['unit'])}"
                if row["above"] is not None
                else f"< {_with_unit(row['below'] or 0, row['unit'])}",
            )
            for row in shown["rules"]
        ],
    )
    if shown["silences"]:
        typer.echo("")
        output.print_table(
            ("silence", "rule", "subject", "until", "by", "comment"),
            [
                (
                    row["id"],
                    row["rule"] or "all",
                    ", ".join(f"{name}={value}" for name, value in row["subject"].items()),
                    row["until"],
                    row["created_by"],
                    row["comment"],
                )
                for row in shown["silences"]
            ],
        )
    if shown["incidents"]:
        typer.echo("")
        output.print_table(
            ("opened", "closed", "incident", "value"),
            [
                (row["opened_at"], row["closed_at"], row["title"], row["text"])
                for row in shown["incidents"]
            ],
        )


def _with_unit(value: float, unit: str) -> str:
    return f"{value:g}{'' if unit == '%' else ' '}{unit}"


@app.command()
def silence(
    rule: Annotated[str | None, typer.Option(help="Name of a rule. Default: all rules.")] = None,
    subject: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="version=…, target=…, error_type=… or client=…"),
    ] = None,
    hours: Annotated[float, typer.Option(min=0.01, max=8760, help="Duration in hours.")] = 4,
    comment: Annotated[str, typer.Option(help="Reason for the silence.")] = "",
    database: options.Database = None,
    json: options.Json = False,
) -> None:
    """Silence incidents of a rule, or about a version, target, error type or client."""
    settings, now = load(database_url=database), utc_now()
    known = [each.name for each in settings.alerts]
    if rule is not None and rule not in known:
        raise typer.BadParameter(f"--rule {rule}: expected one of {', '.join(known)}")
    about = _subject(subject or [])
    if rule is None and not about:
        raise typer.BadParameter("expected --rule or --subject")
    until = now + timedelta(hours=hours)
    with options.opened(database) as engine:
        migrate.check(engine)
        with write_transaction(engine) as connection:
            number = state.silence(
                connection, rule=rule, subject=about, until=until, comment=comment, now=now
            )
    if json:
        row = {"id": number, "rule": rule, "subject": dict(about), "until": until}
        output.print_json({**row, "comment": comment})
    else:
        typer.echo(f"silence {number}: until {output.shown_time(until)}")


def _subject(given: list[str]) -> Subject:
    found = []
    for text in given:
        name, equals, value = text.partition("=")
        if name not in state.DIMENSIONS or not equals or not value:
            names = " or ".join((", ".join(state.DIMENSIONS[:-1]), state.DIMENSIONS[-1]))
            raise typer.BadParameter(f"--subject {text}: expected NAME=VALUE, NAME being {names}")
        found.append((name, value))
    return tuple(found)


@app.command()
def unsilence(
    number: Annotated[int, typer.Argument(metavar="NUMBER", help="Number of the silence.")],
    database: options.Database = None,
    json: options.Json = False,
) -> None:
    """Remove a silence. Alerts that still fire are sent at the next evaluation."""
    with options.opened(database) as engine:
        migrate.check(engine)
        with write_transaction(engine) as connection:
            found = state.unsilence(connection, number)
    if not found:
        raise AsuStatsError(f"no such silence: {number}; `asu-stats alerts list` lists them")
    if json:
        output.print_json({"id": number, "removed": True})
    else:
        typer.echo(f"silence {number} removed")


@app.command("test")
def send_test(database: options.Database = None, json: options.Json = False) -> None:
    """Send a message to every address in the settings; exit status 1 if one fails."""
    settings = load(database_url=database)
    found = channels.of_settings(settings)
    if not found:
        raise AsuStatsError("no recipients: set notify or webhooks")
    results = []
    for channel in found:
        problem = channels.send_test(channel, settings.event_source, utc_now(), settings.public_url)
        results.append({"recipient": channel.name, "error": problem})
        if not json:
            typer.echo(f"{channel.name}: {problem or 'ok'}")
    if json:
        output.print_json(results)
    if any(each["error"] for each in results):
        raise typer.Exit(1)
