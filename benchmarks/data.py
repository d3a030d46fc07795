"""A generated year of requests and builds, as columns. Equal seeds give equal data, at any size.

Requests follow hours and weekdays. A quarter of them have a new hash, the others mostly a recent
one. Names depend only on the number of a hash, so the hashes of a small history are the first ones
of a large one. Each chunk depends only on seed and number, so memory does not grow with the size.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from importlib import resources
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from asu_stats.events import OUTCOMES, STATUSES, split_client

LAST_DAY: Final = date(2026, 9, 30)
DAYS: Final = 365
FIRST_DAY: Final = LAST_DAY - timedelta(days=DAYS - 1)
SEED: Final = 20260930

Integers: TypeAlias = NDArray[np.int64]
Words: TypeAlias = NDArray[np.uint64]

_DAY_MS: Final = 86_400_000
_NEW_SHARE: Final = 0.25
# Shares in the order of OUTCOMES: of requests for a new hash, and for a known one.
_OUTCOMES_NEW: Final = (0.95, 0.0, 0.0, 0.0, 0.05)
_OUTCOMES_KNOWN: Final = (0.12, 0.09, 0.68, 0.06, 0.05)
_STATUS_SHARES: Final = (0.91, 0.075, 0.01, 0.005)  # in the order of STATUSES
_HOURS: Final = (
    *(0.9, 0.9, 0.8, 0.7, 0.6, 0.5, 0.5, 0.6, 0.7, 0.8, 0.9, 0.9),
    *(1.0, 1.0, 1.1, 1.1, 1.2, 1.4, 1.6, 1.7, 1.7, 1.5, 1.2, 1.1),
)
_WEEKDAYS: Final = (0.97, 0.92, 0.91, 0.93, 1.0, 1.1, 1.17)
_TIMEOUT_MS: Final = 600_000

QUEUED, JOINED, CACHE_HIT, CACHED_FAILURE, REJECTED = range(len(OUTCOMES))
SUCCESS, FAILURE, TIMEOUT, CANCELLED = range(len(STATUSES))
NOT_ENDED: Final = -1


def mix(numbers: Words | Integers, salt: int) -> Words:
    """Return 64 pseudo-random bits per number (splitmix64)."""
    with np.errstate(over="ignore"):
        offset = np.uint64(0x9E3779B97F4A7C15 * (salt + 1) & (1 << 64) - 1)
        words = numbers.astype(np.uint64) * np.uint64(0xD1342543DE82EF95) + offset
        words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed: Words = words ^ (words >> np.uint64(31))
    return mixed


def chance_of(numbers: Words | Integers, salt: int) -> NDArray[np.float64]:
    """Return a pseudo-random value from 0 to 1 per number."""
    return np.asarray(mix(numbers, salt) * 2.0**-64, dtype=np.float64)


def _cumulated(weights: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    sums = np.cumsum(np.asarray(weights, dtype=np.float64))
    return np.asarray(sums / sums[-1], dtype=np.float64)


def _place(shares: NDArray[np.float64], chance: NDArray[np.float64]) -> Integers:
    return np.minimum(np.searchsorted(shares, chance, side="right"), len(shares) - 1)


def _zipf(count: int, exponent: float) -> NDArray[np.float64]:
    return np.asarray(1 / (np.arange(count) + 2.0) ** exponent, dtype=np.float64)


def _csv(name: str) -> list[dict[str, str]]:
    text = (resources.files("asu_stats") / "data" / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines(keepends=True)))


@dataclass(frozen=True, slots=True)
class ErrorText:
    """The text of an error, with its category and type."""

    message: str
    category: str
    type: str


class Names:
    """Versions, devices, clients and errors, most frequent first."""

    def __init__(self, seed: int) -> None:
        names = [row["version"] for row in _csv("versions.csv")][::-1]
        self.versions = [*names[1:6], names[0], *names[6:]]
        devices = [(row["target"], row["profile"]) for row in _csv("devices.csv")]
        order = np.random.default_rng(seed).permutation(len(devices))
        self.devices = [devices[place] for place in order]
        clients = _csv("clients.csv")
        self.clients = [split_client(row["client"]) for row in clients]
        self.client_shares = _cumulated([float(row["weight"]) for row in clients])
        self.version_shares = _cumulated(_zipf(len(self.versions), 1.1))
        self.device_shares = _cumulated(_zipf(len(self.devices), 1.02))
        kinds = ("failure", "timeout", "rejected")
        self.errors: list[list[ErrorText]] = [[] for _ in kinds]
        for row in _csv("errors.csv"):
            if row["status"] in kinds:
                error = ErrorText(row["text"], row["category"], row["type"])
                self.errors[kinds.index(row["status"])].append(error)
        self.error_shares = [_cumulated(_zipf(len(known), 1.0)) for known in self.errors]


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests as columns, by time. `wait_status` is the status of the build that ended a wait."""

    number: Integers
    time_ms: Integers
    hash_number: Integers
    outcome: Integers
    client: Integers
    error: Integers
    wait_status: Integers


@dataclass(frozen=True, slots=True)
class Builds:
    """Builds as columns. A build has the number of the request that queued it."""

    number: Integers
    hash_number: Integers
    started_ms: Integers
    finished_ms: Integers
    status: Integers
    error: Integers


@dataclass(frozen=True, slots=True)
class Chunk:
    """The requests of one day, and the builds that they queued."""

    requests: Requests
    builds: Builds


@dataclass(frozen=True, slots=True)
class _Part:
    """The requests of a chunk: their day, and the numbers before them."""

    place: int
    requests: int
    first_number: int
    first_hash: int
    hashes: int


class Plan:
    """A history of `requests` over the 365 days that end with `LAST_DAY`.

    `extra` requests follow on the day after.
    """

    def __init__(self, requests: int, *, extra: int = 0, seed: int = SEED) -> None:
        self.requests = requests
        self.seed = seed
        days = [FIRST_DAY + timedelta(days=place) for place in range(DAYS)]
        growth = np.linspace(0.85, 1.15, DAYS)
        shares = _cumulated(np.array([_WEEKDAYS[day.weekday()] for day in days]) * growth)
        ends = [0, *(int(end) for end in np.rint(shares * requests))]
        if extra:
            ends.append(requests + extra)
        hashes = [int(np.ceil(end * _NEW_SHARE)) for end in ends]
        self._parts = [
            _Part(place, ends[place + 1] - first, first, hashes[place], hashes[place + 1])
            for place, first in enumerate(ends[:-1])
        ]

    @cached_property
    def population(self) -> Names:
        return Names(self.seed)

    def names(self, hashes: Integers) -> tuple[Integers, Integers, NDArray[np.bool_], Integers]:
        """Return version, device, diff_packages and package count of each hash number."""
        versions = _place(self.population.version_shares, chance_of(hashes, self.seed + 11))
        devices = _place(self.population.device_shares, chance_of(hashes, self.seed + 12))
        diff = chance_of(hashes, self.seed + 13) < 0.8
        packages = 5 + (mix(hashes, self.seed + 14) % np.uint64(140)).astype(np.int64)
        return versions, devices, np.asarray(diff), packages

    def hash_texts(self, hashes: Integers) -> list[str]:
        """Return the 64 characters of each hash number."""
        words = np.stack([mix(hashes, self.seed + 20 + word) for word in range(4)], axis=1)
        text = words.astype(">u8").tobytes().hex()
        return [text[start : start + 64] for start in range(0, len(text), 64)]

    def chunks(self) -> Iterator[Chunk]:
        """Yield the days of the history."""
        yield from self._chunks(self._parts[:DAYS])

    def extra_chunks(self) -> Iterator[Chunk]:
        """Yield the extra requests."""
        yield from self._chunks(self._parts[DAYS:])

    def _chunks(self, parts: Sequence[_Part]) -> Iterator[Chunk]:
        chunks = [self._make(part) for part in parts[:1]]
        for place in range(len(parts)):
            chunks += [self._make(part) for part in parts[place + 1 : place + 2]]
            chunk = chunks[min(place, 1)]
            yield Chunk(_resolved(chunk.requests, [other.builds for other in chunks]), chunk.builds)
            del chunks[: max(0, len(chunks) - 2)]

    def _make(self, part: _Part) -> Chunk:
        chance = np.random.default_rng([self.seed, part.place])
        count = part.requests
        start = datetime(FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day, tzinfo=UTC)
        day_ms = int(start.timestamp() * 1000) + part.place * _DAY_MS
        hours = _place(_cumulated(_HOURS), chance.random(count))
        times = np.sort(day_ms + hours * 3_600_000 + chance.integers(0, 3_600_000, count))
        new = np.zeros(count, dtype=bool)
        new_hashes = part.hashes - part.first_hash
        first = 1 if part.first_hash == 0 and new_hashes else 0
        new[:first] = True
        new[first + chance.choice(count - first, new_hashes - first, replace=False)] = True
        highest = part.first_hash + np.cumsum(new)
        recent = highest - np.floor(np.exp(chance.random(count) * np.log(highest))).astype(np.int64)
        lasting = np.floor(highest * chance.random(count) ** 3).astype(np.int64)
        known = np.where(chance.random(count) < 0.7, recent, lasting)
        hashes = np.where(new, highest - 1, np.clip(known, 0, highest - 1))
        kind = chance.random(count)
        outcomes = np.where(
            new, _place(_cumulated(_OUTCOMES_NEW), kind), _place(_cumulated(_OUTCOMES_KNOWN), kind)
        )
        queued = np.flatnonzero(outcomes == QUEUED)
        builds = self._builds(chance, times[queued], hashes[queued], queued)
        joined = np.flatnonzero(outcomes == JOINED)
        if not len(queued):
            outcomes[joined] = CACHE_HIT
        elif len(joined):
            chosen = chance.integers(0, len(queued), len(joined))
            hashes[joined] = builds.hash_number[chosen]
            since = times[queued[chosen]]
            lasts = builds.finished_ms[chosen] - since
            times[joined] = since + np.floor(lasts * chance.random(len(joined))).astype(np.int64)
        order = np.argsort(times, kind="stable")
        numbers = np.empty(count, dtype=np.int64)
        numbers[order] = part.first_number + np.arange(count)
        errors = _place(self.population.error_shares[2], chance.random(count))
        requests = Requests(
            number=numbers[order],
            time_ms=times[order],
            hash_number=hashes[order],
            outcome=outcomes[order],
            client=_place(self.population.client_shares, chance.random(count))[order],
            error=np.where(outcomes == REJECTED, errors, -1)[order],
            wait_status=np.full(count, NOT_ENDED, dtype=np.int64),
        )
        columns = (builds.hash_number, builds.started_ms, builds.finished_ms, builds.status)
        return Chunk(requests, Builds(numbers[queued], *columns, builds.error))

    def _builds(
        self, chance: np.random.Generator, queued_ms: Integers, hashes: Integers, numbers: Integers
    ) -> Builds:
        count = len(queued_ms)
        status = _place(_cumulated(_STATUS_SHARES), chance.random(count))
        lasted = 1000 * np.clip(np.exp(np.log(80) + 0.45 * chance.standard_normal(count)), 8, 590)
        lasted *= np.where(status == CANCELLED, 0.3, 1.0)
        lasted = np.where(status == TIMEOUT, _TIMEOUT_MS + 700 * chance.random(count), lasted)
        started = queued_ms + (200 + 12_000 * chance.standard_exponential(count)).astype(np.int64)
        which = chance.random(count)
        failure, timeout = (_place(self.population.error_shares[kind], which) for kind in (0, 1))
        error = np.where(status == FAILURE, failure, np.where(status == TIMEOUT, timeout, -1))
        return Builds(numbers, hashes, started, started + lasted.astype(np.int64), status, error)


def _resolved(requests: Requests, around: Sequence[Builds]) -> Requests:
    """Set `wait_status`: that of the first build of the hash that finishes at or after a request.

    `around` are the builds of the day, the day before and the day after.
    """
    start = min(int(builds.finished_ms.min(initial=1 << 60)) for builds in around) - _DAY_MS
    keys = np.concatenate([_key(b.hash_number, b.finished_ms - start) for b in around])
    order = np.argsort(keys, kind="stable")
    statuses = np.concatenate([b.status for b in around])[order]
    keys = keys[order]
    waits = np.flatnonzero(requests.outcome <= JOINED)
    sought = _key(requests.hash_number[waits], requests.time_ms[waits] - start)
    places = np.searchsorted(keys, sought)
    wait_status = requests.wait_status.copy()
    if len(keys):
        found = np.minimum(places, len(keys) - 1)
        same = (places < len(keys)) & (keys[found] >> 32 == requests.hash_number[waits])
        wait_status[waits] = np.where(same, statuses[found], NOT_ENDED)
    return replace(requests, wait_status=wait_status)


def _key(hashes: Integers, ms: Integers) -> Integers:
    return np.asarray((hashes << 32) | ms, dtype=np.int64)
