"""Jobs, results of builds, and the state of a request hash.

Converts between requests and their rows, too.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import RowMapping

from asu_stats.builds.requests import BuildRequest, knows_all_phases
from asu_stats.events import BuildStatus, Outcome
from asu_stats.times import naive

STOPPED_TEXT: Final = "Build cancelled: the server was shut down; the build is queued again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A build that a worker has claimed. Times are UTC."""

    id: int
    build_id: str
    worker_id: str
    request_hash: str
    request: BuildRequest
    enqueued_at: datetime
    started_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Result of a build. `error_message` is the reason, `detail` its line for clients.

    Phases are in seconds. Category and type are set if the text alone does not determine them.
    """

    status: BuildStatus
    phases: Mapping[str, float] = field(default_factory=dict)
    error_message: str | None = None
    error_category: str | None = None
    error_type: str | None = None
    detail: str | None = None
    command: list[str] = field(default_factory=list)
    stdout: str = ""
    stderr: str = ""
    images: tuple[str, ...] = ()
    manifest: Mapping[str, str] = field(default_factory=dict)
    answer: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """State of a request hash: its newest job, and the result if that succeeded."""

    request_hash: str
    request: BuildRequest
    status: str
    enqueued_at: datetime
    finished_at: datetime | None
    ended_as: str | None
    imagebuilder_status: str | None
    detail: str | None
    error_message: str | None
    build_cmd: str | None
    stdout: str | None
    stderr: str | None
    answer: str | None
    images: str | None
    build_at: datetime | None
    coarse_phases: bool | None = None
    queue_position: int | None = None


class Submission(NamedTuple):
    """Outcome of a request. Without a state it was rejected because `waiting` builds are queued."""

    outcome: Outcome
    state: State | None
    waiting: int


def request_row(
    request: BuildRequest, *, request_hash: str, client: str, received: datetime
) -> dict[str, Any]:
    """Return the row of `build_requests` for a request."""
    return {
        "request_hash": request_hash,
        "distro": request.distro,
        "version": request.version,
        "target": request.target,
        "profile": request.profile,
        "packages": json.dumps(request.packages),
        "packages_versions": json.dumps(request.packages_versions),
        "defaults": request.defaults or "",
        "rootfs_size_mb": request.rootfs_size_mb or 0,
        "repositories": json.dumps(list(request.repositories.values())),
        "repository_keys": json.dumps(request.repository_keys),
        "diff_packages": request.diff_packages,
        "client": client,
        "created_at": naive(received),
        "version_code": request.version_code,
        "filesystem": request.filesystem,
        "repository_names": json.dumps(list(request.repositories)),
        "repositories_mode": request.repositories_mode,
        "coarse_phases": not knows_all_phases(client),
    }


def request_of(row: RowMapping | Mapping[str, Any]) -> BuildRequest:
    """Return the request in a row of `build_requests` that `request_row` made."""
    urls, names = (json.loads(row[c] or "[]") for c in ("repositories", "repository_names"))
    return BuildRequest.model_construct(
        distro=row["distro"],
        version=row["version"],
        version_code=row["version_code"] or "",
        target=row["target"],
        profile=row["profile"],
        packages=json.loads(row["packages"] or "[]"),
        packages_versions=json.loads(row["packages_versions"] or "{}"),
        diff_packages=bool(row["diff_packages"]),
        defaults=row["defaults"] or None,
        rootfs_size_mb=row["rootfs_size_mb"] or None,
        filesystem=row["filesystem"],
        repositories=dict(zip(names, urls, strict=False)),
        repositories_mode=row["repositories_mode"] or "replace",
        repository_keys=json.loads(row["repository_keys"] or "[]"),
        client=row["client"] or None,
    )
