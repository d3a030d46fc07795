"""Histories with incidents, and what alerts say about them. `benchmarks.alarms` plays them.

The clock jumps from evaluation to evaluation. The rules are evaluated either on figures counted in
memory or, ten times as slow, on those of a database. Both give the same messages.
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
class Trouble:
    """An incident that is put into a history."""

    kind: str
    start: datetime
    end: datetime
    version: str = ""
    target: str = ""
    client: str = ""

    def holds(self, moment: datetime) -> bool:
        """Tell whether it is going on."""
        return self.start <= moment < self.end


# What each kind does to a build that would have ended well: how many of them fail, and how.
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
class Story:
    """A history with its incidents, in the order of its times, and the queue at each moment."""

    events: list[Event]
    troubles: list[Trouble]
    times: list[datetime] = field(init=False)

    def __post_init__(self) -> None:
        self.events.sort(key=lambda event: event.time)
        self.times = [event.time for event in self.events]


@dataclass(frozen=True, slots=True)
class Told:
    """An incident as it was told. `named` is its subject and what most of its failures share."""

    opened_at: datetime
    family: str
    rule: str
    subject: Mapping[str, str]
    named: Mapping[str, str]

    @property
    def title(self) -> str:
        """What it says, in short."""
        return " ".join([self.rule, *(f"{name}={value}" for name, value in self.subject.items())])


def usual(*, days: int, per_day: int, seed: int) -> list[Event]:
    """Generate days on which only the usual happens, in the order of their times."""
    found = history(days=days, requests=per_day * days, now=END, seed=seed, incidents=False)
    return list(found)


def story(
    events: Sequence[Event], *, days: int, incidents: int, seed: int, kinds: Sequence[str] = KINDS
) -> Story:
    """Put `incidents` into the last `days` days of a history. Their kinds take turns."""
    chance = random.Random(f"alarms {seed}")
    troubles = _troubles(events, days, incidents, kinds, chance)
    return Story(list(_spoiled(events, troubles, chance)), troubles)


def _troubles(
    events: Sequence[Event],
    days: int,
    incidents: int,
    kinds: Sequence[str],
    chance: random.Random,
) -> list[Trouble]:
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
            Trouble(
                kind, start, start + timedelta(hours=hours), one.version, one.target, one.client
            )
        )
    return found


def _common(kind: str, near: Sequence[RequestReceived]) -> list[RequestReceived]:
    """Return requests for what enough ask for: a trouble with it is more than a few failures."""
    if kind not in {"version", "target", "client"}:
        return list(near)
    counts = Counter(getattr(each, kind) for each in near)
    return [each for each in near if counts[getattr(each, kind)] >= _COMMON * len(near)]


def _spoiled(
    events: Sequence[Event], troubles: Sequence[Trouble], chance: random.Random
) -> Iterator[Event]:
    asked: dict[str, RequestReceived] = {}
    later: dict[str, timedelta] = {}  # builds that a stall keeps waiting
    for event in events:
        if isinstance(event, RequestReceived):
            asked[event.request_hash] = event
        elif event.build_id in later:
            yield replace(event, time=event.time + later[event.build_id])
            continue
        trouble = next((each for each in troubles if each.holds(event.time)), None)
        if trouble is None:
            yield event
        elif isinstance(event, RequestReceived):
            cold = trouble.kind == "cache" and event.outcome == "cache_hit"
            yield replace(event, outcome="joined") if cold and chance.random() < 0.7 else event
        elif trouble.kind == "stall" and isinstance(event, BuildStarted):
            later[event.build_id] = trouble.end - trouble.start
            yield replace(event, time=event.time + later[event.build_id])
        elif trouble.kind == "slow" and isinstance(event, BuildFinished):
            yield replace(event, time=event.time + timedelta(seconds=chance.uniform(60, 240)))
        elif isinstance(event, BuildFinished) and trouble.kind in FAILING:
            yield _failed(event, trouble, asked.get(event.request_hash), chance)
        else:
            yield event


def _failed(
    event: BuildFinished,
    trouble: Trouble,
    request: RequestReceived | None,
    chance: random.Random,
) -> BuildFinished:
    share, error_type, message = FAILING[trouble.kind]
    about = {"version": "version", "target": "target", "client": "client"}.get(trouble.kind)
    mine = about is None or (request and getattr(request, about) == getattr(trouble, about))
    if event.status != "success" or not mine or chance.random() >= share:
        return event
    return replace(
        event,
        status="failure",
        error_type=error_type,
        error_category="build",
        error_message=message,
    )


def play(told: Story, *, days: int, step_minutes: int) -> list[Told]:
    """Let the events come in, and the rules be evaluated; return what was told."""
    replay, found = Replay(DEFAULTS), []
    now, place = END - timedelta(days=days), 0
    alerts: Sequence[Alert] = ()
    incidents: Sequence[Incident] = ()
    by_name = {rule.name: rule for rule in DEFAULTS}
    while now < END:
        end = bisect_left(told.times, now)
        for event in told.events[place:end]:
            replay.take(event)
        place = end
        if now > END - timedelta(days=days):
            evaluation = evaluate(DEFAULTS, replay.figures(now), alerts, incidents, now)
            alerts, incidents = evaluation.alerts, evaluation.open
            for incident in evaluation.opened:
                span = Span.last(by_name[incident.rule].hours, now=now)
                subject = dict(incident.subject)
                named = replay.named(subject, span) if incident.family == "failures" else subject
                found.append(Told(now, incident.family, incident.rule, subject, named))
        now += timedelta(minutes=step_minutes)
    return found


def play_stored(told: Story, directory: Path, *, days: int, step_minutes: int) -> list[Told]:
    """Do the same with a database."""
    engine = engines.create(f"sqlite:///{directory / f'alarms-{id(told)}.db'}")
    migrate.upgrade(engine)
    line = Replay(DEFAULTS)

    def queue() -> QueueState:
        length, oldest = line.waiting()
        return QueueState(length, 0, oldest)

    watch = Watch(engine, DEFAULTS, (), queue=queue, waiting=lambda _: [])
    now, place = END - timedelta(days=days), 0
    place = _apply(engine, told, line, 0, now)
    while now < END - timedelta(minutes=step_minutes):
        now += timedelta(minutes=step_minutes)
        place = _apply(engine, told, line, place, now)
        watch.run(now)
    with read_snapshot(engine) as connection:
        rows = connection.execute(select(*alert_incidents.c).order_by(alert_incidents.c.opened_at))
        found = [_told(row) for row in rows]
    engine.dispose()
    return found


def _told(row: Row[Any]) -> Told:
    subject = dict(json.loads(row.subject))
    cause = row.report["cause"] if row.family == "failures" else {}
    named = {
        name: cause[name]["name"]
        for name in ("version", "target", "client", "error_type")
        if cause.get(name)
    }
    return Told(
        row.opened_at.replace(tzinfo=UTC), row.family, row.rule, subject, {**named, **subject}
    )


def _apply(engine: Engine, told: Story, line: Replay, place: int, until: datetime) -> int:
    """Record what has happened by `until`; return how far that is."""
    end = bisect_left(told.times, until)
    for first in range(place, end, 5000):
        apply_batch(engine, told.events[first : min(end, first + 5000)])
    for event in told.events[place:end]:
        line.take(event)
    return end


def is_about(told: Told, trouble: Trouble) -> bool:
    """Tell whether a message is about an incident."""
    if not trouble.start <= told.opened_at <= trouble.end + _GRACE:
        return False
    if told.family != _FAMILIES.get(trouble.kind, "failures"):
        return False
    if trouble.kind in _SUBJECTS:
        named = told.subject.get(trouble.kind) == getattr(trouble, trouble.kind)
        return named or told.subject.get("error_type") == FAILING[trouble.kind][1]
    return True


def names_cause(told: Told, trouble: Trouble) -> bool:
    """Tell whether a message about an incident names its cause, and blames nothing else."""
    if trouble.kind in _SUBJECTS:
        return bool(told.named.get(trouble.kind) == getattr(trouble, trouble.kind))
    if trouble.kind in FAILING:
        wrong = _SUBJECTS & told.subject.keys()
        return not wrong and told.named.get("error_type") == FAILING[trouble.kind][1]
    return not told.subject
