"""Histories with injected faults, and the messages of the alert rules about them.

`benchmarks.alarms` plays them. The clock jumps from evaluation to evaluation. Rules are evaluated
on figures in memory or, ten times slower, on a database. Both give the same messages.
"""

import json
import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, Row, select

from asu_stats.alert_rules import DEFAULTS
from asu_stats.demo.history import history
from asu_stats.events import BuildFinished, BuildStarted, Event, RequestReceived
from asu_stats.monitor.evaluate import Alert, Incident, evaluate
from asu_stats.monitor.watch import Watch
from asu_stats.reports.recent import Span
from asu_stats.store import migrate
from asu_stats.store.apply import apply_batch
from asu_stats.store.database import engine as engines
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.database.schema import alert_incidents
from asu_stats.store.details.queue_samples import QueueState
from benchmarks.replay import Replay

END: Final = datetime(2026, 9, 30, 23, 59, tzinfo=UTC)
_COMMON: Final = 0.08  # of the requests of a day
_GRACE: Final = timedelta(hours=1)  # a message may come so long after the end


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that is injected into a history."""

    kind: str
    start: datetime
    end: datetime
    version: str = ""
    target: str = ""
    client: str = ""

    def is_active(self, moment: datetime) -> bool:
        return self.start <= moment < self.end


# Share of the successful builds that each kind makes fail, with error type and text.
FAILING: Final[Mapping[str, tuple[float, str, str]]] = {
    "version": (0.5, "package_not_found", "Impossible package selection: missing (luci-app-foo)"),
    "target": (0.9, "imagebuilder_failed", "make: *** [Makefile:149: build_image] Error 2"),
    "everything": (0.85, "container_engine_down", "Cannot connect to the Podman socket"),
    "download": (0.3, "download_failed", "wget: server returned error: HTTP/1.1 503"),
    "client": (0.8, "package_conflict", "Impossible package selection: conflicts (a, b)"),
}
KINDS: Final = (*FAILING, "slow", "stall", "cache")
_SUBJECTS: Final = frozenset({"version", "target", "client"})
_FAMILIES: Final = {"slow": "durations", "stall": "queue", "cache": "cache"}


@dataclass
class Scenario:
    """A history with its faults, by time."""

    events: list[Event]
    faults: list[Fault]
    times: list[datetime] = field(init=False)

    def __post_init__(self) -> None:
        self.events.sort(key=lambda event: event.time)
        self.times = [event.time for event in self.events]


@dataclass(frozen=True, slots=True)
class Message:
    """An incident as notified. `named` is its subject, and the names most failures share."""

    opened_at: datetime
    family: str
    rule: str
    subject: Mapping[str, str]
    named: Mapping[str, str]

    @property
    def title(self) -> str:

        return " ".join([self.rule, *(f"{name}={value}" for name, value in self.subject.items())])


def normal_history(*, days: int, per_day: int, seed: int) -> list[Event]:
    """Generate a history without faults, by time."""
    found = history(days=days, requests=per_day * days, now=END, seed=seed, incidents=False)
    return list(found)


def scenario_of(
    events: Sequence[Event], *, days: int, incidents: int, seed: int, kinds: Sequence[str] = KINDS
) -> Scenario:
    """Inject `incidents` faults into the last `days` days of a history, of all kinds in turn."""
    chance = random.Random(f"alarms {seed}")
    faults = _faults(events, days, incidents, kinds, chance)
    return Scenario(list(_with_faults(events, faults, chance)), faults)


def _faults(
    events: Sequence[Event],
    days: int,
    incidents: int,
    kinds: Sequence[str],
    chance: random.Random,
) -> list[Fault]:
    """Spread incidents over the days, each of them about something that is asked for then."""
    if not incidents:
        return []
    first, pause = END - timedelta(days=days), timedelta(days=days) / incidents
    asked = [event for event in events if isinstance(event, RequestReceived)]
    found = []
    for number in range(incidents):
        start = first + pause * number + pause * chance.uniform(0.1, 0.3)
        start = start.replace(hour=chance.randint(7, 18))  # when there is something to see
        kind = kinds[number % len(kinds)]
        hours = 2 if kind == "stall" else chance.uniform(4, 8)
        near = [each for each in asked if abs(each.time - start) < timedelta(hours=12)]
        one = chance.choice(_common(kind, near))
        found.append(
            Fault(kind, start, start + timedelta(hours=hours), one.version, one.target, one.client)
        )
    return found


def _common(kind: str, near: Sequence[RequestReceived]) -> list[RequestReceived]:
    """Return requests for what enough ask for: a fault with it is more than a few failures."""
    if kind not in {"version", "target", "client"}:
        return list(near)
    counts = Counter(getattr(each, kind) for each in near)
    return [each for each in near if counts[getattr(each, kind)] >= _COMMON * len(near)]


def _with_faults(
    events: Sequence[Event], faults: Sequence[Fault], chance: random.Random
) -> Iterator[Event]:
    asked: dict[str, RequestReceived] = {}
    later: dict[str, timedelta] = {}  # builds that a stall keeps waiting
    for event in events:
        if isinstance(event, RequestReceived):
            asked[event.request_hash] = event
        elif event.build_id in later:
            yield replace(event, time=event.time + later[event.build_id])
            continue
        moment = event.time
        for fault in faults:
            if fault.is_active(moment):
                event = _changed(event, fault, asked, later, chance)  # noqa: PLW2901
        yield event


def _changed(
    event: Event,
    fault: Fault,
    asked: Mapping[str, RequestReceived],
    later: dict[str, timedelta],
    chance: random.Random,
) -> Event:
    """Return an event as it is while a fault is active."""
    if isinstance(event, RequestReceived):
        cold = fault.kind == "cache" and event.outcome == "cache_hit"
        return replace(event, outcome="joined") if cold and chance.random() < 0.7 else event
    if fault.kind == "stall" and isinstance(event, BuildStarted):
        later[event.build_id] = fault.end - fault.start
        return replace(event, time=event.time + later[event.build_id])
    if fault.kind == "slow" and isinstance(event, BuildFinished):
        return replace(event, time=event.time + timedelta(seconds=chance.uniform(60, 240)))
    if isinstance(event, BuildFinished) and fault.kind in FAILING:
        return _failed(event, fault, asked.get(event.request_hash), chance)
    return event


def _failed(
    event: BuildFinished,
    fault: Fault,
    request: RequestReceived | None,
    chance: random.Random,
) -> BuildFinished:
    share, error_type, message = FAILING[fault.kind]
    about = {"version": "version", "target": "target", "client": "client"}.get(fault.kind)
    of_size = about is None or (request and getattr(request, about) == getattr(fault, about))
    if event.status != "success" or not of_size or chance.random() >= share:
        return event
    return replace(
        event,
        status="failure",
        error_type=error_type,
        error_category="build",
        error_message=message,
    )


def play(scenario: Scenario, *, days: int, step_minutes: int) -> list[Message]:
    """Evaluate the rules on a history; return the messages."""
    replay, found = Replay(DEFAULTS), []
    now, place = END - timedelta(days=days), 0
    alerts: Sequence[Alert] = ()
    incidents: Sequence[Incident] = ()
    by_name = {rule.name: rule for rule in DEFAULTS}
    while now < END:
        end = bisect_left(scenario.times, now)
        for event in scenario.events[place:end]:
            replay.take(event)
        place = end
        if now > END - timedelta(days=days):
            evaluation = evaluate(DEFAULTS, replay.figures(now), alerts, incidents, now)
            alerts, incidents = evaluation.alerts, evaluation.open
            for incident in evaluation.opened:
                span = Span.last(by_name[incident.rule].hours, now=now)
                subject = dict(incident.subject)
                named = replay.named(subject, span) if incident.family == "failures" else subject
                found.append(Message(now, incident.family, incident.rule, subject, named))
        now += timedelta(minutes=step_minutes)
    return found


def play_stored(
    scenario: Scenario, directory: Path, *, days: int, step_minutes: int
) -> list[Message]:
    """Return the same, evaluated on a database."""
    engine = engines.create(f"sqlite:///{directory / f'alarms-{id(scenario)}.db'}")
    migrate.upgrade(engine)
    replay = Replay(DEFAULTS)

    def queue() -> QueueState:
        length, oldest = replay.waiting()
        return QueueState(length, 0, oldest)

    watch = Watch(engine, DEFAULTS, (), queue=queue, waiting=lambda _: [])
    now, place = END - timedelta(days=days), 0
    place = _apply(engine, scenario, replay, 0, now)
    while now < END - timedelta(minutes=step_minutes):
        now += timedelta(minutes=step_minutes)
        place = _apply(engine, scenario, replay, place, now)
        watch.run(now)
    with read_snapshot(engine) as connection:
        rows = connection.execute(select(*alert_incidents.c).order_by(alert_incidents.c.opened_at))
        found = [_message(row) for row in rows]
    engine.dispose()
    return found


def _message(row: Row[Any]) -> Message:
    subject = dict(json.loads(row.subject))
    cause = row.report["cause"] if row.family == "failures" else {}
    named = {
        name: cause[name]["name"]
        for name in ("version", "target", "client", "error_type")
        if cause.get(name)
    }
    return Message(
        row.opened_at.replace(tzinfo=UTC), row.family, row.rule, subject, {**named, **subject}
    )


def _apply(engine: Engine, scenario: Scenario, replay: Replay, place: int, until: datetime) -> int:
    """Store the events up to `until`; return the index of the next one."""
    end = bisect_left(scenario.times, until)
    for first in range(place, end, 5000):
        apply_batch(engine, scenario.events[first : min(end, first + 5000)])
    for event in scenario.events[place:end]:
        replay.take(event)
    return end


def is_about(message: Message, fault: Fault) -> bool:
    """Return whether a message is about a fault."""
    if not fault.start <= message.opened_at <= fault.end + _GRACE:
        return False
    if message.family != _FAMILIES.get(fault.kind, "failures"):
        return False
    if fault.kind in _SUBJECTS:
        named = message.subject.get(fault.kind) == getattr(fault, fault.kind)
        return named or message.subject.get("error_type") == FAILING[fault.kind][1]
    return True


def names_cause(message: Message, fault: Fault) -> bool:
    """Return whether a message about a fault names its cause, and nothing else."""
    if fault.kind in _SUBJECTS:
        return bool(message.named.get(fault.kind) == getattr(fault, fault.kind))
    if fault.kind in FAILING:
        wrong = _SUBJECTS & message.subject.keys()
        return not wrong and message.named.get("error_type") == FAILING[fault.kind][1]
    return not message.subject
