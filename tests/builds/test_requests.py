"""Build requests: validation, and equal requests have equal hashes."""

import json
from pathlib import Path
from typing import Any

import pytest

from asu_stats.builds.jobs import request_row
from asu_stats.builds.requests import (
    BuildRequest,
    InvalidRequestError,
    client_of,
    knows_all_phases,
    parse,
)

from .support import NOW, body, request, settings_for


def parsed(tmp_path: Path, **changes: Any) -> BuildRequest:
    return parse(json.dumps(body(**changes)).encode(), settings_for(tmp_path))


def test_what_is_the_same_has_the_same_hash() -> None:
    known = request().request_hash
    assert len(known) == 64
    for same in (
        {"packages": ["tmux", "luci"]},
        {"packages": ["+luci", "tmux", "luci", ""]},
        {"client": "luci/1"},
        {"client": None},
        {"defaults": ""},
        {"repositories_mode": "append"},
        {"something": "else"},
    ):
        assert request(**same).request_hash == known, same


def test_what_is_different_has_another_hash() -> None:
    hashes = [
        request(**different).request_hash
        for different in (
            {},
            {"version": "24.10.1"},
            {"version_code": "r1-abc"},
            {"target": "mediatek/mt7622"},
            {"profile": "other"},
            {"packages": ["luci"]},
            {"packages": ["luci", "-tmux"]},
            {"packages_versions": {"luci": "1", "tmux": "2"}},
            {"packages_versions": {"luci": "1", "tmux": "3"}},
            {"diff_packages": True},
            {"defaults": "echo"},
            {"rootfs_size_mb": 256},
            {"filesystem": "ext4"},
            {"repositories": {"a": "https://example.org/1"}},
            {"repositories": {"b": "https://example.org/1"}},
            {"repositories": {"a": "https://example.org/1"}, "repositories_mode": "append"},
            {"repository_keys": ["key"]},
            {"distro": "lede"},
        )
    ]
    assert len(set(hashes)) == len(hashes)


def test_profile_and_packages_are_made_plain() -> None:
    plain = request(profile="tplink,archer-c7", packages=["+luci", "-ppp", "", "-", "+", "luci"])
    assert plain.profile == "tplink_archer-c7"
    assert plain.packages == ["luci", "-ppp"]
    versions = request(packages_versions={"+luci": "1", "": "2"})
    assert versions.packages_versions == {"luci": "1"}
    assert versions.wanted_packages == ["luci"]


def test_a_list_of_repositories_is_taken() -> None:
    urls = ["https://example.org/a", "https://example.org/b"]
    taken = request(repositories=urls)
    assert list(taken.repositories.values()) == urls
    row = request_row(taken, request_hash="h", client="c", received=NOW)
    assert json.loads(row["repositories"]) == urls


@pytest.mark.parametrize(
    ("client", "user_agent", "expected"),
    [
        ("luci/1", "auc (0.3.2)", "luci/1"),
        (None, "auc (0.3.2)", "auc/0.3.2"),
        (None, "auc (0.3.2-1)", "auc/0.3.2-1"),
        ("", "auc", "auc"),
        (" ", None, "unknown"),
        (None, None, "unknown"),
        (None, "curl/8", "unknown"),
        (None, "auc " + "x" * 999, ("auc " + "x" * 999)[:255]),
    ],
)
def test_client_string(client: str | None, user_agent: str | None, expected: str) -> None:
    assert client_of(client, user_agent) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"version": None},
        {"target": None},
        {"profile": None},
        {"version": 24.10},
        {"version": "../x"},
        {"version": "-x"},
        {"version": "$(id)"},
        {"version": "x" * 256},
        {"target": "mediatek"},
        {"target": "a/b/c"},
        {"target": "../etc"},
        {"profile": "a b"},
        {"profile": ".hidden"},
        {"profile": "p\x00"},
        {"packages": "luci"},
        {"packages": [1]},
        {"packages": ["a b"]},
        {"packages": ["$(id)"]},
        {"packages": ["x" * 129]},
        {"packages": ["a"] * 2001},
        {"packages": None, "packages_versions": ["luci"]},
        {"packages_versions": {"luci": "1 2"}},
        {"packages_versions": {"a b": "1"}},
        {"packages_versions": {f"p{number}": "1" for number in range(2001)}},
        {"diff_packages": "maybe"},
        {"diff_packages": 2},
        {"defaults": "x" * 20_481},
        {"defaults": "\x00"},
        {"defaults": 5},
        {"rootfs_size_mb": 0},
        {"rootfs_size_mb": 1025},
        {"rootfs_size_mb": 10**30},
        {"rootfs_size_mb": 256.5},
        {"rootfs_size_mb": "0"},
        {"rootfs_size_mb": "1025"},
        {"rootfs_size_mb": "9" * 5000},
        {"rootfs_size_mb": "256MB"},
        {"rootfs_size_mb": "\u0662\u0665\u0666"},
        {"rootfs_size_mb": ""},
        {"rootfs_size_mb": True},
        {"filesystem": "ntfs"},
        {"repositories": {"a": "ftp://example.org"}},
        {"repositories": {"a": "https://example.org/ x"}},
        {"repositories": {"a b": "https://example.org/"}},
        {"repositories": {"a": "https://example.org/" + "x" * 2048}},
        {"repositories": ["x"]},
        {"repositories": ["https://example.org/"] * 33},
        {"repositories_mode": "merge"},
        {"repository_keys": ["x" * 8193]},
        {"repository_keys": ["x"] * 33},
        {"repository_keys": ["\x00"]},
        {"client": "x" * 256},
        {"client": 1},
    ],
    ids=lambda changes: repr(changes)[:40],
)
def test_what_is_no_request(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parsed(tmp_path, **changes)
    field = next(name for name, value in changes.items() if len(changes) == 1 or value is not None)
    assert caught.value.errors[0][0][:2] == ["body", field]
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "changes",
    [
        {"packages": []},
        {"packages": ["libstdc++6", "kmod-usb-net-rndis", "luci-i18n-base-pt-br", "+a", "-b"]},
        {"packages": ["p" * 128] * 2000},
        {"packages_versions": {"luci": "25.168.50434~d6b13f6", "a": ""}},
        {"rootfs_size_mb": 1024, "filesystem": "jffs2-nand", "defaults": "x" * 20_480},
        {"client": "x" * 255},
        {"client": "ofs/%GIT_VERSION%"},
        {"version_code": "r28739-d9340319c6"},
        {"version": "25.12-SNAPSHOT"},
        {"repository_keys": ["untrusted comment: x\nRWQ="]},
    ],
    ids=lambda changes: repr(changes)[:40],
)
def test_what_is_a_request(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert parsed(tmp_path, **changes).request_hash


def test_a_whole_number_may_be_written_with_a_point(tmp_path: Path) -> None:
    written = parsed(tmp_path, rootfs_size_mb=256.0)
    assert written.rootfs_size_mb == 256
    assert written.request_hash == parsed(tmp_path, rootfs_size_mb=256).request_hash


@pytest.mark.parametrize(
    ("client", "knows"),
    [
        ("luci/git-24.086.45142-09d5a38", False),
        ("luci / git-22.073.39928-701ea94", False),
        ("luci/24.150.12345~0123456", False),
        ("luci/24.305.99999~0123456", False),
        ("luci/24.306.00001~0123456", True),
        ("luci/25.001.00001~0123456", True),
        ("luci", True),
        ("luci/unknown", True),
        ("ofs/v5.1.0", True),
        ("owut/git-22.073", True),
        ("unknown", True),
    ],
)
def test_only_an_old_luci_does_not_know_all_phases(client: str, knows: bool) -> None:
    assert knows_all_phases(client) is knows


@pytest.mark.parametrize(
    ("lax", "strict"),
    [
        ({"diff_packages": 1}, {"diff_packages": True}),
        ({"diff_packages": 1.0}, {"diff_packages": True}),
        ({"diff_packages": "true"}, {"diff_packages": True}),
        ({"diff_packages": "True"}, {"diff_packages": True}),
        ({"diff_packages": "1"}, {"diff_packages": True}),
        ({"diff_packages": 0}, {"diff_packages": False}),
        ({"diff_packages": "off"}, {"diff_packages": False}),
        ({"rootfs_size_mb": "256"}, {"rootfs_size_mb": 256}),
        ({"rootfs_size_mb": "0256"}, {"rootfs_size_mb": 256}),
    ],
)
def test_what_the_upstream_server_takes_is_the_same_request(
    tmp_path: Path, lax: dict[str, Any], strict: dict[str, Any]
) -> None:
    written = parsed(tmp_path, **lax)
    assert written == parsed(tmp_path, **strict)
    assert written.request_hash == parsed(tmp_path, **strict).request_hash


def test_control_characters_of_a_client_become_spaces(tmp_path: Path) -> None:
    assert parsed(tmp_path, client="lu\nci\x00").client == "lu ci\ufffd"
