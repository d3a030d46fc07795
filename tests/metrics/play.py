"""What Prometheus sees of a server, minute by minute, as `promtool test rules` reads it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from prometheus_client.parser import text_string_to_metric_families as families

from asu_stats.metrics import replica
from asu_stats.store.database.reading import State
from tests.support import CloudEvent, Stats

RULES: Final = Path(__file__).parents[2] / "deploy" / "prometheus" / "asu-stats.rules.yml"
USED: Final = set(re.findall(r"\basu_[a-z0-9_]+", RULES.read_text()))

Series = dict[str, float]


@dataclass
class Play:
    """A server, and what Prometheus saw of it, by minute; `None` where it did not answer."""

    stats: Stats
    begun: datetime
    seen: dict[int, Series | None] = field(default_factory=dict)
    replica: State | None = None
    conflicts = 0

    @property
    def state(self) -> State:
        assert self.replica
        return self.replica

    @property
    def now(self) -> datetime:
        return self.stats.now

    def go_to(self, minute: int) -> None:
        """Let time pass, and let Prometheus scrape then."""
        self.stats.now = self.begun + timedelta(minutes=minute)
        self.scrape(minute)

    def scrape(self, minute: int) -> None:
        self.seen[minute] = dict(self._samples())

    def down(self, minute: int) -> None:
        self.seen[minute] = None

    def record(self, *events: CloudEvent | list[CloudEvent]) -> None:
        self.stats.record(*events)

    def _samples(self) -> Iterator[tuple[str, float]]:
        answer = self.stats.client.get("/metrics")
        assert answer.status_code == 200
        # A server on SQLite has no replica.
        of_the_replica = replica.of_replica(self) if self.replica else ()
        for family in (*families(answer.text), *of_the_replica):
            for sample in family.samples:
                if sample.name not in USED:
                    continue
                labels = {**sample.labels, "instance": "one", "job": "asu-stats"}
                pairs = ",".join(f"{name}={json.dumps(of)}" for name, of in labels.items())
                yield f"{sample.name}{{{pairs}}}", sample.value

    @property
    def before(self) -> int:
        """How many minutes before the play the first time lies that is told of."""
        times = [
            value
            for series in self.seen.values()
            for name, value in (series or {}).items()
            if _is_time(name) and value
        ]
        return (
            int(max(0.0, self.begun.timestamp() - min(times, default=0)) / 60 + 2) if times else 2
        )

    def input_series(self, minutes: int) -> list[dict[str, str]]:
        """Return the series as promtool reads them, a value a minute.

        There time begins with 0, which is `before` the play.
        """
        origin = self.begun.timestamp() - 60 * self.before
        shown: list[Series | None] = []
        for minute in range(minutes + 1):
            shown.append(self.seen.get(minute, shown[-1] if shown else None))
        names = sorted({name for series in shown if series for name in series})

        def value(name: str, series: Series | None) -> str:
            if series is None or name not in series:
                return "_"
            moved = origin if _is_time(name) and series[name] else 0
            return repr(series[name] - moved)

        up = 'up{instance="one",job="asu-stats"}'
        found = {name: [value(name, series) for series in shown] for name in names}
        found[up] = ["0" if series is None else "1" for series in shown]
        return [
            {"series": name, "values": " ".join([f"_x{self.before}", *values])}
            for name, values in found.items()
        ]


def _is_time(name: str) -> bool:
    return name.partition("{")[0].endswith("_timestamp_seconds")
