"""Every statistics endpoint with its filters, and what the oracle has for it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any, Final

from asu_stats.conformance import chosen
from asu_stats.conformance.history import client_of, when
from asu_stats.conformance.oracle import Oracle

_PREFIX: Final = "/api/v1/stats/"
# Members that a server may leave out.
OPTIONAL: Final = frozenset({"incomplete", "cancelled_builds", "unique_rejected_requests"})
_ROWS: Final = OPTIONAL | {"cache_hits", "successful_builds", "failed_builds", "success_rate"}
_DIFF: Final = OPTIONAL | {"unknown", "diff_packages_unknown"}
_SERIES: Final = OPTIONAL | {"unique_requests", "cache_hit_rate", "success_rate"}
_DAY: Final = timedelta(days=1)
_CLOCKS: Final = timedelta(minutes=5)  # by which another clock may differ


@dataclass(frozen=True, slots=True)
class Question:
    """One query and its expected response: a value, or a function that returns it.

    The function is given the response, for what a server may form as it likes. `optional` are
    members that may be absent. `required` is false for endpoints that a server may lack: those that
    are beside the statistics API of docs/reference/api.md.
    """

    path: str
    query: dict[str, str]
    expected: Any
    optional: frozenset[str] = OPTIONAL
    required: bool = True

    def answer(self, received: Any) -> Any:
        """Return the expected response."""
        return self.expected(received) if callable(self.expected) else self.expected


def questions(oracle: Oracle, start: date, end: date, data_since: str) -> Iterator[Question]:
    """Return every question about the days from `start` to `end`."""
    oracle.window(start, end)
    window = {"start": start.isoformat(), "end": end.isoformat()}
    for question in (*_lists(oracle), *_series(oracle), *_further(oracle), *_compared(oracle)):
        yield _since(question, window, data_since)


def last_days(oracle: Oracle, first: date, today: date, data_since: str) -> Question:
    """Return the question about the days up to today, as `days=`."""
    oracle.window(first, today)
    days = {"days": str((today - first).days + 1)}
    return _since(Question("overview", {}, oracle.overview(), _DIFF), days, data_since)


def last_hours(oracle: Oracle, first: date, now: datetime) -> Iterator[Question]:
    """Return questions about the last hours, for up to three numbers of hours.

    No event is near the moment where such a time range begins: the server has its own clock.
    """
    moments = [when(e) for e in oracle.events]
    most = (now - datetime.combine(first, time(), UTC)) // timedelta(hours=1)
    quiet = []
    for hours in range(1, most + 1):
        start = now - timedelta(hours=hours)
        if all(abs(moment - start) > _CLOCKS for moment in moments):
            quiet.append(hours)
    for hours in sorted({quiet[0], quiet[len(quiet) // 2], quiet[-1]} if quiet else ()):
        expected = oracle.moments(now - timedelta(hours=hours), now).overview()
        del expected["period"]
        query = {"hours": str(hours)}
        yield Question(f"{_PREFIX}overview", query, expected, _DIFF, required=False)


def _since(question: Question, window: dict[str, str], data_since: str) -> Question:
    """Return a question with its time range, and the first day of all that the server has."""
    expected = question.expected
    if isinstance(expected, dict) and "period" in expected:
        expected = {**expected, "period": {**expected["period"], "data_since": data_since}}
    return Question(
        _PREFIX + question.path,
        {**question.query, **window},
        expected,
        question.optional,
        question.required,
    )


def _lists(oracle: Oracle) -> Iterator[Question]:
    yield Question("overview", {}, oracle.overview(), _DIFF)
    yield Question("versions", {}, oracle.versions(), _ROWS - {"success_rate"})
    yield Question("targets", {}, oracle.targets(), _ROWS)
    yield Question("profiles", {}, oracle.profiles(), OPTIONAL | {"cache_hits"})
    of_version = {"version": "24.10.2"}
    yield Question("targets", of_version, oracle.targets(**of_version), _ROWS)
    of_target = {"version": "24.10.2", "target": "x86/64"}
    yield Question("profiles", of_target, oracle.profiles(**of_target), OPTIONAL | {"cache_hits"})
    yield Question("clients", {}, oracle.clients())
    yield Question("diff-packages", {}, oracle.diff_packages(), _DIFF)
    yield Question("errors", {}, oracle.errors())
    performance = oracle.performance()
    slowest = [{"duration": seconds} for seconds in performance.pop("slowest")]
    yield Question("performance", {}, {**performance, "slowest_builds": slowest})
    asked = (*oracle.accepted, *oracle.rejected)
    for client in sorted({client_of(event["data"].get("client"))[0] for event in asked}):
        yield Question(f"clients/{client}", {}, oracle.client(client), _ROWS | _SERIES)


def _series(oracle: Oracle) -> Iterator[Question]:
    for interval in ("hour", "day", "week", "month"):
        by = {"interval": interval}
        yield Question("timeseries", by, oracle.timeseries(interval), _SERIES, interval != "hour")
    for name, value in (
        ("version", "24.10.2"),
        ("target", "x86/64"),
        ("profile", "tplink_archer-c7-v5"),
        ("client", "luci"),
    ):
        query = {"interval": "day", name: value}
        yield Question("timeseries", query, oracle.timeseries("day", **{name: value}), _SERIES)


def _further(oracle: Oracle) -> Iterator[Question]:
    """Return the questions that a server need not know."""
    by_version = {"version": "24.10.2"}
    filters: tuple[dict[str, str], ...] = ({}, by_version, {"client": "luci"})
    for query in filters:
        patterns = oracle.request_patterns(**query)
        yield Question("request-patterns", query, patterns, OPTIONAL, required=False)
    further: tuple[tuple[str, dict[str, str], Any], ...] = (
        ("packages", {}, oracle.packages()),
        ("packages", by_version, oracle.packages(**by_version)),
        ("errors/types", {}, oracle.error_types()),
        ("errors/types", by_version, oracle.error_types(**by_version)),
        ("errors/timeseries", {"interval": "day"}, oracle.error_series("day")),
        ("performance/timeseries", {"interval": "day"}, oracle.durations("day")),
        ("versions/timeseries", {"interval": "day"}, oracle.adoption("day")),
        ("timeseries/week", {}, oracle.week()),
        ("performance/distribution", {}, partial(chosen.bars, oracle)),
        (
            "performance/distribution",
            by_version,
            partial(chosen.bars, oracle, version=by_version["version"]),
        ),
        ("errors/examples", {}, partial(chosen.examples, oracle)),
    )
    for path, query, expected in further:
        yield Question(path, query, expected, OPTIONAL, required=False)


def _compared(oracle: Oracle) -> Iterator[Question]:
    """Return the question about the figures beside those of the time range before.

    Only if events of the history lie before that one too: else it depends on the server's own.
    """
    start, end = oracle.start, oracle.end
    rows = oracle.comparison(datetime.combine(end + _DAY, time(), UTC))
    if any(row["before_unknown"] for row in rows):
        return
    members = ("figure", "unit", "value", "before", "change")
    expected = [{name: row[name] for name in members} for row in rows]
    oracle.window(start, end)
    yield Question("comparison", {}, expected, required=False)


def windows(first: date, last: date) -> list[tuple[date, date]]:
    """Return the time ranges that are compared: all days, one, two around a midnight, and none."""
    before, second, third, fourth = (first + timedelta(days=n) for n in (-1, 1, 2, 3))
    return [(first, last), (second, second), (third, fourth), (before, before)]


def one_spelling(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event with its profile as it counts: a comma is an underscore."""
    data = event["data"]
    if "profile" not in data:
        return event
    return {**event, "data": {**data, "profile": data["profile"].replace(",", "_")}}
