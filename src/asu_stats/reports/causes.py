"""Likely cause of an alert: the most common error, package, version, target and client.

It is computed once, when an alert begins to fire, so it may read details by index. Request hashes
are cut (docs/reference/figures.md, Request hashes).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import Field
from sqlalchemy import ColumnElement, Connection, Row, Select, and_, select
from typing_extensions import TypedDict

from asu_stats.events import FAILED_STATUSES, shown_hash, shown_text
from asu_stats.fingerprints import package_of
from asu_stats.reports import figures
from asu_stats.reports.recent import Span
from asu_stats.store.database.schema import build_metrics, client_stats, error_stats

_EXAMPLES: Final = 3
_READ: Final = 2_000  # builds, newest first: enough for a cause
_MOSTLY: Final = 50.0  # percent; a less common name explains nothing
_MESSAGE: Final = 200


class Share(TypedDict):
    """A name, and its share of the failures."""

    name: Annotated[str, Field(description="The common name.")]
    percentage: Annotated[float, Field(description="Percent of the builds; at least 50.")]


class Example(TypedDict):
    """One of the builds or requests."""

    request_hash: Annotated[str, Field(description="First 12 characters.")]
    version: Annotated[str, Field(description="OpenWrt version, or `SNAPSHOT`.")]
    target: Annotated[str, Field(description="OpenWrt target, such as `ath79/generic`.")]
    profile: Annotated[str, Field(description="Device profile of the target.")]
    error_type: Annotated[
        str | None, Field(description="Type of the error; null if there was none.")
    ]
    message: Annotated[str | None, Field(description="First line of the error.")]
    duration_seconds: Annotated[
        int | None, Field(description="Whole seconds; null if it is not known.")
    ]


class Cause(TypedDict):
    """The names that at least half of the builds or requests have in common; else null."""

    count: Annotated[int, Field(description="Builds or requests that this is based on.")]
    error_type: Share | None
    package: Annotated[Share | None, Field(description="Named by the errors of failed builds.")]
    version: Share | None
    target: Share | None
    client: Share | None
    examples: list[Example]


@dataclass(frozen=True, slots=True)
class _Case:
    """One of the builds or requests."""

    request_hash: str | None  # `None` in history that was imported without hashes
    version: str
    target: str
    profile: str
    client: str | None = None
    error_type: str | None = None
    message: str | None = None
    seconds: int | None = None
    build_id: str | None = None


def of_failures(connection: Connection, span: Span, subject: Mapping[str, str]) -> Cause:
    """Explain failed builds, or, with a client in `subject`, its failed and rejected requests."""
    if "client" in subject:
        return _cause(_of_client(connection, span, subject["client"]))
    cases = _failed(connection, span, subject)
    clients = _clients_of(connection, span, {case.build_id for case in cases})
    return _cause(cases, clients)


def of_durations(connection: Connection, span: Span) -> Cause:
    """Explain slow builds: by the slowest tenth."""
    b = build_metrics.c
    query = (
        select(
            b.request_hash,
            b.version,
            b.target,
            b.profile,
            b.duration_seconds.label("seconds"),
            b.build_id,
        )
        .where(
            b.status == "success",
            b.duration_seconds.is_not(None),
            b.finished_at >= span.first,
            b.finished_at < span.after,
        )
        .order_by(b.duration_seconds.desc(), b.id)
        .limit(_READ)
    )
    rows = connection.execute(query).all()
    slowest = rows[: max(_EXAMPLES, len(rows) // 10)]
    cases = [_Case(**row._asdict()) for row in slowest]
    return _cause(cases, _clients_of(connection, span, {case.build_id for case in cases}))


def of_misses(connection: Connection, span: Span) -> Cause:
    """Explain cache misses."""
    c = client_stats.c
    query = (
        select(c.request_hash, c.version, c.target, c.profile, c.client)
        .where(
            c.timestamp >= span.first,
            c.timestamp < span.after,
            c.outcome.in_(("queued", "joined", "cached_failure")),
        )
        .order_by(c.timestamp.desc())
        .limit(_READ)
    )
    return _cause([_Case(*row) for row in connection.execute(query)])


def of_waiting(waiting: Sequence[tuple[str, str, str, str]]) -> Cause:
    """Describe waiting builds, given as hash, version, target and profile."""
    return _cause([_Case(*row) for row in waiting])


def _failed(connection: Connection, span: Span, subject: Mapping[str, str]) -> list[_Case]:
    x, b = error_stats.c, build_metrics.c
    same = and_(b.request_hash == x.request_hash, b.build_id == x.build_id)
    wanted: list[ColumnElement[bool]] = [x[name] == value for name, value in subject.items()]
    query = (
        select(
            x.request_hash,
            x.version,
            x.target,
            x.profile,
            x.error_type,
            b.error_message.label("message"),
            x.build_id,
        )
        .join_from(error_stats, build_metrics, same, isouter=True)
        .where(
            x.timestamp >= span.first,
            x.timestamp < span.after,
            x.build_id.is_not(None),
            *wanted,
        )
        .order_by(x.timestamp.desc())
        .limit(_READ)
    )
    return [_Case(**row._asdict()) for row in connection.execute(query)]


def _of_client(connection: Connection, span: Span, client: str) -> list[_Case]:
    c = client_stats.c
    of_client = and_(c.timestamp >= span.first, c.timestamp < span.after, c.client == client)
    bad = c.status.in_((*sorted(FAILED_STATUSES), "rejected"))
    rows = connection.execute(_requests().where(of_client, bad).order_by(c.timestamp.desc()))
    return [
        _Case(
            row.request_hash,
            row.version,
            row.target,
            row.profile,
            client=client,
            error_type=row.error_type,
            message=row.error_message,
            build_id=row.build_id,
        )
        for row in rows.fetchmany(_READ)
    ]


def _requests() -> Select[Any]:
    """Select requests with the errors of the builds that ended them."""
    c, b = client_stats.c, build_metrics.c
    same = and_(b.request_hash == c.request_hash, b.build_id == c.build_id)
    return select(
        c.request_hash,
        c.version,
        c.target,
        c.profile,
        c.client,
        c.error_type,
        c.build_id,
        b.error_message,
    ).join_from(client_stats, build_metrics, same, isouter=True)


def _clients_of(connection: Connection, span: Span, builds: set[str | None]) -> Counter[str | None]:
    """Return how many requests of each client waited for one of `builds`."""
    c = client_stats.c
    query = select(c.client, c.build_id).where(
        c.timestamp >= span.before().first, c.timestamp < span.after, c.build_id.is_not(None)
    )
    rows: Iterable[Row[Any]] = connection.execute(query)
    return Counter(row.client for row in rows if row.build_id in builds)


def _cause(cases: Sequence[_Case], clients: Counter[str | None] | None = None) -> Cause:
    by_client = Counter(case.client for case in cases) if clients is None else clients
    packages = Counter(package_of(case.message) for case in cases)
    return {
        "count": len(cases),
        "error_type": _most(Counter(case.error_type for case in cases)),
        "package": _most(packages),
        "version": _most(Counter(case.version for case in cases)),
        "target": _most(Counter(case.target for case in cases)),
        "client": _most(by_client),
        "examples": [_example(case) for case in _different(cases)],
    }


def _most(names: Counter[str | None]) -> Share | None:
    """Return the name that at least half of the cases have, `None` if no name does."""
    if not names:
        return None
    name, count = max(names.items(), key=lambda item: (item[1], item[0] or ""))
    percentage = figures.rate(count, names.total())
    if name is None or percentage is None or percentage < _MOSTLY:
        return None
    return {"name": name, "percentage": percentage}


def _different(cases: Sequence[_Case]) -> list[_Case]:
    """Return the first cases of different requests."""
    return list({case.request_hash: case for case in reversed(cases)}.values())[::-1][:_EXAMPLES]


def _example(case: _Case) -> Example:
    return {
        "request_hash": shown_hash(case.request_hash or ""),
        "version": case.version,
        "target": case.target,
        "profile": case.profile,
        "error_type": case.error_type,
        "message": _line(shown_text(case.message or "", case.request_hash)),
        "duration_seconds": case.seconds,
    }


def _line(message: str) -> str | None:
    """Return the first line with text in it."""
    lines = (line.strip() for line in message[:4096].splitlines())
    return next((line[:_MESSAGE] for line in lines if line), None)
