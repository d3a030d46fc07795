"""The three events: the only input of the store (docs/reference/events.md).

An event is immutable and has an identity, (`source`, `id`): the same event sent again changes
nothing. `cloudevents` parses and writes the wire format; `new` creates an event in this process.
Both run the same checks, so an `Event` is always valid.
"""

import os
import re
import time as clock
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias

from asu_stats.text import clean_name, stored_name

UNKNOWN: Final = "unknown"
# Request hash of rejected requests and imported history without a hash.
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
# Without a hash the result of these requests is unknown.
UNTRACED_OUTCOMES: Final = frozenset({*WAITING_OUTCOMES, UNKNOWN})
FAILED_STATUSES: Final = frozenset({"failure", "timeout"})
_SHOWN_CHARACTERS: Final = 12
# A request hash has 64 digits; the beginning of a stored text can be cut off. Git hashes have 40.
_HASH_IN_TEXT: Final = re.compile(r"(?<![0-9A-Fa-f])[0-9A-Fa-f]{41,}")


def shown_hash(request_hash: str) -> str:
    """Return the part of a hash that everybody may see. The full hash opens its image."""
    return request_hash[:_SHOWN_CHARACTERS]


def shown_text(text: str, request_hash: str | None = None) -> str:
    """Return an error text with shortened hashes: many texts name the directory of their build."""
    if request_hash:
        text = text.replace(request_hash, shown_hash(request_hash))
    return _HASH_IN_TEXT.sub(lambda found: shown_hash(found[0]), text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Names that a build event may repeat from its request; `None` if it does not."""

    version: str | None = None
    target: str | None = None
    profile: str | None = None
    diff_packages: bool | None = None

    def __bool__(self) -> bool:
        return self != Names()


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestReceived:
    """One build request and its outcome, received at `time` (UTC).

    A rejected request may lack the hash (`NO_HASH`): some servers compute it after validation.
    Imported history may lack it too, and then also diff_packages. Optional fields are `None` if the
    event does not state them; a `rootfs_size_mb` of 0 means that the request asked for no size.
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
    """A worker started a build at `time` (UTC)."""

    source: str
    id: str
    time: datetime
    build_id: str
    request_hash: str
    worker_id: str | None = None
    names: Names = Names()


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFinished:
    """A build ended at `time` (UTC). `duration_seconds` is used if no start was received.

    An imported build may lack the hash (`NO_HASH`). Then no other event is about the same build,
    and its `build_id` is unique.
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

    A missing or empty part is `unknown`. Both are normalised like stored names: control
    characters become spaces before the text is split, and white space around a name is removed.
    """
    client, _, version = clean_name(text or "").partition("/")
    return stored_name(client.strip()) or UNKNOWN, stored_name(version.strip()) or UNKNOWN


def client_name(text: str) -> str:
    """Return the client of a client string, without its version."""
    return split_client(text)[0]


def new_id() -> str:
    """Return a new UUID version 7 (RFC 9562): unique, and later ones sort after earlier ones."""
    millis = f"{clock.time_ns() // 1_000_000:012x}"
    random = os.urandom(10).hex()
    variant = "89ab"[int(random[3], 16) & 3]
    return f"{millis[:8]}-{millis[8:]}-7{random[:3]}-{variant}{random[4:7]}-{random[7:19]}"
