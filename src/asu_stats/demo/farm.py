"""Simulated builds: a queue in front of some workers, and a duration for each build."""

import heapq
import random
from dataclasses import dataclass
from typing import Final

from asu_stats.demo.crowd import PlannedRequest
from asu_stats.demo.troubles import BuildFailure, Troubles

TIMEOUT_SECONDS: Final = 600.0
# Mean seconds of a build.
_SLOW_TARGETS: Final = {
    "armsr/armv8": 118.0,
    "bcm27xx/bcm2711": 112.0,
    "bcm27xx/bcm2712": 110.0,
    "layerscape/armv8_64b": 135.0,
    "rockchip/armv8": 106.0,
    "x86/64": 125.0,
}
_MEAN_SECONDS: Final = (52.0, 88.0)
_SPREAD: Final = 0.26
_SECONDS_PER_PACKAGE: Final = 0.5

_PHASES: Final = (
    ("container_setup", 0.11),
    ("validate_revision", 0.05),
    ("validate_manifest", 0.12),
    ("building_image", 0.72),
)
# Fraction of the duration after which a build fails, by kind of failure.
_FAR: Final = {
    "validation": (0.08, 0.16),
    "network": (0.15, 0.8),
    "container": (0.02, 0.2),
    "storage": (0.8, 1.0),
    "build": (0.2, 0.45),
}
_LATE_TYPES: Final = frozenset({"image_too_big", "imagebuilder_failed", "build_output_missing"})


@dataclass(frozen=True, slots=True)
class Build:
    """One build; times in seconds."""

    number: int
    worker: str
    started: float
    finished: float
    failure: BuildFailure | None
    phases: dict[str, float]


class WorkerPool:
    """Workers that take the build that has waited longest."""

    def __init__(self, troubles: Troubles, *, workers: int, seed: int) -> None:
        self._chance = random.Random(f"farm {seed}")  # noqa: S311 - a simulation
        self._troubles = troubles
        self._seed = seed
        self._means: dict[str, float] = {}
        self._free = [(0.0, number) for number in range(1, workers + 1)]
        self._builds = 0

    def build(self, planned: PlannedRequest, at: float) -> Build:
        """Return the build of a request that is queued now, after all queued before."""
        chance = self._chance
        free, worker = self._free[0]
        started = round(max(free + 0.2, at + chance.uniform(0.2, 2.5)), 3)
        failure = self._troubles.failure_of(planned, started)
        seconds = self._seconds(planned)
        took = seconds if failure is None else self._until_failure(failure, seconds)
        finished = round(started + took, 3)
        heapq.heapreplace(self._free, (finished, worker))
        self._builds += 1
        return Build(
            number=self._builds,
            worker=f"w{worker}",
            started=started,
            finished=finished,
            failure=failure,
            phases=_phases(took, TIMEOUT_SECONDS if took == TIMEOUT_SECONDS else seconds),
        )

    def _seconds(self, planned: PlannedRequest) -> float:
        mean = self._mean_seconds(planned.target) + _SECONDS_PER_PACKAGE * len(planned.packages)
        return max(15.0, mean * self._chance.lognormvariate(-_SPREAD * _SPREAD / 2, _SPREAD))

    def _mean_seconds(self, target: str) -> float:
        if target not in self._means:
            of_target = random.Random(f"{target} {self._seed}")  # noqa: S311 - a simulation
            usual = of_target.uniform(*_MEAN_SECONDS)
            self._means[target] = _SLOW_TARGETS.get(target, usual)
        return self._means[target]

    def _until_failure(self, failure: BuildFailure, seconds: float) -> float:
        if failure.status == "timeout":
            return TIMEOUT_SECONDS
        if failure.status == "cancelled":
            return seconds * self._chance.uniform(0.1, 0.9)
        kind = failure.kind
        far = (0.85, 1.0) if kind.type in _LATE_TYPES else _FAR[kind.category]
        return max(1.0, seconds * self._chance.uniform(*far))


def _phases(took: float, whole: float) -> dict[str, float]:
    """Return the seconds of each phase of a build."""
    phases = {}
    for name, share in _PHASES:
        seconds = min(took, whole * share)
        phases[name] = round(seconds, 1)
        took -= seconds
        if took <= 0:
            break
    return phases
