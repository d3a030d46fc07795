"""The command builder with a small ImageBuilder: every result and its error type.

The ImageBuilder is `imagebuilder/Makefile` beside this file: which package is asked for decides
what it does.
"""

import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from asu_stats.builds.background import Background
from asu_stats.builds.builders import Attempt, BuildFailedError, BuildStoppedError, Result
from asu_stats.builds.builders.command import CommandBuilder, Step
from asu_stats.builds.builders.imagebuilder import version_tag
from asu_stats.builds.images import ImageStore
from asu_stats.builds.jobs import Job
from asu_stats.builds.service import BuildService
from asu_stats.error_types import classify
from asu_stats.exceptions import InvalidSettingError
from asu_stats.settings import Settings

from .support import NOW, PATIENCE, Recorder, eventually, is_running, request, settings_for, submit


@pytest.fixture
def imagebuilder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory that builds for 24.10.2 on mediatek/filogic run in."""
    directory = tmp_path / "imagebuilders" / "24.10.2" / "mediatek" / "filogic"
    directory.mkdir(parents=True)
    shutil.copy(Path(__file__).parent / "imagebuilder" / "Makefile", directory)
    monkeypatch.chdir(tmp_path)
    return directory


def attempt_for(tmp_path: Path, *, seconds: float = 60, **changes: Any) -> Attempt:
    wanted = request(**changes)
    job = Job(
        id=1,
        build_id=f"build-{time.monotonic_ns()}",
        worker_id="w1",
        request_hash=wanted.request_hash,
        request=wanted,
        enqueued_at=NOW,
        started_at=NOW,
    )
    directory = ImageStore(tmp_path / "store").stage(job.build_id)
    return Attempt(job=job, directory=directory, seconds=seconds, announce=lambda _: None)


def build(tmp_path: Path, *, command: list[str] | None = None, **changes: Any) -> Result:
    builder = CommandBuilder(settings_for(tmp_path, command=command or []))
    return builder.build(attempt_for(tmp_path, **changes))


@pytest.mark.usefixtures("imagebuilder")
def test_an_image(tmp_path: Path) -> None:
    result = build(
        tmp_path, rootfs_size_mb=256, filesystem="ext4", version_code="r28739-d9340319c6"
    )
    name = result.images[0]
    assert (result.directory / name).read_text() == "luci tmux|256|ext4\n"
    assert sorted(file.name for file in result.directory.iterdir()) == [name, "sha256sums"]
    assert result.manifest == {"luci": "1.0-r1", "tmux": "1.0-r1"}
    assert result.answer["version_code"] == "r28739-d9340319c6"
    assert result.answer["id"] == "glinet_gl-mt6000"
    assert result.answer["build_at"] == "2025-06-23T20:40:36Z"
    assert "profiles" not in result.answer
    assert name in (result.directory / "sha256sums").read_text()


@pytest.mark.usefixtures("imagebuilder")
def test_default_packages_are_taken_out(tmp_path: Path) -> None:
    result = build(tmp_path, packages=["luci", "dnsmasq", "f2fsck"], diff_packages=True)
    image = (result.directory / result.images[0]).read_text()
    assert image == "-base-files -kmod-usb3 luci dnsmasq f2fsck||\n"


@pytest.mark.usefixtures("imagebuilder")
def test_a_first_boot_script_goes_in(tmp_path: Path) -> None:
    result = build(tmp_path, packages=[], defaults="uci set x=$(id)\n")
    assert (result.directory / result.images[0]).read_text() == "||\nuci set x=$(id)\n"


FAILURES = {
    "no-such-package": "Impossible package selection: missing (no-such-package)",
    "conflict-a": "Impossible package selection: conflicts (conflict-a, conflict-b)",
    "no-network": "Impossible package selection: missing (luci)",
    "too-big": "Selected packages exceed device storage",
    "full-disk": "Error while building firmware. See stdout/stderr (building_image: exit status 2)",
    "broken": "Error while building firmware. See stdout/stderr (building_image: exit status 2)",
    "killed": "Error while building firmware. See stdout/stderr (building_image: killed by signal",
    "nothing": "No JSON file found",
    "lost": "Profile not found in JSON file",
    "corrupt": "Built image openwrt-24.10.2",
    "linked": "Failed to find built images",
    "outside": "Failed to find built images: '../../../x' is not a plain file name",
}


@pytest.mark.usefixtures("imagebuilder")
@pytest.mark.parametrize("package", FAILURES)
def test_failures(tmp_path: Path, package: str) -> None:
    with pytest.raises(BuildFailedError) as caught:
        build(tmp_path, packages=["luci", package])
    assert str(caught.value).startswith(FAILURES[package])


@pytest.mark.usefixtures("imagebuilder")
@pytest.mark.parametrize(
    ("changes", "text", "error_type"),
    [
        (
            {"version_code": "r1-abc"},
            "Received incorrect version r28739-d9340319c6 (requested r1-abc)",
            "version_mismatch",
        ),
        (
            {"packages_versions": {"luci": "1.0-r1", "tmux": "2"}},
            "Impossible package selection: tmux version not as requested: 2 vs. 1.0-r1",
            "manifest_mismatch",
        ),
        ({"profile": "nobody"}, 'Profile "nobody" does not exist!', "unsupported_profile"),
        ({"version": "24.10.9"}, "Image not found: no ImageBuilder", "container_image_missing"),
        (
            {"repositories": {"a": "https://example.org/a"}},
            "Could not set up ImageBuilder: extra repositories",
            "container_setup_failed",
        ),
        (
            {"command": ["/no/such/program"]},
            "Could not set up ImageBuilder: No such file or directory: /no/such/program",
            "container_setup_failed",
        ),
    ],
)
def test_more_failures(tmp_path: Path, changes: dict[str, Any], text: str, error_type: str) -> None:
    with pytest.raises(BuildFailedError) as caught:
        build(tmp_path, **changes)
    assert str(caught.value).startswith(text)
    assert (caught.value.type or classify(str(caught.value)).type) == error_type


@pytest.mark.parametrize("package", ["slow", "stubborn"])
def test_a_timeout_ends_the_whole_group(
    tmp_path: Path, imagebuilder: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asu_stats.builds.builders.processes.TERM_SECONDS", 0.3)
    attempt = attempt_for(tmp_path, packages=[package], seconds=2)
    with pytest.raises(BuildStoppedError) as caught:
        CommandBuilder(settings_for(tmp_path)).build(attempt)
    assert caught.value.reason == "timeout"
    process = int((imagebuilder / "pid").read_text())
    eventually(lambda: not is_running(process))
    assert attempt.stdout.strip() in {"working", ""}
    assert attempt.command[:2] == ["make", "image"]
    assert set(attempt.phases()) == {
        "init",
        "container_setup",
        "validate_revision",
        "validate_manifest",
        "building_image",
    }


def test_one_build_at_a_time_in_a_directory(tmp_path: Path, imagebuilder: Path) -> None:
    """The second one waits, and can be stopped while it waits."""
    builder = CommandBuilder(settings_for(tmp_path))
    first, second = attempt_for(tmp_path, packages=["slow"]), attempt_for(tmp_path)
    ends: list[str] = []

    def run(attempt: Attempt) -> None:
        try:
            builder.build(attempt)
        except BuildStoppedError as stopped:
            ends.append(stopped.reason)

    threads = [threading.Thread(target=run, args=(each,)) for each in (first, second)]
    threads[0].start()
    eventually((imagebuilder / "pid").exists)
    threads[1].start()
    eventually(lambda: "container_setup" in second.phases())
    second.stop("lost")
    threads[1].join()
    assert ends == ["lost"]
    assert second.command == []
    first.stop("shutdown")
    threads[0].join()
    assert ends == ["lost", "shutdown"]
    assert build(tmp_path).images


@pytest.mark.usefixtures("imagebuilder")
def test_nothing_from_outside_becomes_an_argument_or_a_command(tmp_path: Path) -> None:
    script = (
        "import json, os, sys; json.dump([sys.argv[1:], sorted(os.environ)], open('seen', 'w'))"
    )
    with pytest.raises(BuildFailedError, match="No JSON file found"):
        build(
            tmp_path,
            command=[
                f"python3 -c {json.dumps(script)} "
                "'P={packages}' {filesystem} --x={filesystem} {target_tag}:{version_tag} "
                "'{board} and {subtarget}' $HOME ; `id`"
            ],
            packages=["a", "-b", "c"],
        )
    seen = Path("imagebuilders/24.10.2/mediatek/filogic/seen").read_text()
    arguments, environment = json.loads(seen)
    assert arguments == [
        "P=a -b c",
        "mediatek-filogic:v24.10.2",
        "mediatek and filogic",
        "$HOME",
        ";",
        "`id`",
    ]
    assert not any(name.startswith(("ASU_STATS", "MAKE")) for name in environment)


def test_a_request_file(tmp_path: Path, imagebuilder: Path) -> None:
    with pytest.raises(BuildFailedError):
        build(tmp_path, command=["cp {request_file} seen"], repositories=["https://example.org/a"])
    seen = json.loads((imagebuilder / "seen").read_text())
    assert seen["repositories"] == {"custom_0": "https://example.org/a"}


@pytest.mark.parametrize(
    ("version", "tag"),
    [
        ("24.10.2", "v24.10.2"),
        ("24.10.0-rc1", "v24.10.0-rc1"),
        ("SNAPSHOT", "master"),
        ("24.10-SNAPSHOT", "openwrt-24.10"),
    ],
)
def test_version_tag(version: str, tag: str) -> None:
    assert version_tag(version) == tag


def test_phases_of_commands() -> None:
    assert Step.parse("make x") == Step("building_image", ("make", "x"))
    assert Step.parse("container_setup: podman pull 'a b'") == Step(
        "container_setup", ("podman", "pull", "a b")
    )
    assert Step.parse("other: x") == Step("building_image", ("other:", "x"))


@pytest.mark.parametrize(
    "template",
    ["make {nobody}", "make {0}", "make {}", "make {version.real}", "make {version!r}", "make {",
     "make {version:>9}", "make 'x", "", "building_image: "],
)  # fmt: skip
def test_templates_that_cannot_be_used(tmp_path: Path, template: str) -> None:
    with pytest.raises(InvalidSettingError, match="command: "):
        CommandBuilder(settings_for(tmp_path, command=[template]))


@contextmanager
def working(service: BuildService, settings: Settings) -> Iterator[None]:
    shop = Background(service, CommandBuilder(settings))
    shop.start()
    try:
        yield
    finally:
        assert shop.stop(seconds=PATIENCE)


@pytest.mark.usefixtures("imagebuilder")
def test_the_events_tell_the_ends_apart(engine: Engine, tmp_path: Path, recorder: Recorder) -> None:
    settings = settings_for(tmp_path, job_timeout_seconds=10, worker_timeout_seconds=8)
    service = BuildService(engine, settings, recorder)
    packages = ["luci", "no-such-package", "conflict-a", "no-network", "too-big", "full-disk",
                "broken", "slow", "nothing"]  # fmt: skip
    for package in packages:
        submit(service, packages=[package])
    submit(service, packages=["never-built"])
    with working(service, settings):
        eventually(lambda: len(recorder.finished()) == len(packages) + 1)
    hashes = {request(packages=[package]).request_hash: package for package in packages}
    ends = {
        hashes.get(event.request_hash): (event.status, event.error_type)
        for event in recorder.finished()
    }
    assert ends == {
        "luci": ("success", None),
        "no-such-package": ("failure", "package_not_found"),
        "conflict-a": ("failure", "package_conflict"),
        "no-network": ("failure", "download_failed"),
        "too-big": ("failure", "image_too_big"),
        "full-disk": ("failure", "disk_full"),
        "broken": ("failure", "imagebuilder_failed"),
        "slow": ("timeout", "build_timeout"),
        "nothing": ("failure", "build_output_missing"),
        None: ("success", None),
    }
    done = next(event for event in recorder.finished() if event.status == "success")
    assert set(done.phases or {}) >= {"validate_revision", "validate_manifest", "building_image"}
    assert not any(service.images.staged())


def test_a_killed_worker_is_told_apart_too(
    engine: Engine, tmp_path: Path, recorder: Recorder, imagebuilder: Path
) -> None:
    """A worker that vanished in the middle of a build: maintenance of another process ends it."""
    service = BuildService(engine, settings_for(tmp_path, worker_timeout_seconds=2), recorder)
    submit(service)
    job = service.queue.claim("w1")
    assert job
    assert imagebuilder.is_dir()
    shop = Background(service, None)
    shop.start()
    eventually(lambda: len(recorder.finished()) == 1)
    assert shop.stop(seconds=PATIENCE)
    event = recorder.finished()[0]
    assert (event.status, event.error_category, event.error_type) == (
        "timeout",
        "container",
        "worker_lost",
    )
    assert replace(job, build_id=event.build_id) == job
