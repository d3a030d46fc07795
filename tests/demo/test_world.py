"""Devices, versions and clients of the demo, and their popularity."""

import re
from datetime import date, timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from asu_stats.builds import metadata
from asu_stats.builds.builders.known_packages import is_known
from asu_stats.builds.catalogue import Catalogue
from asu_stats.builds.requests import BuildRequest
from asu_stats.demo import catalogue, popularity
from asu_stats.demo.crowd import Crowd
from asu_stats.demo.popularity import FAVOURITES, version_shares
from asu_stats.demo.world import load
from asu_stats.settings import load as load_settings

WORLD = load()
AUTUMN = date(2026, 11, 24)


@pytest.fixture(scope="module")
def offered(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    path = tmp_path_factory.mktemp("demo") / "catalogue.json"
    catalogue.write(path)
    return Catalogue.load(path)


def test_the_files_are_all_read() -> None:
    assert len(WORLD.devices) == 2035
    assert len(WORLD.versions) == 84
    assert len(WORLD.clients) == 40
    assert sum(client.weight for client in WORLD.clients) == 984


def test_clients_find_all_they_ask_for_before_a_build(offered: Catalogue) -> None:
    """auc needs an architecture for each target; LuCI asks for the revision of a snapshot."""
    branches = metadata.branches(offered)
    assert {"SNAPSHOT", "24.10", "25.12"} <= branches.keys()
    for branch in branches.values():
        assert branch["targets"]
        assert all(branch["targets"].values()), branch["name"]
    assert branches["24.10"]["targets"]["mediatek/filogic"] == "aarch64_cortex-a53"
    assert branches["24.10"]["targets"]["realtek/rtl838x"] == "mips_4kec"
    assert offered.revisions.keys() == set(offered.versions)
    app = FastAPI()
    app.include_router(metadata.router(load_settings(metadata_url="http://127.0.0.1:9"), offered))
    with TestClient(app, follow_redirects=False) as client:
        for version in offered.versions:
            answer = client.get(f"/api/v1/revision/{version}/x86/64")
            assert answer.status_code == 200, version
            assert re.fullmatch(r"r\d+-[0-9a-f]{10}", answer.json()["revision"])


def test_package_lists_of_the_demo_need_no_network(offered: Catalogue) -> None:
    """auc and owut read an index of the architecture and one of the target, auc the profile too."""
    app = FastAPI()
    app.include_router(metadata.router(load_settings(builder="demo"), offered))
    with TestClient(app, follow_redirects=False) as client:

        def found(path: str) -> dict[str, Any]:
            answer = client.get(f"/json/v1/{path}")
            assert answer.status_code == 200, path
            content: dict[str, Any] = answer.json()
            return content

        packages: dict[str, str] = {}
        for path in ("snapshots", "releases/24.10.2", "releases/25.12-SNAPSHOT"):
            packages = found(f"{path}/packages/aarch64_cortex-a53-index.json")
            assert packages["luci"] == "1.0-r1"
            index = found(f"{path}/targets/mediatek/filogic/index.json")
            assert index["architecture"] == "aarch64_cortex-a53"
            assert index["packages"].items() <= packages.items()
            profile = found(f"{path}/targets/mediatek/filogic/glinet,gl-mt6000.json")
            assert (profile["id"], profile["target"]) == ("glinet_gl-mt6000", "mediatek/filogic")
            assert [image["type"] for image in profile["images"]] == ["sysupgrade"]
        assert profile["version_code"] == offered.revisions["25.12-SNAPSHOT"]
        assert all(map(is_known, packages))
        for path in ("packages/no_such_arch", "targets/no/such", "targets/mediatek/filogic/no"):
            assert client.get(f"/json/v1/releases/24.10.2/{path}-index.json").status_code == 404
        assert client.get("/json/v1/releases/1.2.3/packages/x86_64-index.json").status_code == 404


def test_the_catalogue_offers_every_version_and_device(offered: Catalogue) -> None:
    assert [version.name for version in WORLD.versions] == offered.versions
    for device in WORLD.devices:
        assert any(
            device.profile in offered.targets_of(version).get(device.target, [])
            for version in ("23.05.5", "25.12.5")
        )


def test_the_catalogue_knows_which_branches_have_a_target(offered: Catalogue) -> None:
    assert "oxnas/ox820" in offered.targets_of("23.05.6")
    for version in ("24.10.0-rc1", "24.10-SNAPSHOT", "25.12.5", "SNAPSHOT"):
        assert "oxnas/ox820" not in offered.targets_of(version)
        assert "qualcommax/ipq807x" in offered.targets_of(version)
    assert "ipq807x/generic" in offered.targets_of("23.05.6")
    assert "qualcommax/ipq807x" not in offered.targets_of("23.05.6")


def test_every_favourite_exists() -> None:
    known = {(device.target, device.profile) for device in WORLD.devices}
    assert set(FAVOURITES) <= known
    assert len(set(FAVOURITES)) == len(FAVOURITES)


def test_every_device_can_be_asked_for() -> None:
    for device in WORLD.devices:
        request = BuildRequest(version="SNAPSHOT", target=device.target, profile=device.profile)
        assert (request.target, request.profile) == (device.target, device.profile)


def test_the_order_of_devices_is_a_matter_of_the_seed() -> None:
    first = popularity.by_popularity(WORLD.devices, seed=1)
    assert first == popularity.by_popularity(WORLD.devices, seed=1)
    assert first != popularity.by_popularity(WORLD.devices, seed=2)
    assert sorted(first, key=str) == sorted(WORLD.devices, key=str)


@pytest.mark.parametrize(
    "day", [date(1999, 1, 1), date(2019, 12, 1), date(2025, 2, 4), AUTUMN, date(2031, 1, 1)]
)
def test_shares_add_up_and_are_of_versions_that_are_out(day: date) -> None:
    shares = version_shares(WORLD, day)
    assert sum(shares.values()) == pytest.approx(1)
    assert min(shares.values()) > 0
    assert set(shares) <= {version.name for version in WORLD.versions_on(day)}


def test_a_release_takes_over_within_three_weeks() -> None:
    release = date(2026, 6, 30)
    before = version_shares(WORLD, release - timedelta(days=1))
    after = version_shares(WORLD, release + timedelta(days=21))
    assert "25.12.5" not in before
    assert max(before, key=lambda name: before[name]) == "25.12.4"
    assert max(after, key=lambda name: after[name]) == "25.12.5"
    assert after["25.12.5"] > 2 * after["25.12.4"] > 0.05


def test_the_newest_versions_dominate_long_after_them() -> None:
    shares = version_shares(WORLD, AUTUMN)
    ranking = sorted(shares, key=lambda name: -shares[name])
    assert ranking[0] == "25.12.5"
    assert "24.10.8" in ranking[:3]
    assert shares["SNAPSHOT"] < 0.1
    assert sum(share for name, share in shares.items() if "-rc" in name) < 0.02


def test_a_release_draws_a_crowd_on_its_day() -> None:
    release = date(2026, 6, 30)
    week_before, on_the_day = (
        sum(popularity.hourly_demand(WORLD, day)) for day in (release - timedelta(days=7), release)
    )
    assert on_the_day > 1.5 * week_before


def test_a_weekend_is_busier() -> None:
    saturday, sunday, tuesday = (
        sum(popularity.hourly_demand(WORLD, date(2026, 11, day))) for day in (21, 22, 24)
    )
    assert min(saturday, sunday) > 1.2 * tuesday


def test_clients_are_not_older_than_they_say() -> None:
    new = {"owut/2026.07.08~db17536e-r1", "luci/26.204.72559~a5c40d1"}
    assert new.isdisjoint(client.text for client in WORLD.clients_on(date(2026, 7, 1)))
    assert new <= {client.text for client in WORLD.clients_on(AUTUMN)}


def test_a_crowd_is_a_matter_of_its_seed() -> None:
    crowds = [Crowd(WORLD, seed=seed) for seed in (1, 1, 2)]
    first, same, other = ([crowd.plan(AUTUMN) for _ in range(50)] for crowd in crowds)
    assert first == same
    assert first != other


def test_clients_ask_for_versions_that_they_are_in() -> None:
    crowd = Crowd(WORLD, seed=1)
    requests = [crowd.plan_new(AUTUMN) for _ in range(3000)]
    auc = {planned.version for planned in requests if planned.client.startswith("auc/")}
    owut = {planned.version for planned in requests if planned.client.startswith("owut/")}
    assert auc
    assert not any(version.startswith("25.12") or version == "SNAPSHOT" for version in auc)
    assert owut
    assert not any(version < "24.10" for version in owut)
