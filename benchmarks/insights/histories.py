"""Histories with incidents that insights should notice, each at several strengths.

A strength of 1 is clear: a person who knew where to look would see it on the first day.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from asu_stats.demo.history import history
from asu_stats.events import BuildFinished, BuildStarted, Event, RequestReceived
from asu_stats.reports.packages import branch_of

END: Final = datetime(2026, 9, 30, 23, 59, tzinfo=UTC)
FIRST: Final = 10  # day of the first incident: before it, only the usual happens
WORKERS: Final = 4
CLEAR: Final = 1.0
STRENGTHS: Final = (CLEAR, 0.5, 0.2)
_OF_PACKAGES: Final = {"package_not_found", "package_unsatisfiable", "manifest_mismatch"}
_LASTS: Final = timedelta(days=2)
_STALL: Final = timedelta(hours=3)
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
_NAMES: Final = 2_000  # of packages that users misspell or that are no longer there


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that is put into a history. `names` are what it is about, by dimension."""

    kind: str
    strength: float
    start: datetime
    end: datetime
    names: Mapping[str, str] = field(default_factory=dict)

    def holds(self, moment: datetime) -> bool:
        """Tell whether it is going on."""
        return self.start <= moment < self.end


@dataclass(frozen=True, slots=True)
class Told:
    """A history: events by time, and the incidents in it."""

    events: Sequence[Event]
    incidents: Sequence[Incident]
    first: datetime


def usual(*, days: int, per_day: int, seed: int) -> list[Event]:
    """Generate a history with the usual failures only.

    Builds have four workers and a phase of downloads. Packages that errors name differ, as those do
    that users misspell.
    """
    events = history(days=days, requests=days * per_day, now=END, seed=seed, incidents=False)
    return [_usual(event) for event in events]


def _usual(event: Event) -> Event:
    if isinstance(event, RequestReceived):
        return event
    chance = random.Random(event.build_id)
    worker = f"worker-{1 + chance.randrange(WORKERS)}"
    if isinstance(event, BuildStarted):
        return replace(event, worker_id=worker)
    return _finished(event, worker, chance)


def _finished(event: BuildFinished, worker: str, chance: random.Random) -> BuildFinished:
    phases = dict(event.phases or {})
    if "building_image" in phases:
        phases["downloading"] = round(0.3 * phases["building_image"], 1)
        phases["building_image"] = round(0.7 * phases["building_image"], 1)
    event = replace(event, worker_id=worker, phases=phases)
    if event.error_type in _OF_PACKAGES:
        text = f"Impossible package selection: missing (luci-app-x{chance.randrange(_NAMES)})"
        return replace(event, error_message=text)
    return event


def with_incidents(events: Sequence[Event], *, days: int, seed: int) -> Told:
    """Put incidents of every kind and strength into a history, one after the other."""
    first = (END - timedelta(days=days)).replace(hour=0, minute=0) + timedelta(days=1)
    chance = random.Random(f"incidents {seed}")
    kinds = [(kind, strength) for strength in STRENGTHS for kind in KINDS]
    pause = (days - FIRST - 3) / len(kinds)
    asked = [event for event in events if isinstance(event, RequestReceived)]
    incidents = []
    for number, (kind, strength) in enumerate(kinds):
        start = first + timedelta(days=int(FIRST + number * pause), hours=chance.randint(1, 9))
        near = [each for each in asked if start <= each.time < start + _LASTS]
        lasts = _STALL * strength if kind == "stall" else _LASTS
        names = _SUBJECTS[kind](near, chance, number)
        incidents.append(Incident(kind, strength, start, start + lasts, names))
    spoiled = sorted(_spoiled(events, incidents, chance), key=lambda event: event.time)
    return Told(spoiled, incidents, first)


# What incidents are about ------------------------------------------------------------------------

Subject = Callable[[Sequence[RequestReceived], random.Random, int], dict[str, str]]


def _package(near: Sequence[RequestReceived], chance: random.Random, _: int) -> dict[str, str]:
    """Choose a package that some requests of the most common branch name."""
    branch = Counter(branch_of(each.version) for each in near).most_common(1)[0][0]
    mine = [each for each in near if branch_of(each.version) == branch]
    counts = Counter(name for each in mine for name in set(each.packages or ()))
    known = [name for name, n in counts.items() if 0.04 <= n / len(mine) <= 0.15]
    package = chance.choice(sorted(known))
    return {"package": package, "branch": branch, "text": _missing(package)}


def _client(near: Sequence[RequestReceived], chance: random.Random, number: int) -> dict[str, str]:
    counts = Counter((each.client, each.client_version) for each in near)
    known = sorted(
        key for key, n in counts.items() if n / len(near) >= 0.03 and "unknown" not in key
    )
    client, version = chance.choice(known)
    package = f"gone-{number}"
    text = _missing(package)
    return {"client": client, "client_version": version, "package": package, "text": text}


def _worker(_: Sequence[RequestReceived], chance: random.Random, __: int) -> dict[str, str]:
    text = "write error: No space left on device"
    return {"worker": f"worker-{1 + chance.randrange(WORKERS)}", "text": text}


def _target(near: Sequence[RequestReceived], chance: random.Random, number: int) -> dict[str, str]:
    """Choose a target of the snapshot with at least a few builds; its error is a new one."""
    counts = Counter(each.target for each in near if each.version == "SNAPSHOT")
    known = [target for target, n in counts.most_common(3) if n >= 5]
    text = f"fixdts: node {_LETTERS[number % 26]}mmio is no child of the root"
    return {
        "version": "SNAPSHOT",
        "target": chance.choice(known or ["ath79/generic"]),
        "text": text,
    }


def _storm(near: Sequence[RequestReceived], chance: random.Random, number: int) -> dict[str, str]:
    one = chance.choice(near)
    return {"client": one.client, "request_hash": f"{number:02d}" * 32}


_SUBJECTS: Final[Mapping[str, Subject]] = {
    "package": _package,
    "client": _client,
    "worker": _worker,
    "mirror": lambda _, __, ___: {"phase": "downloading"},
    "target": _target,
    "stall": lambda _, __, ___: {},
    "storm": _storm,
}
KINDS: Final = tuple(_SUBJECTS)


# What they do to events --------------------------------------------------------------------------


def _spoiled(
    events: Sequence[Event], incidents: Sequence[Incident], chance: random.Random
) -> Iterator[Event]:
    asked: dict[str, RequestReceived] = {}
    later: dict[str, timedelta] = {}
    for event in events:
        incident = next((each for each in incidents if each.holds(event.time)), None)
        if isinstance(event, RequestReceived):
            asked[event.request_hash] = event
            yield event
        elif event.build_id in later:
            yield replace(event, time=event.time + later[event.build_id])
        elif incident is None:
            yield event
        elif isinstance(event, BuildStarted):
            if incident.kind == "stall":
                later[event.build_id] = incident.end - event.time
            yield replace(event, time=event.time + later.get(event.build_id, timedelta()))
        else:
            yield _changed(event, incident, asked.get(event.request_hash), chance)
    for incident in incidents:
        if incident.kind == "storm":
            yield from _storm_events(incident, chance)


def _changed(
    event: BuildFinished,
    incident: Incident,
    request: RequestReceived | None,
    chance: random.Random,
) -> BuildFinished:
    if event.status != "success" or request is None:
        return event
    names, strength = incident.names, incident.strength
    if incident.kind == "mirror":
        phases = dict(event.phases or {})
        more = 3 * strength * phases.get("downloading", 10.0)
        phases["downloading"] = phases.get("downloading", 10.0) + more
        return replace(event, phases=phases, time=event.time + timedelta(seconds=more))
    if not _is_hit(event, incident, request) or chance.random() >= 0.95 * strength:
        return event
    category, error_type = _ERRORS[incident.kind]
    return replace(
        event,
        status="failure",
        error_category=category,
        error_type=error_type,
        error_message=names["text"],
    )


# Category and type of the errors of those incidents that make builds fail.
_ERRORS: Final = {
    "package": ("validation", "package_not_found"),
    "client": ("validation", "package_not_found"),
    "worker": ("storage", "disk_full"),
    "target": ("build", "imagebuilder_failed"),
}


def _is_hit(event: BuildFinished, incident: Incident, request: RequestReceived) -> bool:
    """Tell whether an incident concerns a build."""
    names = incident.names
    match incident.kind:
        case "package":
            here = branch_of(request.version) == names["branch"]
            return here and names["package"] in (request.packages or ())
        case "client":
            asker = request.client, request.client_version
            return asker == (names["client"], names["client_version"])
        case "worker":
            return event.worker_id == names["worker"]
        case "target":
            return (request.version, request.target) == (names["version"], names["target"])
    return False


def _missing(package: str) -> str:
    return f"Impossible package selection: missing ({package})"


def _storm_events(incident: Incident, chance: random.Random) -> Iterator[Event]:
    """Yield the rejected requests of a client that sends the same request again and again."""
    for number in range(round(200 * incident.strength)):
        yield RequestReceived(
            source="https://storm.example",
            id=f"storm {incident.start} {number}",
            time=incident.start + chance.random() * timedelta(hours=6),
            request_hash=incident.names["request_hash"],
            outcome="rejected",
            version="24.10.0",
            target="ath79/generic",
            profile="generic",
            diff_packages=True,
            client=incident.names["client"],
            error_message="Unsupported profile: generic",
            error_category="validation",
            error_type="unsupported_profile",
        )
