"""The latest errors one by one with their messages: from tables, archive tables and archive files.

Files are read only if the tables have too few errors, or lack a message: the newest files first,
and at most a few.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    Connection,
    DateTime,
    Integer,
    Select,
    Table,
    bindparam,
    func,
    select,
)

from asu_stats.events import NO_HASH
from asu_stats.exceptions import MissingArchiveError
from asu_stats.reports import floor
from asu_stats.reports.insights import failure_rows
from asu_stats.store.archive import archive, segments
from asu_stats.store.archive.archive import error_stats_archive
from asu_stats.store.archive.files import Rows
from asu_stats.store.database import statements
from asu_stats.store.database.schema import build_metrics, error_stats
from asu_stats.windows import Window

_FILES: Final = 20
_BEGINNING, _END = datetime.min, datetime.max  # noqa: DTZ901 - stored times have no zone


class LatestError(NamedTuple):
    """Error of a build (with `build_id`) or of a rejected request."""

    timestamp: datetime
    version: str
    error_category: str
    error_type: str
    target: str
    profile: str
    client: str | None
    request_hash: str
    build_id: str | None
    error_message: str | None
    fingerprint: str | None


_COLUMNS: Final = LatestError._fields
_Build = tuple[str, str]
_NAMES: Final = ("version", "target", "profile", "client")


def read(
    connection: Connection,
    limit: int,
    *,
    first: datetime = _BEGINNING,
    after: datetime = _END,
    builds_only: bool = False,
    filters: Mapping[str, str] = MappingProxyType({}),
) -> list[LatestError]:
    """Return at most `limit` errors from `first` to before `after`, newest first.

    `filters` holds values of columns, such as `error_type`. Errors in a missing or damaged archive
    file are left out; `/readyz` names the file. With a public floor, see `_covered`.
    """
    sent = _send(connection, limit, first, after, builds_only=builds_only, filters=filters)
    rows = [(LatestError(*row[:-2]), *row[-2:]) for each in sent for row in each()]
    texts: dict[_Build, str | None] = {
        _build_of(error): text for error, build_id, text in rows if build_id is not None
    }
    found = sorted((error for error, _, _ in rows), key=_newest_first)[:limit]
    files = segments.between(connection, error_stats, first, after)
    for part in sorted(files, key=lambda part: part.last_at, reverse=True)[:_FILES]:
        if len(found) == limit and part.last_at < found[-1].timestamp:
            break
        found += (
            error
            for error in _in_file(connection, part.file)
            if first <= error.timestamp < after
            and (error.build_id is not None or not builds_only)
            and all(getattr(error, name) == value for name, value in filters.items())
        )
        found = sorted(found, key=_newest_first)[:limit]
    if floor.min_requests():
        return _covered(connection, found, first, after)
    texts = _texts(connection, found, texts)
    return [
        error._replace(error_message=error.error_message or texts.get(_build_of(error)))
        for error in found
    ]


def _covered(
    connection: Connection, errors: Iterable[LatestError], first: datetime, after: datetime
) -> list[LatestError]:
    """Return errors without names and texts of few requests: of texts that many have, the pattern.

    The errors of a request that is covered have no hash.
    """
    window = floor.recent(connection)
    if (first, after) != (_BEGINNING, _END):
        window = Window(first.date(), (after - timedelta(microseconds=1)).date())
    names = floor.Visible(connection, window)
    patterns = failure_rows.patterns(connection, window, {e.fingerprint or "" for e in errors})
    found: list[LatestError] = []
    for error in errors:
        pattern = patterns.get(error.fingerprint or "")
        shown = error._replace(
            version=names.shown("version", error.version),
            target=names.shown("target", error.target),
            profile=names.shown("profile", error.profile),
            client=error.client and names.shown("client", error.client),
            error_message=pattern,
            fingerprint=error.fingerprint if pattern else None,
        )
        if any(getattr(shown, kind) != getattr(error, kind) for kind in _NAMES):
            shown = shown._replace(request_hash=NO_HASH, build_id=None)
        found.append(shown)
    return found


def send(
    connection: Connection,
    limit: int,
    *,
    first: datetime = _BEGINNING,
    after: datetime = _END,
    builds_only: bool = False,
    filters: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Ask for what `read` needs, and do not wait for it."""
    _send(connection, limit, first, after, builds_only=builds_only, filters=filters)
    segments.send_between(connection, error_stats, first, after)


def _send(
    connection: Connection,
    limit: int,
    first: datetime,
    after: datetime,
    *,
    builds_only: bool,
    filters: Mapping[str, str],
) -> list[statements.Sent]:
    given = {f"of_{name}": value for name, value in filters.items()}
    return [
        statements.send_once(
            connection,
            _errors(errors, tuple(filters), builds_only=builds_only),
            first=first,
            after=after,
            rows=limit,
            **given,
        )
        for errors in (error_stats, error_stats_archive)
    ]


@lru_cache(maxsize=64)
def _errors(errors: Table, filters: tuple[str, ...], *, builds_only: bool) -> Select[Any]:
    """Select errors, and of those of builds the build and its message, if they are in a table."""
    e = errors.c
    first, after = (bindparam(name, type_=DateTime) for name in ("first", "after"))
    here = [e.timestamp >= first, e.timestamp < after]
    here += [e[name] == bindparam(f"of_{name}", type_=e[name].type) for name in filters]
    if builds_only:
        here.append(e.build_id.is_not(None))
    order = (e.timestamp.desc(), e.request_hash, func.coalesce(e.build_id, ""))
    latest = (
        select(*(e[name] for name in _COLUMNS))
        .where(*here)
        .order_by(*order)
        .limit(bindparam("rows", type_=Integer))
        .cte("latest")
    )
    found, stored = archive.with_builds(latest)
    return select(*latest.c, *stored).select_from(found)


def _newest_first(error: LatestError) -> tuple[object, ...]:
    return _END - error.timestamp, error.request_hash, error.build_id or ""


def _in_file(connection: Connection, file: str) -> Iterator[LatestError]:
    places = [[column.name for column in error_stats.columns].index(name) for name in _COLUMNS]
    for row in _rows_of(connection, error_stats, file):
        yield LatestError(*(row[place] for place in places))


def _rows_of(connection: Connection, table: Table, file: str) -> Rows:
    try:
        return segments.rows_of(connection, table, file)
    except MissingArchiveError:
        return ()


def _build_of(error: LatestError) -> _Build:
    return error.request_hash, error.build_id or ""


def _texts(
    connection: Connection,
    errors: Iterable[LatestError],
    found: dict[_Build, str | None],
) -> dict[_Build, str | None]:
    """Return the messages of errors of builds: those `found` in tables, others from files."""
    wanted = {_build_of(error) for error in errors if error.build_id and not error.error_message}
    if not (missing := wanted - found.keys()):
        return found
    numbers = segments.holding(connection, (segments.build_key(*build) for build in missing))
    names = [column.name for column in build_metrics.columns]
    places = [names.index(name) for name in ("request_hash", "build_id", "error_message")]
    newest = sorted(numbers, reverse=True)[:_FILES]
    for file in segments.files_of(connection, build_metrics, newest):
        for row in _rows_of(connection, build_metrics, file):
            request_hash, build_id, text = (row[place] for place in places)
            if (request_hash, build_id) in missing:
                found[request_hash, build_id] = text
    return found
