"""Every statistics endpoint with its filters, and the response that the oracle expects."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any, Final

from asu_stats.conformance import server_choices
from asu_stats.conformance.history import client_of, time_of
from asu_stats.conformance.oracle import Oracle

_PREFIX: Final = "/api/v1/stats/"
# Members that a server may omit.
OPTIONAL: Final = frozenset({"incomplete", "cancelled_builds", "unique_rejected_requests"})
_ROWS: Final = OPTIONAL | {"cache_hits", "successful_builds", "failed_builds", "success_rate"}
_DIFF: Final = OPTIONAL | {"unknown", "diff_packages_unknown"}
_SERIES: Final = OPTIONAL | {"unique_requests", "cache_hit_rate", "success_rate"}
_DAY: Final = timedelta(days=1)
_CLOCK_SKEW: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Check:
    """One request and its expected response: a value, or a function that returns it.

    The function gets the received response, where a server has a choice. Members in `optional` may
    be absent. Endpoints that are not `required` may be absent: those beyond the statistics API in
    docs/conformance.md.
    """

    path: str
    query: dict[str, str]
    expected: Any
    optional: frozenset[str] = OPTIONAL
    required: bool = True

    def expected_response(self, received: Any) -> Any:
        return self.expected(received) if callable(self.expected) else self.expected


def checks(oracle: Oracle, start: date, end: date, data_since: str) -> Iterator[Check]:
    """Yield the checks of all endpoints for the days from `start` to `end`."""
    oracle.window(start, end)
    window = {"start": start.isoformat(), "end": end.isoformat()}
    for check in (*_lists(oracle), *_series(oracle), *_optional(oracle), *_comparison(oracle)):
        yield _in_window(check, window, data_since)


def last_days(oracle: Oracle, first: date, today: date, data_since: str) -> Check:
    """Return the check of the overview with `days=`, from `first` to today."""
    oracle.window(first, today)
    days = {"days": str((today - first).days + 1)}
    return _in_window(Check("overview", {}, oracle.overview(), _DIFF), days, data_since)


def last_hours(oracle: Oracle, first: date, now: datetime) -> Iterator[Check]:
    """Yield checks of the overview with `hours=`, for up to three numbers of hours.

    The clock of the server may differ, so no event may be within 5 minutes of the start of the time
    range.
    """
    times = [time_of(e) for e in oracle.events]
    maximum = (now - datetime.combine(first, time(), UTC)) // timedelta(hours=1)
    usable = []
    for hours in range(1, maximum + 1):
        start = now - timedelta(hours=hours)
        if all(abs(moment - start) > _CLOCK_SKEW for moment in times):
            usable.append(hours)
    for hours in sorted({usable[0], usable[len(usable) // 2], usable[-1]} if usable else ()):
        expected = oracle.between(now - timedelta(hours=hours), now).overview()
        del expected["period"]
        query = {"hours": str(hours)}
        yield Check(f"{_PREFIX}overview", query, expected, _DIFF, required=False)


def _in_window(check: Check, window: dict[str, str], data_since: str) -> Check:
    """Return the check for a time range, on a server with data since a day."""
    expected = check.expected
    if isinstance(expected, dict) and "period" in expected:
        expected = {**expected, "period": {**expected["period"], "data_since": data_since}}
    return Check(
        _PREFIX + check.path,
        {**check.query, **window},
        expected,
        check.optional,
        check.required,
    )


def _lists(oracle: Oracle) -> Iterator[Check]:
    yield Check("overview", {}, oracle.overview(), _DIFF)
    yield Check("versions", {}, oracle.versions(), _ROWS - {"success_rate"})
    yield Check("targets", {}, oracle.targets(), _ROWS)
    yield Check("profiles", {}, oracle.profiles(), OPTIONAL | {"cache_hits"})
    of_version = {"version": "24.10.2"}
    yield Check("targets", of_version, oracle.targets(**of_version), _ROWS)
    of_target = {"version": "24.10.2", "target": "x86/64"}
    yield Check("profiles", of_target, oracle.profiles(**of_target), OPTIONAL | {"cache_hits"})
    yield Check("clients", {}, oracle.clients())
    yield Check("diff-packages", {}, oracle.diff_packages(), _DIFF)
    yield Check("errors", {}, oracle.errors())
    performance = oracle.performance()
    slowest = [{"duration": seconds} for seconds in performance.pop("slowest")]
    yield Check("performance", {}, {**performance, "slowest_builds": slowest})
    requests = (*oracle.accepted, *oracle.rejected)
    for client in sorted({client_of(event["data"].get("client"))[0] for event in requests}):
        yield Check(f"clients/{client}", {}, oracle.client(client), _ROWS | _SERIES)


def _series(oracle: Oracle) -> Iterator[Check]:
    for interval in ("hour", "day", "week", "month"):
        by = {"interval": interval}
        yield Check("timeseries", by, oracle.timeseries(interval), _SERIES, interval != "hour")
    for name, value in (
        ("version", "24.10.2"),
        ("target", "x86/64"),
        ("profile", "tplink_archer-c7-v5"),
        ("client", "luci"),
    ):
        query = {"interval": "day", name: value}
        yield Check("timeseries", query, oracle.timeseries("day", **{name: value}), _SERIES)


def _optional(oracle: Oracle) -> Iterator[Check]:
    """Yield the checks of endpoints that a server may lack."""
    by_version = {"version": "24.10.2"}
    filters: tuple[dict[str, str], ...] = ({}, by_version, {"client": "luci"})
    for query in filters:
        patterns = oracle.request_patterns(**query)
        yield Check("request-patterns", query, patterns, OPTIONAL, required=False)
    others: tuple[tuple[str, dict[str, str], Any], ...] = (
        ("packages", {}, oracle.packages()),
        ("packages", by_version, oracle.packages(**by_version)),
        ("errors/types", {}, oracle.error_types()),
        ("errors/types", by_version, oracle.error_types(**by_version)),
        ("errors/timeseries", {"interval": "day"}, oracle.error_series("day")),
        ("performance/timeseries", {"interval": "day"}, oracle.durations("day")),
        ("versions/timeseries", {"interval": "day"}, oracle.adoption("day")),
        ("timeseries/week", {}, oracle.week()),
        ("performance/distribution", {}, partial(server_choices.histogram, oracle)),
        (
            "performance/distribution",
            by_version,
            partial(server_choices.histogram, oracle, version=by_version["version"]),
        ),
        ("errors/examples", {}, partial(server_choices.examples, oracle)),
    )
    for path, query, expected in others:
        yield Check(path, query, expected, OPTIONAL, required=False)


def _comparison(oracle: Oracle) -> Iterator[Check]:
    """Yield the check of `comparison`, if the history reaches back to the previous time range.

    If it does not, the response depends on other data of the server.
    """
    start, end = oracle.start, oracle.end
    rows = oracle.comparison(datetime.combine(end + _DAY, time(), UTC))
    if any(row["before_unknown"] for row in rows):
        return
    members = ("figure", "unit", "value", "before", "change")
    expected = [{name: row[name] for name in members} for row in rows]
    oracle.window(start, end)
    yield Check("comparison", {}, expected, required=False)


def windows(first: date, last: date) -> list[tuple[date, date]]:
    """Return the time ranges to check: all days, one day, two days, and a day without events."""
    before, second, third, fourth = (first + timedelta(days=n) for n in (-1, 1, 2, 3))
    return [(first, last), (second, second), (third, fourth), (before, before)]


def normalized(event: dict[str, Any]) -> dict[str, Any]:
    """Return the event with the profile as a server stores it: commas become underscores."""
    data = event["data"]
    if "profile" not in data:
        return event
    return {**event, "data": {**data, "profile": data["profile"].replace(",", "_")}}
