"""Parses the output of an ImageBuilder: description, package lists, package conflicts.

The error texts are those of the upstream server, because clients show them.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Self

from asu_stats.builds.builders import BuildFailedError


class Description(NamedTuple):
    """Output of `make info`: the revision, and the packages of every image and of a profile."""

    version_code: str
    default_packages: frozenset[str]
    profile_packages: frozenset[str]

    @classmethod
    def read(cls, text: str, profile: str) -> Self:
        """Return the description in `text`. Raises `BuildFailedError` if a part is missing."""
        lines = text.splitlines()
        return cls(
            _value(lines, "Current Revision: ").strip('"'),
            frozenset(_value(lines, "Default Packages: ").split()),
            _profile_packages(lines, profile),
        )


def _value(lines: Iterable[str], label: str) -> str:
    for line in lines:
        if line.startswith(label.rstrip()):
            return line[len(label.rstrip()) :].strip()
    raise BuildFailedError(
        f"ImageBuilder info is not readable: no line `{label.strip(': ')}`",
        category="build",
        type="imagebuilder_info_invalid",
    )


def _profile_packages(lines: Sequence[str], profile: str) -> frozenset[str]:
    try:
        start = lines.index(f"{profile}:") + 1
    except ValueError:
        raise BuildFailedError(
            f'Profile "{profile}" does not exist!',
            category="validation",
            type="unsupported_profile",
        ) from None
    for line in lines[start:]:
        if not line.startswith(" "):
            break
        label, _, value = line.strip().partition(":")
        if label == "Packages":
            return frozenset(value.split())
    return frozenset()


def difference(wanted: Sequence[str], defaults: Iterable[str]) -> list[str]:
    """Return the packages to remove (`-name`) and to add, so that exactly `wanted` remain."""
    surplus = sorted(set(defaults) - set(wanted))
    return [name if name.startswith("-") else f"-{name}" for name in surplus] + list(wanted)


def read_manifest(text: str) -> dict[str, str]:
    """Return package → version of a list in the format of opkg (`name - version`) or apk."""
    separator = " - " if " - " in text else " "
    pairs = (line.split(separator) for line in text.splitlines())
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and all(pair)}


def check_manifest(manifest: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Raise `BuildFailedError` unless the manifest has all `wanted` packages and versions."""
    for name, version in wanted.items():
        if name.startswith("-"):
            continue
        if name not in manifest:
            raise BuildFailedError(f"Impossible package selection: {name} not in manifest")
        if version != manifest[name]:
            raise BuildFailedError(
                f"Impossible package selection: {name} version not as requested: "
                f"{version} vs. {manifest[name]}"
            )


def packages_hash(names: Iterable[str]) -> str:
    """Return the identifier of a set of packages in image names: 12 hex digits."""
    return hashlib.sha256(" ".join(sorted(set(names))).encode()).hexdigest()[:12]


def version_tag(version: str) -> str:
    """Return the tag of upstream's ImageBuilder containers for a version."""
    if re.fullmatch(r"\d+\.\d+\.\d+(-rc\d+)?", version):
        return f"v{version}"
    return "master" if version == "SNAPSHOT" else f"openwrt-{version.removesuffix('-SNAPSHOT')}"


# One line each, no two wildcards: linear in the length of the line.
_MISSING: Final = (
    re.compile(r"Cannot install package ([^\s]+)\.$"),  # opkg
    re.compile(r"^\s+([^\s]+) \(no such package\)"),  # apk
)
_CONFLICTS: Final = (
    re.compile(r"check_data_file_clashes: Package ([^\s]+) wants to"),
    re.compile(r"is already provided by package  \* ([^\s]+)$"),
    re.compile(r"check_conflicts_for: .* ([^\s:]+):$"),
    re.compile(r"check_conflicts_for:\s+([^\s]+) \*$"),
    re.compile(r"ERROR: ([^\s]+): trying to overwrite"),
    re.compile(r"trying to overwrite .* owned by ([^\s]+)\.$"),
)
_APK_NAME: Final = re.compile(r"^\s+([^\s:]+):$")
_APK_CONFLICTS: Final = re.compile(r"^\s+conflicts: (.*)$")
_LINE: Final = 4096


def package_problem(stderr: str) -> str:
    """Return one line that names missing and conflicting packages."""
    missing: set[str] = set()
    conflicts: set[str] = set()
    before = ""
    for full_line in stderr.splitlines():
        line = full_line[:_LINE].rstrip()
        missing.update(match[1] for each in _MISSING if (match := each.search(line)))
        conflicts.update(match[1] for each in _CONFLICTS if (match := each.search(line)))
        if listed := _APK_CONFLICTS.search(line):
            conflicts.update(name.partition("[")[0] for name in listed[1].split())
            if holder := _APK_NAME.search(before):
                conflicts.add(holder[1])
        before = line
    # opkg reports conflicting packages as not installable, too.
    missing -= conflicts
    parts = [
        f"{what} ({', '.join(sorted(names))})"
        for what, names in (("missing", missing), ("conflicts", conflicts))
        if names
    ]
    return f"Impossible package selection{': ' if parts else ''}{' '.join(parts)}"
