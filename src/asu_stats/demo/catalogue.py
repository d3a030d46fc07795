"""The catalogue file of the demo: every version and device of the simulated world."""

import hashlib
import json
from pathlib import Path
from typing import Any

from asu_stats.demo.architectures import architecture_of
from asu_stats.demo.world import World, has_target, load


def catalogue(world: World | None = None) -> dict[str, Any]:
    """Return the catalogue in the form of `builds.catalogue.Catalogue`.

    A branch that lacks some targets overrides them.
    """
    world = world or load()
    targets: dict[str, list[str]] = {}
    for device in world.devices:
        targets.setdefault(device.target, []).append(device.profile)
    overrides: dict[str, dict[str, list[str]]] = {
        branch: {target: [] for target in targets if not has_target(branch, target)}
        for branch in world.branches()
    }
    return {
        "versions": [version.name for version in world.versions],
        "targets": targets,
        "overrides": {branch: lacking for branch, lacking in overrides.items() if lacking},
        "architectures": {target: architecture_of(target) for target in sorted(targets)},
        "revisions": {version.name: revision_of(version.name) for version in world.versions},
    }


def revision_of(version: str) -> str:
    """Return an invented revision that never changes: LuCI requests that of a snapshot."""
    digest = hashlib.sha256(version.encode()).hexdigest()
    return f"r{20_000 + int(digest[:3], 16)}-{digest[3:13]}"


def write(path: Path, world: World | None = None) -> None:
    """Write the catalogue to a JSON file."""
    path.write_text(json.dumps(catalogue(world), indent=1), encoding="utf-8")
