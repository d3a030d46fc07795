"""Real clients against the demo, offline: their requests in their order, up to the image.

owut (files/owut), the firmware selector (www/js), LuCI's attended sysupgrade and auc. None follows
a redirect here, and every URL that is taken from a response has to lie on the server.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response

from asu_stats.builds.background import Background, builder_of
from asu_stats.builds.builders import demo as demo_builder
from asu_stats.builds.builders.known_packages import is_known
from asu_stats.builds.demo_downloads import DEFAULT_PACKAGES
from asu_stats.demo import catalogue as demo
from tests.conftest import sqlite_database
from tests.support import Stats

BASE = "http://testserver"
PACKAGES = ["luci", "tmux"]
PHASES = {"init", "container_setup", "validate_revision", "validate_manifest", "building_image"}


@pytest.fixture
def stats(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stats]:
    monkeypatch.setattr(demo_builder, "FAILURE_RATE", 0.0)
    monkeypatch.setattr(demo_builder, "INCIDENT_RATE", 0.0)
    demo.write(tmp_path / "catalogue.json")
    settings: dict[str, Any] = {
        "builder": "demo",
        "demo_seconds": 0.15,
        "catalogue": tmp_path / "catalogue.json",
        "store_directory": tmp_path / "images",
        "upstream_url": BASE,
        "metadata_url": "https://elsewhere.example.org",
    }
    with Stats.on(sqlite_database(request), tmp_path / "spool", **settings) as stats:
        stats.client.follow_redirects = False
        workshop = Background(stats.builds, builder_of(stats.settings))
        workshop.start()
        yield stats
        workshop.stop()


def get(stats: Stats, url: str) -> Response:
    assert url.startswith(BASE), f"the client would leave the server: {url}"
    return stats.client.get(url)


def read(stats: Stats, url: str) -> Any:
    answer = get(stats, url)
    assert answer.status_code == 200, (url, answer.text)
    return answer.json()


def download(stats: Stats, done: dict[str, Any], image: dict[str, str]) -> None:
    """Download an image and verify it, as all of them do."""
    answer = get(stats, f"{BASE}/store/{done['bin_dir']}/{image['name']}")
    assert answer.status_code == 200
    assert hashlib.sha256(answer.content).hexdigest() == image["sha256"]


def polled(stats: Stats, answer: Response) -> dict[str, Any]:
    """Ask by GET until there is an answer, as browsers do; only 202 means: ask again."""
    seen = []
    while answer.status_code == 202:
        body = answer.json()
        seen.append(body["imagebuilder_status"])
        assert ("queue_position" in body) == (body["detail"] == "queued")
        time.sleep(0.02)
        url = f"{BASE}/api/v1/build/{body['request_hash']}"
        answer = stats.client.get(url, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text
    assert set(seen) <= PHASES | {"queued"}
    done: dict[str, Any] = answer.json()
    return done


# owut --------------------------------------------------------------------------------------------


def owut_target(
    stats: Stats, installed: str, target: str, board: str
) -> tuple[dict[str, Any], str, str]:
    """Return the profiles.json of the version to install, its folder and the profile."""
    overview = read(stats, f"{BASE}/json/v1/overview.json")
    branch_name = "SNAPSHOT" if installed == "SNAPSHOT" else ".".join(installed.split(".")[:2])
    branch = overview["branches"][branch_name]
    assert branch["enabled"]
    assert branch["targets"]
    version = next(v for v in branch["versions"] if v == "SNAPSHOT" or "-SNAPSHOT" not in v)
    folder = branch["path"].replace("{version}", version)
    assert isinstance(branch["package_changes"], list)
    platform = read(stats, f"{overview['upstream_url']}/{folder}/targets/{target}/profiles.json")
    profile = board.replace(",", "_")
    if profile not in platform["profiles"]:
        mapped = [
            name
            for name, data in platform["profiles"].items()
            if profile in {alias.replace(",", "_") for alias in data["supported_devices"]}
        ]
        profile = mapped[0] if mapped else "generic"
    assert profile in platform["profiles"]
    failed = f"{overview['upstream_url']}/{folder}/faillogs/{platform['arch_packages']}/"
    assert get(stats, failed).status_code == 404  # no failures
    return platform, folder, profile


@pytest.mark.parametrize(
    ("installed", "target", "board", "fstype", "sutype"),
    [
        ("SNAPSHOT", "mediatek/filogic", "glinet,gl-mt6000", "squashfs", "sysupgrade"),
        ("24.10.2", "x86/64", "pc-engines,apu2", "ext4", "combined-efi"),
    ],
)
def test_owut(
    stats: Stats, installed: str, target: str, board: str, fstype: str, sutype: str
) -> None:
    platform, folder, profile = owut_target(stats, installed, target, board)
    device = platform["profiles"][profile]
    assert device["image_prefix"].startswith("openwrt-")
    assert platform["source_date_epoch"] > 0
    assert platform["linux_kernel"]["version"].count(".") == 2
    images = [
        image
        for image in device["images"]
        if image["filesystem"] not in {"", "initramfs"} and "factory" not in image["type"]
    ]
    assert (fstype, sutype) in {(image["filesystem"], image["type"]) for image in images}
    defaults = {*platform["default_packages"], *device["device_packages"]}
    arch = platform["arch_packages"]
    packages = read(stats, f"{BASE}/json/v1/{folder}/packages/{arch}-index.json")
    packages |= read(stats, f"{BASE}/json/v1/{folder}/targets/{target}/index.json")["packages"]
    assert defaults <= packages.keys()
    wanted = sorted({*PACKAGES, *defaults})
    blob = {
        "client": "owut/2025.11.11",
        "target": target,
        "profile": profile,
        "version": platform["version_number"],
        "version_code": platform["version_code"],
        "filesystem": fstype,
        "diff_packages": True,
        "packages_versions": {name: packages[name] for name in wanted},
        "rootfs_size_mb": 256,
    }
    answer = stats.client.post(f"{BASE}/api/v1/build", json=blob)
    assert answer.status_code == 202, answer.text
    url = f"{BASE}/api/v1/build/{answer.json()['request_hash']}"
    states = [answer.json()["detail"]]
    while (head := stats.client.head(url)).status_code == 202:
        states.append(head.headers["x-imagebuilder-status"])
        assert head.headers["x-queue-position"].isdigit()
        time.sleep(0.02)
    assert head.status_code == 200
    assert set(states) <= PHASES | {"queued"}
    done = read(stats, url)
    assert done["request"]["version_code"] == done["version_code"] == platform["version_code"]
    assert done["request"]["rootfs_size_mb"] == 256
    (image,) = (
        each for each in done["images"] if each["filesystem"] == fstype and each["type"] == sutype
    )
    download(stats, done, image)
    for name in wanted:
        assert done["manifest"][name] == packages[name]


# Firmware selector -------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["24.10.2", "SNAPSHOT"])
def test_the_firmware_selector(stats: Stats, version: str) -> None:
    versions = read(stats, f"{BASE}/.versions.json")
    assert "24.10.2" in versions["versions_list"]
    assert "SNAPSHOT" not in versions["versions_list"]  # that is a setting of its own
    assert versions["stable_version"] == versions["versions_list"][0] == "25.12.5"
    folder = f"{BASE}/snapshots/" if version == "SNAPSHOT" else f"{BASE}/releases/{version}"
    overview = read(stats, f"{folder}/.overview.json")
    assert overview["release"] == version
    entry = next(each for each in overview["profiles"] if each["id"] == "glinet_gl-mt6000")
    assert entry["titles"][0]["title"]
    model = read(stats, f"{folder}/targets/{entry['target']}/profiles.json")
    device = model["profiles"][entry["id"]]
    for image in device["images"]:
        answer = get(stats, f"{folder}/targets/{model['target']}/{image['name']}")
        assert answer.status_code == 200
        assert hashlib.sha256(answer.content).hexdigest() == image["sha256"]
    body = {
        "profile": entry["id"],
        "target": entry["target"],
        "packages": [*model["default_packages"], *device["device_packages"], *PACKAGES],
        "defaults": "",
        "version_code": model["version_code"],
        "version": version,
        "diff_packages": True,
        "client": "ofs/5.1.0",
        "repositories": {},
        "repository_keys": [],
    }
    done = polled(stats, stats.client.post(f"{BASE}/api/v1/build", json=body))
    assert {"stderr", "stdout", "titles", "build_at", "manifest"} <= done.keys()
    assert done["version_number"] == version
    for image in done["images"]:
        download(stats, done, image)


# LuCI --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("installed", ["24.10.2", "SNAPSHOT"])
def test_luci(stats: Stats, installed: str) -> None:
    target = "mediatek/filogic"
    if installed == "SNAPSHOT":
        revision = read(stats, f"{BASE}/api/v1/revision/{installed}/{target}")["revision"]
        version = installed
        assert revision.startswith("r")
    else:
        # A server URL that ends in a slash makes two of them.
        overview = read(stats, f"{BASE}//api/overview")
        version = next(each for each in overview["latest"] if each.startswith("24.10."))
    body = {
        "profile": "glinet,gl-mt6000",
        "target": target,
        "version": version,
        "packages": PACKAGES,
        "diff_packages": True,
        "filesystem": "squashfs",
        "client": "luci/25.168.50434~d6b13f6",
        "rootfs_size_mb": None,
    }
    done = polled(stats, stats.client.post(f"{BASE}/api/v1/build", json=body))
    image = next(each for each in done["images"] if each["type"] == "sysupgrade")
    download(stats, done, image)
    assert {"version_number", "build_at", "target"} <= done.keys()


# auc ---------------------------------------------------------------------------------------------


def test_auc(stats: Stats) -> None:
    target = "mediatek/filogic"
    branch = next(
        each for each in read(stats, f"{BASE}/json/v1/branches.json") if each["name"] == "24.10"
    )
    arch, version = branch["targets"][target], branch["versions"][0]
    assert arch
    folder = branch["path"].replace("{version}", version)
    packages = read(stats, f"{BASE}/json/v1/{folder}/packages/{arch}-index.json")
    profile = read(stats, f"{BASE}/json/v1/{folder}/targets/{target}/glinet,gl-mt6000.json")
    assert [image for image in profile["images"] if image["type"] == "sysupgrade"]
    body = {
        "version": version,
        "version_code": profile["version_code"],
        "target": target,
        "profile": "glinet,gl-mt6000",
        "packages": PACKAGES,
        "packages_versions": {name: packages[name] for name in PACKAGES},
        "diff_packages": True,
        "filesystem": "squashfs",
    }
    answer = stats.client.post(
        f"{BASE}/api/v1/build", json=body, headers={"User-Agent": "auc (0.3.2)"}
    )
    done = polled(stats, answer)
    (image,) = (each for each in done["images"] if each["type"] == "sysupgrade")
    download(stats, done, image)


# All of it ---------------------------------------------------------------------------------------


def test_every_device_has_an_image_to_install(stats: Stats) -> None:
    """In every version, and its index agrees with the profiles of its targets."""
    offered = json.loads(json.dumps(demo.catalogue()))
    for version in ("SNAPSHOT", "19.07.10"):
        folder = f"{BASE}/{'snapshots' if version == 'SNAPSHOT' else f'releases/{version}'}"
        targets = read(stats, f"{folder}/.targets.json")
        assert targets == {name: offered["architectures"][name] for name in targets}
        listed = [
            (each["target"], each["id"])
            for each in read(stats, f"{folder}/.overview.json")["profiles"]
        ]
        found = []
        for target in targets:
            for profile, data in read(stats, f"{folder}/targets/{target}/profiles.json")[
                "profiles"
            ].items():
                found.append((target, profile))
                assert any(
                    image["type"] in {"sysupgrade", "combined", "combined-efi"}
                    for image in data["images"]
                )
        assert listed == found


def test_default_packages_exist() -> None:
    assert all(map(is_known, DEFAULT_PACKAGES))


def test_what_is_not_published(stats: Stats) -> None:
    for path in (
        "/releases/10.10.10/.overview.json",
        "/releases/24.10.2/.versions.json",
        "/releases/24.10.2/targets/x86/63/profiles.json",
        "/releases/24.10.2/targets/x86/64/openwrt-24.10.2-x86-64-generic-squashfs-combined.bin",
        "/releases/24.10.2/targets/x86/64/..%2fprofiles.json",
        "/releases/SNAPSHOT/../../etc/passwd",
    ):
        answer = stats.client.get(path)
        assert answer.status_code == 404
        assert answer.json()["status"] == 404


def test_only_the_demo_publishes(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    demo.write(tmp_path / "catalogue.json")
    settings: dict[str, Any] = {"catalogue": tmp_path / "catalogue.json"}
    with Stats.on(sqlite_database(request), tmp_path / "spool", **settings) as stats:
        for path in ("/.versions.json", "/releases/24.10.2/.targets.json"):
            assert stats.client.get(path).status_code == 404
