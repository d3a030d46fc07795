"""The demo builder: deterministic results with plausible frequencies."""

import hashlib
import random
import time
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from asu_stats.builds.builders import Attempt, BuildFailedError, BuildStoppedError
from asu_stats.builds.builders import demo as demo_module
from asu_stats.builds.builders.demo import (
    INCIDENT_PACKAGE,
    INCIDENT_TYPE,
    INCIDENT_VERSION,
    DemoBuilder,
    FailureExample,
    load_failure_examples,
)
from asu_stats.builds.builders.known_packages import is_known
from asu_stats.builds.images import ImageStore
from asu_stats.builds.jobs import Job
from asu_stats.demo.packages import EXTRAS, SETS, UPGRADER, choose
from asu_stats.error_types import classify

from .support import NOW, request, settings_for

MISFORTUNES = [
    FailureExample(
        "Impossible package selection: missing (a)", "build", "package_not_found", "failure"
    ),
    FailureExample("conflicts", "build", INCIDENT_TYPE, "failure"),
    FailureExample("curl: (6)", "network", "download_failed", "failure"),
    FailureExample("Task exceeded maximum timeout", "build", "build_timeout", "timeout"),
]


def demo(tmp_path: Path, **changes: Any) -> DemoBuilder:
    settings = settings_for(tmp_path, demo_seconds=changes.pop("demo_seconds", 0.01))
    return DemoBuilder(settings, examples=MISFORTUNES, **changes)


def attempt_for(tmp_path: Path, **changes: Any) -> Attempt:
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
    return Attempt(job=job, directory=directory, seconds=60, announce=lambda _: None)


def failures(builder: DemoBuilder, **changes: Any) -> list[FailureExample | None]:
    wanted = (request(profile=f"p{number}", **changes) for number in range(1000))
    return [builder.failure(each, each.request_hash) for each in wanted]


def test_the_same_seed_is_the_same_fate(tmp_path: Path) -> None:
    assert failures(demo(tmp_path)) == failures(demo(tmp_path))
    assert failures(demo(tmp_path)) != failures(demo(tmp_path, seed=1))


def test_failures_are_believable(tmp_path: Path) -> None:
    bad = [failure for failure in failures(demo(tmp_path)) if failure]
    assert 40 <= len(bad) <= 80
    incident = failures(demo(tmp_path), version=INCIDENT_VERSION, packages=[INCIDENT_PACKAGE])
    assert 500 <= sum(failure is not None for failure in incident) <= 700
    assert {failure.type for failure in incident if failure} == {INCIDENT_TYPE}


def test_durations_are_believable(tmp_path: Path) -> None:
    builder = demo(tmp_path, demo_seconds=8.0)
    wanted = [
        request(target=f"board{number}/generic", profile=f"p{number}") for number in range(2000)
    ]
    seconds = [builder.seconds(each, each.request_hash) for each in wanted]
    assert 7.5 <= mean(seconds) <= 8.5
    assert min(seconds) > 1
    assert max(seconds) < 40
    assert len(set(seconds)) == 2000


def test_a_build_that_ends_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_module, "FAILURE_RATE", 0.0)
    attempt = attempt_for(tmp_path, packages_versions={"luci": "25.1~a"})
    result = demo(tmp_path).build(attempt)
    image = result.answer["images"][0]
    content = (result.directory / image["name"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == image["sha256"] == image["sha256_unsigned"]
    assert result.manifest == {"luci": "25.1~a"}
    assert result.answer["version_number"] == "24.10.2"
    assert set(attempt.phases()) == {"init", *(phase for phase, _ in demo_module.SHARES)}


@pytest.mark.parametrize(("index", "error"), [(0, BuildFailedError), (3, BuildStoppedError)])
def test_a_build_that_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: int, error: type[Exception]
) -> None:
    monkeypatch.setattr(demo_module, "FAILURE_RATE", 1.0)
    builder = DemoBuilder(settings_for(tmp_path, demo_seconds=0.01), examples=[MISFORTUNES[index]])
    with pytest.raises(error) as caught:
        builder.build(attempt_for(tmp_path))
    assert str(caught.value) == MISFORTUNES[index].text


def failure_of(tmp_path: Path, example: FailureExample, **changes: Any) -> tuple[str, str]:
    """Return what the client is told of a build that must fail, and its output."""
    builder = DemoBuilder(settings_for(tmp_path, demo_seconds=0.01), examples=[example])
    attempt = attempt_for(tmp_path, **changes)
    with pytest.raises(BuildFailedError) as caught:
        builder.build(attempt)
    return str(caught.value), attempt.stderr


APK = (
    "Building package index...\nERROR: unable to select packages:\n"
    "  opkg (no such package):\n    required by: world[opkg]\n"
)


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        (APK, "package_not_found", "Impossible package selection: missing (opkg)"),
        ("Error: Impossible package selection: missing (a)", "package_not_found", None),
        ("x.itb is too big: 2 > 1", "image_too_big", "Selected packages exceed device storage"),
        (
            "Checking 'patch'... failed.\n\nPrerequisite check failed.\n",
            "imagebuilder_failed",
            "Error while building firmware. See stdout/stderr",
        ),
        ("curl: (28) Operation timed out", "download_failed", None),
    ],
)
def test_clients_are_told_what_the_command_builder_would_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, kind: str, expected: str | None
) -> None:
    monkeypatch.setattr(demo_module, "FAILURE_RATE", 1.0)
    summary, stderr = failure_of(tmp_path, FailureExample(text, "build", kind, "failure"))
    assert summary == (expected or text)
    assert stderr.splitlines()[1:] == text.splitlines()[1:]


def test_texts_speak_of_what_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_module, "FAILURE_RATE", 1.0)
    missing = "Error: Image not found: ghcr.io/openwrt/imagebuilder:ath79-generic-v25.12.2"
    example = FailureExample(missing, "container", "container_image_missing", "failure")
    summary, _ = failure_of(tmp_path, example)
    assert summary.endswith("imagebuilder:mediatek-filogic-v24.10.2")
    wanted = request(version="24.10.1", target="x86/64", profile="generic")
    for text in (
        each.text_for(wanted) for each in load_failure_examples() if each.applies_to(wanted)
    ):
        assert not any(word in text for word in ("ramips", "ath79", "ar71xx", "laird", "wr703n"))
    texts = [each for each in load_failure_examples() if "target-x86_64_musl" in each.text]
    assert [each.applies_to(wanted) for each in texts] == [True]
    assert [each.applies_to(request()) for each in texts] == [False]
    mismatch = FailureExample("Received x (requested r1)", "build", "version_mismatch", "failure")
    assert not mismatch.applies_to(request())
    assert mismatch.text_for(request(version_code="r7-ab")) == "Received x (requested r7-ab)"


@pytest.mark.parametrize(
    ("target", "kinds"),
    [
        ("mediatek/filogic", {"sysupgrade": ".bin"}),
        ("x86/64", {"combined": ".img.gz", "combined-efi": ".img.gz"}),
    ],
)
def test_images_are_of_the_kinds_that_a_target_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, kinds: dict[str, str]
) -> None:
    monkeypatch.setattr(demo_module, "FAILURE_RATE", 0.0)
    result = demo(tmp_path).build(attempt_for(tmp_path, target=target))
    found = {image["type"]: image["name"] for image in result.answer["images"]}
    assert found.keys() == kinds.keys()
    for kind, name in found.items():
        assert name.endswith(f"-squashfs-{kind}{kinds[kind]}")
        assert (result.directory / name).is_file()


def test_it_can_be_stopped(tmp_path: Path) -> None:
    attempt = attempt_for(tmp_path)
    attempt.stop("shutdown")
    with pytest.raises(BuildStoppedError):
        demo(tmp_path, demo_seconds=600.0).build(attempt)


def test_the_texts_that_come_with_it_are_real() -> None:
    texts = load_failure_examples()
    assert len(texts) > 50
    assert {each.status for each in texts} == {"failure", "timeout"}
    assert INCIDENT_TYPE in {each.type for each in texts}


@pytest.mark.parametrize(
    ("target", "types"),
    [
        ("x86/64", ["combined", "combined-efi"]),
        ("armsr/armv8", ["combined-efi"]),
        ("armsr/armv7", ["combined-efi"]),
        ("loongarch64/generic", ["combined-efi"]),
        ("ath79/generic", ["sysupgrade"]),
    ],
)
def test_images_are_of_the_type_that_clients_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, types: list[str]
) -> None:
    monkeypatch.setattr(demo_module, "FAILURE_RATE", 0.0)
    result = demo(tmp_path).build(attempt_for(tmp_path, target=target, profile="generic"))
    assert [image["type"] for image in result.answer["images"]] == types


UNKNOWN = [
    *("no-such-package", "luci-app-nothing", "tcpdmp", "vimm", "kmod-nonsense"),
    *("tcpdump-minii", "vim-fulll", "luci-app-sqm-foo", "libnonsense", "libcurl4nonsense", "lib4"),
]


@pytest.mark.parametrize("package", UNKNOWN)
@pytest.mark.parametrize("versions", [False, True])
def test_packages_that_do_not_exist_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, versions: bool
) -> None:
    monkeypatch.setattr(demo_module, "FAILURE_RATE", 0.0)
    wanted: dict[str, Any] = {"packages": ["luci", package, "-nothing-to-remove"]}
    if versions:
        wanted = {"packages_versions": {"luci": "1", package: "2"}}
    attempt = attempt_for(tmp_path, **wanted)
    with pytest.raises(BuildFailedError) as caught:
        demo(tmp_path).build(attempt)
    assert str(caught.value) == f"Impossible package selection: missing ({package})"
    assert classify(attempt.stderr, status="failure").type == "package_not_found"


def test_every_package_of_the_demo_exists() -> None:
    names = {*EXTRAS, UPGRADER, *(name for _, names in SETS for name in names)}
    for branch in ("21.02", "23.05", "25.12"):
        for target in ("x86/64", "ath79/generic", "mediatek/filogic"):
            chance = random.Random(f"{branch} {target}")
            names |= set(
                choose(chance, branch=branch, target=target, whole=True, upgrader=1, extra=1)
            )
    names |= {"python3-requests", "libustream-openssl", "kmod-nft-tproxy", "luci-i18n-base-de"}
    # Devices with opkg or apk list libraries with their ABI versions.
    names |= {
        "libubus20251202",
        "libopenssl3",
        "liblua5.1.5",
        "libusb-1.0-0",
        "libwolfssl5.7.6.e624513f",
    }
    assert [name for name in sorted(names) if not is_known(name)] == []
