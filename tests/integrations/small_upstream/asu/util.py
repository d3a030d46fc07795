"""Reports of failed builds, as upstream makes them."""

from typing import NoReturn

from rq.job import Job


def report_error(job: Job, message: str) -> NoReturn:
    job.meta["detail"] = f"Error: {message}"
    job.meta["imagebuilder_status"] = "failed"
    job.save_meta()
    raise RuntimeError(message)


def check_package_errors(stderr: str) -> str:
    names = [line.split()[0] for line in stderr.splitlines() if "(no such package)" in line]
    return f"Impossible package selection: missing ({', '.join(names)})"
