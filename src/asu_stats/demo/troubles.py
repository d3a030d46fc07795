"""Simulated failures: the usual ones, and incidents with a beginning and an end."""

import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from typing import Final

from asu_stats.demo.crowd import PlannedRequest, WeightedChoice
from asu_stats.demo.popularity import version_shares
from asu_stats.demo.world import World, read_csv
from asu_stats.error_types import ErrorKind, classify
from asu_stats.events import FAILED_STATUSES, BuildStatus

_FAILURE_RATE: Final = 0.047
_CANCEL_RATE: Final = 0.004
# Shares of the usual failures; types that are not listed are rare.
_TYPE_WEIGHTS: Final = {
    "package_not_found": 30,
    "package_conflict": 20,
    "image_too_big": 18,
    "package_unsatisfiable": 9,
    "build_timeout": 5,
    "download_failed": 5,
    "imagebuilder_failed": 5,
    "manifest_mismatch": 4,
    "version_mismatch": 4,
    "signature_failed": 2,
}
_REFUSAL_WEIGHTS: Final = {
    "unsupported_version": 30,
    "unsupported_profile": 32,
    "unsupported_target": 22,
    "repository_not_allowed": 10,
    "defaults_not_allowed": 5,
    "unsupported_distro": 1,
}
_OUTAGE_WEIGHTS: Final = {
    "container_engine_down": 8,
    "build_timeout": 3,
    "container_lost": 3,
    "worker_lost": 2,
    "container_setup_failed": 1,
}

INCIDENT_EVERY_DAYS: Final = 30
_SHORTEST_DAYS: Final = 4
_BREAKAGE_DAYS_AGO: Final = 12
_OUTAGE_DAYS_AGO: Final = 5
_BREAKAGE_RATE: Final = 0.92
_OUTAGE_RATE: Final = 0.85
BROKEN_PACKAGE: Final = "luci-app-attendedsysupgrade"
_HOUR: Final = 3600.0
_DAY: Final = 24 * _HOUR

# The name in a rejection.
_REFUSED: Final = (
    ("version", re.compile(r"Unsupported (?:version|branch): (\S+)")),
    ("target", re.compile(r"Unsupported target: ([^\s/]+/[^\s/.]+)")),
    ("profile", re.compile(r"Unsupported profile: ([^\s.]+)")),
)


@dataclass(frozen=True, slots=True)
class BuildFailure:
    """How a build fails."""

    status: BuildStatus
    text: str

    @property
    def kind(self) -> ErrorKind:
        """Category and type of the error."""
        return kind_of_text(self.text, self.status)


@dataclass(frozen=True, slots=True)
class Breakage:
    """A version lacks a package until it is repaired; times in seconds."""

    version: str
    package: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Outage:
    """The container engine is down; while `full` the queue is full; times in seconds."""

    start: float
    end: float

    def is_full_at(self, at: float) -> bool:
        return self.start + 1.2 * _HOUR <= at < self.start + 2 * _HOUR


@cache
def kind_of_text(text: str, status: str) -> ErrorKind:
    """Return category and type of an error text; there are few texts, so results are cached."""
    return classify(text, status=status)


class Troubles:
    """Decides which builds fail and which requests are rejected. Times are seconds from `first`.

    With `ongoing_since`, an outage begins then and does not end.
    """

    def __init__(
        self,
        world: World,
        *,
        first: date,
        days: int,
        seed: int,
        ongoing_since: float | None = None,
    ) -> None:
        self._chance = random.Random(f"troubles {seed}")  # noqa: S311 - a simulation
        rows = [
            (row["text"], row["status"])
            for row in read_csv("errors.csv")
            if kind_of_text(row["text"], row["status"]).type != "invalid_request"
        ]
        texts = {text: kind_of_text(text, status).type for text, status in rows}
        failures: list[BuildFailure] = [
            BuildFailure("timeout" if status == "timeout" else "failure", text)
            for text, status in rows
            if status in FAILED_STATUSES
        ]
        self._failures = _by_type(failures, _TYPE_WEIGHTS, rare=1)
        self._outage_failures = _by_type(failures, _OUTAGE_WEIGHTS, rare=0)
        self._cancelled = [
            BuildFailure("cancelled", text) for text, status in rows if status == "cancelled"
        ]
        refusals = [text for text, status in rows if status == "rejected"]
        self._overloads = [text for text in refusals if texts[text] == "queue_full"]
        usual = [text for text in refusals if texts[text] in _REFUSAL_WEIGHTS]
        of_type = [texts[text] for text in usual]
        self._refusals = WeightedChoice(
            usual, [_REFUSAL_WEIGHTS[each] / of_type.count(each) for each in of_type]
        )
        self.breakages = _breakages(world, first, days)
        self.outages = _outages(days)
        if ongoing_since is not None:
            self.outages += (Outage(ongoing_since, math.inf),)

    def failure_of(self, planned: PlannedRequest, started: float) -> BuildFailure | None:
        """Return how a build fails, `None` if it succeeds."""
        chance = self._chance
        if any(each.start <= started < each.end for each in self.outages) and (
            chance.random() < _OUTAGE_RATE
        ):
            return self._outage_failures.draw(chance)
        for breakage in self.breakages:
            if (
                breakage.start <= started < breakage.end
                and planned.version == breakage.version
                and breakage.package in planned.packages
                and chance.random() < _BREAKAGE_RATE
            ):
                return BuildFailure("failure", _missing(breakage))
        luck = chance.random()
        if luck < _FAILURE_RATE:
            return self._failures.draw(chance)
        return chance.choice(self._cancelled) if luck < _FAILURE_RATE + _CANCEL_RATE else None

    def overload(self, at: float) -> str | None:
        """Return the error for a request for a new build while the queue is full, else `None`."""
        if any(each.is_full_at(at) for each in self.outages):
            return self._chance.choice(self._overloads)
        return None

    def refusal(self) -> str:
        """Return the text of a usual rejection."""
        return self._refusals.draw(self._chance)


def refused_names(text: str) -> dict[str, str]:
    """Return version, target or profile that a rejection names, as the service would store it."""
    found = {}
    for name, pattern in _REFUSED:
        if match := pattern.match(text):
            found[name] = match[1].replace(",", "_")
    return found


def _by_type(
    failures: Sequence[BuildFailure], weights: dict[str, int], *, rare: float
) -> WeightedChoice[BuildFailure]:
    """Return a choice in which each type has its weight, divided among its texts."""
    types = [failure.kind.type for failure in failures]
    return WeightedChoice(failures, [weights.get(each, rare) / types.count(each) for each in types])


def _days_of_incidents(days: int, ago: int) -> list[int]:
    """Return the days of an incident that happens every thirty days, counted from the first.

    Short histories do not contain it: there would be no time before and after.
    """
    if days <= ago:
        return [days // 2] if days >= _SHORTEST_DAYS else []
    return sorted(range(days - 1 - ago, -1, -INCIDENT_EVERY_DAYS))


def _breakages(world: World, first: date, days: int) -> tuple[Breakage, ...]:
    found = []
    for number in _days_of_incidents(days, _BREAKAGE_DAYS_AGO):
        shares = version_shares(world, first + timedelta(days=number))
        start = number * _DAY + 9.4 * _HOUR
        end = start + min(2.4, days / 8) * _DAY
        found.append(
            Breakage(max(shares, key=lambda name: shares[name]), BROKEN_PACKAGE, start, end)
        )
    return tuple(found)


def _outages(days: int) -> tuple[Outage, ...]:
    starts = [
        number * _DAY + 13.2 * _HOUR  # an afternoon in Europe
        for number in _days_of_incidents(days, min(_OUTAGE_DAYS_AGO, max(1, days // 4)))
    ]
    return tuple(Outage(start, start + 4.6 * _HOUR) for start in starts)


def _missing(breakage: Breakage) -> str:
    """Return the text of a missing package, as each package manager has it."""
    name = breakage.package
    if breakage.version < "25":
        return f"Impossible package selection: missing ({name})"
    return (
        "Building package index...\nERROR: unable to select packages:\n"
        f"  {name} (no such package):\n    required by: world[{name}]\n"
        "make[2]: *** [Makefile:225: package_install] Error 1\n"
    )
