"""The application, with the settings that upstream reads from the environment."""

import os

from redis import Redis
from rq import Queue

from asu.build import build
from tests.integrations import small_server

app = small_server.create(
    Queue(connection=Redis.from_url(os.environ["REDIS_URL"])),
    build,
    most_pending=int(os.environ["MAX_PENDING_JOBS"]),
    job_timeout=os.environ["JOB_TIMEOUT"],
)
