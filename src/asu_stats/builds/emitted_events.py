"""The events of each step of the build service."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from asu_stats import cloudevents
from asu_stats.builds.jobs import Ending, Job
from asu_stats.builds.requests import BuildRequest
from asu_stats.events import Event, Outcome

# Intermediaries must forward CloudEvents of up to 64 KiB (CloudEvents 1.0, Size Limits). Package
# names beyond this size are only counted.
_PACKAGES_BYTES: Final = 32 * 1024


def _names(request: BuildRequest) -> dict[str, Any]:
    return {
        "version": request.version,
        "target": request.target,
        "profile": request.profile,
        "diff_packages": request.diff_packages,
    }


def _packages(request: BuildRequest) -> list[str]:
    names, size = [], 0
    for name in request.wanted_packages[: cloudevents.MAX_PACKAGES]:
        size += len(name) + 4
        if size > _PACKAGES_BYTES:
            break
        names.append(name)
    return names


def request_received(
    source: str,
    request: BuildRequest,
    *,
    client: str,
    received: datetime,
    outcome: Outcome,
    error: Mapping[str, str] | None = None,
) -> Event:
    """Return the event of a request; `error` is the reason of a rejection."""
    return cloudevents.new(
        "request.received",
        source=source,
        time=received,
        data={
            "request_hash": request.request_hash,
            "outcome": outcome,
            **_names(request),
            "client": client,
            "packages": _packages(request),
            "package_count": len(request.wanted_packages),
            "has_custom_repos": bool(request.repositories),
            "has_defaults": bool(request.defaults),
            "rootfs_size_mb": request.rootfs_size_mb,
            **(error or {}),
        },
    )


def _worker_source(source: str, worker_id: str) -> str:
    return f"{source}/workers/{worker_id}"


def build_started(source: str, job: Job) -> Event:
    """Return the event of a started build."""
    return cloudevents.new(
        "build.started",
        source=_worker_source(source, job.worker_id),
        time=job.started_at,
        data={
            "build_id": job.build_id,
            "request_hash": job.request_hash,
            "worker_id": job.worker_id,
            **_names(job.request),
        },
    )


def build_finished(source: str, job: Job, ending: Ending, *, finished: datetime) -> Event:
    """Return the event of a finished build."""
    data = {
        "build_id": job.build_id,
        "request_hash": job.request_hash,
        "worker_id": job.worker_id,
        "status": ending.status,
        "duration_seconds": (finished - job.started_at).total_seconds(),
        "phases": dict(ending.phases),
        **_names(job.request),
    }
    if ending.status != "success":
        data["error_message"] = ending.error_message
        data["error_category"] = ending.error_category
        data["error_type"] = ending.error_type
    return cloudevents.new(
        "build.finished",
        source=_worker_source(source, job.worker_id),
        time=finished,
        data=data,
    )
