"""The OpenAPI description of the metadata for clients."""

import re
from typing import Any, Final, TypeAlias

from asu_stats.builds import openapi

Docs: TypeAlias = dict[str, Any]

NAME_PATTERN: Final = "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
# A comma in the name of a profile is an underscore.
_PROFILE_PATTERN: Final = NAME_PATTERN.replace("._-", "._,-")
UNAVAILABLE: Final = "the version, target or profile is not available"
NOT_IN_CATALOGUE: Final = "not in the catalogue, and metadata_url is not set"

_VERSIONS: Final = {"type": "array", "items": {"type": "string"}}
_CHANGE: Final = {
    "type": "object",
    "required": ["source", "revision"],
    "properties": {
        "source": {"type": "string"},
        "target": {"type": "string"},
        "revision": {"type": "integer"},
        "mandatory": {"type": "boolean"},
    },
}
_BRANCH: Final = {
    "type": "object",
    "required": ["name", "enabled", "snapshot", "path", "versions", "targets", "package_changes"],
    "properties": {
        "name": {"type": "string"},
        "enabled": {"const": True},
        "snapshot": {"type": "boolean"},
        "path": {"type": "string", "description": "below `upstream_url`"},
        "path_packages": {"type": "string"},
        "versions": {**_VERSIONS, "description": "newest first"},
        "targets": {
            "description": "architecture of the packages by target; empty if unknown",
            "type": "object",
            "additionalProperties": {"type": "string"},
        },
        "package_changes": {"type": "array", "items": _CHANGE},
    },
}
_SERVER: Final = {
    "type": "object",
    "required": ["max_custom_rootfs_size_mb", "max_defaults_length"],
    "properties": {
        "version": {"type": "string"},
        "allow_defaults": {"type": "boolean"},
        "repository_allow_list": {"type": "array", "items": {"type": "string"}},
        "max_custom_rootfs_size_mb": {"type": "integer"},
        "max_defaults_length": {"type": "integer"},
    },
}

_LATEST_EXAMPLE: Final = ["25.12.5", "24.10.8"]
_BRANCH_EXAMPLE: Final = {
    "name": "24.10",
    "enabled": True,
    "snapshot": False,
    "path": "releases/{version}",
    "path_packages": "releases/packages-{branch}",
    "versions": ["24.10.8", "24.10.7", "24.10-SNAPSHOT"],
    "targets": {"mediatek/filogic": "aarch64_cortex-a53"},
    "package_changes": [{"source": "auc", "target": "owut", "revision": 26792}],
}
_OVERVIEW_EXAMPLE: Final = {
    "latest": _LATEST_EXAMPLE,
    "branches": {"24.10": _BRANCH_EXAMPLE},
    "upstream_url": "https://downloads.openwrt.org",
    "server": {
        "version": "0.1.0",
        "allow_defaults": False,
        "repository_allow_list": [],
        "max_custom_rootfs_size_mb": 1024,
        "max_defaults_length": 20480,
    },
}
_PROBLEM_EXAMPLE: Final = {"status": 404, "title": "Not Found", "detail": UNAVAILABLE}


def _object(**members: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(members), "properties": members}


def _found(description: str, schema: dict[str, Any], example: object) -> openapi.Responses:
    content = {"application/json": {"schema": schema, "example": example}}
    return {200: {"description": description, "content": content}}


def _same(paths: tuple[str, ...], summary: str, responses: openapi.Responses) -> dict[str, Docs]:
    return {path: {"summary": summary, "responses": responses} for path in paths}


_PROBLEM: Final = _object(
    status={"const": 404}, title={"type": "string"}, detail={"type": "string"}
)
OVERVIEW: Final = _same(
    ("/json/v1/overview.json", "/api/v1/overview", "/api/overview"),
    "Releases, branches, limits",
    _found(
        "Available versions for LuCI and owut; unknown without a catalogue",
        _object(
            latest={**_VERSIONS, "description": "newest release of each branch, newest first"},
            branches={"type": "object", "additionalProperties": _BRANCH},
            upstream_url={"type": "string"},
            server=_SERVER,
        ),
        _OVERVIEW_EXAMPLE,
    ),
)
BRANCHES: Final = _same(
    ("/json/v1/branches.json",),
    "Branches",
    _found(
        "`branches` alone, as auc reads them",
        {"type": "array", "items": _BRANCH},
        [_BRANCH_EXAMPLE],
    ),
)
LATEST: Final = _same(
    ("/json/v1/latest.json", "/api/v1/latest"),
    "Newest releases",
    _found(
        "`latest` as in the overview, and every available version",
        _object(latest=_VERSIONS, versions={**_VERSIONS, "description": "newest first"}),
        {"latest": _LATEST_EXAMPLE, "versions": ["SNAPSHOT", "25.12.5", "24.10.8"]},
    ),
)

_EXAMPLES: Final = {
    "version": "24.10.8",
    "board": "mediatek",
    "subtarget": "filogic",
    "profile": "glinet_gl-mt6000",
    "arch": "aarch64_cortex-a53",
}
_PACKAGES_EXAMPLE: Final = {"luci": "1.0-r1"}
_DEMO_EXAMPLES: Final[dict[str, object]] = {
    "{arch}-index.json": _PACKAGES_EXAMPLE,
    "index.json": {
        "version": 2,
        "architecture": "aarch64_cortex-a53",
        "packages": _PACKAGES_EXAMPLE,
    },
    "{profile}.json": {
        "id": "glinet_gl-mt6000",
        "target": "mediatek/filogic",
        "version_number": "24.10.8",
        "images": [{"type": "sysupgrade", "filesystem": "squashfs", "name": "a-sysupgrade.bin"}],
    },
}
_REDIRECT: Final[openapi.Responses] = {
    307: {
        "description": "Redirect to the same path of another build server, `metadata_url`",
        "headers": {"Location": {"schema": {"type": "string", "format": "uri"}}},
    },
    404: {
        "description": "Not Found",
        # Unknown paths get the error of the framework.
        "content": {
            media: {"schema": _PROBLEM, "example": _PROBLEM_EXAMPLE}
            for media in ("application/json", "application/problem+json")
        },
    },
}


def _parameters(path: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {
                "type": "string",
                "pattern": _PROFILE_PATTERN if name == "profile" else NAME_PATTERN,
            },
            "example": _EXAMPLES[name],
        }
        for name in re.findall(r"\{(\w+)\}", path)
    ]


def revision(path: str) -> Docs:
    """Return the description of the revision of a version."""
    example = {"revision": "r28739-d9340319c6"}
    found = _found("The revision in the catalogue", _object(revision={"type": "string"}), example)
    return {
        "summary": "Revision of a version",
        "description": "LuCI requests it for snapshots.",
        "responses": {**found, **_REDIRECT},
        "openapi_extra": {"parameters": _parameters(path)},
    }


def redirected(path: str) -> Docs:
    """Return the description of a document that is on another server, except in the demo."""
    summary = "Images of a device" if "{profile}" in path else "Packages and their versions"
    found = _found(
        "Only from the demo builder", {"type": "object"}, _DEMO_EXAMPLES[path.rpartition("/")[2]]
    )
    return {
        "summary": summary,
        "description": "For owut and auc. Only the demo has it.",
        "status_code": 307,
        "responses": {**found, **_REDIRECT},
        "openapi_extra": {"parameters": _parameters(path)},
    }
