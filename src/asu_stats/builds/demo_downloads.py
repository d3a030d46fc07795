"""Simulates the download site for the demo: the files that owut and the firmware selector read.

Versions, devices and images come from the catalogue, in the formats of downloads.openwrt.org.
Clients then need no other server. Images have the same bytes at each download.
"""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, TypeAlias

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from asu_stats.builds import build_responses, metadata_docs
from asu_stats.builds.builders.demo import image_kinds
from asu_stats.builds.catalogue import Catalogue, is_release
from asu_stats.policies import declare
from asu_stats.releases import MAIN

# The firmware selector sends an extra slash in paths of snapshots.
_PREFIXES: Final = ("/snapshots", "/snapshots/", "/releases/{version}")
_CACHED: Final = {"Cache-Control": "public, max-age=300"}
_KERNEL: Final = "6.12.0"
_BUILT_AT: Final = 1_767_225_600  # seconds since 1970, for all images
_IMAGE_BYTES: Final = 4096
DEFAULT_PACKAGES: Final = (
    *("base-files", "busybox", "ca-bundle", "dnsmasq", "dropbear", "firewall4", "fstools"),
    *("kmod-nft-offload", "libc", "libustream-mbedtls", "logd", "mtd", "netifd", "nftables"),
    *("odhcp6c", "odhcpd-ipv6only", "ppp", "ppp-mod-pppoe", "procd-ujail", "uci", "uclient-fetch"),
)
Find: TypeAlias = Callable[[Catalogue, str, str, str], Response | None]


class Image(NamedTuple):
    """A published image of a device."""

    filesystem: str
    name: str
    type: str

    @property
    def content(self) -> bytes:
        """Bytes that are derived from the name."""
        return hashlib.sha256(self.name.encode()).digest() * (_IMAGE_BYTES // 32)

    def document(self) -> dict[str, str]:
        """Return its entry in a profiles.json."""
        digest = hashlib.sha256(self.content).hexdigest()
        return {**self._asdict(), "sha256": digest, "sha256_unsigned": digest}


def prefix_of(version: str, target: str, profile: str) -> str:
    """Return the common prefix of the names of a device's images."""
    return f"openwrt-{version}-{target.replace('/', '-')}-{profile}"


def images_of(version: str, target: str, profile: str) -> Iterator[Image]:
    """Yield the published images of a device; whole disks come with two file systems."""
    for kind, ending in image_kinds(target):
        for filesystem in ("squashfs", "ext4") if kind.startswith("combined") else ("squashfs",):
            name = f"{prefix_of(version, target, profile)}-{filesystem}-{kind}.{ending}"
            yield Image(filesystem, name, kind)


def profile_of(version: str, target: str, profile: str, other_names: list[str]) -> dict[str, Any]:
    """Return the entry of a device in a profiles.json."""
    return {
        "device_packages": [],
        "image_prefix": prefix_of(version, target, profile),
        "images": [image.document() for image in images_of(version, target, profile)],
        "supported_devices": [name.replace("_", ",", 1) for name in (profile, *other_names)],
        "titles": [{"title": profile.replace("_", " ")}],
    }


def router(catalogue: Catalogue | None) -> APIRouter:
    """Return the routes, none without a catalogue."""
    routes = APIRouter(include_in_schema=False)
    if catalogue is None:
        return routes
    offered = catalogue

    @declare("build", "none")
    async def versions(_: Request) -> Response:
        return _json(_versions(offered))

    routes.get("/.versions.json")(versions)
    for prefix in _PREFIXES:
        for path, find in (
            ("/.targets.json", _targets),
            ("/.overview.json", _overview),
            ("/targets/{board}/{subtarget}/profiles.json", _profiles),
            ("/targets/{board}/{subtarget}/{file}", _image),
        ):
            routes.get(prefix + path)(_endpoint(offered, find))
    return routes


def _endpoint(catalogue: Catalogue, find: Find) -> Callable[[Request], Any]:
    @declare("build", "none")
    async def respond(request: Request) -> Response:
        names = request.path_params
        version = names.get("version", MAIN)
        target = f"{names.get('board')}/{names.get('subtarget')}"
        if catalogue.offers_branch(version) and catalogue.offers_version(version):
            found = find(catalogue, version, target, names.get("file", ""))
            if found is not None:
                return found
        problem = build_responses.problem(404, "Not Found", metadata_docs.UNAVAILABLE)
        return JSONResponse(problem.body, problem.status)

    return respond


def _json(content: object) -> Response:
    return JSONResponse(content, headers=_CACHED)


def _versions(catalogue: Catalogue) -> dict[str, Any]:
    names = [
        version
        for versions in catalogue.offered_versions().values()
        for version in versions
        if is_release(version)
    ]
    stable = next((name for name in names if "-rc" not in name), None)
    return {"stable_version": stable, "versions_list": names}


def _targets(catalogue: Catalogue, version: str, *_: str) -> Response:
    targets = sorted(catalogue.targets_of(version))
    return _json({target: catalogue.architectures.get(target, "") for target in targets})


def _overview(catalogue: Catalogue, version: str, *_: str) -> Response:
    profiles = [
        {"id": profile, "target": target, "titles": [{"title": profile.replace("_", " ")}]}
        for target, devices in sorted(catalogue.targets_of(version).items())
        for profile in devices
    ]
    return _json({"release": version, "profiles": profiles})


def _profiles(catalogue: Catalogue, version: str, target: str, _: str) -> Response | None:
    devices = catalogue.targets_of(version).get(target)
    if devices is None:
        return None
    aliases = catalogue.aliases.get(target, {})
    return _json(
        {
            "arch_packages": catalogue.architectures.get(target, ""),
            "default_packages": DEFAULT_PACKAGES,
            "linux_kernel": {"version": _KERNEL},
            "metadata_version": 1,
            "profiles": {
                device: profile_of(
                    version, target, device, [old for old, new in aliases.items() if new == device]
                )
                for device in devices
            },
            "source_date_epoch": _BUILT_AT,
            "target": target,
            "version_code": catalogue.revisions.get(version, ""),
            "version_number": version,
        }
    )


def _image(catalogue: Catalogue, version: str, target: str, file: str) -> Response | None:
    for device in catalogue.targets_of(version).get(target, ()):
        if file.startswith(prefix_of(version, target, device)):
            for image in images_of(version, target, device):
                if image.name == file:
                    return Response(
                        image.content, media_type="application/octet-stream", headers=_CACHED
                    )
    return None
