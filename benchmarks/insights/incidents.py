"""Which incidents of a history insights find, how late, and what they find where nothing is."""

import tempfile
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final

from sqlalchemy import Connection, Engine

from asu_stats.alert_rules import DEFAULTS
from asu_stats.events import BuildFinished
from asu_stats.reports.insights import failures, fingerprints, packages, phases, queue
from asu_stats.reports.listing import ALL
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.details.queue_samples import QueueState
from asu_stats.windows import Window
from benchmarks.insights import histories
from benchmarks.insights.histories import CLEAR, KINDS, Incident, Told
from benchmarks.insights.stored import create, record
from benchmarks.replay import Replay
from benchmarks.report import Results, Table, Target

_WINDOW: Final = 7
_RECENT: Final = 2  # days: of a week, what began today is a small part
_SEEDS: Final = (1, 2, 3)
_AFTER: Final = tuple(timedelta(hours=hours) for hours in (6, 12, 18, 24, 36, 48))
_DAY: Final = timedelta(days=1)
_CLEARLY: Final = 8  # builds that fail within a day
_SLOWER: Final = 1.2  # a phase of a day that takes so many times what it took before


@dataclass(frozen=True, slots=True)
class Answers:
    """What insights say at a moment."""

    failures: Any
    recent: Any  # failures of the last two days
    packages: Any
    queue: Any
    phases: Any
    new: Any  # fingerprints that are new on this day or the day before


def ask(connection: Connection, now: datetime, state: QueueState) -> Answers:
    """Ask everything of the last seven days, and for failures of the last two."""
    window = Window.last(_WINDOW, today=now.date())
    yesterday = now.date() - _DAY
    return Answers(
        failures.read(connection, window, ALL),
        failures.read(connection, Window.last(_RECENT, today=now.date()), ALL),
        packages.read(connection, window, now.date(), ALL),
        queue.read(connection, window, ALL, now=now, state=state, full_hashes=True),
        phases.read(connection, window, ALL),
        fingerprints.read(connection, window, ALL, {}, yesterday),
    )


# Whether an answer shows an incident, by kind and insight -------------------------------------


def _blamed(culprit: str, *words: str) -> Callable[[Answers, Incident], bool]:
    def shown(answers: Answers, incident: Incident) -> bool:
        about = " ".join(incident.names[word] for word in words)
        return any(
            row["culprit"] == culprit and about in row["reason"]
            for row in answers.failures["groups"]
        )

    return shown


def _stands_out(dimension: str) -> Callable[[Answers, Incident], bool]:
    def shown(answers: Answers, incident: Incident) -> bool:
        return any(
            row["dimension"] == dimension
            and row["value"] == incident.names[dimension]
            and row["client"] in {None, incident.names.get("client")}
            for row in _over_represented(answers)
        )

    return shown


def _over_represented(answers: Answers) -> Iterator[Any]:
    yield from answers.failures["over_represented"]
    yield from answers.recent["over_represented"]


def _listed(answers: Answers, incident: Incident) -> bool:
    wanted = incident.names["package"], incident.names["branch"]
    return wanted in {(row["package"], row["branch"]) for row in answers.packages["packages"]}


def _is_new(answers: Answers, incident: Incident) -> bool:
    return any(row["example"] == incident.names["text"] for row in answers.new["fingerprints"])


def slower(answers: Answers, day: str) -> dict[str, float]:
    """Return how many times each phase took on a day what it took on the days before."""
    before = defaultdict(list)
    today = {}
    for row in answers.phases["timeseries"]:
        if row["day"] == day:
            today[row["phase"]] = row["p50_seconds"]
        elif row["day"] < day:
            before[row["phase"]].append(row["p50_seconds"])
    return {
        phase: seconds / median(before[phase]) for phase, seconds in today.items() if before[phase]
    }


def _slow(answers: Answers, incident: Incident) -> bool:
    day = max((row["day"] for row in answers.phases["timeseries"]), default="")
    found = slower(answers, day)
    worst = max(found, key=lambda phase: found[phase], default=None)
    return worst == incident.names["phase"] and found[worst] >= _SLOWER


def _storm(answers: Answers, incident: Incident) -> bool:
    wanted = incident.names["request_hash"], incident.names["client"]
    return wanted in {(row["request_hash"], row["client"]) for row in answers.queue["storms"]}


SHOWN: Final[Mapping[str, Mapping[str, Callable[[Answers, Incident], bool]]]] = {
    "package": {
        "failures, culprit": _blamed("packages", "package"),
        "failures, stands out": _stands_out("package"),
        "packages": _listed,
    },
    "client": {
        "failures, culprit": _blamed("client", "client", "client_version"),
        "failures, stands out": _stands_out("client_version"),
    },
    "worker": {"failures, stands out": _stands_out("worker")},
    "mirror": {"phases": _slow},
    "target": {"failures, stands out": _stands_out("target"), "fingerprints": _is_new},
    "stall": {"queue, not moving": lambda answers, _: not answers.queue["moving"]},
    "storm": {"queue, storms": _storm},
}


# The play ---------------------------------------------------------------------------------------


class Play:
    """A database that a history comes into, up to one moment after the other."""

    def __init__(self, engine: Engine, told: Told) -> None:
        self._engine, self._told = engine, told
        self._times = [event.time for event in told.events]
        self._place = 0
        self._line = Replay(DEFAULTS)

    def until(self, now: datetime) -> Answers:
        """Record what has happened, and ask."""
        end = bisect_left(self._times, now)
        events = self._told.events[self._place : end]
        self._place = end
        record(self._engine, events)
        for event in events:
            self._line.take(event)
        length, oldest = self._line.waiting()
        with read_snapshot(self._engine) as connection:
            return ask(connection, now, QueueState(length, 0, oldest))


def moments(incident: Incident) -> Iterator[datetime]:
    """Yield when to ask whether an incident shows."""
    if incident.kind == "stall":
        at = incident.start + timedelta(minutes=5)
        while at <= incident.end:
            yield at
            at += timedelta(minutes=5)
    else:
        yield from (incident.start + after for after in _AFTER)


@dataclass(frozen=True, slots=True)
class Late:
    """How many hours after its start an insight showed an incident; `None` if it did not."""

    seed: int
    kind: str
    strength: float
    failed: int | None  # builds within a day, of an incident that makes builds fail
    insight: str
    hours: float | None

    @property
    def is_clear(self) -> bool:
        """Whether a person would see it on the first day, knowing where to look."""
        return self.strength == CLEAR and (self.failed is None or self.failed >= _CLEARLY)


def _failed(told: Told, incident: Incident) -> int | None:
    text = incident.names.get("text")
    if text is None:
        return None
    return sum(
        isinstance(event, BuildFinished)
        and event.error_message == text
        and incident.start <= event.time < incident.start + _DAY
        for event in told.events
    )


def find(engine: Engine, told: Told, seed: int) -> list[Late]:
    """Return how many hours after its start each insight shows each incident."""
    play = Play(engine, told)
    late: list[Late] = []
    for incident in told.incidents:
        waiting = dict(SHOWN[incident.kind])
        found: dict[str, float] = {}
        for now in moments(incident):
            answers = play.until(now)
            for name, is_shown in list(waiting.items()):
                if is_shown(answers, incident):
                    found[name] = (now - incident.start) / timedelta(hours=1)
                    del waiting[name]
            if not waiting:
                break
        failed = _failed(told, incident)
        late += [
            Late(
                seed,
                incident.kind,
                incident.strength,
                failed,
                name,
                found.get(name),
            )
            for name in SHOWN[incident.kind]
        ]
        print(f"  {incident.kind} {incident.strength} {dict(incident.names)}: {found}", flush=True)
    return late


def false_findings(engine: Engine, told: Told, days: int) -> dict[str, set[object]]:
    """Return what insights find on days on which nothing is; the first days are the past."""
    play = Play(engine, told)
    found: dict[str, set[object]] = defaultdict(set)
    for number in range(histories.FIRST, days):
        answers = play.until(told.first + (number + 1) * _DAY - timedelta(minutes=1))
        day = (told.first + number * _DAY).date().isoformat()
        for row in _over_represented(answers):
            found["failures, stands out"].add((row["dimension"], row["client"], row["value"]))
        for row in answers.failures["groups"]:
            if row["culprit"] == "packages" or " come from " in row["reason"]:
                about = row["reason"].partition(" fails")[0].partition("come from ")
                found["failures, culprit"].add((row["culprit"], about[-1] or about[0]))
        for phase, times in slower(answers, day).items():
            if times >= _SLOWER:
                found["phases"].add((day, phase))
        if not answers.queue["moving"]:
            found["queue, not moving"].add(day)
        for row in answers.queue["storms"]:
            found["queue, storms"].add((row["request_hash"], row["client"]))
    return found


def run(results: Results, days: int, per_day: int) -> None:
    """Play histories with incidents, and the same ones without."""
    late: list[Late] = []
    false: Counter[str] = Counter()
    for seed in _SEEDS:
        usual = histories.usual(days=days, per_day=per_day, seed=seed)
        told = histories.with_incidents(usual, days=days, seed=seed)
        with tempfile.TemporaryDirectory() as name:
            engine = create(Path(name))
            late += find(engine, told, seed)
            engine.dispose()
        with tempfile.TemporaryDirectory() as name:
            engine = create(Path(name))
            found = false_findings(engine, Told(usual, (), told.first), days)
            engine.dispose()
        for insight, things in found.items():
            false[insight] += len(things)
            print(f"  false, {insight}: {sorted(map(str, things))}", flush=True)
    months = len(_SEEDS) * (days - histories.FIRST) / 30
    clear = [each for each in late if each.is_clear]
    in_time = sum(each.hours is not None and each.hours <= 24 for each in clear)
    share = 100 * in_time / max(1, len(clear))
    incidents = {(each.seed, each.kind) for each in clear}
    by_any = {
        (each.seed, each.kind) for each in clear if each.hours is not None and each.hours <= 24
    }
    shown = 100 * len(by_any) / max(1, len(incidents))
    targets = [
        Target("incidents", "clear incidents shown within a day, %", shown, "at least", 95),
        Target("incidents", "the same by each insight, %", share, "at least", 95),
        *(
            Target(
                "incidents",
                f"false findings a month: {name}",
                false[name] / months,
                "at most",
                1,
            )
            for name in sorted({name for shown in SHOWN.values() for name in shown} & _COUNTED)
        ),
    ]
    title = f"Incidents in {len(_SEEDS)} times {days} days of {per_day:,} requests"
    columns = ("incident", "strength", "builds that failed in a day", "insight", "shown after h")
    rows: list[Sequence[object]] = [
        (each.kind, each.strength, each.failed, each.insight, each.hours)
        for each in sorted(late, key=lambda each: KINDS.index(each.kind))
    ]
    note = f"Clear are those of strength 1 with at least {_CLEARLY} failed builds within a day."
    results.add("incidents", rows, [Table(title, columns, rows, note)], targets)


_COUNTED: Final = frozenset(
    {
        *("failures, culprit", "failures, stands out", "phases"),
        *("queue, not moving", "queue, storms"),
    }
)
