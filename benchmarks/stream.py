"""The generated history as events, in the order of arrival: some are late by minutes or days."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np

from asu_stats.events import (
    OUTCOMES,
    STATUSES,
    BuildFinished,
    BuildStarted,
    Event,
    RequestReceived,
)
from benchmarks.data import REJECTED, Chunk, ErrorText, Integers, Plan, Words, chance_of, mix

SOURCE: Final = "https://sysupgrade.example.org"
LATE_SHARE: Final = 0.04
_LONGEST_MS: Final = 4 * 86_400_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_REQUEST, _STARTED, _FINISHED, _BUILD = range(4)


def batches(plan: Plan, size: int) -> Iterator[list[Event]]:
    """Yield the history in batches of `size` events."""
    yield from _batches(delivered(plan, plan.chunks()), size)


def extra_events(plan: Plan) -> list[Event]:
    """Return the events of the extra requests."""
    return [event for part in delivered(plan, plan.extra_chunks()) for event in part]


def delivered(plan: Plan, chunks: Iterable[Chunk]) -> Iterator[list[Event]]:
    """Yield the events of chunks in the order of arrival. Memory does not grow."""
    waiting: list[Event] = []
    arrivals = np.empty(0, dtype=np.int64)
    for chunk in chunks:
        events, times = _events(plan, chunk)
        waiting += events
        arrivals = np.concatenate([arrivals, times])
        now = int(chunk.requests.time_ms.max(initial=0))
        order = np.argsort(arrivals, kind="stable")
        there = int(np.searchsorted(arrivals[order], now))
        yield [waiting[place] for place in order[:there]]
        waiting = [waiting[place] for place in order[there:]]
        arrivals = arrivals[order[there:]]
    yield waiting


def uuids(kind: int, numbers: Integers, time_ms: Integers) -> list[str]:
    """Return UUIDs version 7 that depend only on number and time."""
    chance = mix((numbers << 2) | kind, 77)
    high: Words = (time_ms.astype(np.uint64) << np.uint64(16)) | np.uint64(0x7000)
    high |= chance >> np.uint64(52)
    low = np.uint64(1 << 63) | (mix((numbers << 2) | kind, 78) >> np.uint64(2))
    text = np.stack([high, low], axis=1).astype(">u8").tobytes().hex()
    return [
        f"{text[s : s + 8]}-{text[s + 8 : s + 12]}-{text[s + 12 : s + 16]}-"
        f"{text[s + 16 : s + 20]}-{text[s + 20 : s + 32]}"
        for s in range(0, len(text), 32)
    ]


def build_ids(numbers: Integers, started_ms: Integers) -> list[str]:
    return uuids(_BUILD, numbers, started_ms)


def _times(ms: Integers) -> list[datetime]:
    return [_EPOCH + timedelta(milliseconds=value) for value in ms.tolist()]


def _arrivals(numbers: Integers, kind: int, ms: Integers) -> Integers:
    """Return the arrival of each event: within 1.5 seconds, or late."""
    late = chance_of((numbers << 2) | kind, 81) < LATE_SHARE
    by = chance_of((numbers << 2) | kind, 82)
    delay = np.where(late, 10_000 * np.exp(by * np.log(_LONGEST_MS / 10_000)), 50 + 1450 * by)
    return np.asarray(ms + delay.astype(np.int64), dtype=np.int64)


def _events(plan: Plan, chunk: Chunk) -> tuple[list[Event], Integers]:
    requests, starts, ends = _requests(plan, chunk), _starts(plan, chunk), _ends(plan, chunk)
    builds = chunk.builds
    arrivals = (
        _arrivals(chunk.requests.number, _REQUEST, chunk.requests.time_ms),
        _arrivals(builds.number, _STARTED, builds.started_ms),
        _arrivals(builds.number, _FINISHED, builds.finished_ms),
    )
    return [*requests, *starts, *ends], np.concatenate(arrivals)


def _requests(plan: Plan, chunk: Chunk) -> list[Event]:
    r, population = chunk.requests, plan.population
    versions, devices, diff, packages = plan.names(r.hash_number)
    events: list[Event] = []
    for event_id, time, text, outcome, client, version, device, diff_packages, count, place in zip(
        uuids(_REQUEST, r.number, r.time_ms),
        _times(r.time_ms),
        plan.hash_texts(r.hash_number),
        r.outcome.tolist(),
        r.client.tolist(),
        versions.tolist(),
        devices.tolist(),
        diff.tolist(),
        packages.tolist(),
        r.error.tolist(),
        strict=True,
    ):
        error = population.errors[2][place] if outcome == REJECTED else None
        events.append(
            RequestReceived(
                source=SOURCE,
                id=event_id,
                time=time,
                request_hash=text,
                outcome=OUTCOMES[outcome],
                version=population.versions[version],
                target=population.devices[device][0],
                profile=population.devices[device][1],
                diff_packages=diff_packages,
                client=population.clients[client][0],
                client_version=population.clients[client][1],
                package_count=count,
                has_custom_repos=False,
                has_defaults=False,
                error_message=error.message if error else None,
                error_category=error.category if error else None,
                error_type=error.type if error else None,
            )
        )
    return events


def _starts(plan: Plan, chunk: Chunk) -> list[Event]:
    b = chunk.builds
    return [
        BuildStarted(
            source=SOURCE,
            id=event_id,
            time=time,
            build_id=build_id,
            request_hash=text,
            worker_id=_worker(number),
        )
        for event_id, time, build_id, text, number in zip(
            uuids(_STARTED, b.number, b.started_ms),
            _times(b.started_ms),
            build_ids(b.number, b.started_ms),
            plan.hash_texts(b.hash_number),
            b.number.tolist(),
            strict=True,
        )
    ]


def _ends(plan: Plan, chunk: Chunk) -> list[Event]:
    b = chunk.builds
    events: list[Event] = []
    lasted = ((b.finished_ms - b.started_ms) / 1000).tolist()
    for event_id, time, build_id, text, number, status, place, seconds in zip(
        uuids(_FINISHED, b.number, b.finished_ms),
        _times(b.finished_ms),
        build_ids(b.number, b.started_ms),
        plan.hash_texts(b.hash_number),
        b.number.tolist(),
        b.status.tolist(),
        b.error.tolist(),
        lasted,
        strict=True,
    ):
        error: ErrorText | None = plan.population.errors[status - 1][place] if place >= 0 else None
        events.append(
            BuildFinished(
                source=SOURCE,
                id=event_id,
                time=time,
                build_id=build_id,
                request_hash=text,
                status=STATUSES[status],
                worker_id=_worker(number),
                phases={
                    "container_setup": round(seconds * 0.1, 1),
                    "building_image": round(seconds * 0.9, 1),
                },
                error_message=error.message if error else None,
                error_category=error.category if error else None,
                error_type=error.type if error else None,
            )
        )
    return events


def _worker(number: int) -> str:
    return f"worker-{number % 4}"


def _batches(parts: Iterable[list[Event]], size: int) -> Iterator[list[Event]]:
    held: list[Event] = []
    for part in parts:
        held += part
        whole = len(held) - len(held) % size
        yield from (held[start : start + size] for start in range(0, whole, size))
        held = held[whole:]
    if held:
        yield held
