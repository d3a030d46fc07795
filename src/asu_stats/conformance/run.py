"""Tests a server: sends a known history in steps and compares every response with the oracle."""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final

from asu_stats.conformance.checks import (
    Check,
    checks,
    last_days,
    last_hours,
    normalized,
    windows,
)
from asu_stats.conformance.client import EVENTS, Server, UnusableServerError, url_of
from asu_stats.conformance.differences import Difference, differences
from asu_stats.conformance.history import Event
from asu_stats.conformance.oracle import Oracle
from asu_stats.conformance.scenario import DAYS, Scenario, scenario
from asu_stats.times import utc_now

_SIZES: Final = (1, 3, 50)
_OVERVIEW: Final = "/api/v1/stats/overview"
_TOTALS: Final = ("requests", "rejected_requests", "successful_builds", "failed_builds")


@dataclass(slots=True)
class Result:
    """Result of a run: the number of compared responses, differences and absent endpoints."""

    first: date
    last: date
    events: int = 0
    checks: int = 0
    differences: list[Difference] = field(default_factory=list)
    absent: set[str] = field(default_factory=set)


def default_first(today: date) -> date:
    """Return the first day of a history that ends yesterday."""
    return today - timedelta(days=DAYS)


def run(
    server: Server,
    *,
    first: date | None = None,
    now: datetime | None = None,
    report_step: Callable[[str], object] = lambda _: None,
) -> Result:
    """Test a server with a history of `DAYS` UTC days from `first` on; default: up to yesterday.

    On the server, those days must be empty or contain the events of an earlier run; if the history
    ends yesterday, today must be empty too. Raises `UnusableServerError` otherwise, because figures
    would contain other events. `report_step` is called with a description of each step.
    """
    clock = now or utc_now()
    latest = default_first(clock.date())
    history = scenario(first or latest)
    if history.first > latest:
        raise UnusableServerError(
            f"--start {history.first}: expected {latest} or earlier, so that the {DAYS} days of "
            "the history are over"
        )
    steps = _Run(server, history, clock, report_step)
    steps.run()
    return steps.result


class _Run:
    """The steps of one run, and its `result`."""

    def __init__(
        self, server: Server, history: Scenario, now: datetime, report_step: Callable[[str], object]
    ) -> None:
        self._server = server
        self._scenario = history
        self._now = now
        self._clock_offset = now - utc_now()
        self._report_step = report_step
        self._random = random.Random(11)  # noqa: S311 - the same in every run
        self._data_since = history.first.isoformat()
        self._is_recent = history.first == default_first(now.date())
        self.result = Result(history.first, history.last)

    def run(self) -> None:
        history = self._scenario
        oracle = _oracle(history.events)
        if self._has_earlier_run(oracle):
            self._report_step("the server has the events of an earlier run: sending them again")
        else:
            self._report_step(f"sending {len(history.prompt)} events in any order, some twice")
            self._send(history.prompt)
            self._check_responses(
                checks(_oracle(history.prompt), history.first, history.last, self._data_since)
            )
            self._report_step(f"sending {len(history.late)} late events")
            self._send(history.late)
        self._report_step("sending events that must be refused")
        self._check_refusals()
        self._report_step("comparing every endpoint")
        for start, end in windows(history.first, history.last):
            self._check_responses(checks(oracle, start, end, self._data_since))
        self._report_step("sending every event once more")
        self._send_again(history.events)
        self._check_responses(checks(oracle, history.first, history.last, self._data_since))
        if self._is_recent:
            today = self._now.date()
            self._check_responses([last_days(oracle, history.first, today, self._data_since)])
            self._check_responses(last_hours(oracle, history.first, utc_now() + self._clock_offset))

    def _has_earlier_run(self, oracle: Oracle) -> bool:
        """Return whether the server has the totals of an earlier run in these days.

        Raises `UnusableServerError` if it has other events.
        """
        history = self._scenario
        end = self._now.date() if self._is_recent else history.last
        window = {"start": history.first.isoformat(), "end": end.isoformat()}
        status, overview = self._server.get(_OVERVIEW, window)
        if status in {401, 403}:
            raise UnusableServerError(f"GET {_OVERVIEW}: {status}; use --read-token")
        totals = overview.get("totals") if isinstance(overview, dict) else None
        if status != 200 or not isinstance(totals, dict):
            raise UnusableServerError(
                f"GET {_OVERVIEW}: expected 200 and an object with totals, got {status}"
            )
        since = (overview.get("period") or {}).get("data_since")
        if isinstance(since, str) and since:
            self._data_since = min(self._data_since, since)
        if not any(totals.get(name) for name in _TOTALS):
            return False
        expected = oracle.window(history.first, end).overview()
        if any(totals.get(name) != expected["totals"][name] for name in _TOTALS):
            raise UnusableServerError(
                f"the server has other events between {window['start']} and {window['end']}. The "
                "events of a run stay on the server: use a server without data, or choose "
                f"{DAYS} days without events with --start"
            )
        return True

    # Events ---------------------------------------------------------------------------------------

    def _send(self, events: list[Event]) -> None:
        """Send events in batches of several sizes, some twice in one batch, some batches twice."""
        position = 0
        while position < len(events):
            size = self._random.choice(_SIZES)
            batch = events[position : position + size]
            position += size
            twice = [self._random.choice(batch)] if self._random.random() < 0.3 else []
            self._post([*batch, *twice], accepted=len(batch), duplicates=len(twice))
            if self._random.random() < 0.2:
                self._post(batch, accepted=0, duplicates=len(batch))
        self.result.events += len(events)

    def _send_again(self, events: list[Event]) -> None:
        shuffled = list(events)
        self._random.shuffle(shuffled)
        self._post(shuffled, accepted=0, duplicates=len(shuffled))

    def _post(self, events: list[Event], *, accepted: int, duplicates: int) -> None:
        status, body = self._server.post(events)
        response = body if isinstance(body, dict) else {}
        if status in {401, 403, 404, 415}:
            raise UnusableServerError(
                f"POST {EVENTS}: {status} {response.get('detail', '')}".strip()
            )
        expected = {"status": 200, "accepted": accepted, "duplicates": duplicates}
        self._compare(f"POST {len(events)} events", expected, {**response, "status": status})

    def _check_refusals(self) -> None:
        """Send invalid events. Later checks would show if the server had stored any of them."""
        request = next(e for e in self._scenario.events if e["data"].get("outcome") == "queued")
        valid = {**request, "id": "refused-with-the-others"}
        invalid = {**valid, "data": {**valid["data"], "request_hash": 7}}
        without_time = {name: value for name, value in valid.items() if name != "time"}
        ahead = (self._now + timedelta(hours=2)).isoformat()
        next_year = (self._now + timedelta(days=400)).isoformat()
        for name, events, status, index in (
            ("invalid event in a batch", [valid, invalid], 422, 1),
            ("event without time", [valid, without_time], 422, 1),
            ("event of a clock at zero", [{**valid, "time": "1970-01-01T00:00:01Z"}], 422, 0),
            ("event of next year", [{**valid, "time": next_year}], 422, 0),
            ("event two hours ahead", [{**valid, "time": ahead}], 425, 0),
            ("event of an unknown type", [{**valid, "type": "asu.build.paused"}], 422, 0),
            ("time without offset", [{**valid, "time": valid["time"][:19]}], 422, 0),
        ):
            received, body = self._server.post(events)
            expected = {"status": status, "errors[0].loc[1]": index}
            self._compare(
                f"POST {name}", expected, {"status": received, "errors[0].loc[1]": _index(body)}
            )
        received, _ = self._server.post([valid], token=False)
        self._compare("POST without token", {"status": 401}, {"status": received})
        self._post([], accepted=0, duplicates=0)

    # Figures --------------------------------------------------------------------------------------

    def _check_responses(self, expected: Iterable[Check]) -> None:
        for check in expected:
            request = f"GET {url_of(check.path, check.query)}"
            status, body = self._server.get(check.path, check.query)
            if not check.required and status in {404, 422}:
                hours = "?hours=" if "hours" in check.query else ""
                self.result.absent.add(check.path + hours)
            elif status != 200:
                self._compare(request, {"status": 200}, {"status": status})
            else:
                self._compare(request, check.expected_response(body), body, check.optional)

    def _compare(
        self,
        request: str,
        expected: Any,
        received: Any,
        optional: frozenset[str] = frozenset(),
    ) -> None:
        self.result.checks += 1
        found = self.result.differences
        found += [
            difference
            for difference in differences(request, expected, received, optional)
            if difference not in found
        ]


def _oracle(events: list[Event]) -> Oracle:
    return Oracle(map(normalized, events))


def _index(body: Any) -> Any:
    """Return the index of the refused event in a response, or `None`."""
    errors = body.get("errors") if isinstance(body, dict) else None
    loc = errors[0].get("loc") if errors and isinstance(errors[0], dict) else None
    return loc[1] if isinstance(loc, list) and len(loc) > 1 else None
