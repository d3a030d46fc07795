"""Endpoints that clients read before they request an image."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import ValidationError

from asu_stats.builds.catalogue import Catalogue
from asu_stats.demo import catalogue as demo
from asu_stats.demo.world import load
from asu_stats.releases import release_order
from asu_stats.settings import Settings
from tests.conftest import sqlite_database
from tests.support import Stats

OVERVIEWS = ("/json/v1/overview.json", "/api/v1/overview", "/api/overview")
LATEST = ("/json/v1/latest.json", "/api/v1/latest")
BRANCHES = "/json/v1/branches.json"
FOUND = (*OVERVIEWS, *LATEST, BRANCHES, "/api/v1/revision/SNAPSHOT/x86/64")
ELSEWHERE = "https://sysupgrade.openwrt.org"
RELEASE = "/json/v1/releases/24.10.2"
SENT_ON = (
    f"{RELEASE}/packages/aarch64_cortex-a53-index.json",
    f"{RELEASE}/targets/mediatek/filogic/index.json",
    f"{RELEASE}/targets/mediatek/filogic/glinet_gl-mt6000.json",
    "/json/v1/releases/24.10-SNAPSHOT/targets/x86/64/index.json",
    "/json/v1/snapshots/packages/x86_64-index.json",
    "/json/v1/snapshots/targets/x86/64/index.json",
    "/json/v1/snapshots/targets/x86/64/generic.json",
    "/api/v1/revision/24.10-SNAPSHOT/x86/64",
)
CATALOGUE: dict[str, Any] = {
    "versions": [
        *("24.10.2", "SNAPSHOT", "24.10.0-rc7", "24.10.10", "24.10-SNAPSHOT", "24.10.0"),
        *("23.05.5", "25.12.0-rc2", "25.12.0-rc10", "22.03-SNAPSHOT"),
    ],
    "targets": {
        "mediatek/filogic": ["glinet_gl-mt6000", "openwrt_one"],
        "x86/64": ["generic"],
    },
    "overrides": {
        "23.05": {"bcm63xx/generic": ["comtrend_ar-5315u"], "mediatek/filogic": []},
        "24.10.10": {"x86/64": []},
        "22.03": {"mediatek/filogic": [], "x86/64": []},
    },
    "aliases": {"mediatek/filogic": {"glinet_mt6000": "glinet_gl-mt6000"}},
    "architectures": {"mediatek/filogic": "aarch64_cortex-a53"},
    "revisions": {"SNAPSHOT": "r31000-0123456789"},
    "package_changes": {"24.10": [{"source": "auc", "target": "owut", "revision": 26792}]},
}
VERSIONS = [
    *("SNAPSHOT", "25.12.0-rc10", "25.12.0-rc2"),
    *("24.10.10", "24.10.2", "24.10.0", "24.10.0-rc7", "24.10-SNAPSHOT"),
    *("23.05.5", "22.03-SNAPSHOT"),
]

Serve = Callable[..., AbstractContextManager[Stats]]


@pytest.fixture
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Serve:
    """Runs a service with a catalogue, and with settings."""

    @contextmanager
    def running(catalogue: dict[str, Any] | None, **settings: Any) -> Iterator[Stats]:
        if catalogue is not None:
            settings["catalogue"] = tmp_path / "catalogue.json"
            settings["catalogue"].write_text(json.dumps(catalogue))
        with Stats.on(sqlite_database(request), tmp_path / "spool", **settings) as stats:
            stats.client.follow_redirects = False
            yield stats

    return running


@pytest.fixture
def offering(serve: Serve) -> Iterator[Stats]:
    with serve(CATALOGUE) as stats:
        yield stats


def found(stats: Stats, url: str) -> Any:
    answer = stats.client.get(url)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    return answer.json()


def refused(stats: Stats, url: str) -> str:
    answer = stats.client.get(url)
    assert answer.status_code == 404, answer.text
    problem = answer.json()
    assert (problem["status"], problem["title"]) == (404, "Not Found")
    detail: str = problem["detail"]
    return detail


def offered_by_luci(latest: list[str], installed: str) -> list[str]:
    """What LuCI offers a device, as its users see it: the first release of the same branch."""
    branch = ".".join(installed.split(".")[:2])
    for version in latest:
        if version == installed:
            break
        if version.startswith(f"{branch}."):
            return [version]
    return []


def test_releases(offering: Stats) -> None:
    newest = ["25.12.0-rc10", "24.10.10", "23.05.5"]
    for url in LATEST:
        assert found(offering, url) == {"latest": newest, "versions": VERSIONS}
    for url in OVERVIEWS:
        assert found(offering, url)["latest"] == newest
    assert offered_by_luci(newest, "24.10.2") == ["24.10.10"]
    assert offered_by_luci(newest, "24.10.10") == []


def test_branches(offering: Stats) -> None:
    branches = found(offering, OVERVIEWS[0])["branches"]
    assert list(branches) == ["SNAPSHOT", "25.12", "24.10", "23.05", "22.03"]
    assert branches["24.10"] == {
        "name": "24.10",
        "enabled": True,
        "snapshot": False,
        "path": "releases/{version}",
        "path_packages": "releases/packages-{branch}",
        "versions": ["24.10.10", "24.10.2", "24.10.0", "24.10.0-rc7", "24.10-SNAPSHOT"],
        # A target that only some of the versions have is a target of the branch.
        "targets": {"mediatek/filogic": "aarch64_cortex-a53", "x86/64": ""},
        "package_changes": [{"source": "auc", "target": "owut", "revision": 26792}],
    }
    assert branches["SNAPSHOT"] == {
        "name": "SNAPSHOT",
        "enabled": True,
        "snapshot": True,
        "path": "snapshots",
        "path_packages": "snapshots/packages",
        "versions": ["SNAPSHOT"],
        "targets": {"mediatek/filogic": "aarch64_cortex-a53", "x86/64": ""},
        "package_changes": [],
    }
    assert list(branches["23.05"]["targets"]) == ["bcm63xx/generic", "x86/64"]
    assert branches["22.03"]["targets"] == {}
    assert found(offering, BRANCHES) == list(branches.values())


def test_only_branches_on_offer(serve: Serve) -> None:
    with serve(CATALOGUE | {"branches": ["24.10", "SNAPSHOT"]}) as stats:
        newest = ["24.10.10", "24.10.2", "24.10.0", "24.10.0-rc7", "24.10-SNAPSHOT"]
        assert found(stats, LATEST[0]) == {
            "latest": ["24.10.10"],
            "versions": ["SNAPSHOT", *newest],
        }
        assert [each["name"] for each in found(stats, BRANCHES)] == ["SNAPSHOT", "24.10"]
        refused(stats, "/json/v1/releases/23.05.5/targets/x86/64/index.json")


def test_what_is_named_can_be_built(offering: Stats) -> None:
    """A client that takes version and target from here is not refused for them."""
    for branch in found(offering, BRANCHES):
        for version in branch["versions"]:
            for target in branch["targets"]:
                place = branch["path"].replace("{version}", version)
                listed = offering.client.get(f"/json/v1/{place}/targets/{target}/index.json")
                body = {"version": version, "target": target, "profile": "generic"}
                detail = offering.client.post("/api/v1/build", json=body).json()["detail"]
                taken = not detail.startswith(("Unsupported version", "Unsupported target"))
                assert (listed.status_code == 307) == taken


def test_limits_of_the_server(serve: Serve) -> None:
    limits = {
        "allow_defaults": True,
        "repository_allow_list": ["https://feeds.example.org/"],
        "max_custom_rootfs_size_mb": 512,
        "max_defaults_length": 9,
    }
    with serve(None, upstream_url="https://mirror.example.org/openwrt/", **limits) as stats:
        overview = found(stats, OVERVIEWS[0])
    assert overview["upstream_url"] == "https://mirror.example.org/openwrt"
    assert overview["server"].items() >= limits.items()


def test_without_a_catalogue_nothing_is_named(serve: Serve) -> None:
    with serve(None) as stats:
        for url in OVERVIEWS:
            overview = found(stats, url)
            assert (overview["latest"], overview["branches"]) == ([], {})
        for url in LATEST:
            assert found(stats, url) == {"latest": [], "versions": []}
        assert found(stats, BRANCHES) == []
        # Everything is taken, thus everything may be asked for.
        for url in SENT_ON:
            assert stats.client.get(url).headers["Location"] == ELSEWHERE + url


def test_the_revision_of_a_version(offering: Stats) -> None:
    url = "/api/v1/revision"
    assert found(offering, f"{url}/SNAPSHOT/x86/64") == {"revision": "r31000-0123456789"}
    other = offering.client.get(f"{url}/24.10-SNAPSHOT/mediatek/filogic")
    assert other.status_code == 307
    for missing in ("SNAPSHOT/bcm63xx/generic", "10.10.10/x86/64", "24.10.10/x86/64"):
        refused(offering, f"{url}/{missing}")


@pytest.mark.parametrize("url", SENT_ON)
def test_the_rest_is_elsewhere(offering: Stats, url: str) -> None:
    answer = offering.client.get(url)
    assert (answer.status_code, answer.content) == (307, b"")
    assert answer.headers["Location"] == ELSEWHERE + url


def test_a_device_is_known_elsewhere_by_its_first_name(offering: Stats) -> None:
    for asked, meant in (
        (f"{RELEASE}/targets/mediatek/filogic/glinet_mt6000", "glinet_gl-mt6000"),
        (f"{RELEASE}/targets/x86/64/pc-engines-apu2", "generic"),
    ):
        location = offering.client.get(f"{asked}.json").headers["Location"]
        assert location == f"{ELSEWHERE}{asked.rpartition('/')[0]}/{meant}.json"


@pytest.mark.parametrize(
    "url",
    [
        "/json/v1/releases/10.10.10/packages/x86_64-index.json",
        "/json/v1/releases/24.10.10/targets/x86/64/index.json",
        "/json/v1/snapshots/targets/bcm63xx/generic/index.json",
        f"{RELEASE}/targets/mediatek/filogic/foo.json",
    ],
)
def test_what_is_not_on_offer_is_nowhere(offering: Stats, url: str) -> None:
    assert refused(offering, url) == "the version, target or profile is not available"


@pytest.mark.parametrize(
    "name",
    ["..", ".", "", " ", "a b", "é", "a\n", "a?b", "a#b", "@evil.example", "a\\b", "x" * 101],
)
def test_nobody_is_sent_to_a_place_of_their_choice(serve: Serve, name: str) -> None:
    shown = quote(name, safe="")
    with serve(None) as stats:
        for url in (
            f"/json/v1/releases/{shown}/packages/x86_64-index.json",
            f"/json/v1/snapshots/packages/{shown}-index.json",
            f"/json/v1/snapshots/targets/x86/{shown}/index.json",
            f"/json/v1/snapshots/targets/x86/64/{shown}.json",
            f"/api/v1/revision/{shown}/x86/64",
        ):
            assert stats.client.get(url).status_code == 404, url


def test_another_server_or_none(serve: Serve) -> None:
    with serve(CATALOGUE, metadata_url="https://asu.example.org/a/") as stats:
        location = stats.client.get(SENT_ON[0]).headers["Location"]
        assert location == f"https://asu.example.org/a{SENT_ON[0]}"
    with serve(CATALOGUE, metadata_url="") as stats:
        for url in SENT_ON:
            assert refused(stats, url).endswith("metadata_url is not set")
        assert found(stats, "/api/v1/revision/SNAPSHOT/x86/64")


@pytest.mark.parametrize("url", ["x", "//x", "ftp://x", "https://", "https://x y", "https://x/?a"])
def test_servers_have_plain_urls(url: str) -> None:
    for name in ("metadata_url", "upstream_url"):
        with pytest.raises(ValidationError):
            Settings(**{name: url})  # type: ignore[arg-type]


@pytest.mark.parametrize("url", [*FOUND, *SENT_ON])
def test_browsers_and_caches_may_read_it(offering: Stats, url: str) -> None:
    """LuCI asks from a page of the device; a browser wants leave for each step of a redirect."""
    asked = offering.client.get(url, headers={"Origin": "http://192.168.1.1"})
    assert asked.headers["Access-Control-Allow-Origin"] == "*"
    assert asked.headers["Cache-Control"] == "public, max-age=300"
    head = offering.client.head(url)
    assert (head.status_code, head.content) == (asked.status_code, b"")
    for name in ("Content-Type", "Content-Length", "Location", "Cache-Control"):
        assert head.headers.get(name) == asked.headers.get(name)


def test_a_refusal_may_be_read_and_is_not_kept(offering: Stats) -> None:
    answer = offering.client.get("/api/v1/revision/10.10.10/x86/64")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Cache-Control" not in answer.headers


def test_all_of_it_is_documented(offering: Stats) -> None:
    paths = found(offering, "/openapi.json")["paths"]
    for path in (*OVERVIEWS, *LATEST, BRANCHES):
        assert paths[path]["get"]["responses"].keys() == {"200"}
    sent_on = {
        path: each["get"]
        for path, each in paths.items()
        if "307" in each.get("get", {}).get("responses", {})
    }
    assert len(sent_on) == 7
    for path, documented in sent_on.items():
        assert documented["responses"].keys() == {"200", "307", "404"}
        assert all(f"{{{each['name']}}}" in path for each in documented["parameters"])


def test_luci_on_the_demo(serve: Serve) -> None:
    """Whatever release a device runs, LuCI offers the newest of its branch, and it can be built."""
    with serve(demo.catalogue()) as stats:
        latest = found(stats, "/api/overview")["latest"]
        branches = found(stats, BRANCHES)
    offered = Catalogue.model_validate(demo.catalogue())
    assert latest[:2] == ["25.12.5", "24.10.8"]
    assert latest[-1] == "19.07.10"
    for version in load().versions:
        if version.kind != "snapshot" and version.name not in latest:
            (newest,) = offered_by_luci(latest, version.name)
            assert offered.offers_version(newest)
            assert release_order(newest) > release_order(version.name)
    assert [each["name"] for each in branches][:2] == ["SNAPSHOT", "25.12"]
    assert all(each["targets"] and each["versions"] for each in branches)
