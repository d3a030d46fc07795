"""Finds the earliest error of a fingerprint in the details, live or in archive tables."""

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Connection, Select, and_, select

from asu_stats.store.archive.archive import everything
from asu_stats.store.database.schema import build_metrics, error_stats
from asu_stats.store.details import error_fingerprints
from asu_stats.store.details.error_fingerprints import Example

_e = everything(error_stats).c
_b = everything(build_metrics).c
_SAME: Final = and_(_b.request_hash == _e.request_hash, _b.build_id == _e.build_id)
_TIED: Final = 100  # errors with the same time and hash that are compared by their texts


def _earliest(fingerprint: str) -> Select[Any]:
    texts = select(_b.error_message).where(_SAME).limit(1).scalar_subquery()
    found = select(_e.timestamp, _e.request_hash, _e.error_message, texts)
    here = _e.fingerprint == fingerprint
    return found.where(here).order_by(_e.timestamp, _e.request_hash).limit(_TIED)


def find_examples(connection: Connection, fingerprints: Iterable[str]) -> None:
    """Set the examples of fingerprints to their earliest errors, or to null without any."""
    found: dict[str, Example | None] = {}
    for fingerprint in fingerprints:
        rows = connection.execute(_earliest(fingerprint)).all()
        errors = (Example.of(at, of, own or its) for at, of, own, its in rows)
        found[fingerprint] = min(errors, default=None)
    error_fingerprints.set_example(connection, found)
