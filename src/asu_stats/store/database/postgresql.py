"""Connections to PostgreSQL, directly or through a pooler such as PgBouncer.

Parameters of the URL (or libpq's environment variables) override the defaults here. Session
settings are sent with each BEGIN, because a pooler in transaction mode gives every transaction
another session, and PgBouncer rejects the startup parameter `options`. They cost no round trip.

No call waits for a dead server. The kernel detects a host that vanished (keepalives,
`tcp_user_timeout`). `_Connection` detects a host that accepts packets but does not respond: after
some seconds of silence it opens another connection, and gives up if that gets no response either.
A long statement on a live server is not affected.
"""

import contextlib
import difflib
import os
import re
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast

import psycopg
from psycopg import generators, pq, sql
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry

from asu_stats.exceptions import InvalidSettingError

_SILENT_SECONDS: Final = (
    5.0  # of silence on a connection, before the server is checked with another one
)
# A connection that was used less than this ago is used again without a check, which would cost a
# round trip.
_TRUSTED_SECONDS: Final = 1.0
_SETTINGS: Final = {"timezone": "UTC", "lock_timeout": "5s", "statement_timeout": "60s"}
# For transactions that find each row by its key. A table that grew since its last ANALYZE, as in
# the first minutes of a new database, looks small: the plans of a session would then read all of it
# for each batch. Without `jit`, the high costs of such plans would let PostgreSQL compile them.
_BY_KEY: Final = {
    **dict.fromkeys(("enable_seqscan", "enable_bitmapscan"), "off"),
    **dict.fromkeys(("enable_hashjoin", "enable_mergejoin", "jit"), "off"),
    "plan_cache_mode": "force_generic_plan",
}
_LIMITS: Final = (
    *("statement_timeout", "lock_timeout", "transaction_timeout"),
    *("idle_in_transaction_session_timeout", "idle_session_timeout"),
)
_CONNECT: Final = {
    "fallback_application_name": "asu-stats",
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",  # ms
}
_WHO: Final = (
    "SELECT pg_catalog.pg_backend_pid(),"
    " pg_catalog.to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL"
)
# Settings that can be set only at the start of a session. All others are set per transaction.
_AT_START: Final = {
    *("ignore_system_indexes", "jit_debugging_support", "jit_profiling_support"),
    *("log_connections", "log_disconnections", "post_auth_delay"),
}
# `-c name=value`, `-cname=value` or `--name=value`; a backslash escapes the next character.
_OPTION: Final = re.compile(r"(?:-c\s*|--)((?:\\.|[^\s\\=])+)=((?:\\.|[^\s\\])*)\s*", re.DOTALL)


class _Parameters(NamedTuple):
    """The parts of a URL: for libpq, for psycopg, and as settings of each transaction."""

    connect: dict[str, Any]
    prepare_threshold: int | None
    settings: dict[str, str]


def create(
    url: URL, *, writes: bool, pool: Mapping[str, Any], setting: str = "database_url"
) -> Engine:
    """Return an engine for `url`; nothing is connected yet.

    With `writes`, the primary is chosen if the URL names several hosts.
    Raises `InvalidSettingError` for a parameter that is unknown.
    """
    given = _parameters(url, setting, writes=writes)
    bare = url.set(drivername="postgresql+psycopg", query={})
    hosts = {name: value for name, value in url.query.items() if name in {"host", "port"}}
    gate = _Gate()
    engine = create_engine(
        bare.set(query=hosts),
        use_native_hstore=False,  # searching for it would cost each connection a round trip
        connect_args={**given.connect, "autocommit": True},  # `_begin` begins transactions
        execution_options={"gate": gate, "settings": given.settings},
        **pool,
    )

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: Any, _record: Any, arguments: Any, options: Any) -> Any:
        return gate.connect(
            lambda: _Connection.opened(gate, given.prepare_threshold, *arguments, **options)
        )

    _check_pooled(engine, gate)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get("pipelined"):
            return
        driver = _driver(connection)
        driver.leave_pipeline()
        if options.get("isolation_level") == "AUTOCOMMIT":
            return
        driver.execute(b"; ".join(_begin_statements(given.settings, options)), prepare=False)

    @event.listens_for(engine, "after_cursor_execute")
    def _wait_for_result(
        connection: Connection, _cursor: Any, _text: str, _values: Any, context: Any, _many: bool
    ) -> None:
        # SQLAlchemy reads the columns of a result at once. `statements` does without it.
        if not context.execution_options.get("unread"):
            _driver(connection).sync()

    return engine


def _check_pooled(engine: Engine, gate: "_Gate") -> None:
    """Check each pooled connection before it is used; SQLAlchemy replaces them if one is lost."""

    @event.listens_for(engine, "connect")
    @event.listens_for(engine, "checkin")
    def _responded(_driver: object, record: ConnectionPoolEntry) -> None:
        record.info["used_at"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _check_out(driver: _Connection, record: ConnectionPoolEntry, _: object) -> None:
        if gate.distrusted():
            raise InvalidatePoolError
        try:
            driver.wait_for_end()
            is_old = time.monotonic() - record.info["used_at"] > _TRUSTED_SECONDS
            if is_old and not _unchecked.get():
                driver.execute("SELECT 1", prepare=False)
                driver.sync()
        except psycopg.Error as error:
            raise InvalidatePoolError from error


_unchecked: Final = ContextVar("unchecked", default=False)


@contextlib.contextmanager
def unchecked() -> Iterator[None]:
    """Use connections of the pool in this block without a check: they may be lost."""
    before = _unchecked.set(True)
    try:
        yield
    finally:
        _unchecked.reset(before)


def _driver(connection: Connection) -> "_Connection":
    return cast(_Connection, connection.connection.dbapi_connection)


@contextlib.contextmanager
def pipelined(connection: Connection) -> Iterator[None]:
    """Run the block of a transaction in pipeline mode, its begin and its commit included.

    Statements of `statements` wait for the server only when their rows are fetched. The end of a
    snapshot is not waited for.
    """
    driver, options = _driver(connection), connection.get_execution_options()
    pipeline = driver.enter_pipeline()
    try:
        for statement in _begin_statements(options["settings"], options):
            driver.execute(statement)
        yield
        if options.get("snapshot") and not pipeline.result_queue:
            driver.send_end()
        else:
            driver.execute("COMMIT", prepare=False)
            pipeline.sync()
    except BaseException:
        with contextlib.suppress(psycopg.Error):
            driver.leave_pipeline()
        raise


def distrust(engine: Engine) -> None:
    """Replace all connections of a pool before they are used again.

    After a failover they may be connected to a server that is no longer the primary.
    """
    cast(_Gate, engine.get_execution_options()["gate"]).distrust()


# Parameters of the URL --------------------------------------------------------------------------


def _parameters(url: URL, setting: str, *, writes: bool) -> _Parameters:
    query = dict(url.normalized_query)
    known = {option.keyword.decode(): option for option in pq.Conninfo.get_defaults()}
    for name, values in query.items():
        if name not in {*known, "prepare_threshold"}:
            near = difflib.get_close_matches(name, [*known, "prepare_threshold"], 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InvalidSettingError(f"{setting}: {name} is not a parameter of libpq{hint}")
        if len(values) > 1 and name not in {"host", "port"}:
            raise InvalidSettingError(f"{setting}: {name} is given {len(values)} times")
    given = {name: values[0] for name, values in query.items() if name not in {"host", "port"}}
    threshold = given.pop("prepare_threshold", "5")
    if not threshold.isdecimal() or len(threshold) > 9:
        words = "expected a whole number, 0 for no prepared statements"
        raise InvalidSettingError(f"{setting}: prepare_threshold={threshold[:20]}: {words}")
    defaults = dict(_CONNECT)
    if writes:
        defaults["target_session_attrs"] = "primary" if pq.version() >= 140_000 else "read-write"
    for name, value in defaults.items():
        variable = known[name].envvar if name in known else None
        if name in known and not (variable and os.environ.get(variable.decode())):
            given.setdefault(name, value)
    settings, rest = _split(given.pop("options", ""))
    if rest:
        given["options"] = rest
    from_outside, _ = _split(os.environ.get("PGOPTIONS", ""))
    ours = {name: value for name, value in _SETTINGS.items() if name not in from_outside}
    return _Parameters(given, int(threshold) or None, ours | settings)


def _split(options: str) -> tuple[dict[str, str], str]:
    """Return the settings among `options`, and the rest, which is sent when a session starts."""
    settings: dict[str, str] = {}
    rest: list[str] = []
    place = len(options) - len(options.lstrip())
    while place < len(options):
        if found := _OPTION.match(options, place):
            name, value = (
                re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL) for text in found.groups()
            )
            name = name.replace("-", "_").lower()
            if name in _AT_START:
                rest.append(found.group().rstrip())
            else:
                settings[name] = value
            place = found.end()
        else:
            word, _, after = options[place:].partition(" ")
            rest.append(word)
            place = len(options) - len(after.lstrip())
    return settings, " ".join(filter(None, rest))


def _begin_statements(settings: Mapping[str, str], options: Mapping[str, Any]) -> tuple[bytes, ...]:
    """Return the statements that begin a transaction. In one message they cost one round trip."""
    given = options.get("snapshot", False), options.get("unlimited", False)
    if options.get("by_key"):
        settings = {**_BY_KEY, **settings}
    return _composed(tuple(settings.items()), *given)


@lru_cache(maxsize=64)
def _composed(
    settings: tuple[tuple[str, str], ...], is_snapshot: bool, is_unlimited: bool
) -> tuple[bytes, ...]:
    # Writers read again what they have waited for, whatever the default of the server is.
    begin = "BEGIN ISOLATION LEVEL READ COMMITTED"
    if is_snapshot:
        begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    calls = [
        sql.SQL("set_config({}, {}, true)").format(name, value)
        for name, value in settings
        if not (is_unlimited and name in _LIMITS)
    ]
    parts: list[sql.SQL | sql.Composed] = [sql.SQL(cast(Any, begin))]
    if calls:
        parts.append(sql.SQL("SELECT ") + sql.SQL(", ").join(calls))
    if is_unlimited:  # an older server does not know all of them
        parts.append(
            sql.SQL(
                "SELECT set_config(name, '0', true) FROM pg_catalog.pg_settings WHERE name IN ({})"
            ).format(sql.SQL(", ").join(map(sql.Literal, _LIMITS)))
        )
    return tuple(part.as_bytes(None) for part in parts)


# Servers that do not respond --------------------------------------------------------------------


class _Gate:
    """State of a server: whether it responds, and whether connections may be stale.

    While it does not respond, only one attempt to connect is made at a time. All others fail at
    once; otherwise each request would wait for the time limit.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._attempt = threading.Lock()
        self._silent: str | None = None
        self._stale = False

    def connect(self, make: Callable[[], "_Connection"]) -> "_Connection":
        """Connect. Raises psycopg's errors."""
        if self._silent is None:
            return self._tried(make)
        if not self._attempt.acquire(blocking=False):
            raise psycopg.errors.ConnectionTimeout(self._silent)
        try:
            return self._tried(make)
        finally:
            self._attempt.release()

    def _tried(self, make: Callable[[], "_Connection"]) -> "_Connection":
        try:
            made = make()
        except psycopg.errors.ConnectionTimeout as error:
            self._silent = str(error)
            raise
        except psycopg.Error:
            self._silent = None  # it responded: it refused
            raise
        self._silent = None
        return made

    def distrust(self) -> None:
        """Mark all connections as stale."""
        with self._guard:
            self._stale = True

    def distrusted(self) -> bool:
        """Return whether all connections are stale, and reset that."""
        if not self._stale:
            return False
        with self._guard:
            stale, self._stale = self._stale, False
        return stale


class _Pipeline(psycopg.Pipeline):
    """A pipeline that reads results when they are wanted, and can hold what it is given.

    To look for results after each statement would cost as much as to send it.
    """

    holds = False

    def _communicate_gen(self) -> Any:
        if self.holds:
            return
        while self.command_queue:
            self.command_queue.popleft()()
        # While the server does not take more, it may wait until results are read. The rest is sent
        # here: who waits for results sends nothing.
        while self.pgconn.flush():
            yield from super()._communicate_gen()


class _Connection(psycopg.Connection[Any]):
    """A connection that stops waiting if the server is silent and accepts no connections.

    It stays in pipeline mode between transactions.
    """

    has_citus = False
    _gate: _Gate | None = None
    _is_ending = False  # a transaction, whose end was sent and not waited for
    _again: Callable[[], "_Connection"]

    @classmethod
    def opened(
        cls, gate: _Gate | None, prepare_threshold: int | None, *arguments: Any, **options: Any
    ) -> "_Connection":
        """Connect. Statements are prepared only if every transaction has the same session."""
        made = cls.connect(*arguments, **options)
        try:
            found = made.execute(_WHO, prepare=False).fetchone()
            # A pooler invents the process number that it reports to clients.
            direct = found is not None and found[0] == made.info.backend_pid
            made.prepare_threshold = prepare_threshold if direct else None
            made.has_citus = found is not None and found[1]
            made._gate = gate
            made._again = lambda: cls.opened(None, None, *arguments, **options)
        except BaseException:
            made.close()
            raise
        return made

    # `Connection.pipeline` would leave the pipeline mode, which costs a round trip.

    def enter_pipeline(self) -> psycopg.Pipeline:
        """Enter the pipeline mode if needed."""
        if self._pipeline is None:
            self._pipeline = _Pipeline(self)
            self._pipeline.__enter__()
        return self._pipeline

    def leave_pipeline(self) -> None:
        """Leave the pipeline mode, if entered. Waits for all that was sent; ignores its errors."""
        if self._pipeline is not None:
            pipeline, self._pipeline = self._pipeline, None
            with contextlib.suppress(psycopg.Error):
                pipeline.sync()
            pipeline.__exit__(None, None, None)

    def send_together(
        self, cursor: Any, statements: Iterable[tuple[str, Sequence[object]]]
    ) -> None:
        """Send statements at once, and wait for nothing in pipeline mode."""
        pipeline = self._pipeline
        if not isinstance(pipeline, _Pipeline):
            for statement, parameters in statements:
                cursor.execute(statement, parameters)
            return
        pipeline.holds = True
        try:
            for statement, parameters in statements:
                cursor.execute(statement, parameters)
        finally:
            pipeline.holds = False
        self.wait(pipeline._communicate_gen())

    def sync(self) -> None:
        """Wait for all that was sent in pipeline mode."""
        if self._pipeline is not None:
            self._pipeline.sync()

    def send_end(self) -> None:
        """Send the end of a transaction, all of whose results were read, and do not wait for it.

        It cannot fail: nothing was written. A pooler then gives the session to others.
        """
        self.pgconn.send_query_params(b"COMMIT", None)
        self.pgconn.pipeline_sync()
        self._is_ending = True

    def wait_for_end(self) -> None:
        """Wait for the end that was sent. Raises psycopg's errors if the connection was lost."""
        if self._is_ending:
            self._is_ending = False
            for _ in ("COMMIT", "Sync"):
                self.wait(generators.fetch_many(self.pgconn))

    def commit(self) -> None:
        """Commit, unless there is no transaction."""
        if not self._is_ending:
            super().commit()

    def rollback(self) -> None:
        """Roll back, unless there is no transaction."""
        if not self._is_ending and self.pgconn.transaction_status != pq.TransactionStatus.IDLE:
            super().rollback()

    def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
        """Wait for the server as long as it is alive."""
        return super().wait(self._watched(gen), *arguments, **options)

    def _watched(self, waiting: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        until = time.monotonic() + _SILENT_SECONDS
        try:
            wanted = next(waiting)
            while True:
                ready = yield wanted
                if ready:
                    until = time.monotonic() + _SILENT_SECONDS
                elif time.monotonic() > until:
                    self._require_life()
                    until = time.monotonic() + _SILENT_SECONDS
                wanted = waiting.send(ready)
        except StopIteration as end:
            return end.value

    def _require_life(self) -> None:
        """Close and raise `ConnectionTimeout` unless the server accepts another connection."""
        if self._gate is not None:
            try:
                self._gate.connect(self._again).close()
            except psycopg.errors.ConnectionTimeout:
                pass
            except psycopg.Error:
                return  # a server that rejects the connection is alive
            else:
                return
        self.pgconn.finish()
        raise psycopg.errors.ConnectionTimeout("the server does not respond")
