"""A monitor with a controlled clock: events in, alerts and messages out."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from asu_stats.monitor.schema import alert_messages
from asu_stats.monitor.watch import Watch
from asu_stats.service.jobs import watch_of
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.details.queue_samples import QueueState
from tests.support import NOW, CloudEvent, Stats, build, request

VERSIONS = [f"24.10.{number}" for number in range(20)]
TARGETS = ["ath79/generic", "mediatek/filogic", "ramips/mt7621", "x86/64"]
CHANNEL = "somewhere"


@dataclass
class Play:
    """A server whose clock moves when it is told to, minute by minute, as its job would."""

    stats: Stats
    now: datetime = NOW
    queue: QueueState = field(default_factory=lambda: QueueState(0, 0, None))
    chance: random.Random = field(default_factory=lambda: random.Random(7))
    channels: Sequence[str] = (CHANNEL,)
    hashes: Iterator[int] = field(default_factory=lambda: iter(range(10**9)))

    def __post_init__(self) -> None:
        watch = watch_of(self.stats.settings, self.stats.engine)
        self.watch: Watch = replace(watch, channels=self.channels, queue=lambda: self.queue)

    def go(self, minutes: float, *, step: float = 1) -> None:
        """Let time pass; the rules are evaluated every `step` minutes."""
        end = self.now + timedelta(minutes=minutes)
        while self.now < end:
            self.now += timedelta(minutes=step)
            self.stats.now = self.now
            self.watch.run(self.now)

    def record(self, *events: CloudEvent | list[CloudEvent]) -> None:
        self.stats.now = self.now
        self.stats.record(*events)

    def builds(
        self,
        count: int,
        *,
        failed: int = 0,
        ago: float = 1,
        seconds: float = 60,
        hits: int = 1,
        names: Mapping[str, str] | None = None,
        **more: str,
    ) -> None:
        """Record builds, each of another request, `ago` minutes ago; `failed` of them failed.

        Versions and targets are drawn where they are not given. As many times as `hits` says the
        image is asked for again. `HASH` in an error message stands for the hash of the request.
        """
        given = {**(names or {}), **more}
        kept = {key: given.pop(key) for key in ("client",) if key in given}
        error: dict[str, Any] = {
            key: given.pop(key) for key in ("error_type", "error_message") if key in given
        }
        events: list[CloudEvent] = []
        time, choice = self.now - timedelta(minutes=ago), self.chance.choice
        for number in range(count):
            name = f"{next(self.hashes):040x}"
            taken = {"version": choice(VERSIONS), "target": choice(TARGETS)}
            asked: dict[str, Any] = {**taken, **given, **kept}
            events.append(request(name, time - timedelta(seconds=seconds), **asked))
            fails = number * failed % count < failed
            said = {key: text.replace("HASH", name) for key, text in error.items() if fails}
            status = "failure" if fails else "success"
            events += build(name, status, end=time, seconds=seconds, **said)
            again = {**asked, "outcome": "cache_hit"}
            events += [request(name, time, **again) for _ in range(hits)]
        self.record(events)

    def requests(self, count: int, outcome: str, *, ago: float = 1) -> None:
        time = self.now - timedelta(minutes=ago)
        names = (f"{next(self.hashes):040x}" for _ in range(count))
        self.record([request(name, time, outcome=outcome) for name in names])

    def alerts(self) -> Any:
        return self.stats.get("alerts")

    def state(self, rule: str) -> str:
        (row,) = [row for row in self.alerts()["rules"] if row["rule"] == rule]
        return str(row["state"])

    def firing(self) -> set[str]:
        return {row["rule"] for row in self.alerts()["rules"] if row["state"] == "firing"}

    def messages(self) -> list[dict[str, Any]]:
        """Return what was told, in order."""
        with read_snapshot(self.stats.engine) as connection:
            found = select(alert_messages.c.body).order_by(alert_messages.c.id)
            return list(connection.execute(found).scalars())

    def told(self) -> list[tuple[str, str]]:
        """Return event and title of what was told."""
        return [(body["type"], body["data"]["title"]) for body in self.messages()]
