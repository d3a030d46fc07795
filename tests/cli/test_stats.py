"""`asu-stats stats` and `asu-stats insights` print the figures of the API."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from asu_stats import fingerprints
from asu_stats.cli import stats as commands
from asu_stats.reports.endpoints import REPORTS
from asu_stats.reports.report import Report
from tests.conftest import sqlite_database
from tests.support import Stats, build, request

TODAY = datetime.now(UTC).date()
# Days that are over: figures of a day that goes on depend on when it is.
FIRST, LAST = ((TODAY - timedelta(days=days)).isoformat() for days in (5, 1))
# Names of figures in percent.
RATE = re.compile(r"_rate|percentage|share|utilisation")
# A name for each subject of a report.
SUBJECTS = {
    "client": "luci",
    "fingerprint": fingerprints.of(None, "build", "unknown").fingerprint,
}


@pytest.fixture(scope="module")
def filled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stats]:
    place = tmp_path_factory.mktemp("stats")
    url = sqlite_database(request, place)
    with Stats.on(url, place / "spool") as stats:
        stats.now = datetime.now(UTC)
        stats.record(*history(stats.now - timedelta(days=3)))
        yield stats


def history(start: datetime) -> Iterator[list[dict[str, object]]]:
    for number in range(6):
        end = start + timedelta(minutes=10 * number)
        status = "failure" if number % 3 == 0 else "success"
        asked = {"client": "luci", "client_version": "1.0"}
        yield [request(f"h{number}", end - timedelta(minutes=2), **asked)]
        yield build(f"h{number}", status, end=end)
        yield [request(f"h{number}", end, outcome="cache_hit", **asked)]


def command(report: Report) -> tuple[typer.Typer, list[str]]:
    """Return the group of commands and the words that print a report."""
    name = report.name.partition("/{")[0]
    of = commands.insights if name.startswith("insights/") else commands.stats
    words = name.removeprefix("insights/").replace("/", "-")
    if report.subject is None:
        return of, [words]
    return of, [words.removesuffix("s"), SUBJECTS[report.subject.name]]


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.name)
def test_a_command_says_what_its_endpoint_says(filled: Stats, report: Report) -> None:
    of, words = command(report)
    words += ["--start", FIRST, "--end", LAST, "--database", str(filled.settings.database_url)]

    done = CliRunner().invoke(of, [*words, "--json"])
    table = CliRunner().invoke(of, words)

    assert done.exit_code == 0, done.output
    path = report.name
    if report.subject:
        path = f"{path.partition('/{')[0]}/{SUBJECTS[report.subject.name]}"
    assert json.loads(done.stdout) == filled.get(path, start=FIRST, end=LAST)
    assert table.exit_code == 0, table.output
    assert "None" not in table.stdout
    check_table(table.stdout, json.loads(done.stdout))


def said(value: object) -> str:
    """Return a value of the API as a table shows it."""
    if value is None:
        return "–"  # noqa: RUF001 - an en dash
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} {said(each)}" for name, each in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(said, value)) or "none"
    text = f"{value:,}" if isinstance(value, int | float) else str(value)
    if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", text):
        return f"{text[:10]} {text[11:19]} UTC"
    return text


def is_said(cell: str, exact: str, name: str) -> bool:
    """Return whether a cell shows a value; a rate of so few requests has at most one decimal."""
    if not RATE.search(name) or exact == said(None):
        return cell == exact
    decimals = len(cell.partition(".")[2])
    step = Decimal(1).scaleb(-decimals)
    return decimals <= 1 and Decimal(cell) == Decimal(exact).quantize(step, ROUND_HALF_UP)


def flat(response: dict[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Yield the figures of a response, by the names of its members."""
    for name, value in response.items():
        if isinstance(value, dict):
            yield from flat(value, f"{before}{name}, ")
        elif not is_rows(value) or (before and not value):
            yield f"{before}{name}", said(value)


def lists_of(response: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the lists of rows of a response: each is a table of its own."""
    for name, value in response.items():
        if isinstance(value, dict):
            yield from lists_of(value, f"{before}{name}, ")
        elif is_rows(value) and (value or not before):
            yield f"{before}{name}", value


def said_in(row: dict[str, Any], field: str) -> str:
    """Return a value of a row as a table shows it: hours of the week and fields in words."""
    value = row[field]
    if field in {"figure", "measure", "dimension"}:
        return said(value).replace("_", " ")
    if field == "weekday" or (field == "hour" and "weekday" not in row):
        day, hour = (value - 1, None) if field == "weekday" else divmod(value, 24)
        monday = datetime(2024, 1, 1, hour or 0, tzinfo=UTC) + timedelta(days=day)
        return monday.strftime("%a" if hour is None else "%a %H:%M")
    if field == "p_value" and value is not None:
        return f"{value:.2g}"
    return said(value)


def field_of(row: dict[str, Any], field: str) -> str:
    """Return the name of a field; of rows of several measures, that of what they measure."""
    if (row.get("unit") == "percent" and field in {"value", "before"}) or field == "change":
        return "percentage"
    return row.get("measure", field) if field in {"before", "after"} else field


def name_of(heading: str) -> str:
    words = heading.strip().removesuffix(", %").removesuffix(", s")
    return words.replace(" ", "_").replace(",_", ", ")


def is_rows(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def cells(lines: list[str]) -> list[list[str]]:
    """Return the cells of a table: its columns begin where the headings do, two spaces apart."""
    starts = [0, *(found.end() for found in re.finditer(r" {2,}(?=\S)", lines[0]))]
    if len(starts) > 1 and starts[1] == 0:
        del starts[0]
    ends = [*starts[1:], None]
    return [[line[a:b].strip() for a, b in zip(starts, ends, strict=True)] for line in lines]


def check_table(text: str, response: Any) -> None:
    """Check that a table shows under each heading the field of that name."""
    parts = text.split("\n\n")
    lists = {"": response} if isinstance(response, list) else {}
    if isinstance(response, dict):
        lines = parts.pop(0).splitlines()
        shown = {name_of(name): value for name, value in cells(lines)[1:]}
        expected = dict(flat(response))
        shown = {name: cell for name, cell in shown.items() if "_by_day" not in name}
        assert list(shown) == list(expected)
        assert all(is_said(cell, expected[name], name) for name, cell in shown.items())
        lists = dict(lists_of(response))
    assert len(parts) == len(lists)
    for part, (name, rows) in zip(parts, lists.items(), strict=True):
        lines = part.rstrip("\n").splitlines()
        if name:
            assert name_of(lines.pop(0)) == name
        if not rows:
            assert lines == ["none"]
            continue
        headings, *body = cells(lines)
        names = [field for field, value in rows[0].items() if not is_rows(value)]
        assert [name_of(heading) for heading in headings] == names
        assert len(body) == len(rows)
        for line, row in zip(body, rows, strict=True):
            unlike = [
                (field, cell)
                for field, cell in zip(names, line, strict=True)
                if not is_said(cell, said_in(row, field), field_of(row, field))
            ]
            assert unlike == [], row


def test_the_overview_shows_trends(filled: Stats) -> None:
    url, window = str(filled.settings.database_url), {"start": FIRST, "end": LAST}
    words = ["overview", "--database", url, "--start", FIRST, "--end", LAST]
    done = CliRunner().invoke(commands.stats, words)
    days = filled.get("timeseries", interval="day", **window)
    for name in ("requests", "failed_builds"):
        (line,) = [
            line
            for line in done.stdout.splitlines()
            if line.startswith(f"{name.replace('_', ' ')} by")
        ]
        bars = line.split()[-1]
        assert len(bars) == len(days) == 5
        most = max(row[name] for row in days)
        assert [bar == "█" for bar in bars] == [row[name] == most for row in days]
        assert [bar == "▁" for bar in bars] == [row[name] == 0 for row in days]


def test_a_table_shows_figures_with_their_units(filled: Stats) -> None:
    url = str(filled.settings.database_url)
    done = CliRunner().invoke(commands.stats, ["clients", "--database", url])
    lines = [line.split() for line in done.stdout.splitlines()]
    assert "hit rate, %" in done.stdout
    assert lines[1][:3] == ["luci", "12", "6"]
    done = CliRunner().invoke(commands.stats, ["versions", "--database", url])
    assert "avg build duration, s" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("overview", "--days", "0"), "--days 0: expected a whole number from 1 to 3650"),
        (("versions", "--limit", "many"), "--limit many: expected a whole number"),
        (("timeseries", "--interval", "hour", "--days", "900"), "hours are kept from"),
        (("timeseries", "--interval", "second"), "--interval second: expected one of"),
    ],
)
def test_what_the_api_refuses_is_refused(filled: Stats, words: tuple[str, ...], said: str) -> None:
    url = str(filled.settings.database_url)
    done = CliRunner().invoke(commands.stats, [*words, "--database", url])
    assert done.exit_code == 2
    assert said in " ".join(done.output.replace("│", " ").split())


def test_an_unknown_client_is_an_error(filled: Stats) -> None:
    url = str(filled.settings.database_url)
    done = CliRunner().invoke(commands.stats, ["client", "nobody", "--database", url])
    assert done.exit_code == 1
    assert "no request of this client is known" in str(done.exception)
