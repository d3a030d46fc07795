"""Builds by running commands, e.g. in the directory of an ImageBuilder or with `podman run`.

A command is a template. It is split into arguments first and filled afterwards, without a shell:
client input can become neither another argument nor another command.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shlex
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from asu_stats.builds.builders import PHASES, Attempt, BuildFailedError, Result
from asu_stats.builds.builders import imagebuilder as ib
from asu_stats.builds.builders.artifacts import collect
from asu_stats.builds.builders.processes import Finished, run
from asu_stats.builds.requests import BuildRequest
from asu_stats.exceptions import InvalidSettingError
from asu_stats.ownership import SHARED_DIRECTORY, Owner
from asu_stats.settings import Settings

_DIRECTORY: Final = "imagebuilders/{version}/{target}"
DEFAULT_COMMANDS: Final = (
    "validate_revision: make info",
    "validate_manifest: make manifest PROFILE={profile} PACKAGES={packages} STRIP_ABI=1",
    "building_image: make image PROFILE={profile} PACKAGES={packages} "
    "EXTRA_IMAGE_NAME={packages_hash} BIN_DIR={bin_dir} FILES={files} "
    "ROOTFS_PARTSIZE={rootfs_size_mb} ROOTFS_FILESYSTEM={filesystem}",
)
PLACEHOLDERS: Final = (
    "version",
    "version_code",
    "version_tag",
    "target",
    "target_tag",
    "board",
    "subtarget",
    "profile",
    "packages",
    "packages_hash",
    "diff_packages",
    "rootfs_size_mb",
    "filesystem",
    "request_hash",
    "request_file",
    "build_id",
    "bin_dir",
    "files",
)
_PHASE: Final = re.compile(rf"({'|'.join(PHASES)}):(?:\s+|$)")
_TAIL: Final = 4096
_LOCK_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Step:
    """A command to run in a phase; every argument is a template."""

    phase: str
    arguments: tuple[str, ...]

    @classmethod
    def parse(cls, template: str) -> Self:
        """Return the step of a template, `[PHASE: ]COMMAND`.

        Raises `InvalidSettingError` for unknown placeholders and unbalanced quotes.
        """
        match = _PHASE.match(template)
        phase, command = (match[1], template[match.end() :]) if match else (PHASES[-1], template)
        try:
            arguments = tuple(shlex.split(command))
        except ValueError:
            raise InvalidSettingError(f"command: {template!r}: expected balanced quotes") from None
        if not arguments:
            raise InvalidSettingError(f"command: {template!r}: expected a command line")
        for argument in arguments:
            _placeholders(argument)
        return cls(phase, arguments)

    def fill(self, values: Mapping[str, str]) -> list[str]:
        """Return the arguments; one is left out if it has placeholders and all are empty."""
        filled = []
        for argument in self.arguments:
            names = _placeholders(argument)
            if not names or any(values[name] for name in names):
                filled.append(argument.format_map(values))
        return filled


def _placeholders(template: str) -> list[str]:
    """Return the names in a template. Raises `InvalidSettingError` for an unknown name."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise InvalidSettingError(f"command: {template!r}: {error}") from None
    names = []
    for _, name, form, conversion in parts:
        if name is None:
            continue
        if name not in PLACEHOLDERS or form or conversion:
            raise InvalidSettingError(
                f"command: {template!r}: unknown placeholder {{{name}}}; known are "
                + ", ".join(PLACEHOLDERS)
            )
        names.append(name)
    return names


class CommandBuilder:
    """Runs the configured commands, or those of an ImageBuilder directory.

    Raises `InvalidSettingError` when a template can't be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._steps = [Step.parse(template) for template in settings.command or DEFAULT_COMMANDS]
        # Builds would mix in one ImageBuilder directory. Configured commands isolate builds.
        self._own_commands = bool(settings.command)

    def build(self, attempt: Attempt) -> Result:
        """Run the commands of each phase, check their output, and collect the images."""
        request = attempt.job.request
        attempt.enter("container_setup")
        values = _values(attempt)
        directory = Path(_DIRECTORY.format_map(values)).absolute()
        if not directory.is_dir():
            raise BuildFailedError(
                f"Image not found: no ImageBuilder for {request.version} on {request.target} here",
                category="container",
                type="container_image_missing",
            )
        if request.repositories and not self._own_commands:
            raise BuildFailedError(
                "Could not set up ImageBuilder: extra repositories need a command of their own",
                category="container",
                type="container_setup_failed",
            )
        manifest: dict[str, str] = {}
        lock = contextlib.nullcontext(()) if self._own_commands else _exclusive(attempt, directory)
        with lock as inherit:
            for step in self._steps:
                attempt.enter(step.phase)
                finished = _run(attempt, step, values, directory, inherit)
                if step.phase == "validate_revision":
                    _apply_description(request, finished, values)
                elif step.phase == "validate_manifest":
                    manifest = _read_manifest(request, finished)
                    values["packages_hash"] = ib.packages_hash(manifest)
                else:
                    _check_image(step, finished)
        return collect(
            Path(values["bin_dir"]),
            attempt.directory / "images",
            profile=request.profile,
            manifest=manifest,
        )


def _values(attempt: Attempt) -> dict[str, str]:
    """Return the values of the placeholders, and write the files that some of them name."""
    job, request = attempt.job, attempt.job.request
    board, _, subtarget = request.target.partition("/")
    bin_dir, files = attempt.directory / "bin", attempt.directory / "files"
    bin_dir.mkdir()
    request_file = attempt.directory / "request.json"
    request_file.write_text(request.model_dump_json())
    if request.defaults:
        script = files / "etc" / "uci-defaults" / "99-asu-defaults"
        script.parent.mkdir(parents=True)
        script.write_text(request.defaults)
    return {
        "version": request.version,
        "version_code": request.version_code,
        "version_tag": ib.version_tag(request.version),
        "target": request.target,
        "target_tag": request.target.replace("/", "-"),
        "board": board,
        "subtarget": subtarget,
        "profile": request.profile,
        "packages": " ".join(request.wanted_packages),
        "packages_hash": ib.packages_hash(request.wanted_packages),
        "diff_packages": "1" if request.diff_packages else "",
        "rootfs_size_mb": str(request.rootfs_size_mb or ""),
        "filesystem": request.filesystem or "",
        "request_hash": job.request_hash,
        "request_file": str(request_file),
        "build_id": job.build_id,
        "bin_dir": str(bin_dir),
        "files": str(files) if request.defaults else "",
    }


@contextlib.contextmanager
def _exclusive(attempt: Attempt, directory: Path) -> Iterator[tuple[int, ...]]:
    """Wait until no other build, of any process, runs in `directory`.

    The commands inherit the lock: those of a killed worker keep it until they have ended.
    """
    locks = attempt.directory.parent / ".locks"
    owner = Owner.of_directory(locks)
    owner.make_directory(locks, SHARED_DIRECTORY)
    name = hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:32]
    with os.fdopen(owner.open(locks / name, os.O_RDONLY, 0o644)) as file:  # enough to lock it
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                attempt.pause(_LOCK_SECONDS)
        try:
            yield (file.fileno(),)
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def _run(
    attempt: Attempt,
    step: Step,
    values: Mapping[str, str],
    directory: Path,
    inherit: Sequence[int],
) -> Finished:
    attempt.command = step.fill(values)
    try:
        return run(
            attempt.command,
            directory=directory,
            check=attempt.check,
            keep=attempt.keep_output,
            inherit=inherit,
        )
    except FileNotFoundError as error:
        raise BuildFailedError(
            f"Could not set up ImageBuilder: {error.strerror}: {step.arguments[0]}",
            category="container",
            type="container_setup_failed",
        ) from None


def _failed(step: str, finished: Finished) -> BuildFailedError:
    code = finished.returncode
    how = f"killed by signal {-code}" if code < 0 else f"exit status {code}"
    return BuildFailedError(
        f"Error while building firmware. See stdout/stderr ({step}: {how})",
        log=finished.stderr[-_TAIL:],
    )


def _apply_description(request: BuildRequest, finished: Finished, values: dict[str, str]) -> None:
    """Check the revision, and set the packages to add to and remove from the defaults."""
    if finished.returncode:
        raise _failed("validate_revision", finished)
    found = ib.Description.read(finished.stdout, request.profile)
    if request.version_code and request.version_code != found.version_code:
        raise BuildFailedError(
            f"Received incorrect version {found.version_code} (requested {request.version_code})"
        )
    if request.diff_packages:
        defaults = found.default_packages | found.profile_packages
        values["packages"] = " ".join(ib.difference(request.wanted_packages, defaults))


def _read_manifest(request: BuildRequest, finished: Finished) -> dict[str, str]:
    if finished.returncode:
        raise BuildFailedError(ib.package_problem(finished.stderr), log=finished.stderr[-_TAIL:])
    manifest = ib.read_manifest(finished.stdout)
    ib.check_manifest(manifest, request.packages_versions)
    return manifest


def _check_image(step: Step, finished: Finished) -> None:
    if any(words in finished.stderr for words in ("is too big", "out of space?")):
        raise BuildFailedError(
            "Selected packages exceed device storage", log=finished.stderr[-_TAIL:]
        )
    if finished.returncode:
        raise _failed(step.phase, finished)
