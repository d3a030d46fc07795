"""Tries a server: sends the known history in parts, and compares every response with the oracle."""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final

from asu_stats.conformance.client import EVENTS, Server, UnusableServerError, url_of
from asu_stats.conformance.differences import Difference, differences
from asu_stats.conformance.history import Event
from asu_stats.conformance.oracle import Oracle
from asu_stats.conformance.questions import (
    Question,
    last_days,
    last_hours,
    one_spelling,
    questions,
    windows,
)
from asu_stats.conformance.scenario import DAYS, Scenario, scenario
from asu_stats.times import utc_now

_SIZES: Final = (1, 3, 50)
_OVERVIEW: Final = "/api/v1/stats/overview"
_TOTALS: Final = ("requests", "rejected_requests", "successful_builds", "failed_builds")


@dataclass(slots=True)
class Outcome:
    """What a run found. `checks` responses were compared; `absent` endpoints are not there."""

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
    noted: Callable[[str], object] = lambda _: None,
) -> Outcome:
    """Try a server with a history of `DAYS` UTC days from `first` on; default: up to yesterday.

    Those days must be empty on the server, up to today if the history ends yesterday, or hold the
    events of an earlier run. Raises `UnusableServerError` otherwise: the events of a run stay, and
    figures of others would be compared too. `noted` hears of each step.
    """
    clock = now or utc_now()
    latest = default_first(clock.date())
    made = scenario(first or latest)
    if made.first > latest:
        raise UnusableServerError(
            f"--start {made.first}: expected {latest} or earlier, so that the {DAYS} days of the "
            "history are over"
        )
    trial = _Trial(server, made, clock, noted)
    trial.start()
    return trial.outcome


class _Trial:
    """One run; `outcome` is what it has found."""

    def __init__(
        self, server: Server, made: Scenario, now: datetime, noted: Callable[[str], object]
    ) -> None:
        self._server = server
        self._scenario = made
        self._now = now
        self._ahead = now - utc_now()
        self._noted = noted
        self._random = random.Random(11)  # noqa: S311 - the same at every run
        self._data_since = made.first.isoformat()
        self._is_recent = made.first == default_first(now.date())
        self.outcome = Outcome(made.first, made.last)

    def start(self) -> None:
        """Send and compare, step by step."""
        made = self._scenario
        whole = _oracle(made.events)
        if self._holds_an_earlier_run(whole):
            self._noted("the server has the events of an earlier run: sending them again")
        else:
            self._noted(f"sending {len(made.prompt)} events in any order, some twice")
            self._send(made.prompt)
            self._ask(questions(_oracle(made.prompt), made.first, made.last, self._data_since))
            self._noted(f"sending {len(made.late)} late events")
            self._send(made.late)
        self._noted("sending events that must be refused")
        self._refusals()
        self._noted("comparing every endpoint")
        for start, end in windows(made.first, made.last):
            self._ask(questions(whole, start, end, self._data_since))
        self._noted("sending every event once more")
        self._send_again(made.events)
        self._ask(questions(whole, made.first, made.last, self._data_since))
        if self._is_recent:
            today = self._now.date()
            self._ask([last_days(whole, made.first, today, self._data_since)])
            self._ask(last_hours(whole, made.first, utc_now() + self._ahead))

    def _holds_an_earlier_run(self, whole: Oracle) -> bool:
        """Tell whether the days hold what a run sends. Raises `UnusableServerError` for others."""
        made = self._scenario
        end = self._now.date() if self._is_recent else made.last
        window = {"start": made.first.isoformat(), "end": end.isoformat()}
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
        expected = whole.window(made.first, end).overview()
        if any(totals.get(name) != expected["totals"][name] for name in _TOTALS):
            raise UnusableServerError(
                f"the server has other events between {window['start']} and {window['end']}. The "
                "events of a run stay on the server: use one without data, or name the first of "
                f"{DAYS} days without events with --start"
            )
        return True

    # Events ---------------------------------------------------------------------------------------

    def _send(self, events: list[Event]) -> None:
        """Send events in calls of several sizes; some in two calls, some twice in one."""
        position = 0
        while position < len(events):
            size = self._random.choice(_SIZES)
            batch = events[position : position + size]
            position += size
            twice = [self._random.choice(batch)] if self._random.random() < 0.3 else []
            self._post([*batch, *twice], accepted=len(batch), duplicates=len(twice))
            if self._random.random() < 0.2:
                self._post(batch, accepted=0, duplicates=len(batch))
        self.outcome.events += len(events)

    def _send_again(self, events: list[Event]) -> None:
        again = list(events)
        self._random.shuffle(again)
        self._post(again, accepted=0, duplicates=len(again))

    def _post(self, events: list[Event], *, accepted: int, duplicates: int) -> None:
        status, body = self._server.post(events)
        answer = body if isinstance(body, dict) else {}
        if status in {401, 403, 404, 415}:
            raise UnusableServerError(f"POST {EVENTS}: {status} {answer.get('detail', '')}".strip())
        expected = {"status": 200, "accepted": accepted, "duplicates": duplicates}
        self._compare(f"POST {len(events)} events", expected, {**answer, "status": status})

    def _refusals(self) -> None:
        """Send what must be refused; the figures afterwards show whether any of it was kept."""
        request = next(e for e in self._scenario.events if e["data"].get("outcome") == "queued")
        good = {**request, "id": "refused-with-the-others"}
        broken = {**good, "data": {**good["data"], "request_hash": 7}}
        timeless = {name: value for name, value in good.items() if name != "time"}
        ahead = (self._now + timedelta(hours=2)).isoformat()
        next_year = (self._now + timedelta(days=400)).isoformat()
        for name, events, status, index in (
            ("invalid event in a batch", [good, broken], 422, 1),
            ("event without time", [good, timeless], 422, 1),
            ("event of a clock at zero", [{**good, "time": "1970-01-01T00:00:01Z"}], 422, 0),
            ("event of next year", [{**good, "time": next_year}], 422, 0),
            ("event two hours ahead", [{**good, "time": ahead}], 425, 0),
            ("event of an unknown type", [{**good, "type": "asu.build.paused"}], 422, 0),
            ("time without offset", [{**good, "time": good["time"][:19]}], 422, 0),
        ):
            got, body = self._server.post(events)
            expected = {"status": status, "errors[0].loc[1]": index}
            self._compare(
                f"POST {name}", expected, {"status": got, "errors[0].loc[1]": _index(body)}
            )
        got, _ = self._server.post([good], token=False)
        self._compare("POST without token", {"status": 401}, {"status": got})
        self._post([], accepted=0, duplicates=0)

    # Figures --------------------------------------------------------------------------------------

    def _ask(self, asked: Iterable[Question]) -> None:
        for question in asked:
            request = f"GET {url_of(question.path, question.query)}"
            status, body = self._server.get(question.path, question.query)
            if not question.required and status in {404, 422}:
                hours = "?hours=" if "hours" in question.query else ""
                self.outcome.absent.add(question.path + hours)
            elif status != 200:
                self._compare(request, {"status": 200}, {"status": status})
            else:
                self._compare(request, question.answer(body), body, question.optional)

    def _compare(
        self,
        request: str,
        expected: Any,
        received: Any,
        optional: frozenset[str] = frozenset(),
    ) -> None:
        self.outcome.checks += 1
        known = self.outcome.differences
        known += [
            found
            for found in differences(request, expected, received, optional)
            if found not in known
        ]


def _oracle(events: list[Event]) -> Oracle:
    return Oracle(map(one_spelling, events))


def _index(body: Any) -> Any:
    """Return the index of the event that a response refuses, `None` if it names none."""
    errors = body.get("errors") if isinstance(body, dict) else None
    loc = errors[0].get("loc") if errors and isinstance(errors[0], dict) else None
    return loc[1] if isinstance(loc, list) and len(loc) > 1 else None
