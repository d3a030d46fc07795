"""Event identities: what makes the same event, sent again, change nothing.

The key of an event is its source and id, short enough to be kept for ever: a 64-bit digest of the
source, then the id itself where it is a UUID (16 bytes; version 7 ids of one sender arrive in
order, so they land side by side in the index), else a 128-bit digest of it. Beside it stands a
digest of the whole event, which tells a repetition from other content under the same identity.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from hashlib import blake2b
from operator import itemgetter

from sqlalchemy import Connection, insert, select

from asu_stats.events import TYPE_NAMES, Event
from asu_stats.store import dialects
from asu_stats.store.tables import event_counts, event_identities

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


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
    """Return a digest of everything that an event says."""
    values = [getattr(event, field.name) for field in fields(event)]
    return blake2b(repr(values).encode(), digest_size=8).digest()


@dataclass(frozen=True, slots=True)
class Sorted:
    """A batch, sorted out: the `new` events in key order, and per event given whether it is new."""

    new: list[Event]
    is_new: list[bool]


def keep_new(connection: Connection, events: Sequence[Event]) -> Sorted:
    """Remember the identities of `events` and tell those not known before.

    A known identity with other content is a duplicate too, counted apart as a conflict.
    """
    keys = [identity(event) for event in events]
    t = event_identities
    known: dict[bytes, bytes] = {}
    for start in range(0, len(keys), 1000):
        wanted = t.c.identity.in_(keys[start : start + 1000])
        known.update(connection.execute(select(t.c.identity, t.c.content).where(wanted)).all())
    new: dict[bytes, tuple[Event, bytes]] = {}
    is_new = []
    counts: dict[tuple[str, str], int] = {}
    for key, event in zip(keys, events, strict=True):
        digest = content(event)
        before = known.setdefault(key, digest)
        fresh = key not in new and before is digest
        if fresh:
            new[key] = event, digest
        is_new.append(fresh)
        result = "accepted" if fresh else "duplicate" if before == digest else "conflict"
        counted = TYPE_NAMES[type(event)], result
        counts[counted] = counts.get(counted, 0) + 1
    if new:
        connection.execute(
            insert(t),
            [
                {"identity": key, "content": digest}
                for key, (_, digest) in sorted(new.items(), key=itemgetter(0))
            ],
        )
    upsert = dialects.upsert_sum(connection, event_counts, ("event", "result"), ("events",))
    connection.execute(
        upsert,
        [
            {"event": event, "result": result, "events": count}
            for (event, result), count in sorted(counts.items())
        ],
    )
    return Sorted([event for _, (event, _) in sorted(new.items(), key=itemgetter(0))], is_new)
