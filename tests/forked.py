"""Real processes of the program, forked from one that has imported what the program needs.

Importing takes most of the time of a command. The commands themselves are imported by each process.
"""

import atexit
import contextlib
import gc
import multiprocessing
import os
import pkgutil
import pwd
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from multiprocessing.forkserver import set_forkserver_preload
from pathlib import Path
from typing import Final

context: Final = multiprocessing.get_context("forkserver")
set_forkserver_preload(["tests.preloaded"])


def _run(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    directory: str,
    outputs: tuple[str, str],
    user: str | None,
    first: str,
) -> None:
    """Run `first`, and become the command `asu-stats` in a process group of its own."""
    gc.freeze()  # what was imported before would be looked through again and again
    os.setsid()
    for number, name in enumerate(outputs, 1):
        file = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(directory)
    exec(first, {})  # noqa: S102 - our own
    from asu_stats import cli

    if user is not None:  # who may not be allowed to read this Python: all modules come before
        for module in pkgutil.iter_modules(cli.__path__, "asu_stats.cli."):
            import_module(module.name)
        entry = pwd.getpwnam(user)
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    sys.argv = ["asu-stats", *arguments]
    try:
        cli.main()
    finally:
        atexit._run_exitfuncs()  # which `multiprocessing` leaves out


class Process:
    """A command that runs, with the methods of `subprocess.Popen`."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path | str,
        stdout: Path,
        stderr: Path,
        user: str | None = None,
        first: str = "",
    ) -> None:
        self.args = ["asu-stats", *arguments]
        outputs = (str(stdout), str(stderr))
        self._process = context.Process(
            target=_run, args=(arguments, dict(env), str(cwd), outputs, user, first)
        )
        self._process.start()
        assert self._process.pid
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self._process.exitcode is None:
            with contextlib.suppress(ProcessLookupError):  # its parent noticed the end before us
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run(
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path | str,
    user: str | None = None,
    timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; return what it wrote."""
    with tempfile.TemporaryDirectory(prefix="asu-stats-output-") as place:
        stdout, stderr = Path(place) / "stdout", Path(place) / "stderr"
        process = Process(arguments, env=env, cwd=cwd, stdout=stdout, stderr=stderr, user=user)
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        return subprocess.CompletedProcess(
            process.args, status, stdout.read_text(), stderr.read_text()
        )
