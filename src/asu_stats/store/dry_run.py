"""Writes batches and rolls them back: which events would be rejected, and whether writing works."""

import contextlib
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine

from asu_stats.events import (
    UNKNOWN,
    BuildFinished,
    BuildStarted,
    Event,
    RequestReceived,
    new_id,
)
from asu_stats.store.apply import ExtraWriter, apply
from asu_stats.store.database import changes, locks, statements
from asu_stats.store.database.engine import write_transaction
from asu_stats.times import utc_now


class _KeptNothingError(Exception):
    """Rolls a transaction back."""


def rehearse(
    engine: Engine, events: Sequence[Event], *, extra_writer: ExtraWriter | None = None
) -> None:
    """Do the same as `apply_batch`, with the same errors, and roll it back."""
    with (
        contextlib.suppress(_KeptNothingError),
        write_transaction(engine, by_key=True) as connection,
    ):
        apply(connection, events, extra_writer=extra_writer)
        statements.settle(connection)
        raise _KeptNothingError


def probe(engine: Engine, *, extra_writer: ExtraWriter | None = None) -> None:
    """Raise unless events of every type can be written and a transaction can be committed.

    Raises `StoreUnavailableError`, or whatever `apply_batch` raises. Changes only the change
    counter.
    """
    rehearse(engine, _sample(), extra_writer=extra_writer)
    with write_transaction(engine) as connection:  # a full disk fails at commit
        locks.lock_writers(connection)
        changes.begin(connection)


def _sample() -> Sequence[Event]:
    """Return a request and its failed build: together they write to every table."""
    ids: Any = {
        "source": "urn:asu-stats:probe",
        "time": utc_now(),
        "request_hash": new_id(),
    }
    build: Any = {**ids, "build_id": new_id()}
    names: Any = {"version": UNKNOWN, "target": UNKNOWN, "profile": UNKNOWN}
    return (
        RequestReceived(**ids, **names, id="request", outcome="queued", diff_packages=False),
        BuildStarted(**build, id="started"),
        BuildFinished(
            **build,
            id="finished",
            status="failure",
            error_category="build",
            error_type=UNKNOWN,
        ),
    )
