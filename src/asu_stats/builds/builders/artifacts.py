"""Collects the images in the output directory of an ImageBuilder."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from asu_stats.builds.builders import BuildFailedError, Result
from asu_stats.builds.images import UnsafeNameError, plain_file
from asu_stats.cloudevents import MAX_INTEGER, format_time
from asu_stats.strict_json import parse_json

MAX_JSON_BYTES: Final = 8 << 20
MAX_IMAGES: Final = 64
_SUMS: Final = "sha256sums"


def collect(source: Path, target: Path, *, profile: str, manifest: Mapping[str, str]) -> Result:
    """Move the images of `profile` from `source` to `target`, and return the result of the build.

    Images must be named in profiles.json, be plain files of `source`, and have the checksum given
    there. Raises `BuildFailedError` for an image that is not, or if there are none.
    """
    content = _profiles_json(source)
    profiles = content.pop("profiles", None)
    own = profiles.get(profile) if isinstance(profiles, dict) else None
    if not isinstance(own, dict):
        raise _missing("Profile not found in JSON file")
    images = own.get("images")
    if not isinstance(images, list) or not images or len(images) > MAX_IMAGES:
        raise _missing("No images found in JSON file")
    target.mkdir()
    names = [_move_image(source, target, image) for image in images]
    sums = "".join(f"{_sha256(target / name)} *{name}\n" for name in names)
    (target / _SUMS).write_text(sums)
    answer = {
        **content,
        **own,
        "id": profile,
        "manifest": dict(manifest),
        "build_at": _build_time(content.get("source_date_epoch")),
    }
    return Result(target, (*names, _SUMS), manifest, answer)


def _missing(text: str) -> BuildFailedError:
    return BuildFailedError(text, category="build", type="build_output_missing")


def _profiles_json(source: Path) -> dict[str, Any]:
    try:
        file = plain_file(source, "profiles.json")
        if file.stat().st_size > MAX_JSON_BYTES:
            raise _missing("No JSON file found: profiles.json is too large")
        content = parse_json(file.read_bytes())
        json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    except UnsafeNameError:
        raise _missing("No JSON file found") from None
    except ValueError as error:
        raise _missing(f"No JSON file found: profiles.json: {error}") from None
    if not isinstance(content, dict):
        raise _missing("No JSON file found: profiles.json is not an object")
    return content


def _move_image(source: Path, target: Path, image: object) -> str:
    if not isinstance(image, dict):
        raise _missing("No images found in JSON file")
    try:
        file = plain_file(source, image.get("name"))
    except UnsafeNameError as error:
        raise _missing(f"Failed to find built images: {error}") from None
    expected = image.get("sha256")
    if expected is not None and expected != _sha256(file):
        raise _missing(f"Built image {file.name} is not the one that profiles.json describes")
    image["sha256"] = expected or _sha256(file)
    file.rename(target / file.name)
    return file.name


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _build_time(epoch: object) -> str:
    seconds = int(epoch) if isinstance(epoch, int | str) and str(epoch).isdecimal() else 0
    return format_time(datetime.fromtimestamp(min(seconds, MAX_INTEGER), UTC))
