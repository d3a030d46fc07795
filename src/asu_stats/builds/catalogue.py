"""The catalogue: available versions, targets and profiles, from a JSON file.

One table of targets holds for all versions. Branches and versions with differences have
overrides, so a few kilobytes describe years of releases.
"""

from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    ValidationError,
)

from asu_stats.exceptions import InvalidSettingError
from asu_stats.releases import MAIN, release_order
from asu_stats.strict_json import parse_json
from asu_stats.text import one_spelling

MAX_FILE_BYTES: Final = 16 << 20
_TARGET = r"^[A-Za-z0-9_]+/[A-Za-z0-9_]+$"

TargetName = Annotated[str, StringConstraints(pattern=_TARGET)]
ProfileName = Annotated[str, AfterValidator(one_spelling)]
Targets = dict[TargetName, list[ProfileName]]


def branch_of(version: str) -> str:
    """Return the branch of a version: `24.10.2`, `24.10.0-rc1` and `24.10-SNAPSHOT` are `24.10`."""
    if version.endswith("-SNAPSHOT"):
        return version.removesuffix("-SNAPSHOT")
    return version.rpartition(".")[0] or version


def is_release(version: str) -> bool:
    """Return whether a version never changes: releases and candidates, not snapshots."""
    return not version.endswith(MAIN)


class PackageChange(BaseModel):
    """A package that was replaced, or removed if there is no `target`, at a revision of main."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    target: str | None = None
    revision: int
    mandatory: bool = False


class Catalogue(BaseModel):
    """Versions, targets and profiles that requests may name.

    `targets` applies to every version. `overrides` maps a branch or a version to the targets in
    which it differs; an empty list means that it lacks the target. Overrides of a version apply
    after those of its branch. `branches`, if given, lists the only available branches. `aliases`
    are other names of profiles, by target.

    The rest is for clients: `architectures` of packages by target, `revisions` by version, and
    `package_changes` by branch.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    versions: list[Annotated[str, StringConstraints(min_length=1)]] = Field(min_length=1)
    targets: Targets
    overrides: dict[str, Targets] = {}
    branches: list[str] = []
    aliases: dict[TargetName, dict[ProfileName, ProfileName]] = {}
    architectures: dict[TargetName, str] = {}
    revisions: dict[str, str] = {}
    package_changes: dict[str, list[PackageChange]] = {}
    _merged: dict[str, Targets] = PrivateAttr(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Return the catalogue in a file.

        Raises `InvalidSettingError`.
        """
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise InvalidSettingError(f"catalogue {path}: larger than {MAX_FILE_BYTES} bytes")
            return cls.model_validate(parse_json(path.read_bytes()))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "the file"
            raise InvalidSettingError(
                f"catalogue {path}: {place}: {first['msg']}; expected an object such as "
                '{"versions": ["24.10.2"], "targets": {"x86/64": ["generic"]}}'
            ) from None
        except (OSError, ValueError) as error:
            raise InvalidSettingError(
                f"catalogue {path}: {error}; expected a readable JSON file"
            ) from None

    def offers_branch(self, version: str) -> bool:
        """Return whether the branch of `version` is available."""
        return not self.branches or branch_of(version) in self.branches

    def offers_version(self, version: str) -> bool:
        return version in self.versions

    def offered_versions(self) -> dict[str, list[str]]:
        """Return the versions of each available branch; both are sorted newest first."""
        offered: dict[str, list[str]] = {}
        for version in sorted(self.versions, key=release_order, reverse=True):
            if self.offers_branch(version):
                offered.setdefault(branch_of(version), []).append(version)
        return {
            branch: offered[branch] for branch in sorted(offered, key=release_order, reverse=True)
        }

    def targets_of(self, version: str) -> Targets:
        """Return the targets of an available version with their profiles."""
        if version not in self._merged:
            merged = {
                **self.targets,
                **self.overrides.get(branch_of(version), {}),
                **self.overrides.get(version, {}),
            }
            self._merged[version] = {name: found for name, found in merged.items() if found}
        return self._merged[version]

    def profile_of(self, version: str, target: str, profile: str) -> str | None:
        """Return the profile of a name or alias, `None` if it is unknown.

        If the only profile is `generic`, as on x86, it is the profile for every name.
        """
        profile = one_spelling(profile)
        profiles = self.targets_of(version).get(target, [])
        resolved = self.aliases.get(target, {}).get(profile, profile)
        if resolved in profiles:
            return resolved
        return "generic" if profiles == ["generic"] else None
