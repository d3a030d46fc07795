"""What PostgreSQL says about a primary and its standby: how far each is, and who it is.

Positions in the write-ahead log are numbers of bytes. Times are those of the database servers, in
microseconds since 1970.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, cast

import psycopg
from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    Engine,
    Select,
    literal_column,
    select,
)

from asu_stats.store.database import statements
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.database.schema import store_state

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _number(sql: str) -> Any:
    return literal_column(f"({sql})::bigint", BigInteger)


def _micros(moment: str) -> Any:
    return _number(f"extract(epoch from {moment}) * 1000000")


def _bytes(position: str) -> Any:
    return _number(f"pg_catalog.pg_wal_lsn_diff({position}, '0/0')")


_CHANGES: Final = select(store_state.c.changes).scalar_subquery()
_SYSTEM: Final = _number("SELECT system_identifier FROM pg_catalog.pg_control_system()")
_STARTED: Final = _micros("pg_catalog.pg_postmaster_start_time()")
# The start of the transaction: before its snapshot, and before the functions of its statements.
_NOW: Final = _micros("pg_catalog.now()")
# A standby that has replayed no transaction since its start has at least its last checkpoint.
_REPLAYED_AT: Final = _micros(
    "coalesce(pg_catalog.pg_last_xact_replay_timestamp(), "
    "(SELECT checkpoint_time FROM pg_catalog.pg_control_checkpoint()))"
)
_REPLAYED: Final = _bytes("pg_catalog.pg_last_wal_replay_lsn()")
_IN_RECOVERY: Final = literal_column("pg_catalog.pg_is_in_recovery()", Boolean)


class Position(NamedTuple):
    """How far a primary was at a time: what was committed until then is before `written`."""

    at: int
    written: int
    changes: int
    system: int
    started: int


class Replayed(NamedTuple):
    """How far a standby is. `written` is `None` if it has never been one."""

    in_recovery: bool
    written: int | None
    changes: int
    replayed_at: int | None


class Standby(NamedTuple):
    """The same, with who it is and its time."""

    replayed: Replayed
    system: int
    started: int
    now: int


_POSITION: Final[Select[Any]] = select(
    _NOW, _bytes("pg_catalog.pg_current_wal_flush_lsn()"), _CHANGES, _SYSTEM, _STARTED
)
_REPLAY: Final[Select[Any]] = select(_IN_RECOVERY, _REPLAYED, _CHANGES, _REPLAYED_AT)
_STANDBY: Final[Select[Any]] = select(
    _IN_RECOVERY, _REPLAYED, _CHANGES, _REPLAYED_AT, _SYSTEM, _STARTED, _NOW
)


def position(engine: Engine) -> Position:
    """Return how far a primary is. Raises `StoreUnavailableError`, also for a standby."""
    with read_snapshot(engine) as connection:
        (row,) = statements.fetch(connection, _POSITION)
    return Position(*row)


def standby(engine: Engine) -> Standby:
    """Return how far a server is that should be a standby. Raises `StoreUnavailableError`."""
    with read_snapshot(engine) as connection:
        (row,) = statements.fetch(connection, _STANDBY)
    return Standby(Replayed(*row[:4]), *row[4:])


def send_replayed(connection: Connection) -> statements.Sent:
    """Ask how far the server of a snapshot is, as in `statements.send`; rows of `Replayed`."""
    return statements.send(connection, _REPLAY)


def moment(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def is_conflict(error: BaseException) -> bool:
    """Return whether a standby cancelled a statement because it conflicts with recovery.

    A snapshot that only reads has no other serialization failures and deadlocks
    (PostgreSQL documentation, Handling Query Conflicts).
    """
    cause = _cause(error)
    if isinstance(cause, psycopg.errors.QueryCanceled):
        return "conflict with recovery" in str(cause)
    return isinstance(cause, psycopg.errors.SerializationFailure | psycopg.errors.DeadlockDetected)


def is_limit(error: BaseException) -> bool:
    """Return whether a statement exceeded a time limit: on another server it would, too."""
    cause = _cause(error)
    limits = psycopg.errors.QueryCanceled | psycopg.errors.LockNotAvailable
    return isinstance(cause, limits) and not is_conflict(error)


def _cause(error: BaseException) -> BaseException:
    cause = error.__cause__ or error
    return cast(BaseException, getattr(cause, "orig", None) or cause)
