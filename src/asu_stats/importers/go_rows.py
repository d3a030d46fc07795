"""Rows of the Go server's `build_stats` as events, one event per row.

The server writes a row after the fact, so the `timestamp` of a build is its end. Only successful
builds have a duration; 0 means none. A `Match` has the data of other tables.
"""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from asu_stats import cloudevents
from asu_stats.cloudevents import HASH_LENGTH, MAX_INTEGER, MAX_PACKAGES
from asu_stats.events import UNKNOWN, Event
from asu_stats.importers import go_times
from asu_stats.importers.go_matching import Match
from asu_stats.text import NAME_LENGTH, is_storable, stored_name

_OUTCOMES: Final = {"request": "queued", "cache_hit": "cache_hit"}
_STATUSES: Final = {"build_completed": "success", "failure": "failure"}
KINDS: Final = (*_OUTCOMES, *_STATUSES)
_JOB_STATUSES: Final = {"build_completed": "completed", "failure": "failed"}

Row = Mapping[str, Any]


class Reader:
    """Converts rows to events; `source` is that of the file."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._builds = "go-builder:" + source.rpartition(":")[2][:64]

    def events(self, row: Row, match: Match | None, doubts: list[str]) -> list[Event]:
        """Return the events of a row and its match.

        Problems with single columns, which become unknown, are added to `doubts`. Raises
        `ValueError` or `InvalidEventError` for an invalid row.
        """
        kind = row["event_type"]
        if kind not in KINDS:
            raise ValueError(f"event_type: expected one of {', '.join(KINDS)}")
        try:
            at = go_times.parse(row["timestamp"])
        except ValueError as error:
            raise ValueError(f"timestamp: {error}") from None
        names = {field: _name(row[field]) for field in ("version", "target", "profile")}
        diff = _diff_packages(row["diff_packages"], doubts)
        if kind in _OUTCOMES:
            return [self._request(row["id"], at, _OUTCOMES[kind], {**names, **diff}, match)]
        seconds = _seconds(row["duration_seconds"], doubts) if kind == "build_completed" else None
        said = {name: value for name, value in {**names, **diff}.items() if value is not None}
        return self._build(row["id"], at, kind, seconds, said, match)

    def _request(
        self, row_id: int, at: datetime, outcome: str, names: dict[str, Any], match: Match | None
    ) -> Event:
        data = {name: UNKNOWN if value is None else value for name, value in names.items()}
        data["outcome"] = outcome
        if match is not None:
            if match.end_row is not None and _is_hash(match.request_hash):
                data["request_hash"] = match.request_hash
            data |= _features(match)
        return self._new("request.received", row_id, at, data)

    def _build(
        self,
        row_id: int,
        at: datetime,
        kind: str,
        seconds: int | None,
        said: dict[str, Any],
        match: Match | None,
    ) -> list[Event]:
        ids: dict[str, Any] = {"build_id": f"{self._builds}:build_stats:{row_id}", **said}
        data: dict[str, Any] = {**ids, "status": _STATUSES[kind]}
        if seconds is not None:
            data["duration_seconds"] = seconds
        events = []
        if match is not None and _is_hash(match.request_hash):
            ids["request_hash"] = data["request_hash"] = match.request_hash
            started = None if seconds is None else at - timedelta(seconds=seconds)
            if match.job_status == _JOB_STATUSES[kind]:
                if worker := _name(match.worker_id):
                    ids["worker_id"] = data["worker_id"] = worker
                if kind == "failure":
                    started = _start(match.started_at, at)
                    data["error_message"] = _text(match.error_message)
            if started is not None:
                events.append(self._new("build.started", row_id, started, ids, ":started"))
        return [*events, self._new("build.finished", row_id, at, data)]

    def _new(
        self, kind: str, row_id: int, at: datetime, data: dict[str, Any], part: str = ""
    ) -> Event:
        return cloudevents.new(
            kind,
            source=self._source,
            id=f"build_stats:{row_id}{part}",
            time=at,
            data=data,
            imported=True,
        )


def _text(value: object) -> str | None:
    """Return the value of a column as text; SQLite columns can hold any type."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return None if value is None else str(value)


def _name(value: object) -> str | None:
    """Return a name in the stored form, `None` for null and empty text."""
    text = _text(value)
    if text and len(text) > NAME_LENGTH:
        text = stored_name(text, NAME_LENGTH)
    return text or None


def _is_hash(text: str) -> bool:
    return bool(text) and len(text) <= HASH_LENGTH and is_storable(text)


def _diff_packages(value: object, doubts: list[str]) -> dict[str, bool]:
    if value in (0, 1):
        return {"diff_packages": bool(value)}
    if value is not None:
        doubts.append("diff_packages: expected 0, 1 or null; imported as unknown")
    return {}


def _seconds(value: object, doubts: list[str]) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None or value == 0:
        return None
    if not isinstance(value, int) or not 0 < value <= MAX_INTEGER:
        doubts.append("duration_seconds: expected a whole number of seconds; imported as unknown")
        return None
    return value


def _start(value: object, end: datetime) -> datetime | None:
    try:
        started = go_times.parse(value)
    except ValueError:
        return None
    return started if started <= end else None


def _json(value: object) -> Any:
    try:
        return json.loads(_text(value) or "null")
    except (ValueError, RecursionError):
        return None


def _features(match: Match) -> dict[str, Any]:
    """Return the options of a request, as far as they are readable."""
    found: dict[str, Any] = {"client": _name(match.client)}
    listed = _json(match.packages_versions) or _json(match.packages)
    if isinstance(listed, dict | list):
        names = [name.removeprefix("+") for name in listed if isinstance(name, str)]
        fits = [name for name in names if 0 < len(name) <= NAME_LENGTH]
        found["packages"], found["package_count"] = fits[:MAX_PACKAGES], len(names)
    found["has_defaults"] = bool(_text(match.defaults))
    repositories = _json(match.repositories)
    if isinstance(repositories, list):
        found["has_custom_repos"] = bool(repositories)
    megabytes = match.rootfs_size_mb
    if megabytes is None or (isinstance(megabytes, int) and 0 <= megabytes <= MAX_INTEGER):
        found["rootfs_size_mb"] = megabytes
    return found
