"""A worker: claims builds one after the other, and stores the result of each."""

import errno
import functools
import logging
import re
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from asu_stats.builds.builders import (
    Attempt,
    Builder,
    BuildFailedError,
    BuildStoppedError,
    Result,
)
from asu_stats.builds.images import ImageStore
from asu_stats.builds.jobs import Ending, Job
from asu_stats.builds.queue import BuildQueue
from asu_stats.builds.service import BuildService
from asu_stats.builds.wakeups import Wakeups
from asu_stats.builds.workers import Registry
from asu_stats.error_types import classify
from asu_stats.events import shown_hash
from asu_stats.exceptions import StoreUnavailableError
from asu_stats.logs import Condition

_log = logging.getLogger(__name__)
POLL_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 1.0
# How long a stopping worker retries to store the result of its build while the database is down.
SHUTDOWN_RETRY_SECONDS: Final = 5.0
# The directories of an absolute path, also within an argument (`BIN_DIR=/srv/x`, `-v/srv/x`), not
# of a URL.
_DIRECTORIES: Final = re.compile(r"(?:(?<![\w./])|(?<=^-\w))/(?!/)(?:[^\s:=,/]*/)*")


class Worker:
    """Builds in a thread of its own, one at a time, from `start` to `stop`.

    `waits` logs failures to claim builds; the workers of a process share it.
    """

    def __init__(
        self,
        service: BuildService,
        builder: Builder,
        registry: Registry,
        waits: Condition | None = None,
    ) -> None:
        self._queue: BuildQueue = service.queue
        self._images: ImageStore = service.images
        self._wakeups: Wakeups = service.wakeups
        self._seconds = service.settings.job_timeout_seconds
        self._builder = builder
        self._registry = registry
        self._waits = waits or Condition(_log, "worker waits")
        self._thread = threading.Thread(target=self._run, name="build-worker", daemon=True)
        self._stopping = threading.Event()
        self._guard = threading.Lock()
        self._attempt: Attempt | None = None
        self._has_name = False
        self._name = ""
        self.holder = uuid.uuid4().hex

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Claim no more builds. A running build is queued again."""
        self._stopping.set()
        with self._guard:
            if self._attempt:
                self._attempt.stop("shutdown")
        self._wakeups.notify()

    def join(self, seconds: float) -> bool:
        """Wait for the end of the thread. Returns whether it ended in time."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    @property
    def has_name(self) -> bool:
        """Whether the worker has a name, so that it must send heartbeats."""
        return self._has_name

    @property
    def build_id(self) -> str | None:
        """The build that runs, `None` while idle."""
        attempt = self._attempt
        return attempt.job.build_id if attempt else None

    def lose_name(self) -> None:
        """Take another name before the next build: another worker has this one."""
        self._has_name = False

    def lose_build(self, build_id: str) -> None:
        """Stop a build that another process has ended."""
        with self._guard:
            if self._attempt and self._attempt.job.build_id == build_id:
                self._attempt.stop("lost")

    def _run(self) -> None:
        while not self._stopping.is_set():
            seen = self._wakeups.count
            try:
                if not self._has_name:
                    self._name = self._registry.take_name(self.holder)
                    self._has_name = True
                job = self._queue.claim(self._name)
            except StoreUnavailableError as error:
                self._waits.failed(error)
                self._stopping.wait(RETRY_SECONDS)
                continue
            except Exception as error:
                self._waits.failed(error, level=logging.ERROR, exc_info=True)
                self._stopping.wait(RETRY_SECONDS)
                continue
            self._waits.works()
            if job is None:
                self._wakeups.wait(seen, seconds=POLL_SECONDS)
                continue
            try:
                self._work(job)
            except Exception:  # without heartbeats the build ends as that of a lost worker
                _log.exception(
                    "builds: the result could not be stored hash=%s", shown_hash(job.request_hash)
                )

    def _work(self, job: Job) -> None:
        _log.info("builds: started hash=%s", shown_hash(job.request_hash))
        attempt = None
        try:
            attempt = Attempt(
                job=job,
                directory=self._images.stage(job.build_id),
                seconds=self._seconds,
                announce=functools.partial(self._announce, job),
            )
            with self._guard:
                self._attempt = attempt
                if self._stopping.is_set():
                    attempt.stop("shutdown")
            result = self._builder.build(attempt)
            self._sync(result)
            self._end(job, succeeded(attempt, result), result)
        except BuildStoppedError as stopped:
            if stopped.reason == "timeout" and attempt:
                self._end(job, timed_out(attempt, stopped, self._seconds))
            elif stopped.reason == "shutdown":
                self._retry(functools.partial(self._queue.requeue, job))
            _log.info(
                "builds: stopped hash=%s reason=%s", shown_hash(job.request_hash), stopped.reason
            )
        except Exception as error:
            if not isinstance(error, BuildFailedError):
                _log.exception("builds: unexpected error hash=%s", shown_hash(job.request_hash))
            self._end(job, failed(attempt, error))
        finally:
            with self._guard:
                self._attempt = None
            self._images.discard(job.build_id)

    def _announce(self, job: Job, phase: str) -> None:
        try:
            self._queue.progress(job, phase)
        except StoreUnavailableError:
            _log.debug("builds: phase could not be stored phase=%s", phase)

    def _end(self, job: Job, ending: Ending, result: Result | None = None) -> None:
        publish = functools.partial(self._publish, result, job.request_hash) if result else None
        ended = self._retry(functools.partial(self._queue.finish, job, ending, publish=publish))
        _log.info(
            "builds: ended hash=%s status=%s%s",
            shown_hash(job.request_hash),
            ending.status,
            "" if ended else "; another end was stored before",
        )

    def _sync(self, result: Result) -> None:
        """Write images to disk, before a database knows of them."""
        try:
            self._images.sync(result.directory)
        except OSError as error:
            raise _store_failed(error) from error

    def _publish(self, result: Result, request_hash: str) -> None:
        try:
            self._images.publish(result.directory, request_hash)
        except OSError as error:
            raise _store_failed(error) from error

    def _retry(self, step: functools.partial[bool]) -> bool:
        """Run `step`, and retry while the database is unreachable."""
        give_up: float | None = None
        while True:
            try:
                return step()
            except StoreUnavailableError:
                if self._stopping.is_set():
                    give_up = give_up or time.monotonic() + SHUTDOWN_RETRY_SECONDS
                    if time.monotonic() > give_up:
                        return False
                time.sleep(RETRY_SECONDS)


def succeeded(attempt: Attempt, result: Result) -> Ending:
    """Return the ending of a successful build."""
    return Ending(
        status="success",
        phases=attempt.phases(),
        command=_public_command(attempt.command),
        stdout=attempt.stdout,
        stderr=attempt.stderr,
        images=result.images,
        manifest=result.manifest,
        answer=result.answer,
    )


def failed(attempt: Attempt | None, error: Exception) -> Ending:
    """Return the ending of a build that failed with `error`.

    The recorded text is the line that clients see, plus the log if that changes the type of error.
    """
    known = error if isinstance(error, BuildFailedError) else _unexpected(attempt, error)
    text, log = str(known), known.log
    is_informative = log and classify(f"{text}\n{log}", status="failure") != classify(text)
    line = text.strip().partition("\n")[0]
    return Ending(
        status="failure",
        phases=attempt.phases() if attempt else {},
        error_message=f"{text}\n{log}" if is_informative else text,
        error_category=known.category,
        error_type=known.type,
        detail=line if line.startswith("Error: ") else f"Error: {line}",
        command=_public_command(attempt.command) if attempt else [],
        stdout=attempt.stdout if attempt else "",
        stderr=attempt.stderr if attempt else "",
    )


def _unexpected(attempt: Attempt | None, error: Exception) -> BuildFailedError:
    """Return an unexpected error as clients may see it.

    Its own text is only logged, because it could contain paths of this server.
    """
    if isinstance(error, OSError) and _is_storage_error(attempt, error):
        return _store_failed(error)
    kind = classify(f"{type(error).__name__}: {error}", status="failure")
    return BuildFailedError(
        "Build failed: internal error of the server", category=kind.category, type=kind.type
    )


def _is_storage_error(attempt: Attempt | None, error: OSError) -> bool:
    """Return whether an error is about the directory of a build, or from before it existed."""
    if attempt is None:
        return True
    names = (name for name in (error.filename, error.filename2) if isinstance(name, str | Path))
    return any(Path(name).is_relative_to(attempt.directory) for name in names)


def _store_failed(error: OSError) -> BuildFailedError:
    return BuildFailedError(
        f"Built images could not be put into the store: {error.strerror}",
        category="storage",
        type="disk_full" if error.errno == errno.ENOSPC else "store_failed",
    )


def _public_command(command: Sequence[str]) -> list[str]:
    """Return a command as clients may see it: without the directories of this server."""
    return [_DIRECTORIES.sub("", argument) for argument in command]


def timed_out(attempt: Attempt, stopped: BuildStoppedError, seconds: float) -> Ending:
    """Return the ending of a build that timed out."""
    text = str(stopped)
    if text == stopped.reason:
        text = f"Build timed out: it took longer than the {seconds:g} seconds allowed"
    line = text.strip().partition("\n")[0]
    return Ending(
        status="timeout",
        phases=attempt.phases(),
        error_message=text,
        error_category="build",
        error_type="build_timeout",
        detail=line if line.startswith("Error: ") else f"Error: {line}",
        command=_public_command(attempt.command),
        stdout=attempt.stdout,
        stderr=attempt.stderr,
    )
