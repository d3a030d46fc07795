"""Event identities: an event that is sent again changes nothing.

The key of an event consists of source and id, and is short because it is kept forever: a 64-bit
digest of the source, then the id itself if it is a UUID (16 bytes; version 7 ids of a sender are
close together in the index), else a 128-bit digest. A digest of the content tells a repetition from
a contradiction.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import Connection, select

from asu_stats.events import TYPE_NAMES, BuildFinished, BuildStarted, Event, RequestReceived
from asu_stats.store.database import statements
from asu_stats.store.database.schema import event_counts, event_identities
from asu_stats.store.details.live_counts import Tally

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
# The parts of an event that figures depend on. A different value later is a conflict.
_CONTENT: Final[dict[type[Event], Callable[[Event], tuple[Any, ...]]]] = {
    RequestReceived: attrgetter(
        *("request_hash", "outcome", "version", "target", "profile", "diff_packages", "client"),
        *("client_version", "error_category", "error_type", "package_count"),
    ),
    BuildStarted: attrgetter("request_hash", "build_id", "names"),
    BuildFinished: attrgetter(
        *("request_hash", "build_id", "status", "duration_seconds", "error_category", "error_type"),
        "names",
    ),
}


@lru_cache(maxsize=1024)
def _source_digest(source: str) -> bytes:
    return blake2b(source.encode(), digest_size=8).digest()


def identity(event: Event) -> bytes:
    """Return the key of an event: equal exactly for equal (`source`, `id`)."""
    prefix = _source_digest(event.source)
    if _UUID.fullmatch(event.id):
        return prefix + b"u" + bytes.fromhex(event.id.replace("-", ""))
    return prefix + b"d" + blake2b(event.id.encode(), digest_size=16).digest()


def content(event: Event) -> bytes:
    """Return a digest of the parts of an event that figures depend on."""
    said = repr((event.time.timestamp(), _CONTENT[type(event)](event)))
    return blake2b(said.encode(), digest_size=8).digest()


@dataclass(frozen=True, slots=True)
class Deduplicated:
    """The `new` events of a batch in key order, whether each given event is new, and their counts.

    `counts` are by type and result.
    """

    new: list[Event]
    is_new: list[bool]
    counts: Counter[tuple[str, str]]


def keep_new(connection: Connection, events: Sequence[Event], tally: Tally) -> Deduplicated:
    """Store the identities of `events`. Returns which of them were new.

    A known identity with different content is a duplicate, counted separately as a conflict.
    `tally` counts live events.
    """
    keys = [identity(event) for event in events]
    first: dict[bytes, tuple[Event, bytes]] = {}
    for key, event in zip(keys, events, strict=True):
        if key not in first:
            first[key] = event, content(event)
    rows = sorted((key, digest) for key, (_, digest) in first.items())
    fresh = statements.insert_new(
        connection, event_identities, ("identity", "content"), rows, "identity"
    )
    known = _contents(connection, [key for key in first if key not in fresh])
    counts: Counter[tuple[str, str]] = Counter()
    is_new = []
    seen: set[bytes] = set()
    for key, event in zip(keys, events, strict=True):
        new = key in fresh and key not in seen
        seen.add(key)
        is_new.append(new)
        if new:
            result = "accepted"
        else:
            before = known[key] if key in known else first[key][1]
            result = "duplicate" if before == content(event) else "conflict"
        kind = TYPE_NAMES[type(event)]
        counts[kind, result] += 1
        tally.arrived(event, kind, result)
    return Deduplicated([first[key][0] for key, _ in rows if key in fresh], is_new, counts)


def count(connection: Connection, batch: Deduplicated) -> None:
    """Add the counts of a batch to those of `/metrics`. Other batches wait for that."""
    rows = [(*counted, number) for counted, number in sorted(batch.counts.items())]
    statements.add(connection, event_counts, ("event", "result"), ("events",), rows)


def _contents(connection: Connection, keys: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return the content digests first stored under known `keys`."""
    t = event_identities
    found: dict[bytes, bytes] = {}
    for start in range(0, len(keys), 1000):
        wanted = t.c.identity.in_(keys[start : start + 1000])
        rows = connection.execute(select(t.c.identity, t.c.content).where(wanted))
        found.update((row.identity, row.content) for row in rows)
    return found
