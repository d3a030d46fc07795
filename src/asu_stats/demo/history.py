"""A simulated history: what a busy build server would have recorded until now."""

import hashlib
import heapq
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from asu_stats.demo import popularity
from asu_stats.demo import world as worlds
from asu_stats.demo.crowd import Crowd, PlannedRequest, make
from asu_stats.demo.farm import Build, WorkerPool
from asu_stats.demo.troubles import Troubles, refused_names
from asu_stats.demo.writer import Writer
from asu_stats.events import Event, Outcome
from asu_stats.times import aware, midnight

SOURCE: Final = "https://demo.asu-stats.example"

# Defaults of the build service.
_IMAGE_SECONDS: Final = 7 * 86400.0
_FAILURE_SECONDS: Final = 3600.0

# For the number of workers: enough for an evening, not for every peak.
_BUILDS_PER_REQUEST: Final = 0.45
_BUILD_SECONDS: Final = 85
_WORKERS_PER_BUSY: Final = 2.6

_REFUSED: Final = 0.022
_IMPATIENT: Final = 0.05
_IMPATIENT_AT_RELEASE: Final = 0.3
_RELEASE_DAYS: Final = 2
_TRY_AGAIN: Final = 0.4
_OVERLOAD_DRAWS: Final = 8
_LAST_SECONDS: Final = 30.0
_ONGOING_SECONDS: Final = 2.2 * 3600
_HOURS_AFTER: Final = 30  # until rules over a day have recovered from an incident
_HOUR: Final = 3600
_DAY: Final = 86400


@dataclass(slots=True)
class _Image:
    """State of a request hash: end and result of its newest build."""

    finished: float
    status: str

    def outcome(self, at: float) -> Outcome | None:
        """Return the outcome of a request for it, `None` if it has to be built."""
        if at <= self.finished:
            return "joined"
        age = at - self.finished
        if self.status == "success":
            return "cache_hit" if age < _IMAGE_SECONDS else None
        if self.status == "cancelled":
            return None
        return "cached_failure" if age < _FAILURE_SECONDS else None


def history(
    *,
    days: int,
    requests: int,
    now: datetime,
    seed: int = 1,
    source: str = SOURCE,
    incidents: bool = True,
    ongoing: bool = False,
) -> Iterator[Event]:
    """Yield the events of about `requests` accepted requests in the `days` UTC days up to `now`.

    Events are sorted by time; none is later than `now`. Some builds have not ended, and some not
    started. The same arguments give the same events with the same identities. Memory does not grow
    with the number of days: it holds a week of request hashes. Without `incidents` there are only
    the usual failures. If `ongoing`, an outage began two hours ago and goes on.
    """
    play = _History(
        days, requests, now.astimezone(UTC), seed, source, incidents=incidents, ongoing=ongoing
    )
    return play.events()


def incident_times(*, days: int, now: datetime) -> list[datetime]:
    """Return times at which alert rules see the latest incidents begin and end."""
    first = now.date() - timedelta(days=days - 1)
    troubles = Troubles(worlds.load(), first=first, days=days, seed=1)
    begin = aware(midnight(first))
    found = [now - timedelta(seconds=_ONGOING_SECONDS * part / 6) for part in range(7)]
    for incidents in (troubles.breakages, troubles.outages):
        for latest in incidents[-1:]:
            hours = int((latest.end - latest.start) / _HOUR) + _HOURS_AFTER
            start = begin + timedelta(seconds=latest.start)
            found += [start + timedelta(hours=hour) for hour in range(0, hours, 2)]
    return sorted(moment for moment in found if moment <= now)


class _History:
    """State of the simulation: repeated requests, existing images, pending events."""

    def __init__(
        self,
        days: int,
        requests: int,
        now: datetime,
        seed: int,
        source: str,
        *,
        incidents: bool,
        ongoing: bool,
    ) -> None:
        self._world = worlds.load()
        self._first: date = now.date() - timedelta(days=days - 1)
        first = aware(midnight(self._first))
        self._end = (now - first).total_seconds()
        self._last_seconds = min(_LAST_SECONDS, self._end / 20)
        self._days, self._requests = days, requests
        self._chance = random.Random(f"history {seed}")  # noqa: S311 - a simulation
        per_day = requests * _DAY / max(self._end, _HOUR)
        self._crowd = Crowd(self._world, seed=seed, remembered=round(per_day * 1.5))
        self._troubles = Troubles(
            self._world,
            first=self._first,
            days=days if incidents else 0,
            seed=seed,
            ongoing_since=self._end - _ONGOING_SECONDS if ongoing else None,
        )
        busy = per_day * _BUILDS_PER_REQUEST * _BUILD_SECONDS / _DAY
        self._workers = max(2, math.ceil(_WORKERS_PER_BUSY * busy))
        self._farm = WorkerPool(self._troubles, workers=self._workers, seed=seed)
        key = hashlib.sha256(f"{seed} {now.isoformat()} {days} {requests}".encode()).hexdigest()[:8]
        self._writer = Writer(source, key, first)
        self._images: dict[str, _Image] = {}
        self._coming: list[tuple[float, int, Event]] = []
        self._returning: list[tuple[float, int, PlannedRequest]] = []
        self._numbers = 0

    def events(self) -> Iterator[Event]:
        """Yield all events until the end."""
        ahead = 0
        for at in self._moments():
            # A repeated request has its own time, and replaces the next new request.
            while self._returning and self._returning[0][0] <= at:
                due, _, planned = heapq.heappop(self._returning)
                yield from self._until(due)
                self._receive(planned, due)
                ahead += 1
            if ahead:
                ahead -= 1
                continue
            yield from self._until(at)
            self._receive(self._plan(at), at)
        yield from self._until(self._end)

    def _until(self, at: float) -> Iterator[Event]:
        """Yield the events up to a time."""
        coming = self._coming
        while coming and coming[0][0] <= at:
            yield heapq.heappop(coming)[2]

    def _moments(self) -> Iterator[float]:
        """Yield the times of requests in order; the last few are close to the end."""
        last = min(self._workers + 4, self._requests // 50)
        usual = self._requests - last
        hours = list(self._hours())
        total, done, given = sum(weight for _, _, weight in hours), 0.0, 0
        for start, seconds, weight in hours:
            done += weight
            due = round(usual * done / total)
            moments = [start + seconds * self._chance.random() for _ in range(due - given)]
            given = due
            if start + seconds >= self._end:
                recent = min(self._last_seconds, seconds)
                moments += [self._end - recent * self._chance.random() for _ in range(last)]
            self._forget(start)
            yield from sorted(math.floor(moment * 1000) / 1000 for moment in moments)

    def _hours(self) -> Iterator[tuple[float, float, float]]:
        """Yield start, length and demand of every hour until the end."""
        for number in range(self._days):
            demand = popularity.hourly_demand(self._world, self._day(number * _DAY))
            # Some days are busier than others.
            mood = self._chance.uniform(0.92, 1.08)
            for hour, level in enumerate(demand):
                start = float(number * _DAY + hour * _HOUR)
                seconds = min(_HOUR, self._end - start)
                if seconds > 0 or self._end == 0:
                    luck = self._chance.uniform(0.85, 1.15)
                    yield start, seconds, mood * luck * level * max(seconds, 1e-3)
                if seconds <= _HOUR and start + seconds >= self._end:
                    return

    def _day(self, at: float) -> date:
        return self._first + timedelta(days=int(at // _DAY))

    def _plan(self, at: float) -> PlannedRequest:
        day = self._day(at)
        # New requests at the end, so that builds are running when the history ends.
        if at > self._end - self._last_seconds:
            return self._crowd.plan_new(day)
        return self._crowd.plan(day)

    def _forget(self, at: float) -> None:
        """Drop images that are no longer requested."""
        if at % _DAY == 0:
            self._images = {
                request_hash: image
                for request_hash, image in self._images.items()
                if image.finished + _IMAGE_SECONDS > at
            }

    # Requests ---------------------------------------------------------------------------------

    def _receive(self, planned: PlannedRequest, at: float) -> None:
        """Simulate an accepted request, and sometimes a rejected one before it."""
        if self._chance.random() < _REFUSED:
            self._refuse(self._crowd.plan_new(self._day(at)), at)
        outcome = self._outcome(planned, at)
        for _ in range(_OVERLOAD_DRAWS):
            overload = self._troubles.overload(at) if outcome == "queued" else None
            if overload is None:
                break
            self._turn_away(planned, at, overload)
            planned = self._crowd.plan(self._day(at))
            outcome = self._outcome(planned, at)
        self._add(at, self._writer.request(planned, at, outcome))
        if outcome == "queued":
            self._build(planned, at)
        elif outcome == "cached_failure" and self._chance.random() < _TRY_AGAIN / 2:
            self._return(planned, at + self._chance.uniform(30, 1800))

    def _outcome(self, planned: PlannedRequest, at: float) -> Outcome:
        image = self._images.get(planned.request_hash)
        return (image and image.outcome(at)) or "queued"

    def _build(self, planned: PlannedRequest, at: float) -> None:
        build = self._farm.build(planned, at)
        status = build.failure.status if build.failure else "success"
        self._images[planned.request_hash] = _Image(build.finished, status)
        self._add(build.started, self._writer.started(planned, build))
        self._add(build.finished, self._writer.finished(planned, build))
        self._come_back(planned, at, build)

    def _come_back(self, planned: PlannedRequest, at: float, build: Build) -> None:
        """Schedule repeated requests: users that do not wait, and retries after a failure."""
        impatient = _IMPATIENT_AT_RELEASE if self._is_fresh(planned.version, at) else _IMPATIENT
        if self._chance.random() < impatient:
            self._return(planned, self._chance.uniform(at, build.finished))
        if build.failure and self._chance.random() < _TRY_AGAIN:
            self._return(planned, build.finished + self._chance.uniform(20, 2400))

    def _is_fresh(self, version: str, at: float) -> bool:
        day = self._day(at)
        return any(
            each.name == version and each.kind == "release" and each.age_days(day) < _RELEASE_DAYS
            for each in self._world.versions
        )

    def _refuse(self, planned: PlannedRequest, at: float) -> None:
        text = self._troubles.refusal()
        names = {
            "version": planned.version,
            "target": planned.target,
            "profile": planned.profile,
            **refused_names(text),
        }
        refused = make(
            client=planned.client,
            version=names["version"],
            target=names["target"],
            profile=names["profile"],
            diff_packages=planned.diff_packages,
            names=planned.packages,
            rootfs_size_mb=planned.rootfs_size_mb,
        )
        self._add(at, self._writer.request(refused, at, "rejected", error_message=text))

    def _turn_away(self, planned: PlannedRequest, at: float, overload: str) -> None:
        """Reject a request because the queue is full; LuCI repeats it every 5 seconds."""
        chance = self._chance
        again, pause = (
            (chance.randint(2, 20), 5.0) if planned.client.startswith("luci/") else (0, 0.0)
        )
        for number in range(again + 1):
            later = round(at + number * pause, 3)
            refused = self._writer.request(planned, later, "rejected", error_message=overload)
            self._add(later, refused)

    def _return(self, planned: PlannedRequest, at: float) -> None:
        self._numbers += 1
        heapq.heappush(self._returning, (round(at, 3), self._numbers, planned))

    def _add(self, at: float, event: Event) -> None:
        self._numbers += 1
        heapq.heappush(self._coming, (at, self._numbers, event))
