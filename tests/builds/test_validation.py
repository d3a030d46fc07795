"""Rejections with upstream's messages, and the catalogue."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from asu_stats.builds.catalogue import Catalogue, branch_of
from asu_stats.builds.validation import RejectedRequestError, repository_allowed, validate
from asu_stats.error_types import classify
from asu_stats.exceptions import InvalidSettingError
from asu_stats.releases import release_order

from .support import request, settings_for

CATALOGUE = Catalogue(
    versions=["24.10.2", "24.10.1", "23.05.5", "SNAPSHOT", "24.10-SNAPSHOT"],
    targets={"mediatek/filogic": ["glinet_gl-mt6000"], "x86/64": ["generic"]},
    overrides={
        "23.05": {"bcm63xx/generic": ["comtrend_ar-5315u"], "mediatek/filogic": []},
        "24.10.1": {"mediatek/filogic": ["other"]},
    },
    aliases={"mediatek/filogic": {"glinet_mt6000": "glinet_gl-mt6000"}},
)


@pytest.mark.parametrize(
    ("changes", "error_type", "detail"),
    [
        (
            {"defaults": "echo"},
            "defaults_not_allowed",
            "Handling `defaults` not enabled on server",
        ),
        (
            {"repositories": {"a": "https://example.org/x"}},
            "repository_not_allowed",
            "Repository not allowed: https://example.org/x",
        ),
        ({"distro": "lede"}, "unsupported_distro", "Unsupported distro: lede"),
        ({"version": "10.10.10"}, "unsupported_version", "Unsupported version: 10.10.10"),
        ({"version": ""}, "unsupported_version", "Unsupported version: "),
        ({"target": "x86/generic"}, "unsupported_target", "Unsupported target: x86/generic. The"),
        ({"target": "/"}, "unsupported_target", "Unsupported target: /. The"),
        ({"version": "23.05.5"}, "unsupported_target", "Unsupported target: mediatek/filogic."),
        ({"profile": "foo"}, "unsupported_profile", "Unsupported profile: foo. The requested"),
        ({"version": "24.10.1"}, "unsupported_profile", "Unsupported profile: glinet_gl-mt6000."),
    ],
)
def test_refusals(tmp_path: Path, changes: dict[str, Any], error_type: str, detail: str) -> None:
    with pytest.raises(RejectedRequestError) as caught:
        validate(request(**changes), settings_for(tmp_path), CATALOGUE)
    assert str(caught.value).startswith(detail)
    assert caught.value.error_type == error_type
    assert classify(str(caught.value), status="rejected").type == error_type


def test_branches_may_be_listed(tmp_path: Path) -> None:
    catalogue = CATALOGUE.model_copy(update={"branches": ["24.10"]})
    with pytest.raises(RejectedRequestError, match=r"^Unsupported branch: 23\.05\.5$"):
        validate(request(version="23.05.5"), settings_for(tmp_path), catalogue)
    validate(request(version="24.10-SNAPSHOT"), settings_for(tmp_path), catalogue)


@pytest.mark.parametrize(
    ("changes", "profile"),
    [
        ({}, "glinet_gl-mt6000"),
        ({"profile": "glinet_mt6000"}, "glinet_gl-mt6000"),
        ({"target": "x86/64", "profile": "pc-engines-apu2"}, "generic"),
        (
            {"version": "23.05.5", "target": "bcm63xx/generic", "profile": "comtrend_ar-5315u"},
            "comtrend_ar-5315u",
        ),
        ({"version": "24.10.1", "profile": "other"}, "other"),
        ({"version": "SNAPSHOT"}, "glinet_gl-mt6000"),
    ],
)
def test_the_profile_that_is_meant(tmp_path: Path, changes: dict[str, Any], profile: str) -> None:
    assert validate(request(**changes), settings_for(tmp_path), CATALOGUE).profile == profile


def test_without_a_catalogue_all_is_taken_but_nothing(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    assert validate(request(version="99.99", target="a/b"), settings).version == "99.99"
    for changes in ({"version": ""}, {"target": "a/"}, {"profile": ""}):
        with pytest.raises(RejectedRequestError):
            validate(request(**changes), settings)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://example.org/feeds/a", True),
        ("https://EXAMPLE.org/feeds/a", True),
        ("https://example.org:443/feeds/a", True),
        ("https://example.org/feeds", False),
        ("https://example.org/feedsx/a", False),
        ("http://example.org/feeds/a", False),
        ("https://example.org:8443/feeds/a", False),
        ("https://example.org.evil.net/feeds/a", False),
        ("https://sub.example.org/feeds/a", False),
        ("https://example.org@evil.net/feeds/a", False),
        ("https://user@example.org/feeds/a", False),
        ("https://example.org/feeds/../a", False),
        ("https://example.org/feeds/%2e%2e/a", False),
        ("https://example.org\\@evil.net/feeds/a", False),
        ("https://[::1/feeds/a", False),
        ("https://example.org:99999/feeds/a", False),
        ("https:///feeds/a", False),
    ],
)
def test_repositories(url: str, allowed: bool) -> None:
    assert repository_allowed(url, ["https://example.org/feeds/"]) is allowed


@pytest.mark.parametrize(
    ("version", "branch"),
    [
        ("24.10.2", "24.10"),
        ("24.10.0-rc1", "24.10"),
        ("24.10-SNAPSHOT", "24.10"),
        ("SNAPSHOT", "SNAPSHOT"),
        ("19.07.10", "19.07"),
    ],
)
def test_branch_of(version: str, branch: str) -> None:
    assert branch_of(version) == branch


def test_versions_are_in_the_order_of_their_release() -> None:
    ordered = [
        *("19.07-SNAPSHOT", "19.07.0-rc1", "19.07.0", "19.07.2", "19.07.9", "19.07.10"),
        *("24.10.0-rc2", "24.10.0-rc7", "24.10.0-rc10", "24.10.0", "24.10.1", "25.12.0-rc1"),
        "SNAPSHOT",
    ]
    assert sorted(random.Random(1).sample(ordered, len(ordered)), key=release_order) == ordered
    assert sorted(["SNAPSHOT", "24.10", "9.1"], key=release_order) == ["9.1", "24.10", "SNAPSHOT"]


@pytest.mark.parametrize("odd", ["", "-rc", "main", "²", "9" * 9999, "1.2-rc" + "9" * 9999])
def test_versions_of_any_form_have_a_place(odd: str) -> None:
    assert release_order(odd) <= release_order("SNAPSHOT")


def test_a_catalogue_file(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.json"
    file.write_text(CATALOGUE.model_dump_json())
    assert Catalogue.load(file).model_dump() == CATALOGUE.model_dump()


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("{", "not JSON"),
        ("[]", "expected an object"),
        ('{"targets": {}}', "versions: Field required"),
        ('{"versions": [], "targets": {}}', "versions"),
        ('{"versions": ["1"], "targets": {"x86": ["generic"]}}', "targets.x86"),
        ('{"versions": ["1"], "targets": {"a/b": "generic"}}', "targets.a/b"),
        ('{"versions": ["1"], "targets": {}, "overides": {}}', "overides"),
        ('{"versions": [1], "targets": {}}', "versions.0"),
        ('{"versions": ["1"], "versions": ["2"], "targets": {}}', "duplicate"),
    ],
)
def test_a_broken_catalogue_file(tmp_path: Path, content: str, place: str) -> None:
    file = tmp_path / "catalogue.json"
    file.write_text(content)
    with pytest.raises(InvalidSettingError) as caught:
        Catalogue.load(file)
    assert str(file) in str(caught.value)
    assert place in str(caught.value)
    assert "expected" in str(caught.value)


def test_a_catalogue_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingError, match=r"none\.json: .*No such file"):
        Catalogue.load(tmp_path / "none.json")


def test_a_large_catalogue_is_small(tmp_path: Path) -> None:
    devices = {
        f"board{n}/generic": [f"vendor_device-{n}-{i}" for i in range(40)] for n in range(50)
    }
    versions = [f"{branch}.{n}" for branch in ("23.05", "24.10") for n in range(40)]
    file = tmp_path / "catalogue.json"
    file.write_text(json.dumps({"versions": versions, "targets": devices}))
    catalogue = Catalogue.load(file)
    assert all(catalogue.targets_of(version) for version in versions)
    assert file.stat().st_size < 100_000


def test_a_catalogue_may_spell_devices_as_they_do() -> None:
    spelled = Catalogue(
        versions=["24.10.2"],
        targets={"ath79/generic": ["tplink,archer-c7-v5"]},
        aliases={"ath79/generic": {"tplink,archer-c7": "tplink,archer-c7-v5"}},
    )
    for profile in ("tplink,archer-c7-v5", "tplink_archer-c7-v5", "tplink,archer-c7"):
        assert spelled.profile_of("24.10.2", "ath79/generic", profile) == "tplink_archer-c7-v5"
