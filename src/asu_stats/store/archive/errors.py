"""Finds the earliest error of a fingerprint in the details, live or in archive tables."""

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Connection, Select, select

from asu_stats.store.archive import archive
from asu_stats.store.archive.archive import everything
from asu_stats.store.database.schema import error_stats
from asu_stats.store.details import error_fingerprints
from asu_stats.store.details.error_fingerprints import Example

_e = everything(error_stats).c
_TIED: Final = 100  # errors with the same time and hash that are compared by their texts


def _earliest(fingerprint: str) -> Select[Any]:
    found = select(_e.timestamp, _e.request_hash, _e.error_message, _e.build_id)
    here = found.where(_e.fingerprint == fingerprint)
    errors = here.order_by(_e.timestamp, _e.request_hash).limit(_TIED).cte("errors")
    with_builds, (_, text) = archive.with_builds(errors)
    c = errors.c
    return select(c.timestamp, c.request_hash, c.error_message, text).select_from(with_builds)


def find_examples(connection: Connection, fingerprints: Iterable[str]) -> None:
    """Set the examples of fingerprints to their earliest errors, or to null without any."""
    found: dict[str, Example | None] = {}
    for fingerprint in fingerprints:
        rows = connection.execute(_earliest(fingerprint)).all()
        errors = (Example.of(at, of, own or its) for at, of, own, its in rows)
        found[fingerprint] = min(errors, default=None)
    error_fingerprints.set_example(connection, found)
