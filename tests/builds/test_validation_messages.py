"""Messages of build requests that do not parse: the value and what is expected."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.builds.support import body
from tests.support import Stats

PATTERN = (r"[A-Za-z", "pattern", "regex", "pydantic", "Input should", "String should", "Field")
WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"packages": ["vim", "luci app"]}, "packages", '"luci app" is not a package name'),
    ({"packages": ["tcpdump;reboot"]}, "packages", '"tcpdump;reboot" is not a package name'),
    ({"packages": ["näno"]}, "packages", '"näno" is not a package name'),
    ({"packages": ["a\nb"]}, "packages", '"a\\nb" is not a package name'),
    ({"packages": ["p" * 129]}, "packages", "is longer than 128 characters"),
    ({"packages": "vim"}, "packages", "expected a list"),
    ({"packages": [7]}, "packages", "expected text"),
    ({"packages": ["a"] * 2001}, "packages", "has more than 2000 entries"),
    ({"packages_versions": {"lu ci": "1"}}, "packages_versions", '"lu ci" is not a package name'),
    ({"packages_versions": {"luci": "1 2"}}, "packages_versions", '"1 2" is not a package version'),
    ({"version": "24.10 2"}, "version", '"24.10 2" is not a version'),
    ({"target": "ath79"}, "target", '"ath79" is not a target; expected target/subtarget'),
    ({"profile": "../x"}, "profile", '"../x" is not a name of a profile'),
    ({"profile": None}, "profile", "expected text"),
    ({"diff_packages": "maybe"}, "diff_packages", "expected true or false"),
    ({"rootfs_size_mb": 0}, "rootfs_size_mb", '"0" is too small; expected at least 1'),
    ({"rootfs_size_mb": 5000}, "rootfs_size_mb", '"5000" is too large; expected at most 1024'),
    ({"filesystem": "ntfs"}, "filesystem", '"ntfs" is not known; expected squashfs, ext4'),
    ({"repositories": {"a": "ftp://x"}}, "repositories", '"ftp://x" is not a URL'),
    (
        {"repositories": {"a b": "https://x/"}},
        "repositories",
        '"a b" is not a name of a repository',
    ),
    ({"defaults": "x" * 20_481}, "defaults", "is longer than 20480 characters"),
]


@pytest.mark.parametrize(("wrong", "member", "said"), WRONG, ids=lambda item: repr(item)[:40])
def test_the_value_is_named_in_plain_words(
    sqlite_stats: Stats, wrong: dict[str, Any], member: str, said: str
) -> None:
    answer = sqlite_stats.client.post("/api/v1/build", json={**body(), **wrong})
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert detail.startswith(f"{member}: "), detail
    assert said in detail
    assert not [word for word in PATTERN if word in answer.text]
    assert "x" * 100 not in answer.text  # no scripts
    assert len(detail) < 300


def test_what_is_missing(sqlite_stats: Stats) -> None:
    client: TestClient = sqlite_stats.client
    said = client.post("/api/v1/build", json={}).json()
    assert said["detail"] == "version: is missing (and 2 more)"
    assert said["errors"][1] == {"loc": ["body", "target"], "msg": "is missing"}
    assert client.post("/api/v1/build", json=[]).json()["detail"] == "body: expected an object"
