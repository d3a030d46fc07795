"""Builders turn requests into images. A worker passes each build to one as an `Attempt`."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias

from asu_stats.builds.jobs import Job
from asu_stats.exceptions import AsuStatsError

StopReason: TypeAlias = Literal["timeout", "shutdown", "lost"]

PHASES: Final = (
    "init",
    "container_setup",
    "validate_revision",
    "validate_manifest",
    "building_image",
)


class BuildFailedError(AsuStatsError):
    """A build that failed. The text is for the client; `log` has the details.

    `category` and `type` are set where the text alone does not determine the type of error.
    """

    def __init__(
        self,
        text: str,
        *,
        log: str = "",
        category: str | None = None,
        type: str | None = None,  # noqa: A002
    ) -> None:
        self.log = log
        self.category = category
        self.type = type
        super().__init__(text)


class BuildStoppedError(AsuStatsError):
    """A build that must end now: it timed out, the process stops, or another one ended it."""

    def __init__(self, reason: StopReason, text: str = "") -> None:
        self.reason: StopReason = reason
        super().__init__(text or reason)


@dataclass(frozen=True, slots=True)
class Result:
    """Result of a successful build: a directory of images, and their data for the client.

    `answer` has members of a profiles.json: `id`, `target`, `titles`, `version_number`,
    `version_code`, `images` and so on; `build_at` is RFC 3339.
    """

    directory: Path
    images: tuple[str, ...]
    manifest: Mapping[str, str]
    answer: Mapping[str, Any]


@dataclass(slots=True)
class Attempt:
    """A running build: its directory, time limit and output, and whether it must stop.

    `command`, `stdout` and `stderr` are those of the last command, whatever the result.
    """

    job: Job
    directory: Path
    seconds: float
    announce: Callable[[str], None]
    command: list[str] = field(default_factory=list)
    stdout: str = ""
    stderr: str = ""
    _began: float = field(default_factory=time.monotonic, init=False)
    _entered: float = field(default_factory=time.monotonic, init=False)
    _phase: str = field(default="init", init=False)
    _phases: dict[str, float] = field(default_factory=dict, init=False)
    _reason: StopReason | None = field(default=None, init=False)
    _stopped: threading.Event = field(default_factory=threading.Event, init=False)

    def enter(self, phase: str) -> None:
        """Start a phase, one of `PHASES`. Raises `BuildStoppedError`."""
        self.check()
        self._leave()
        self._phase = phase
        self.announce(phase)

    def keep_output(self, stdout: str, stderr: str) -> None:
        """Set the output of the last command."""
        self.stdout, self.stderr = stdout, stderr

    def _leave(self) -> None:
        now = time.monotonic()
        self._phases[self._phase] = self._phases.get(self._phase, 0.0) + now - self._entered
        self._entered = now

    def phases(self) -> dict[str, float]:
        """Return the seconds that each phase took so far, to the millisecond."""
        self._leave()
        return {phase: round(seconds, 3) for phase, seconds in self._phases.items()}

    def stop(self, reason: StopReason) -> None:
        """Ask the build to stop. The first reason counts."""
        self._reason = self._reason or reason
        self._stopped.set()

    def check(self) -> None:
        """Raise `BuildStoppedError` if the build must end now."""
        if self._reason:
            raise BuildStoppedError(self._reason)
        if time.monotonic() - self._began >= self.seconds:
            raise BuildStoppedError("timeout")

    def pause(self, seconds: float) -> None:
        """Wait. Raises `BuildStoppedError` as soon as the build must end."""
        left = self.seconds - (time.monotonic() - self._began)
        self._stopped.wait(max(0.0, min(seconds, left)))
        self.check()


class Builder(Protocol):
    """Builds images. One builder serves many workers at once."""

    def build(self, attempt: Attempt) -> Result:
        """Build the request of `attempt.job`, below `attempt.directory`.

        Raises `BuildFailedError`, or `BuildStoppedError` if the attempt must stop.
        """
