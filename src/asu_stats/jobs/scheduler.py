"""The scheduler of a server: checks every few seconds which jobs are due, and runs them.

Due times are in the database (`store.database.leases`), so any number of servers can
check. Each job has a thread that waits by the monotonic clock, so clock jumps delay nothing.
"""

import logging
import threading
from typing import Final, Self

from asu_stats.exceptions import StoreUnavailableError, reason
from asu_stats.jobs.job import Job
from asu_stats.jobs.runner import Runner
from asu_stats.logs import Condition

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 2.0


class Scheduler:
    """Runs jobs in the background until it is closed.

    On exit, running jobs are told to stop and waited for.
    """

    def __init__(self, runner: Runner, *, look_seconds: float = LOOK_SECONDS) -> None:
        self._runner = runner
        self._look_seconds = look_seconds
        self._known = False
        self._condition = Condition(log, "jobs")
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(job,), name=f"job {job.name}", daemon=True)
            for job in runner.jobs
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.stop()
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self, job: Job) -> None:
        while not self._stopping.wait(self._look_seconds):  # by the monotonic clock
            self._look(job)

    def _look(self, job: Job) -> None:
        try:
            if not self._known:
                self._runner.register()
                self._known = True
            self._runner.run_if_due(job)
            self._condition.works()
        except StoreUnavailableError as error:
            log.debug("jobs: %s", error)  # the recorder logs it
        except Exception as error:
            words = reason(error)
            self._condition.failed(words, level=logging.ERROR, exc_info=True)
