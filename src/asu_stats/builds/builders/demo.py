"""Simulated builds: realistic durations, real error texts, and small real files.

The result of a request depends only on the seed and its hash, so it is always the same.
"""

import csv
import hashlib
import io
import json
import random
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Final, NamedTuple

from asu_stats.builds.builders import Attempt, BuildFailedError, BuildStoppedError, Result
from asu_stats.builds.builders import imagebuilder as ib
from asu_stats.builds.builders.artifacts import collect
from asu_stats.builds.builders.known_packages import VERSION, is_known
from asu_stats.builds.requests import BuildRequest
from asu_stats.events import FAILED_STATUSES
from asu_stats.settings import Settings
from asu_stats.times import utc_now

# Share of each phase in the duration of a build; the first phase is `init`.
SHARES: Final = (
    ("container_setup", 0.12),
    ("validate_revision", 0.06),
    ("validate_manifest", 0.12),
    ("building_image", 0.7),
)
FAILURE_RATE: Final = 0.055
# An incident: in this release candidate this package breaks most images.
INCIDENT_VERSION: Final = "25.12.0-rc2"
INCIDENT_PACKAGE: Final = "luci-app-sqm"
INCIDENT_RATE: Final = 0.6
INCIDENT_TYPE: Final = "package_conflict"
# Most failures are due to the request, few to the server.
_CATEGORY_WEIGHTS: Final = {
    "validation": 3,
    "build": 74,
    "network": 13,
    "container": 6,
    "storage": 4,
}
_IMAGE_BYTES: Final = 4096
_PHASES_UNTIL_MISSING: Final = 3  # phases until a missing package fails the build
# Words of error texts that occur with a single target.
_TARGET_WORDS: Final = {
    "aarch64_generic": "rockchip/armv8",
    "armeabi": "mvebu/cortexa9",
    "mt7981": "mediatek/filogic",
    "qcom": "ipq40xx/generic",
    "ramips": "ramips/mt76x8",
    "rockchip_armv8": "rockchip/armv8",
    "x86_64": "x86/64",
}
# Names in error texts, and the names of a request that replace them.
_NAMES: Final = (
    (re.compile(r"(?<=openwrt/imagebuilder:)(?!latest)[\w.-]*\w"), "{tag}"),
    (re.compile(r'(?<=Profile ")[^"]+'), "{profile}"),
    (re.compile(r"\S+(?= is too big)"), "{image}"),
    (re.compile(r"(?<=\(requested )[^)]+"), "{version_code}"),
)
_PACKAGE_TYPES: Final = {"package_not_found", "package_conflict", "package_unsatisfiable"}


class FailureExample(NamedTuple):
    """A real error text, and the status of a build with it."""

    text: str
    category: str
    type: str
    status: str

    def applies_to(self, request: BuildRequest) -> bool:
        """Return whether a build of this request could fail with this error."""
        if self.type == "version_mismatch" and not request.version_code:
            return False
        if self.type == "manifest_mismatch" and not request.packages_versions:
            return False
        return all(
            request.target == target for word, target in _TARGET_WORDS.items() if word in self.text
        )

    def text_for(self, request: BuildRequest) -> str:
        """Return the text with the names of this request."""
        target_tag = request.target.replace("/", "-")
        names = {
            "tag": f"{target_tag}-{ib.version_tag(request.version)}",
            "profile": request.profile,
            "image": f"openwrt-{request.version}-{target_tag}-{request.profile}-sysupgrade.bin",
            "version_code": request.version_code,
        }
        text = self.text
        for pattern, name in _NAMES:
            words = name.format_map(names)
            text = pattern.sub(lambda _, words=words: words, text)  # type: ignore[misc]
        return text


def load_failure_examples() -> list[FailureExample]:
    """Return the examples of failed builds in `data/errors.csv`."""
    source = resources.files("asu_stats") / "data" / "errors.csv"
    rows = csv.DictReader(io.StringIO(source.read_text(encoding="utf-8"), newline=""))
    return [
        FailureExample(row["text"], row["category"], row["type"], row["status"])
        for row in rows
        if row["status"] in FAILED_STATUSES
    ]


class DemoBuilder:
    """Simulates builds of `settings.demo_seconds` on average; targets and devices vary."""

    def __init__(
        self,
        settings: Settings,
        *,
        seed: int = 0,
        examples: Sequence[FailureExample] | None = None,
    ) -> None:
        self._mean_seconds = settings.demo_seconds
        self._seed = seed
        self._examples = list(examples or load_failure_examples())

    def build(self, attempt: Attempt) -> Result:
        """Wait as long as a build takes; then fail, or write an image."""
        request, request_hash = attempt.job.request, attempt.job.request_hash
        chance = self._random(request_hash)
        seconds = self.seconds(request, request_hash)
        unknown = [
            name
            for name in request.wanted_packages
            if not name.startswith("-") and not is_known(name)
        ]
        failure = _not_found(unknown) if unknown else self.failure(request, request_hash)
        phases = chance.randint(1, len(SHARES)) if failure else len(SHARES)
        if unknown:
            phases = _PHASES_UNTIL_MISSING
        attempt.command = ["make", "image", f"PROFILE={request.profile}"]
        for phase, share in SHARES[:phases]:
            attempt.enter(phase)
            attempt.pause(seconds * share)
        if failure is None:
            return _write_image(attempt)
        text = failure.text_for(request)
        attempt.stderr = text
        if failure.status == "timeout":
            raise BuildStoppedError("timeout", text)
        raise BuildFailedError(
            _summary(failure.type, text), log=text, category=failure.category, type=failure.type
        )

    def seconds(self, request: BuildRequest, request_hash: str) -> float:
        """Return the duration of a build in seconds. It depends on target, profile and chance."""
        place = self._random(request.target).uniform(0.7, 1.3)
        device = self._random(f"{request.target}/{request.profile}").uniform(0.85, 1.15)
        luck = self._random(f"seconds {request_hash}").lognormvariate(-0.045, 0.3)
        return self._mean_seconds * place * device * luck

    def failure(self, request: BuildRequest, request_hash: str) -> FailureExample | None:
        """Return the failure of a build, `None` for a build that succeeds."""
        chance = self._random(f"fate {request_hash}")
        incident = (
            request.version == INCIDENT_VERSION and INCIDENT_PACKAGE in request.wanted_packages
        )
        if chance.random() >= (INCIDENT_RATE if incident else FAILURE_RATE):
            return None
        possible = [each for each in self._examples if each.applies_to(request)]
        kinds = [each for each in possible if each.type == INCIDENT_TYPE]
        return _choose(chance, kinds if incident and kinds else possible)

    def _random(self, key: str) -> random.Random:
        return random.Random(f"{self._seed} {key}")  # noqa: S311 - a simulation


def _not_found(packages: Sequence[str]) -> FailureExample:
    """Return the error of an ImageBuilder about packages that do not exist."""
    wanted = "".join(
        f"  {name} (no such package):\n    required by: world[{name}]\n" for name in packages
    )
    text = f"ERROR: unable to select packages:\n{wanted}"
    return FailureExample(text, "build", "package_not_found", "failure")


def _summary(kind: str, text: str) -> str:
    """Return the line that the command builder derives from an ImageBuilder's output."""
    line, _, more = text.strip().partition("\n")
    if "Impossible package selection" in line:
        return line
    if kind in _PACKAGE_TYPES:
        return ib.package_problem(text)
    if kind == "image_too_big":
        return "Selected packages exceed device storage"
    if more and kind != "unsupported_profile":
        return "Error while building firmware. See stdout/stderr"
    return line


def _choose(chance: random.Random, examples: Sequence[FailureExample]) -> FailureExample:
    """Return one of `examples`: first a category, then one of its texts."""
    by_category: dict[str, list[FailureExample]] = {}
    for each in examples:
        by_category.setdefault(each.category, []).append(each)
    categories = sorted(by_category)
    weights = [_CATEGORY_WEIGHTS.get(category, 1) for category in categories]
    return chance.choice(by_category[chance.choices(categories, weights)[0]])


def _write_image(attempt: Attempt) -> Result:
    """Write the output of an ImageBuilder, with small images."""
    request, request_hash = attempt.job.request, attempt.job.request_hash
    source = attempt.directory / "bin"
    source.mkdir()
    manifest = {
        name: request.packages_versions.get(name, VERSION)
        for name in sorted(request.wanted_packages)
        if not name.startswith("-")
    }
    filesystem = request.filesystem or "squashfs"
    prefix = "-".join(
        [
            "openwrt",
            request.version,
            ib.packages_hash(manifest),
            request.target.replace("/", "-"),
            request.profile,
        ]
    )
    content = bytes.fromhex(request_hash) * (_IMAGE_BYTES // 32)
    digest = hashlib.sha256(content).hexdigest()
    images = [
        {
            "filesystem": filesystem,
            "name": f"{prefix}-{filesystem}-{kind}.{ending}",
            "sha256": digest,
            "sha256_unsigned": digest,
            "type": kind,
        }
        for kind, ending in image_kinds(request.target)
    ]
    for image in images:
        (source / image["name"]).write_bytes(content)
    _write_description(source, request, prefix, images)
    return collect(source, attempt.directory / "images", profile=request.profile, manifest=manifest)


def image_kinds(target: str) -> Sequence[tuple[str, str]]:
    """Return types and file name extensions of a target's images.

    PCs need images of a whole disk, for BIOS and EFI; Arm and LoongArch machines for EFI only.
    Clients select the image to install by its type.
    """
    if target.startswith("x86/"):
        return ("combined", "img.gz"), ("combined-efi", "img.gz")
    if target.startswith(("armsr/", "loongarch64/")):
        return (("combined-efi", "img.gz"),)
    return (("sysupgrade", "bin"),)


def _write_description(
    source: Path, request: BuildRequest, prefix: str, images: list[dict[str, str]]
) -> None:
    description = {
        "metadata_version": 1,
        "profiles": {
            request.profile: {
                "image_prefix": prefix,
                "images": images,
                "titles": [{"title": request.profile.replace("_", " ")}],
            }
        },
        "source_date_epoch": int(utc_now().timestamp()),
        "target": request.target,
        "version_code": request.version_code or "r0-0000000000",
        "version_number": request.version,
    }
    (source / "profiles.json").write_text(json.dumps(description))
