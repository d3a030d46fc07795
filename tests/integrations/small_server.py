"""A small build server of FastAPI and RQ with the hook points of the upstream server.

It answers `POST /api/v1/build` as upstream does, by its documented behaviour. Its queue is handed
in, and packages choose what its builds do.
"""

from typing import Any

from fastapi import FastAPI, Header, HTTPException, Response
from pydantic import BaseModel
from rq import Queue, get_current_job

VERSIONS = ("24.10.2", "25.12.5")


class Request(BaseModel):
    version: str
    target: str
    profile: str
    packages: list[str] = []
    packages_versions: dict[str, str] = {}
    diff_packages: bool = False
    defaults: str | None = None
    rootfs_size_mb: int | None = None
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


def create(queue: Queue) -> FastAPI:
    app = FastAPI()

    @app.post("/api/v1/build")
    def build_post(
        request: Request, response: Response, user_agent: str = Header("")
    ) -> dict[str, Any]:
        del user_agent
        request.profile = request.profile.replace(",", "_")
        job_id = "-".join((request.profile, *sorted(request.packages))).ljust(64, "0")[:64]
        job = queue.fetch_job(job_id)
        if job is None:
            if request.version not in VERSIONS:
                response.status_code = 400
                return {"detail": f"Unsupported version: {request.version}", "status": 400}
            if len(queue) > 2:
                response.status_code = 529
                return {"detail": "server overload, queue contains too many", "status": 529}
            job = queue.enqueue(build, request, job_id=job_id)
        status = 500 if job.is_failed else 200 if job.is_finished else 202
        if job.is_stopped:
            raise KeyError("status")
        response.status_code = status
        response.headers["X-Imagebuilder-Status"] = "any"
        return {"status": status, "request_hash": job.id}

    @app.get("/api/v1/build/{request_hash}")
    def build_get(request_hash: str) -> dict[str, Any]:
        if queue.fetch_job(request_hash) is None:
            raise HTTPException(404)
        return {"request_hash": request_hash}

    return app
