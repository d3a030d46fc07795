"""Runs commands without a shell, each in its own process group, and always ends them."""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final, NamedTuple, cast

MAX_OUTPUT: Final = 8 << 20
TERM_SECONDS: Final = 5.0
_HEAD: Final = MAX_OUTPUT // 2
_TICK_SECONDS: Final = 0.1
# Environment variables that commands inherit: never settings, tokens, or the flags of make.
_PASSED_ON: Final = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "TZ",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "CONTAINER_HOST",
    "DOCKER_HOST",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)


class Finished(NamedTuple):
    """Exit status of a command (negative: the signal that killed it) and its output."""

    returncode: int
    stdout: str
    stderr: str


class _Output:
    """The first and the last four megabytes of a stream; the middle is dropped."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = 0

    def add(self, data: bytes) -> None:
        room = _HEAD - len(self._head)
        self._head += data[:room]
        self._tail += data[max(room, 0) :]
        excess = len(self._tail) - _HEAD
        if excess > _HEAD:  # not at each call, so that cutting stays cheap
            del self._tail[:excess]
            self._dropped += excess

    def text(self) -> str:
        gap = f"\n[{self._dropped} bytes left out]\n".encode() if self._dropped else b""
        return bytes(self._head + gap + self._tail).decode(errors="replace")


def environment() -> dict[str, str]:
    """Return the environment of commands."""
    return {"LANG": "C.UTF-8"} | {
        name: os.environ[name] for name in _PASSED_ON if name in os.environ
    }


def run(
    arguments: Sequence[str],
    *,
    directory: Path,
    check: Callable[[], None],
    keep: Callable[[str, str], None],
    inherit: Sequence[int] = (),
) -> Finished:
    """Run a command until it and all processes that it started have ended.

    `check` is called about ten times a second; if it raises, the whole group is ended. `keep` gets
    the output to stdout and stderr in any case. The descriptors `inherit` stay open in the command.
    Raises `OSError` if the command cannot be started.
    """
    process = subprocess.Popen(  # noqa: S603 - a list of arguments, never a shell
        arguments,
        cwd=directory,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        pass_fds=inherit,
    )
    streams = [cast("IO[bytes]", process.stdout), cast("IO[bytes]", process.stderr)]
    outputs = [_Output(), _Output()]
    try:
        _read(process, dict(zip(streams, outputs, strict=True)), check)
    finally:
        _end_group(process)
        for stream in streams:
            stream.close()
        stdout, stderr = (output.text() for output in outputs)
        keep(stdout, stderr)
    return Finished(process.returncode, stdout, stderr)


def _read(
    process: subprocess.Popen[bytes],
    outputs: Mapping[IO[bytes], _Output],
    check: Callable[[], None],
) -> None:
    """Collect output until the command has ended and all of its output is read."""
    with selectors.DefaultSelector() as selector:
        for stream, output in outputs.items():
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, selectors.EVENT_READ, output)
        while True:
            ended = _has_ended(process)
            if ended:  # background processes would hold the pipes open
                _signal(process.pid, signal.SIGKILL)
            ready = selector.select(0 if ended else _TICK_SECONDS) if selector.get_map() else []
            for key, _ in ready:
                if data := os.read(key.fd, 1 << 16):
                    key.data.add(data)
                else:
                    selector.unregister(key.fileobj)
            if ended and not ready:
                return
            check()
            if not ended and not selector.get_map():
                time.sleep(_TICK_SECONDS)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Return whether a command has ended. It is not reaped, so its process id stays reserved."""
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, flags) is not None


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End every process of the group: SIGTERM first, then SIGKILL."""
    if not _has_ended(process):
        _signal(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + TERM_SECONDS
        while not _has_ended(process) and time.monotonic() < deadline:
            time.sleep(_TICK_SECONDS)
    _signal(process.pid, signal.SIGKILL)
    process.wait()


def _signal(group: int, number: signal.Signals) -> None:
    """Send a signal to a group whose leader was not reaped, so its id is still its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
