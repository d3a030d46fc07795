"""Popularity of versions and devices, and demand by hour of the week."""

import math
import random
from collections.abc import Sequence
from datetime import date
from typing import Final

from asu_stats.demo.world import Device, Version, World, branch_key

# Share of all requests that are not for releases.
_MAIN_SHARE: Final = 0.035
_BRANCH_SNAPSHOT_SHARE: Final = 0.006
_CANDIDATE_SHARE: Final = 0.045
_OLD_CANDIDATE_SHARE: Final = 0.0003

# A release causes a peak on its day, which declines within a week.
_PULL: Final = 0.8
_PULL_OF_OLD_BRANCH: Final = 0.25
_PULL_OF_CANDIDATE: Final = 0.08
_PULL_OF_NEW_BRANCH: Final = 1.6
_PULL_DAYS: Final = 14

# Requests by the hour in UTC: the evenings of Europe, then those of America.
_WORKDAY: Final = (
    *(0.95, 0.92, 0.88, 0.80, 0.62, 0.45, 0.45, 0.55, 0.68, 0.78, 0.84, 0.88),
    *(0.94, 1.00, 1.04, 1.10, 1.22, 1.42, 1.62, 1.74, 1.70, 1.50, 1.22, 1.04),
)
_WEEKEND: Final = (
    *(1.05, 0.98, 0.94, 0.85, 0.66, 0.50, 0.52, 0.75, 1.10, 1.38, 1.52, 1.55),
    *(1.55, 1.60, 1.64, 1.66, 1.66, 1.68, 1.70, 1.68, 1.58, 1.38, 1.15, 1.02),
)
_SATURDAY: Final = 5
_WEEKDAYS: Final = (0.97, 0.92, 0.91, 0.93, 1.0, 0.99, 1.07)

# Popular devices, most popular first.
FAVOURITES: Final = (
    ("mediatek/filogic", "glinet_gl-mt6000"),
    ("x86/64", "generic"),
    ("ath79/generic", "tplink_archer-c7-v5"),
    ("mediatek/filogic", "xiaomi_mi-router-ax3000t"),
    ("bcm27xx/bcm2711", "rpi-4"),
    ("mediatek/mt7622", "linksys_e8450-ubi"),
    ("ramips/mt7621", "xiaomi_mi-router-ac2100"),
    ("mediatek/filogic", "openwrt_one"),
    ("qualcommax/ipq807x", "xiaomi_ax3600"),
    ("ipq807x/generic", "xiaomi_ax3600"),
    ("mediatek/filogic", "cudy_wr3000-v1"),
    ("ath79/generic", "tplink_archer-c7-v2"),
    ("bcm27xx/bcm2712", "rpi-5"),
    ("mvebu/cortexa9", "linksys_wrt3200acm"),
    ("ramips/mt7621", "ubnt_edgerouter-x"),
    ("rockchip/armv8", "friendlyarm_nanopi-r4s"),
    ("mediatek/filogic", "asus_tuf-ax4200"),
    ("mediatek/filogic", "bananapi_bpi-r3"),
    ("mediatek/filogic", "xiaomi_redmi-router-ax6000-ubootmod"),
    ("mediatek/filogic", "bananapi_bpi-r4"),
    ("ramips/mt7621", "xiaomi_redmi-router-ac2100"),
    ("ramips/mt7621", "zyxel_nwa50ax"),
    ("qualcommax/ipq807x", "redmi_ax6"),
    ("ipq807x/generic", "redmi_ax6"),
    ("ipq40xx/generic", "avm_fritzbox-4040"),
    ("ipq806x/generic", "netgear_r7800"),
    ("mediatek/mt7622", "xiaomi_redmi-router-ax6s"),
    ("qualcommax/ipq807x", "dynalink_dl-wrx36"),
    ("rockchip/armv8", "friendlyarm_nanopi-r2s"),
    ("mvebu/cortexa9", "linksys_wrt1900acs"),
    ("ramips/mt7621", "tplink_archer-ax23-v1"),
    ("mediatek/filogic", "glinet_gl-mt3000"),
    ("ramips/mt7621", "asus_rt-ax53u"),
    ("mediatek/filogic", "cudy_tr3000-v1"),
    ("mediatek/filogic", "asus_tuf-ax6000"),
    ("ath79/generic", "tplink_archer-a7-v5"),
    ("mvebu/cortexa9", "cznic_turris-omnia"),
    ("bcm27xx/bcm2710", "rpi-3"),
    ("ramips/mt76x8", "tplink_archer-c20-v4"),
    ("armsr/armv8", "generic"),
    ("ath79/generic", "tplink_archer-c6-v2"),
    ("rockchip/armv8", "friendlyarm_nanopi-r5s"),
    ("ipq806x/generic", "zyxel_nbg6817"),
)


def by_popularity(devices: Sequence[Device], *, seed: int) -> list[Device]:
    """Return the devices by popularity: well-known ones first, then the others in random order."""
    known = {(device.target, device.profile): device for device in devices}
    first = [known[key] for key in FAVOURITES if key in known]
    others = [device for device in devices if (device.target, device.profile) not in FAVOURITES]
    random.Random(seed).shuffle(others)  # noqa: S311 - a simulation
    return first + others


def zipf_weights(count: int) -> list[float]:
    """Return the weight of each rank, with a long tail."""
    return [1 / (place + 4) ** 1.02 for place in range(count)]


def version_shares(world: World, day: date) -> dict[str, float]:
    """Return the share of each version in the requests of a day; the shares add up to 1.

    A release replaces earlier ones within three weeks, a branch within months. The rest keeps its
    order, so old versions have a long tail.
    """
    versions = world.versions_on(day)
    shares = _shares_beside_releases(versions)
    left = 1 - sum(shares.values())
    branches: dict[str, list[Version]] = {}
    for version in versions:
        if version.kind == "release":
            branches.setdefault(version.branch, []).append(version)
    newest_first = sorted(branches, key=branch_key, reverse=True)
    for branch in newest_first:
        releases = branches[branch]
        oldest = branch == newest_first[-1]
        taken = left if oldest else left * _taken_by_branch(releases[0].age_days(day))
        left -= taken
        shares |= _shares_in_branch(releases, taken, day)
    total = sum(shares.values())
    pulls = _pulls(world, day)
    crowd = sum(pulls.values())
    return {
        name: (share / total + pulls.get(name, 0)) / (1 + crowd) for name, share in shares.items()
    }


def _shares_beside_releases(versions: Sequence[Version]) -> dict[str, float]:
    """Return the shares of main, branch snapshots and release candidates."""
    shares = {"SNAPSHOT": _MAIN_SHARE}
    cut = [version for version in versions if version.kind == "snapshot" and version.released]
    for version in sorted(cut, key=lambda each: branch_key(each.branch))[-2:]:
        shares[version.name] = _BRANCH_SNAPSHOT_SHARE
    released = {version.branch for version in versions if version.kind == "release"}
    candidates = [version for version in versions if version.kind == "candidate"]
    for version in candidates:
        shares[version.name] = _OLD_CANDIDATE_SHARE
    waiting = [version for version in candidates if version.branch not in released]
    for older, version in enumerate(reversed(waiting)):
        shares[version.name] = _CANDIDATE_SHARE * 0.2**older
    return shares


def _shares_in_branch(releases: Sequence[Version], share: float, day: date) -> dict[str, float]:
    """Divide the share of a branch among its releases, newest first."""
    shares = {}
    for version in reversed(releases[1:]):
        taken = share * _taken_by_release(version.age_days(day))
        shares[version.name] = taken
        share -= taken
    return {**shares, releases[0].name: share}


def _taken_by_release(age_days: int) -> float:
    soon, late = 1 - math.exp(-(age_days + 0.5) / 6), 1 - math.exp(-age_days / 120)
    return 0.7 * soon + 0.16 * late


def _taken_by_branch(age_days: int) -> float:
    return 0.8 * (1 - math.exp(-(age_days + 0.5) / 60))


def _pulls(world: World, day: date) -> dict[str, float]:
    """Return how many times the usual requests each new version gets on a day."""
    fresh = [
        version
        for version in world.versions_on(day)
        if version.kind != "snapshot" and version.age_days(day) <= _PULL_DAYS
    ]
    if not fresh:
        return {}
    released = [version.branch for version in world.versions_on(day) if version.kind == "release"]
    newest = max(released, key=branch_key, default="")
    return {
        version.name: _pull(version, newest) * math.exp(-version.age_days(day) / 2.5)
        for version in fresh
    }


def _pull(version: Version, newest_branch: str) -> float:
    if version.kind == "candidate":
        return _PULL_OF_CANDIDATE
    if version.name == f"{version.branch}.0":
        return _PULL_OF_NEW_BRANCH
    return _PULL if version.branch == newest_branch else _PULL_OF_OLD_BRANCH


def hourly_demand(world: World, day: date) -> list[float]:
    """Return the demand of each hour of a day; a usual hour has about 1."""
    weekday = day.weekday()
    level = _WEEKDAYS[weekday] * (1 + sum(_pulls(world, day).values()))
    hours = _WEEKEND if weekday >= _SATURDAY else _WORKDAY
    return [level * hour for hour in hours]
