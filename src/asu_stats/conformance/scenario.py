"""The known history of a conformance run: every outcome and status, midnights, late events.

For the same first day it is always the same, with the same event ids, so a second run sends only
duplicates.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from itertools import count
from typing import Any, Final

from asu_stats.conformance.history import Event
from asu_stats.events import FAILED_STATUSES, OUTCOMES, STATUSES

DAYS: Final = 6
CLIENTS: Final = ("luci/25.1", "luci/25.2", "owut/2026.1", " auc / 3 ", "", "/5", "ofs/v5", None)
_DEVICES: Final = (
    ("23.05.5", "ath79/generic", "tplink,archer-c7-v5"),
    ("24.10.1", "mediatek/filogic", "glinet_gl-mt6000"),
    ("24.10.2", "mediatek/filogic", "glinet_gl-mt6000"),
    ("24.10.2", "x86/64", "generic"),
    ("SNAPSHOT", "x86/64", "generic"),
)
_HASHES: Final = 15
_ERRORS: Final = (("build", "package_not_found"), ("build", "image_too_big"), ("network", "tls"))
_PACKAGES: Final[tuple[list[str] | None, ...]] = (
    None,
    [],
    ["luci"],
    ["luci", "-dnsmasq"],
    ["tcpdump", "luci", "+luci"],
)
_MICROSECOND: Final = timedelta(microseconds=1)
_SECOND: Final = timedelta(seconds=1)


@dataclass(slots=True)
class Scenario:
    """A history of `DAYS` UTC days from `first` on; `late` events are sent after `prompt` ones."""

    first: date
    prompt: list[Event] = field(default_factory=list)
    late: list[Event] = field(default_factory=list)

    @property
    def last(self) -> date:
        """The last day with events."""
        return self.first + timedelta(days=DAYS - 1)

    @property
    def source(self) -> str:
        """The source of the events, unique for the first day."""
        return f"urn:asu-stats:conformance:{self.first}"

    @property
    def events(self) -> list[Event]:
        return self.prompt + self.late


def scenario(first: date) -> Scenario:
    """Create the history that starts on `first`."""
    history = Scenario(first)
    rng = random.Random(7)  # noqa: S311 - the same in every run
    numbers = count(1)
    midnight = datetime.combine(first, time(), UTC)
    for kind, moment, data in (*_edge_cases(midnight), *_random_events(midnight, rng)):
        zone = timezone(timedelta(minutes=rng.choice((0, 0, 60, -480, 840))))
        event = {
            "specversion": "1.0",
            "id": f"{next(numbers)}",
            "source": history.source,
            "type": f"asu.{kind}",
            "time": moment.astimezone(zone).isoformat(),
            "data": data,
        }
        (history.late if rng.random() < 0.3 else history.prompt).append(event)
    rng.shuffle(history.prompt)
    rng.shuffle(history.late)
    return history


def _request(number: int, outcome: str, client: str | None, **more: Any) -> dict[str, Any]:
    version, target, profile = _DEVICES[number % len(_DEVICES)]
    data: dict[str, Any] = {
        "request_hash": f"conformance-{number}",
        "outcome": outcome,
        "version": version,
        "target": target,
        "profile": profile,
        "diff_packages": number % 2 == 0,
        **more,
    }
    if client is not None:
        data["client"] = client
    if outcome == "rejected":
        data["error_category"], data["error_type"] = "validation", "unsupported_version"
    return data


_Raw = tuple[str, datetime, dict[str, Any]]


def _build(
    number: int, build: str, start: datetime | None, end: datetime | None, status: str, **more: Any
) -> Iterator[_Raw]:
    ids = {"request_hash": f"conformance-{number}", "build_id": build}
    if start:
        yield "build.started", start, dict(ids)
    if end:
        data = {**ids, "status": status, **more}
        if status in FAILED_STATUSES:
            data["error_category"], data["error_type"] = _ERRORS[number % len(_ERRORS)]
        yield "build.finished", end, data


def _edge_cases(midnight: datetime) -> Iterator[_Raw]:
    """Yield events that servers are known to have counted wrong."""
    day = timedelta(days=1)
    second = midnight + day
    # One request of each outcome, and the end of a build for each status.
    for number, outcome in enumerate(OUTCOMES):
        yield (
            "request.received",
            second + timedelta(hours=number),
            _request(number, outcome, "luci"),
        )
    for number, status in enumerate(STATUSES):
        end = second + timedelta(hours=6 + number)
        yield from _build(number, f"s{number}", end - 61 * _SECOND, end, status)
    # The last and the first microsecond of a day, and a build across midnight.
    third = second + day
    for number, moment in enumerate((third - _MICROSECOND, third, third + _MICROSECOND)):
        yield "request.received", moment, _request(20 + number, "queued", "owut/1")
        yield from _build(20 + number, f"m{number}", moment - 90 * _SECOND, moment, "success")
    yield from _build(23, "over", third - 600 * _SECOND, third + 600 * _SECOND, "success")
    # Durations around half a second and of 0, and builds without start: with and without duration.
    noon = third + timedelta(hours=12)
    for number, micros in enumerate((499_999, 500_000, 1_500_000, 0)):
        end = noon + timedelta(minutes=number)
        start = end - timedelta(microseconds=micros)
        yield from _build(24, f"half{number}", start, end, "success", duration_seconds=999)
    yield from _build(24, "told", None, noon + timedelta(hours=1), "success", duration_seconds=45)
    yield from _build(24, "untold", None, noon + timedelta(hours=2), "success")
    # Several requests for one build, one of them after its end, and a build that does not end.
    fourth = third + day
    for minutes, outcome in ((0, "queued"), (1, "joined"), (2, "joined"), (9, "joined")):
        moment = fourth + timedelta(minutes=minutes)
        yield "request.received", moment, _request(25, outcome, "ofs/v5")
    yield from _build(25, "shared", fourth + 30 * _SECOND, fourth + 300 * _SECOND, "failure")
    yield from _build(26, "endless", fourth, None, "")
    yield "request.received", fourth, _request(26, "queued", "auc/1")
    # A second end is ignored. A build without a request, with names of its own and without.
    yield from _build(27, "twice", fourth + 60 * _SECOND, fourth + 120 * _SECOND, "success")
    again = {"request_hash": "conformance-27", "build_id": "twice", "status": "failure"}
    again |= {"error_category": "build", "error_type": "image_too_big"}
    yield "build.finished", fourth + 180 * _SECOND, again
    names = {"version": "22.03.7", "target": "ramips/mt7621", "profile": "a,b"}
    yield from _build(28, "own", fourth, fourth + 33 * _SECOND, "success", **names)
    yield from _build(29, "nameless", fourth, fourth + 34 * _SECOND, "timeout")


def _random_events(midnight: datetime, rng: random.Random) -> Iterator[_Raw]:
    for _ in range(120):
        moment = midnight + timedelta(microseconds=rng.randrange(DAYS * 86_400_000_000))
        number, client = rng.randrange(_HASHES), rng.choice(CLIENTS)
        more: dict[str, Any] = {}
        if (packages := rng.choice(_PACKAGES)) is not None:
            more["packages"] = packages
        for name, values in (
            ("has_custom_repos", (True, False)),
            ("has_defaults", (True, False)),
            ("rootfs_size_mb", (None, 0, 64, 256, 257)),
        ):
            if rng.random() < 0.6:
                more[name] = rng.choice(values)
        yield "request.received", moment, _request(number, rng.choice(OUTCOMES), client, **more)
    for build in range(60):
        end = midnight + timedelta(microseconds=rng.randrange(3_600_000_000, DAYS * 86_400_000_000))
        start = end - timedelta(microseconds=rng.randrange(1_000_000, 600_000_000))
        completeness = rng.random()
        yield from _build(
            rng.randrange(_HASHES),
            f"r{build}",
            start if completeness < 0.9 else None,
            end if completeness > 0.05 else None,
            rng.choice(STATUSES),
        )
