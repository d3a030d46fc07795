"""A small build server of FastAPI and RQ with the hook points of the upstream server.

It answers `POST /api/v1/build` as upstream does, by its documented behaviour. Its queue is handed
in, and packages choose what its builds do.
"""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import FastAPI, Header, HTTPException, Response
from pydantic import BaseModel, Field
from rq import Queue, get_current_job
from rq.job import Job

from tests.integrations.campaign import PROFILES

VERSIONS = ("24.10.2", "25.12.5")
TARGETS = ("ath79/generic", "x86/64")


class Request(BaseModel):
    version: str
    target: str
    profile: str
    packages: list[str] = []
    packages_versions: dict[str, str] = {}
    diff_packages: bool = False
    defaults: str | None = None
    rootfs_size_mb: Annotated[int | None, Field(ge=1, le=1024)] = None
    repositories: dict[str, str] = {}
    client: str | None = None


def build(request: Request) -> dict[str, Any]:
    job = get_current_job()
    assert job is not None
    job.meta["detail"] = "init"
    for phase in ("init", "container_setup", "building_image"):
        job.meta["imagebuilder_status"] = phase
        job.save_meta()
    if "zz-missing" in request.packages:
        job.meta["detail"] = "Error: Impossible package selection: missing (zz-missing)"
        job.meta["stderr"] = "  zz-missing (no such package):\n"
        job.save_meta()
        raise RuntimeError("Impossible package selection: missing (zz-missing)")
    job.meta["imagebuilder_status"] = "done"
    job.save_meta()
    return {"detail": "done"}


def create(
    queue: Queue,
    build: Callable[..., Any] = build,
    *,
    most_pending: int = 2,
    job_timeout: str | None = None,
) -> FastAPI:
    app = FastAPI()

    @app.post("/api/v1/build")
    def build_post(
        request: Request, response: Response, user_agent: str = Header("")
    ) -> dict[str, Any]:
        del user_agent
        request.profile = request.profile.replace(",", "_")
        names = [name.removeprefix("+") for name in request.packages_versions or request.packages]
        job_id = "-".join((request.profile, *sorted(names))).ljust(64, "0")[:64]
        job = queue.fetch_job(job_id)
        if job is None:
            if problem := _problem(request):
                response.status_code = 400
                return {"detail": problem, "status": 400}
            if len(queue) > most_pending:
                response.status_code = 529
                return {"detail": "server overload, queue contains too many", "status": 529}
            # No lock: of equal requests at the same moment, each enqueues the job.
            job = queue.enqueue(build, request, job_id=job_id, job_timeout=job_timeout)
        response.status_code = status = _status(job)
        response.headers["X-Imagebuilder-Status"] = "any"
        return {"status": status, "request_hash": job.id, "enqueued_at": job.enqueued_at}

    @app.get("/api/v1/build/{request_hash}")
    def build_get(request_hash: str) -> dict[str, Any]:
        if queue.fetch_job(request_hash) is None:
            raise HTTPException(404)
        return {"request_hash": request_hash}

    return app


def _problem(request: Request) -> str | None:
    """Return why a request is rejected."""
    if request.version not in VERSIONS:
        return f"Unsupported version: {request.version}"
    if request.target not in TARGETS:
        return f"Unsupported target: {request.target}"
    if request.target != "x86/64" and request.profile not in PROFILES:
        return f"Unsupported profile: {request.profile}"
    return None


def _status(job: Job) -> int:
    """Return the status of a job. Each line reads its state again; a stopped one has none."""
    if job.is_failed:
        return 500
    if job.is_queued or job.is_started:
        return 202
    if job.is_finished:
        return 200
    raise KeyError("status")
