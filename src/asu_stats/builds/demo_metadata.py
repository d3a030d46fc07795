"""Metadata of packages and images that clients read before a build, for the demo.

The formats are upstream's: the index of an architecture maps names to versions, the index of a
target has such a map in `packages`, and the document of a profile is its entry in profiles.json.
"""

from collections.abc import Mapping
from typing import Any

from asu_stats.builds import demo_downloads
from asu_stats.builds.builders.known_packages import index
from asu_stats.builds.catalogue import Catalogue
from asu_stats.releases import MAIN


def document(catalogue: Catalogue | None, names: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the document of a path, `None` for an unknown architecture."""
    if arch := names.get("arch"):
        known = catalogue.architectures.values() if catalogue else ()
        return index() if arch in known or not known else None
    target = f"{names['board']}/{names['subtarget']}"
    architecture = catalogue.architectures.get(target, "") if catalogue else ""
    if "profile" in names:
        return _profile(catalogue, names, target, architecture)
    return {"version": 2, "architecture": architecture, "packages": index()}


def _profile(
    catalogue: Catalogue | None, names: Mapping[str, str], target: str, architecture: str
) -> dict[str, Any]:
    version, profile = names.get("version", MAIN), names["profile"]
    return {
        "arch_packages": architecture,
        "default_packages": demo_downloads.DEFAULT_PACKAGES,
        "id": profile,
        **demo_downloads.profile_of(version, target, profile, []),
        "target": target,
        "version_code": catalogue.revisions.get(version, "") if catalogue else "",
        "version_number": version,
    }
