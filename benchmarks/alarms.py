"""`python -m benchmarks.alarms`: how often alerts cry wolf, and what they miss.

Two campaigns on generated history with a clock that jumps: days on which nothing happens but the
usual, and days into which incidents were put. Said are false alarms per day, incidents found by a
message that names what they are about, and how late it came.
"""

import argparse
import json
import random
import sys
import tempfile
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select

from asu_stats.alert_rules import DEFAULTS
from asu_stats.demo.history import history
from asu_stats.events import BuildFinished, BuildStarted, Event, RequestReceived
from asu_stats.monitor.watch import Watch
from asu_stats.store import migrate
from asu_stats.store.apply import apply_batch
from asu_stats.store.database import engine as engines
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.database.schema import alert_incidents
from asu_stats.store.details.queue_samples import QueueState

END: Final = datetime(2026, 9, 30, 23, 59, tzinfo=UTC)
PAST_DAYS: Final = 14
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
    """An incident as it was told."""

    opened_at: datetime
    family: str
    rule: str
    subject: Mapping[str, str]
    title: str


def story(
    *,
    days: int,
    per_day: int,
    incidents: int,
    seed: int,
    kinds: Sequence[str] = KINDS,
    past_days: int = PAST_DAYS,
) -> Story:
    """Generate a history of `days` days after some of past, with `incidents` in it.

    Their kinds take turns.
    """
    all_days = days + past_days
    events = list(
        history(days=all_days, requests=per_day * all_days, now=END, seed=seed, incidents=False)
    )
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


def play(told: Story, directory: Path, *, days: int, step_minutes: int) -> list[Told]:
    """Let the events come in, and the rules be evaluated; return what was told."""
    engine = engines.create(f"sqlite:///{directory / f'alarms-{id(told)}.db'}")
    migrate.upgrade(engine)
    line = _Line()
    watch = Watch(engine, DEFAULTS, (), queue=line.state, waiting=lambda _: [])
    now, place = END - timedelta(days=days), 0
    place = _apply(engine, told, line, 0, now)
    while now < END:
        now += timedelta(minutes=step_minutes)
        place = _apply(engine, told, line, place, now)
        watch.run(now)
    with read_snapshot(engine) as connection:
        rows = connection.execute(select(*alert_incidents.c).order_by(alert_incidents.c.opened_at))
        found = [
            Told(
                row.opened_at.replace(tzinfo=UTC),
                row.family,
                row.rule,
                dict(json.loads(row.subject)),
                row.report["title"],
            )
            for row in rows
        ]
    engine.dispose()
    return found


class _Line:
    """The queue, as the events tell it."""

    def __init__(self) -> None:
        self._waiting: dict[str, datetime] = {}

    def take(self, event: Event) -> None:
        """Move on."""
        if isinstance(event, RequestReceived) and event.outcome == "queued":
            self._waiting.setdefault(event.request_hash, event.time.replace(tzinfo=None))
        elif isinstance(event, BuildStarted):
            self._waiting.pop(event.request_hash, None)

    def state(self) -> QueueState:
        """Return how long it is."""
        return QueueState(len(self._waiting), 0, min(self._waiting.values(), default=None))


def _apply(engine: Any, told: Story, line: _Line, place: int, until: datetime) -> int:
    """Record what has happened by `until`; return how far that is."""
    end = bisect_left(told.times, until)
    for first in range(place, end, 5000):
        apply_batch(engine, told.events[first : min(end, first + 5000)])
    for event in told.events[place:end]:
        line.take(event)
    return end


def is_about(told: Told, trouble: Trouble) -> bool:
    """Tell whether a message is about an incident, and says so."""
    if not trouble.start <= told.opened_at <= trouble.end + _GRACE:
        return False
    if told.family != _FAMILIES.get(trouble.kind, "failures"):
        return False
    if trouble.kind in {"version", "target", "client"}:
        # A client may be named by the version that most of it is about.
        named = told.subject.get(trouble.kind) == getattr(trouble, trouble.kind)
        return named or told.subject.get("error_type") == FAILING[trouble.kind][1]
    return True


def main() -> None:
    """Play both campaigns."""
    parser = argparse.ArgumentParser(prog="benchmarks.alarms", description=__doc__)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--per-day", type=int, default=2000, help="requests a day")
    parser.add_argument("--incidents", type=int, default=20)
    parser.add_argument("--step", type=int, default=5, help="minutes between evaluations")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=("quiet", "incidents"), help="one campaign alone")
    options = parser.parse_args()
    shape = {"days": options.days, "per_day": options.per_day, "seed": options.seed}
    print(f"{options.days} days of {options.per_day} requests, seed {options.seed}", flush=True)
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="asu-stats-alarms-") as name:
        if options.only != "incidents":
            no_incident = story(**shape, incidents=0)
            quiet = play(no_incident, Path(name), days=options.days, step_minutes=options.step)
            for told in quiet:
                print(f"  false: {told.opened_at:%d %H:%M} {told.title}")
            print(f"  quiet: {len(quiet) / options.days:.2f} false alarms a day", flush=True)
            wrong += len(quiet)
        if options.only != "quiet":
            spoiled = story(**shape, incidents=options.incidents)
            found = play(spoiled, Path(name), days=options.days, step_minutes=options.step)
            wrong += report(spoiled.troubles, found)
    sys.exit(1 if wrong else 0)


def report(troubles: Sequence[Trouble], found: Sequence[Told]) -> int:
    """Print what was found and how late; return how many were missed."""
    late: list[float] = []
    more = list(found)
    for trouble in troubles:
        about = [told for told in found if is_about(told, trouble)]
        words = {"version": trouble.version, "target": trouble.target, "client": trouble.client}
        what = f"{trouble.start:%d %H:%M} {trouble.kind} {words.get(trouble.kind, '')}"
        for told in about:
            more.remove(told)
        if about:
            minutes = (about[0].opened_at - trouble.start).total_seconds() / 60
            late.append(minutes)
            print(f"  {what}: {minutes:.0f} min, {len(about)} message: {about[0].title}")
        else:
            print(f"  {what}: MISSED")
    for told in more:
        print(f"  besides: {told.opened_at:%d %H:%M} {told.title}")
    late.sort()
    print(f"  {len(late)} of {len(troubles)} found, {len(more)} messages besides")
    if late:
        print(f"  late: median {late[len(late) // 2]:.0f} min, longest {late[-1]:.0f} min")
    return len(troubles) - len(late)


if __name__ == "__main__":
    main()
