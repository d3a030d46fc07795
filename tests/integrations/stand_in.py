"""Runs inside the upstream server's environment: a stand-in for its build, and what RQ knows.

    python stand_in.py worker …     RQ's command line, `asu.build._build` replaced
    python stand_in.py control URL  stops builds that ask for it; at the end of stdin prints results

A pseudo package in the request chooses how its build ends.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import time
from typing import Any

MISSING = """Building package index...
ERROR: unable to select packages:
  zz-missing (no such package):
    required by: world[zz-missing]
make: *** [Makefile:369: manifest] Error 2
"""
PHASES = ("init", "container_setup", "validate_revision", "validate_manifest", "building_image")


def fake_build(build_request: Any, job: Any = None) -> dict[str, Any]:
    """Go through the phases of a build and end as the packages say."""
    from asu.util import check_package_errors, report_error
    from rq import get_current_job

    job = job or get_current_job()
    packages = build_request.packages
    job.meta["detail"] = "init"
    job.meta["request"] = build_request
    for phase in PHASES:
        job.meta["imagebuilder_status"] = phase
        job.save_meta()
        time.sleep(0.01)
        if phase == "validate_manifest" and "zz-missing" in packages:
            job.meta["stdout"], job.meta["stderr"] = "", MISSING
            report_error(job, check_package_errors(MISSING))
    if "zz-big" in packages:
        report_error(job, "Selected packages exceed device storage")
    if "zz-exception" in packages:
        raise AttributeError("'NoneType' object has no attribute 'group'")
    if "zz-killed" in packages:
        os.kill(os.getpid(), signal.SIGKILL)
    if "zz-long" in packages or "zz-stop" in packages:
        time.sleep(60)
    job.meta["imagebuilder_status"] = "done"
    job.save_meta()
    return {"id": build_request.profile, "bin_dir": job.id, "images": [], "detail": "done"}


def work() -> None:
    """Run RQ's command line with the stand-in."""
    import asu.build
    from rq.cli.cli import main

    asu.build._build = fake_build
    main(sys.argv[1:])


def control(url: str) -> None:
    """Stop the builds that ask for it until stdin ends; then print every result that RQ kept."""
    from redis import Redis
    from rq import Queue
    from rq.command import send_stop_job_command
    from rq.exceptions import InvalidJobOperation, NoSuchJobError
    from rq.job import Job
    from rq.results import Result

    redis = Redis.from_url(url)
    queue = Queue(connection=redis)
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    stopped = set()
    while not ended.wait(0.1):
        for job_id, execution in queue.started_job_registry.get_job_and_execution_ids():
            with contextlib.suppress(NoSuchJobError, InvalidJobOperation):  # it has just ended
                job = Job.fetch(job_id, connection=redis)
                phase = job.get_meta().get("imagebuilder_status")
                if "zz-stop" in job.args[0].packages and phase == PHASES[-1]:
                    if execution not in stopped:
                        send_stop_job_command(redis, job_id)
                    stopped.add(execution)
    found = {}
    for key in redis.scan_iter("rq:results:*"):
        job_id = str(key, "utf-8").rpartition(":")[2]
        results = Result.all(Job(job_id, connection=redis))
        found[job_id] = [(each.type.name, each.exc_string or "") for each in results]
    json.dump({"results": found, "left": len(queue)}, sys.stdout)


if __name__ == "__main__":
    if sys.argv[1] == "control":
        control(sys.argv[2])
    else:
        work()
