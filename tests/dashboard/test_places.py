"""Every value on a page is the one that its heading names: figures equal the fields of the API.

A table says which field belongs under which heading. A column must equal that field in every row,
and no other field, so that a mix-up is noticed.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from html import unescape
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

import pytest

from asu_stats.demo import history
from asu_stats.store.apply import apply_batch
from tests.conftest import sqlite_database
from tests.dashboard.places import OVERVIEW, TABLES, TILES
from tests.decimals import as_shown
from tests.support import NOW, CloudEvent, Stats, build, request

DAYS = 28
HTML = {"accept": "text/html"}
_VOID = {"input", "img", "br", "link", "meta", "rect", "polyline", "path"}


@pytest.fixture(scope="module")
def shown(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stats]:
    """A service with two months of varied history."""
    directory = tmp_path_factory.mktemp("places")
    url = sqlite_database(request, directory)
    with Stats.on(url, directory / "spool") as stats:
        apply_batch(stats.engine, list(history.history(days=60, requests=1000, now=NOW)))
        stats.record(*troubles())
        yield stats


def troubles() -> Iterator[CloudEvent]:
    """Yield builds that fail on one device since a few days, and a client that tries too often."""
    for number in range(60):
        at = NOW - timedelta(days=number % 5, minutes=number)
        names = {"version": "24.10.2", "target": "x86/64", "profile": "generic"}
        yield request(f"trouble{number}", at, client="auc/1", **names)
        text = "Error: Impossible package selection: missing (luci-app-foo)"
        status = "failure" if number % 6 else "success"
        yield from build(f"trouble{number}", status, end=at, error_message=text)
    for number in range(25):
        at = NOW - timedelta(days=1, minutes=number)
        yield request("again and again", at, outcome="rejected", client="script/1")


# Reading pages -----------------------------------------------------------------------------------


@dataclass(slots=True)
class Cell:
    """The text of an element, the hints in it, and the exact value of its figure, if any."""

    text: str = ""
    hints: list[str] = field(default_factory=list)
    exact: str | None = None


@dataclass(slots=True)
class Shown:
    """A table: the heading before it, the headings of its columns, and its rows."""

    title: str
    headings: list[str] = field(default_factory=list)
    rows: list[list[Cell]] = field(default_factory=list)


class Page(HTMLParser):
    """Reads tables and tiles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[Shown] = []
        self.tiles: dict[str, list[Cell]] = {}
        self.sparks: dict[str, str] = {}
        self._title = self._label = ""
        self._open: list[tuple[str, str]] = []
        self._cell: Cell | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        kind = given.get("class") or ""
        if tag not in _VOID:
            self._open.append((tag, kind))
        if tag == "table":
            self.tables.append(Shown(self._title))
        elif tag == "tr" and self._inside("tbody"):
            self.tables[-1].rows.append([])
        elif tag in {"td", "th", "h2", "h3", "dt"} or kind.split(" ")[0] in {"value", "delta"}:
            self._cell = Cell()
        if self._cell is not None:
            self._within_cell(self._cell, tag, given)
        if tag == "polyline":
            self.sparks[self._label] = given["points"] or ""

    @staticmethod
    def _within_cell(cell: Cell, tag: str, given: Mapping[str, str | None]) -> None:
        if tag == "p" and (given.get("class") or "").startswith("hint"):
            cell.hints.append("")
        elif tag == "data":
            cell.exact = given["value"]
        elif (title := given.get("title") or "").endswith(" s") and tag == "span":
            cell.exact = title.removesuffix(" s").replace(",", "")
        elif tag == "time":
            cell.exact = given["datetime"]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)  # no end follows

    def handle_endtag(self, tag: str) -> None:
        while self._open:
            opened, kind = self._open.pop()
            if opened == tag:
                break
        else:
            return
        if self._cell is None:
            return
        self._cell.text = " ".join(self._cell.text.split())
        if tag in {"h2", "h3"}:
            self._title, self._cell = self._cell.text, None
        elif tag == "dt":
            self._label, self._cell = self._cell.text, None
            self.tiles[self._label] = []
        elif tag in {"td", "th"}:
            if self._inside("thead"):
                self.tables[-1].headings.append(self._cell.text)
            elif self._inside("tbody"):
                self.tables[-1].rows[-1].append(self._cell)
            self._cell = None
        elif tag == "span" and kind.split(" ")[0] in {"value", "delta"}:
            self.tiles[self._label].append(self._cell)
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self._cell is not None and any(kind.startswith("hint") for _, kind in self._open):
            self._cell.hints[-1] += data
        elif self._cell is not None:
            self._cell.text += data

    def _inside(self, tag: str) -> bool:
        return any(opened == tag for opened, _ in self._open)


_PAGES: dict[tuple[int, str], Page] = {}


def page(stats: Stats, path: str) -> Page:
    key = id(stats), path
    if key not in _PAGES:
        found = stats.client.get(path, headers=HTML)
        assert found.status_code == 200, found.text
        _PAGES[key] = Page(found.text)
    return _PAGES[key]


def equals(cell: Cell, value: Any) -> bool:
    """Return whether a cell shows a value of the API, with the decimals that it shows."""
    if value is None:
        return cell.text in {"", "–", "no", "None"}  # noqa: RUF001 - an en dash
    if isinstance(value, bool):
        return cell.text == ("yes" if value else "no")
    if isinstance(value, dict):
        return False
    if isinstance(value, list):
        names = [next(iter(each.values())) for each in value[:2]]
        return cell.text == ", ".join(map(str, names))
    if isinstance(value, str):
        return value in {cell.text, cell.exact} or value.replace("_", " ") == cell.text
    number = cell.exact or (found[0] if (found := re.match(r"-?[\d.]+", cell.text)) else "")
    if not number or not re.fullmatch(r"-?\d+(\.\d+)?", number):
        return False
    decimals = len(number.partition(".")[2])
    return bool(abs(float(number) - value) <= 0.5000001 * 10**-decimals)


def fields_of(rows: Sequence[Mapping[str, Any]], cells: Sequence[Cell]) -> set[str]:
    """Return the fields of the API that a column shows in every row."""
    return {
        name
        for name in rows[0]
        if all(equals(cell, row[name]) for cell, row in zip(cells, rows, strict=True))
    }


# Comparing -------------------------------------------------------------------------------------


def with_days(path: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}days={DAYS}"


def table_of(found: Page, name: str, headings: Mapping[str, str]) -> Shown:
    """Return the table with a title, or with a first heading, that has all the headings."""
    for table in found.tables:
        title = table.title.rstrip("0123456789 ")
        if name in {title, *table.headings[:1]} and set(headings) <= set(table.headings):
            return table
    raise AssertionError((name, [(t.title, t.headings) for t in found.tables]))


def rows_of(response: Any, member: str) -> Any:
    """Return the rows of a response, of a list in it, or the first of the lists in its rows."""
    outer, _, inner = member.partition("/")
    rows = response[outer] if outer else response
    if not inner:
        return rows
    most = max(3, 20 // len(rows))  # as pages show them
    return [{**row, **each} for row in rows for each in row[inner][:most]]


@pytest.mark.parametrize(
    ("path", "name", "endpoint", "member", "headings"),
    TABLES,
    ids=[f"{path} {name}" for path, name, *_ in TABLES],
)
def test_a_column_shows_the_field_of_its_heading(
    shown: Stats, path: str, name: str, endpoint: str, member: str, headings: dict[str, str]
) -> None:
    rows = rows_of(shown.get(endpoint, days=DAYS), member)
    assert rows, "the history has no such rows"
    if endpoint == "performance" and member == "by_version":
        rows = sorted(rows, key=lambda row: -row["builds"])  # as its page shows them
    table = table_of(page(shown, with_days(path)), name, headings)
    count = min(len(rows), len(table.rows))
    assert count == len(table.rows) or count == len(rows)
    assert count >= 1
    unsaid = set(table.headings) - set(headings) - {"p-value", "Most common type"}
    assert unsaid == set(), "a column without a field in this table"
    for heading, wanted in headings.items():
        place = table.headings.index(heading)
        cells = [row[place] for row in table.rows[:count]]
        matching = fields_of(rows[:count], cells)
        assert wanted in matching, (heading, [cell.text for cell in cells][:5])
        # And the history tells it from every other field.
        assert name == "Regressions" or matching == {wanted}, heading


# The counts of a row that are the part of a rate, and those that are its whole.
SAMPLES = {
    "success_rate": (("successful_builds",), ("successful_builds", "failed_builds")),
    "percentage_enabled": (("enabled",), ("enabled", "disabled")),
}


@pytest.mark.parametrize(
    ("path", "name", "endpoint", "member", "headings"),
    [each for each in TABLES if set(SAMPLES) & set(each[4].values())],
    ids=lambda value: value if isinstance(value, str) and value.startswith("/") else "",
)
def test_a_rate_has_as_many_decimals_as_its_sample_carries(
    shown: Stats, path: str, name: str, endpoint: str, member: str, headings: dict[str, str]
) -> None:
    response = shown.get(endpoint, days=DAYS)
    rows = response[member] if member else response
    table = table_of(page(shown, with_days(path)), name, headings)
    for heading, field_name in headings.items():
        if field_name not in SAMPLES:
            continue
        parts, wholes = SAMPLES[field_name]
        place = table.headings.index(heading)
        expected = [
            (sum(row[each] for each in parts), sum(row[each] for each in wholes)) for row in rows
        ]
        texts = [row[place].text for row in table.rows]
        kinds = {each[1] < 100 for each in expected if each[1]}
        assert len(kinds) == 2 or path not in {"/versions", "/clients"}, "both kinds of samples"
        for text, (part, whole) in zip(texts, expected, strict=False):
            assert text == (f"{as_shown(part, whole)}%" if whole else "–")  # noqa: RUF001


def test_the_shares_of_a_list_have_the_decimals_of_its_total(shown: Stats) -> None:
    for path, name, endpoint, member, headings in TABLES:
        if headings.get("Share") != "percentage" or endpoint.startswith("insights/"):
            continue
        response = shown.get(endpoint, days=DAYS)
        rows = response[member] if member else response
        total = sum(row["count"] for row in rows)
        table = table_of(page(shown, with_days(path)), name, headings)
        place = table.headings.index("Share")
        expected = [f"{as_shown(row['count'], total)}%" for row in rows]
        assert [row[place].text for row in table.rows] == expected[: len(table.rows)], path


def value_at(response: Any, path: str) -> Any:
    for name in path.split("."):
        response = response[name]
    return response


@pytest.mark.parametrize(("path", "endpoint", "fields"), TILES, ids=[path for path, *_ in TILES])
def test_a_tile_shows_the_figure_of_its_label(
    shown: Stats, path: str, endpoint: str, fields: dict[str, str]
) -> None:
    response = shown.get(endpoint, days=DAYS)
    tiles = page(shown, with_days(path)).tiles
    assert set(tiles) == set(fields)
    for label, wanted in fields.items():
        assert equals(tiles[label][0], value_at(response, wanted)), (label, tiles[label])


def test_the_tiles_of_the_overview_show_figures_changes_and_sparklines(shown: Stats) -> None:
    compared = {row["figure"]: row for row in shown.get("comparison", days=DAYS)}
    found = page(shown, with_days("/"))
    assert set(found.tiles) == {*OVERVIEW, "Queue"}
    series = {
        name: shown.get(name, days=DAYS, interval="day")
        for name in ("timeseries", "performance/timeseries")
    }
    for label, (figure, source, line) in OVERVIEW.items():
        value, delta = found.tiles[label]
        row = compared[figure]
        assert equals(value, row["value"]), label
        if row["change"]:
            assert equals(delta, abs(row["change"])), label
            assert ("▲" in delta.text) == (row["change"] > 0), label
        else:
            assert delta.text == "unchanged", label
        rows = series[source]
        is_drawn = {
            name for name in rows[0] if name != "timestamp" and draws(rows, name, found, label)
        }
        assert is_drawn == {line}, label


def draws(rows: Sequence[Mapping[str, Any]], name: str, found: Page, label: str) -> bool:
    """Return whether a sparkline has the form of a field: the lowest at the bottom."""
    values = [row[name] for row in rows]
    if not all(isinstance(value, int | float) for value in values):
        return False
    least = min(values) if "rate" in name else min(0, *values)
    most = max(values)
    points = [tuple(map(float, each.split(","))) for each in found.sparks[label].split()]
    if len(points) != len(values) or most == least:
        return False
    bottom, height = 32 - 2.5, 32 - 5
    return all(
        abs(bottom - height * (value - least) / (most - least) - y) < 0.06
        for value, (_, y) in zip(values, points, strict=True)
    )


@pytest.mark.parametrize(
    ("place", "endpoint", "name", "count"),
    [
        (1, "versions", "version", "requests"),
        (2, "targets", "target", "requests"),
        (3, "profiles", "profile", "requests"),
        (4, "clients", "client", "total_requests"),
    ],
)
def test_the_top_lists_show_requests(
    shown: Stats, place: int, endpoint: str, name: str, count: str
) -> None:
    text = shown.client.get(with_days("/"), headers=HTML).text
    part = text.partition(f'data-live="top-{place}-list"')[2].partition("</ol>")[0]
    found = re.findall(r'<a href="[^"]*">([^<]*)</a>.*?<data value="(\d+)"', part)
    rows = shown.get(endpoint, days=DAYS)[: len(found)]
    assert found == [(row[name], str(row[count])) for row in rows] != []


HEAT = [
    ("/insights/queue", "insights/queue", "by_hour_of_week", "waited_p95_seconds", "s"),
    (
        "/insights/capacity",
        "insights/capacity",
        "arrivals_by_hour_of_week",
        "requests",
        "requests",
    ),
]


@pytest.mark.parametrize(("path", "endpoint", "member", "wanted", "unit"), HEAT)
def test_a_heat_map_shows_each_hour_of_the_week(
    shown: Stats, path: str, endpoint: str, member: str, wanted: str, unit: str
) -> None:
    rows = shown.get(endpoint, days=DAYS)[member]
    text = shown.client.get(with_days(path), headers=HTML).text
    cells = re.findall(r'<td class="(?:level-(\d)|uncounted)" title="([^"]+)"', text)
    assert len(cells) == len(rows) == 7 * 24
    most = max(row[wanted] or 0 for row in rows)
    assert most
    for row, (level, said) in zip(rows, cells, strict=True):
        day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[row["hour"] // 24]
        value = row[wanted]
        figure = "not known" if value is None else f"{value:,} {unit}".replace(".0 ", " ")
        assert said == f"{day} {row['hour'] % 24:02}:00 UTC: {figure}"
        assert level == ("" if value is None else str(-int(-8 * value // most)))


def test_the_forecast_is_drawn_with_its_interval_and_error(shown: Stats) -> None:
    found = shown.get("insights/capacity", days=DAYS)
    assert len(found["forecast"]) == 28
    text = shown.client.get(with_days("/insights/capacity"), headers=HTML).text
    figure = text.partition('id="forecast"')[2].partition("</figure>")[0]
    assert f"Method: {found['forecast_method']}." in figure
    assert f"in a backtest: {found['backtest']['mase']};" in figure
    body = figure.partition("<tbody>")[2]
    cells = [re.findall(r'value="(\d+)"', row) for row in body.split("</tr>")]
    wanted = [[str(row[name]) for name in ("requests", "low", "high")] for row in found["forecast"]]
    assert [row for row in cells if row] == wanted


def test_what_if_is_computed_on_the_page(shown: Stats) -> None:
    choices = {"workers": 3, "growth": 200, "ttl_seconds": 3600, "target_wait_seconds": 5}
    path = f"{with_days('/insights/capacity')}&{urlencode(choices)}"
    response = shown.get("insights/capacity", days=DAYS, **choices)
    usual = shown.get("insights/capacity", days=DAYS)
    assert response["utilisation"] != usual["utilisation"]
    tiles = page(shown, path).tiles
    assert equals(tiles["Utilisation"][0], response["utilisation"])
    assert equals(tiles["Workers needed"][0], response["workers_needed"])
    text = shown.client.get(path, headers=HTML).text
    assert 'name="workers" value="3"' in text
    assert '<option value="3600" selected>1 h 00 min</option>' in text
    (source,) = re.findall(r'id="forecast" data-source="([^"]+)"', text)
    assert shown.client.get(unescape(source)).json() == response
    longer = [link for link in re.findall(r'href="([^"]+)"', text) if "days=90" in link]
    assert any("growth=200" in link for link in longer), "the what-if holds in other time ranges"


@pytest.mark.parametrize("choice", ["workers=0", "growth=x", "ttl_seconds=-1"])
def test_an_impossible_what_if_is_refused(shown: Stats, choice: str) -> None:
    found = shown.client.get(f"{with_days('/insights/capacity')}&{choice}", headers=HTML)
    assert found.status_code == 422
    assert choice in unescape(found.text)


def test_texts_that_are_new_since_a_day(shown: Stats) -> None:
    found = shown.get("insights/fingerprints", days=30, limit=1000)["fingerprints"]
    day = sorted(row["first_seen"] for row in found)[-5]
    new = [row for row in found if row["first_seen"] >= day]
    assert 0 < len(new) < len(found)
    page = shown.client.get(f"/errors?days=30&new_since={day}", headers=HTML).text
    listed = page.partition('data-live="examples"')[2].partition("</ul>")[0]
    links = re.findall(r"fingerprint=([0-9a-f]+)", listed)
    assert links == [row["fingerprint"] for row in new][:20]
    assert f'name="new_since" value="{day}"' in page
    assert '<option value="2026-07-25" label="24.10.8">' in page
    (source,) = re.findall(r'href="([^"]*fingerprints\?[^"]*new_since[^"]*)">API', page)
    assert shown.client.get(unescape(source)).json()["fingerprints"] == new[:100]
    same = shown.client.get("/errors?days=30&new_since=24.10.8", headers=HTML).text
    assert 'name="new_since" value="2026-07-25"' in same
    refused = shown.client.get("/errors?new_since=today", headers=HTML)
    assert refused.status_code == 422
    assert "new_since=today" in refused.text
