"""Helpers of the build service tests: a recorder and builders that tests control."""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Table, func, select

from asu_stats.builds.builders import Attempt, BuildFailedError, Result
from asu_stats.builds.jobs import Ending
from asu_stats.builds.requests import BuildRequest
from asu_stats.builds.schema import build_jobs
from asu_stats.builds.service import BuildService
from asu_stats.events import BuildFinished, BuildStarted, Event, RequestReceived
from asu_stats.settings import Settings
from tests.patience import SECONDS as PATIENCE

NOW = datetime(2026, 9, 30, 12, tzinfo=UTC)


class Recorder:
    """Remembers what it was given: `events` as they came, the others each event once.

    A process that starts delivers what lies in the outbox, also what another thread is about to
    deliver. So an event may come twice, and counts once, as in the store.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, events: Sequence[Event]) -> None:
        self.events += events

    def requests(self) -> list[RequestReceived]:
        return [event for event in self._once() if isinstance(event, RequestReceived)]

    def started(self) -> list[BuildStarted]:
        return [event for event in self._once() if isinstance(event, BuildStarted)]

    def finished(self) -> list[BuildFinished]:
        return [event for event in self._once() if isinstance(event, BuildFinished)]

    def _once(self) -> Collection[Event]:
        return {event.id: event for event in tuple(self.events)}.values()

    def outcomes(self) -> list[str]:
        return [event.outcome for event in self.requests()]


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def move(self, **by: float) -> None:
        self.now += timedelta(**by)


def body(**changes: Any) -> dict[str, Any]:
    """Return a build request that is taken, with changes; `None` takes a member out."""
    members: dict[str, Any] = {
        "version": "24.10.2",
        "target": "mediatek/filogic",
        "profile": "glinet_gl-mt6000",
        "packages": ["luci", "tmux"],
        "client": "owut/2025.11.11",
    }
    members |= changes
    return {name: value for name, value in members.items() if value is not None}


def request(**changes: Any) -> BuildRequest:
    return BuildRequest.model_validate(body(**changes))


def settings_for(tmp_path: Path, **changes: Any) -> Settings:
    given: dict[str, Any] = {
        "store_directory": tmp_path / "store",
        "source": "https://asu.example.org/",
        "worker_timeout_seconds": 60,
    }
    return Settings(**(given | changes))


def submit(service: BuildService, clock: Clock | None = None, **changes: Any) -> str:
    """Submit a request and return its outcome."""
    received = clock() if clock else NOW
    return service.queue.submit(
        request(**changes), client="owut/2025.11.11", received=received
    ).outcome


def image_in(directory: Path) -> Result:
    """Write an image and return what a builder does."""
    images = directory / "images"
    images.mkdir()
    (images / "firmware.bin").write_bytes(b"firmware")
    image = {"name": "firmware.bin", "type": "sysupgrade", "filesystem": "squashfs"}
    answer = {"id": "glinet_gl-mt6000", "version_code": "r1-abc", "images": [image]}
    return Result(images, ("firmware.bin",), {"luci": "1"}, answer)


def success(service: BuildService, build_id: str) -> tuple[Ending, Path]:
    """Return the ending of a build that went well, and the folder of its images."""
    result = image_in(service.images.stage(build_id))
    ending = Ending(
        status="success", images=result.images, manifest=result.manifest, answer=result.answer
    )
    return ending, result.directory


def failure(text: str = "Impossible package selection: missing (foo)") -> Ending:
    return Ending(status="failure", error_message=text, detail=f"Error: {text}", stderr="log")


class ObedientBuilder:
    """Builds when it is told to: `go` lets it end, `fail` makes it fail."""

    def __init__(self, *, fail: str = "", waits: bool = False) -> None:
        self.fail = fail
        self.go = threading.Event()
        self.running = threading.Semaphore(0)
        if not waits:
            self.go.set()

    def build(self, attempt: Attempt) -> Result:
        attempt.enter("building_image")
        attempt.command = ["make", "image"]
        attempt.keep_output("out", "err")
        self.running.release()
        while not self.go.is_set():
            attempt.pause(0.01)
        if self.fail:
            raise BuildFailedError(self.fail)
        return image_in(attempt.directory)


def eventually(condition: Callable[[], bool], *, seconds: float = PATIENCE) -> None:
    """Wait until `condition` holds; fail if it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


def is_running(process: int) -> bool:
    """Tell whether there is such a process; one that nobody waited for has ended all the same."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def rows(engine: Engine, table: Table) -> list[Mapping[str, Any]]:
    with engine.connect() as connection:
        first = table.c.id if "id" in table.c else func.count().over()
        return [dict(row) for row in connection.execute(select(table).order_by(first)).mappings()]


def statuses(engine: Engine) -> list[tuple[str | None, str | None]]:
    return [(row["status"], row["ended_as"]) for row in rows(engine, build_jobs)]
