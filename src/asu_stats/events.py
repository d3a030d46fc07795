"""The three events: the only input of the store (docs/reference/events.md).

An event is immutable and has an identity, (`source`, `id`): the same event sent again changes
nothing. `cloudevents` turns the wire format into these and back; `new` makes one in this process.
All of them pass the same checks, so what has become an event needs none any more.
"""

import os
import time as clock
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias

from asu_stats.text import clean_name, stored_name

UNKNOWN: Final = "unknown"
# The request hash of a rejected request that got none, and of history imported without hashes.
NO_HASH: Final = ""

Outcome: TypeAlias = Literal[
    "queued", "joined", "cache_hit", "cached_failure", "rejected", "unknown"
]
BuildStatus: TypeAlias = Literal["success", "failure", "timeout", "cancelled"]

OUTCOMES: Final[tuple[Outcome, ...]] = (
    "queued",
    "joined",
    "cache_hit",
    "cached_failure",
    "rejected",
)
# For imported history without a hash, all we know may be that it was not a cache hit.
IMPORTED_OUTCOMES: Final[tuple[Outcome, ...]] = (*OUTCOMES, UNKNOWN)
WAITING_OUTCOMES: Final = frozenset({"queued", "joined"})
STATUSES: Final[tuple[BuildStatus, ...]] = ("success", "failure", "timeout", "cancelled")
# Without hash it can't be known how these ended for the client.
UNTRACED_OUTCOMES: Final = frozenset({*WAITING_OUTCOMES, UNKNOWN})
FAILED_STATUSES: Final = frozenset({"failure", "timeout"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What a build event may repeat of its request; `None` where it does not say."""

    version: str | None = None
    target: str | None = None
    profile: str | None = None
    diff_packages: bool | None = None

    def __bool__(self) -> bool:
        return self != Names()


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestReceived:
    """One build request and its outcome. `time` (UTC) is when it was received.

    A rejected request may lack the hash (`NO_HASH`): some servers compute it after validation.
    Imported history may lack it too, and then also diff_packages. Optional fields are `None` where
    nothing was said; a `rootfs_size_mb` of 0 says that the request asked for no size.
    """

    source: str
    id: str
    time: datetime
    request_hash: str
    outcome: Outcome
    version: str
    target: str
    profile: str
    diff_packages: bool | None
    client: str = UNKNOWN
    client_version: str = UNKNOWN
    packages: tuple[str, ...] | None = None
    package_count: int | None = None
    has_custom_repos: bool | None = None
    has_defaults: bool | None = None
    rootfs_size_mb: int | None = None
    error_message: str | None = None
    error_category: str | None = None
    error_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildStarted:
    """A worker began a build. `time` (UTC) is when it began."""

    source: str
    id: str
    time: datetime
    build_id: str
    request_hash: str
    worker_id: str | None = None
    names: Names = Names()


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFinished:
    """A build ended. `time` (UTC) is when; `duration_seconds` counts where no start was seen.

    An imported one may lack the hash (`NO_HASH`): then it is all there is to know of the build, and
    its `build_id` is not used again.
    """

    source: str
    id: str
    time: datetime
    build_id: str
    request_hash: str
    status: BuildStatus
    worker_id: str | None = None
    duration_seconds: int | None = None
    phases: Mapping[str, float] | None = None
    error_message: str | None = None
    error_category: str | None = None
    error_type: str | None = None
    names: Names = Names()


Event: TypeAlias = RequestReceived | BuildStarted | BuildFinished

TYPE_NAMES: Final[Mapping[type[Event], str]] = {
    RequestReceived: "request.received",
    BuildStarted: "build.started",
    BuildFinished: "build.finished",
}


def split_client(text: str | None) -> tuple[str, str]:
    """Return (client, client version) of a client string such as `owut/2024.10.15`.

    Where one of the two is missing or empty it is `unknown`. Both are as names are stored: control
    characters become spaces before the text is split, so that those around a name go with them.
    """
    client, _, version = clean_name(text or "").partition("/")
    return stored_name(client.strip()) or UNKNOWN, stored_name(version.strip()) or UNKNOWN


def client_name(text: str) -> str:
    """Return the client of a client string, without its version."""
    return split_client(text)[0]


def new_id() -> str:
    """Return a fresh UUID version 7 (RFC 9562): unique, and later ones sort after earlier ones."""
    millis = clock.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    value = (millis & (1 << 48) - 1) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    return str(uuid.UUID(int=value & ~(0b11 << 62) | 0b10 << 62))
