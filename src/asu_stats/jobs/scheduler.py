"""The scheduler inside a server: looks every few seconds which jobs are due, and runs them.

What is due is written in the database (`store.leases`), so any number of servers may look. Threads,
their number, and that no look overtakes the one before are APScheduler's business.
"""

import logging
from functools import partial
from typing import Final, Self

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from asu_stats.exceptions import StoreUnavailableError
from asu_stats.jobs.job import Job
from asu_stats.jobs.runner import Runner
from asu_stats.logs import Condition

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 2.0


class Scheduler:
    """Runs jobs in the background for as long as it is open.

    At the end running jobs are asked to stop, and waited for.
    """

    def __init__(self, runner: Runner, *, look_seconds: float = LOOK_SECONDS) -> None:
        self._runner = runner
        self._known = False
        self._condition = Condition(log, "jobs")
        # It warns at every look while a job takes longer than the time between two.
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._scheduler = BackgroundScheduler(
            timezone="UTC",
            executors={"default": ThreadPoolExecutor(max(1, len(runner.jobs)))},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        for job in runner.jobs:
            look = partial(self._look, job)
            self._scheduler.add_job(look, "interval", seconds=look_seconds, id=job.name)

    def __enter__(self) -> Self:
        self._scheduler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.stop()
        self._scheduler.shutdown()

    def _look(self, job: Job) -> None:
        try:
            if not self._known:
                self._runner.register()
                self._known = True
            self._runner.run_if_due(job)
            self._condition.works()
        except StoreUnavailableError as error:
            log.debug("jobs: %s", error)  # the recorder says so to everyone
        except Exception as error:
            words = f"unexpected error: {type(error).__name__}"
            self._condition.failed(words, level=logging.ERROR, exc_info=True)
