"""Rollups that triggers keep: tables, counts, and the SQL of the triggers.

`COUNTS` declares what each inserted row adds. From it come the triggers of SQLite (row by row) and
of PostgreSQL: row by row, or one statement per batch with its new rows as a transition table.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final


def _columns(names: str) -> dict[str, str]:
    """Return types by column; those without a type are text."""
    pairs = (name.partition(":") for name in names.split())
    return {name: kind or "text" for name, _, kind in pairs}


# In builds, `seconds` is NULL if no start is known, and names are those of a request of the hash.
DETAILS: Final[Mapping[str, Mapping[str, str]]] = {
    "requests": _columns(
        "id source received:time day:date hour:time request_hash outcome version target profile "
        "diff_packages:bool client client_version package_count:int has_custom_repos:bool "
        "has_defaults:bool rootfs_size_mb:int error_message error_category error_type"
    ),
    "build_starts": _columns("build_id event_id source started:time request_hash worker"),
    "builds": _columns(
        "build_id event_id source finished:time day:date hour:time request_hash status worker "
        "phases:json error_message error_category error_type "
        "seconds:int version target profile diff_packages:bool"
    ),
}
_TYPES: Final = {
    "sqlite": {"time": "text", "date": "text", "bool": "integer", "json": "text", "int": "integer"},
    "postgresql": {"time": "timestamp", "bool": "boolean", "json": "jsonb"},
}
_KINDS: Final = {
    "day": "date",
    "hour": "time",
    "seconds": "int",
    "package_count": "int",
    "rootfs_size_mb": "int",
    "milliseconds": "int",
}

_ACCEPTED: Final = "n.outcome <> 'rejected'"
_REJECTED: Final = "n.outcome = 'rejected'"
_FAILED: Final = "n.status IN ('failure', 'timeout')"
_COUNTED: Final = "n.status <> 'cancelled'"
_TIMED: Final = "n.status = 'success' AND n.seconds IS NOT NULL"
_REQUESTS: Final = {"requests": _ACCEPTED, "cache_hits": "n.outcome = 'cache_hit'"}
_DIFF: Final = {
    "diff_packages_true": f"{_ACCEPTED} AND n.diff_packages",
    "diff_packages_false": f"{_ACCEPTED} AND NOT n.diff_packages",
}
_OUTCOMES: Final = {
    "cached_failures": "n.outcome = 'cached_failure'",
    "rejected": _REJECTED,
}
_PATTERNS: Final = {
    "custom_repos_true": "n.has_custom_repos",
    "custom_repos_false": "NOT n.has_custom_repos",
    "defaults_true": "n.has_defaults",
    "defaults_false": "NOT n.has_defaults",
    "rootfs_size_true": "n.rootfs_size_mb > 0",
    "rootfs_size_false": "n.rootfs_size_mb = 0",
}
_BUILDS: Final = {
    "successful": "n.status = 'success'",
    "failed": _FAILED,
    "timed": _TIMED,
    "timed_seconds": f"{_TIMED} THEN n.seconds",
}
# The sums of the Go server's endpoints: requests and builds together.
_OF_QUEUED: Final = {
    "queued": "n.outcome = 'queued'",
    "cache_hits": "n.outcome = 'cache_hit'",
    "diff_packages_true": "n.outcome = 'queued' AND n.diff_packages",
    "diff_packages_false": "n.outcome = 'queued' AND NOT n.diff_packages",
}
_OF_BUILDS: Final = {
    "successful": "n.status = 'success'",
    "failed": _FAILED,
    "diff_packages_true": "n.status = 'success' AND n.diff_packages",
    "diff_packages_false": "n.status = 'success' AND NOT n.diff_packages",
}
# A hash counts on the first of its accepted requests of a day: the index has them.
_FIRST: Final = (
    f"{_ACCEPTED} AND NOT EXISTS (SELECT 1 FROM requests r WHERE r.request_hash = n.request_hash"
    " AND r.day = n.day AND r.outcome <> 'rejected' AND r.seq < n.seq)"
)


@dataclass(frozen=True, slots=True)
class Count:
    """What a new row of `of` adds to the sums of a rollup; `sums` maps them to conditions."""

    rollup: str
    of: str
    key: Sequence[str]
    sums: Mapping[str, str]
    where: str = "1 = 1"
    expressions: Mapping[str, str] = field(default_factory=dict)
    joined: Mapping[str, str] = field(default_factory=dict)


_DEVICE: Final = ("version", "target", "profile")
_ERROR: Final = ("error_category", "error_type")
_ERRORS: Final = ("day", *_ERROR, "version", "target")
# By day: what the reports of a day need.
BY_DAY: Final = (
    Count(
        "daily",
        "requests",
        ("day",),
        {
            **_REQUESTS,
            **_DIFF,
            **_OUTCOMES,
            "unique_requests": _FIRST,
            "queued": "n.outcome = 'queued'",
            "joined": "n.outcome = 'joined'",
        },
    ),
    Count(
        "version_target",
        "requests",
        ("day", "version", "target"),
        {**_REQUESTS, **_DIFF},
        _ACCEPTED,
    ),
    Count("profiles", "requests", ("day", *_DEVICE), _REQUESTS, _ACCEPTED),
    Count("clients", "requests", ("day", "client"), {**_REQUESTS, **_OUTCOMES}),
    Count(
        "package_counts",
        "requests",
        ("day", "version", "client", "package_count"),
        {"requests": "1 = 1"},
        f"{_ACCEPTED} AND n.package_count IS NOT NULL",
    ),
    Count("errors", "requests", _ERRORS, {"errors": "1 = 1"}, _REJECTED),
    Count(
        "daily",
        "builds",
        ("day",),
        {
            **_BUILDS,
            "timeouts": "n.status = 'timeout'",
            "cancelled": "n.status = 'cancelled'",
        },
    ),
    Count("version_target", "builds", ("day", "version", "target"), _BUILDS, _COUNTED),
    Count("profiles", "builds", ("day", *_DEVICE), _BUILDS, _COUNTED),
    Count("durations", "builds", ("day", "version", "seconds"), {"builds": "1 = 1"}, _TIMED),
    Count("errors", "builds", _ERRORS, {"errors": "1 = 1"}, _FAILED),
)
# Every further rollup of ours that is a sum over single rows.
FURTHER: Final = (
    Count(
        "hourly_profiles",
        "requests",
        ("hour", *_DEVICE),
        {**_REQUESTS, "queued": "n.outcome = 'queued'"},
        _ACCEPTED,
    ),
    Count("hourly_clients", "requests", ("hour", "client", "version"), {**_REQUESTS, **_OUTCOMES}),
    Count(
        "client_versions",
        "requests",
        ("day", "client", "version", "client_version"),
        {"requests": _ACCEPTED, **_PATTERNS},
        _ACCEPTED,
    ),
    Count(
        "client_devices",
        "requests",
        ("day", "client", "target", "profile"),
        {"requests": "1 = 1"},
        _ACCEPTED,
    ),
    Count(
        "rootfs_sizes",
        "requests",
        ("day", "version", "client", "rootfs_size_mb"),
        {"requests": "1 = 1"},
        f"{_ACCEPTED} AND n.rootfs_size_mb > 0",
    ),
    Count("client_errors", "requests", ("day", "client", *_ERROR), {"errors": "1 = 1"}, _REJECTED),
    Count(
        "repeats",
        "requests",
        ("day", "client", "request_hash"),
        _OUTCOMES,
        "n.outcome IN ('rejected', 'cached_failure')",
    ),
    Count("legacy", "requests", ("day", "version"), _OF_QUEUED, _ACCEPTED),
    Count("legacy", "builds", ("day", "version"), _OF_BUILDS, _COUNTED),
    Count("hourly_profiles", "builds", ("hour", *_DEVICE), _BUILDS, _COUNTED),
    Count("busy_seconds", "builds", ("day", "seconds"), {"builds": "1 = 1"}, "n.seconds >= 0"),
    Count(
        "phases",
        "builds",
        ("day", "phase", "version", "worker", "milliseconds"),
        {"builds": "1 = 1"},
        "n.status = 'success' AND n.phases IS NOT NULL",
        {"phase": "p.key", "milliseconds": "CAST(round(1000 * CAST(p.value AS real)) AS integer)"},
        {"sqlite": "json_each(n.phases) p", "postgresql": "jsonb_each_text(n.phases) p"},
    ),
)
EVERY: Final = (*BY_DAY, *FURTHER)


def tables(dialect: str, counts: Iterable[Count]) -> Iterator[str]:
    """Yield the statements that create detail tables and rollups."""
    types = _TYPES[dialect]
    number = "integer PRIMARY KEY" if dialect == "sqlite" else "bigserial PRIMARY KEY"
    for name, columns in DETAILS.items():
        fields = [f"{column} {types.get(kind, kind)}" for column, kind in columns.items()]
        key = next(iter(columns))
        yield f"CREATE TABLE {name} (seq {number}, {', '.join(fields)}, UNIQUE ({key}))"
    yield (
        "CREATE INDEX requests_of_hash ON requests (request_hash, day) WHERE outcome <> 'rejected'"
    )
    keys_of: dict[str, Sequence[str]] = {}
    sums: dict[str, dict[str, None]] = {}
    for count in counts:
        keys_of[count.rollup] = count.key
        sums.setdefault(count.rollup, {}).update(dict.fromkeys(count.sums))
    without = " WITHOUT ROWID" if dialect == "sqlite" else ""
    for name, keys in keys_of.items():
        kinds = [_KINDS.get(column, "text") for column in keys]
        fields = [
            f"{column} {types.get(kind, kind)} NOT NULL"
            for column, kind in zip(keys, kinds, strict=True)
        ]
        fields += [f"{each} bigint NOT NULL DEFAULT 0" for each in sums[name]]
        yield f"CREATE TABLE {name} ({', '.join(fields)}, PRIMARY KEY ({', '.join(keys)})){without}"


def sqlite_triggers(counts: Iterable[Count]) -> Iterator[str]:
    """Yield one trigger per detail table."""
    for table, added in _by_table(counts):
        body = "; ".join(_of_row(count, "sqlite") for count in added)
        yield f"CREATE TRIGGER count_{table} AFTER INSERT ON {table} BEGIN {body}; END"


def postgresql_triggers(counts: Iterable[Count], level: str) -> Iterator[str]:
    """Yield functions and triggers; `level` is `row` or `statement`."""
    for table, added in _by_table(counts):
        add = _of_statement if level == "statement" else _of_row_if_counted
        body = "; ".join(add(count, "postgresql") for count in added)
        yield (
            f"CREATE FUNCTION count_{table}() RETURNS trigger LANGUAGE plpgsql "
            f"AS $$BEGIN {body}; RETURN NULL; END$$"
        )
        new = "REFERENCING NEW TABLE AS added " if level == "statement" else ""
        yield (
            f"CREATE TRIGGER count_{table} AFTER INSERT ON {table} {new}"
            f"FOR EACH {level.upper()} EXECUTE FUNCTION count_{table}()"
        )


def _by_table(counts: Iterable[Count]) -> Iterator[tuple[str, list[Count]]]:
    found: dict[str, list[Count]] = {}
    for count in counts:
        found.setdefault(count.of, []).append(count)
    yield from found.items()


def _keys(count: Count) -> list[str]:
    return [count.expressions.get(column, f"n.{column}") for column in count.key]


def _amounts(count: Count) -> list[str]:
    return [
        f"CASE WHEN {condition if ' THEN ' in condition else f'{condition} THEN 1'} ELSE 0 END"
        for condition in count.sums.values()
    ]


def _of_row(count: Count, dialect: str) -> str:
    source = f" FROM {count.joined[dialect]}" if count.joined else ""
    values = ", ".join([*_keys(count), *_amounts(count)])
    return re.sub(r"\bn\.", "NEW.", _upsert(count, f"SELECT {values}{source} WHERE {count.where}"))


def _of_row_if_counted(count: Count, dialect: str) -> str:
    """Return a statement of plpgsql. Its IF costs less than a query without rows."""
    condition = re.sub(r"\bn\.", "NEW.", count.where)
    return f"IF {condition} THEN {_of_row(count, dialect)}; END IF"


def _of_statement(count: Count, dialect: str) -> str:
    source = ", ".join(["added n", *([count.joined[dialect]] if count.joined else [])])
    keys = _keys(count)
    values = ", ".join([*keys, *(f"sum({amount})" for amount in _amounts(count))])
    return _upsert(
        count, f"SELECT {values} FROM {source} WHERE {count.where} GROUP BY {', '.join(keys)}"
    )


def _upsert(count: Count, rows: str) -> str:
    added = ", ".join(f"{each} = {count.rollup}.{each} + excluded.{each}" for each in count.sums)
    key = ", ".join(count.key)
    return (
        f"INSERT INTO {count.rollup} ({key}, {', '.join(count.sums)}) {rows} "
        f"ON CONFLICT ({key}) DO UPDATE SET {added}"
    )
