"""The scheduler of a server: checks every few seconds which jobs are due, and runs them.

Due times are in the database (`store.database.leases`), so any number of servers can
check. Each job has a thread that waits by the monotonic clock, so clock jumps delay nothing.
"""

import logging
from functools import partial
from typing import Final, Self

from asu_stats.jobs.job import Job
from asu_stats.jobs.runner import Runner
from asu_stats.logs import Condition
from asu_stats.loops import Loop

log = logging.getLogger(__name__)

CHECK_SECONDS: Final = 2.0


class Scheduler:
    """Runs jobs in the background until it is closed.

    On exit, running jobs are told to stop and waited for.
    """

    def __init__(self, runner: Runner, *, check_seconds: float = CHECK_SECONDS) -> None:
        self._runner = runner
        self._known = False
        condition = Condition(log, "jobs")
        self._loops = [
            Loop(
                f"job {job.name}",
                partial(self._run_if_due, job),
                seconds=check_seconds,
                sound=condition,
            )
            for job in runner.jobs
        ]

    def __enter__(self) -> Self:
        for loop in self._loops:
            loop.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.stop()
        for loop in self._loops:
            loop.stop()
        for loop in self._loops:
            loop.join()

    def _run_if_due(self, job: Job) -> None:
        if not self._known:
            self._runner.register()
            self._known = True
        self._runner.run_if_due(job)
