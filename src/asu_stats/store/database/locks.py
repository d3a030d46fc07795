"""Locks of transactions that apply events to PostgreSQL. SQLite lets one writer in at a time.

Batches share the lock of writers and lock the hashes of their requests, so batches of different
requests run side by side. Everything else that changes details or rollups takes the lock of writers
alone (`lock_writers`), and so does a batch that changes rows of other requests.

The locks are taken in the same order everywhere, so there are no deadlocks: writers, hashes by
number, event identities by key, names, then the row of `store_state`. What all batches write to,
such as rollups and the change counter, is written after that row is locked, until the commit.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from hashlib import blake2b
from itertools import count
from typing import Any, Final, cast

from sqlalchemy import BigInteger, Connection, Engine, bindparam, column, func, select

from asu_stats.store.database import statements
from asu_stats.store.database.engine import has_citus, write_transaction

# Each lock takes memory that all transactions of the server share: 6,400 locks by default.
MOST_HASHES: Final = 256
_WRITERS: Final = 0x6173755F73746174  # "asu_stat"
_NAMES: Final = 0x6173755F6E616D65  # "asu_name"


@lru_cache(maxsize=1 << 12)
def _number(request_hash: str) -> int:
    digest = blake2b(request_hash.encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), signed=True)


def lock_writers(connection: Connection, *, waiting: Callable[[], object] | None = None) -> None:
    """Wait until this is the only transaction that changes details and rollups, until its end.

    `waiting` is called if it has to wait. On SQLite, every writer is alone.
    """
    if connection.dialect.name != "postgresql":
        return
    if waiting:
        if connection.execute(select(func.pg_try_advisory_xact_lock(_WRITERS))).scalar_one():
            return
        waiting()
    cursor = cast(Any, connection.connection).cursor()
    cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_WRITERS])


@contextmanager
def paused_writers(engine: Engine, waiting: Callable[[], object] = lambda: None) -> Iterator[None]:
    """On Citus, let no transaction change details and rollups during the block.

    What a transaction reads on several of its nodes need not be of the same moment.
    """
    if not has_citus(engine):
        yield
        return
    with write_transaction(engine, waiting=waiting) as connection:
        lock_writers(connection, waiting=waiting)
        yield


def lock_requests(connection: Connection, hashes: Iterable[str]) -> None:
    """Lock request hashes, at most `MOST_HASHES`, until the end of the transaction."""
    if connection.dialect.name != "postgresql":
        return
    cursor = cast(Any, connection.connection).cursor()
    cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [_WRITERS])
    numbers = ",".join(map(str, sorted(map(_number, hashes))))
    if numbers:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(number) FROM unnest(CAST(%s AS BIGINT[])) AS number",
            [f"{{{numbers}}}"],
        )


def lock_names(connection: Connection) -> None:
    """Wait until no other transaction numbers new names, until the end of this one."""
    if connection.dialect.name == "postgresql":
        cursor = cast(Any, connection.connection).cursor()
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_NAMES])


class NotAloneError(Exception):
    """A batch must take the lock of writers alone: it changes rows of other requests."""


# Numbers of requests -----------------------------------------------------------------------------

_COUNT: Final = bindparam("wanted", type_=BigInteger)
_NEXT: Final = select(func.nextval("request_numbers", type_=BigInteger)).select_from(
    func.generate_series(1, _COUNT).table_valued(column("place", BigInteger))
)


def send_request_numbers(connection: Connection, wanted: int) -> statements.Sent:
    """Ask for unused numbers of requests, as in `statements.send`; none on SQLite."""
    if connection.dialect.name != "postgresql" or not wanted:
        return list
    return statements.send(connection, _NEXT, wanted=wanted)


def request_numbers(sent: statements.Sent, last: int) -> Iterator[int]:
    """Yield unused numbers: those that were sent, else those after the `last`."""
    return iter([row[0] for row in sent()] or count(last + 1))
