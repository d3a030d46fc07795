"""Metadata that clients read before a build: releases, branches, limits of this server.

The catalogue has it. For data that it lacks, mainly package lists, clients are redirected (307)
to the same path of another build server. All clients follow redirects to another host.
The demo has its own data and does not redirect.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from asu_stats import __version__
from asu_stats.builds import build_responses, demo_downloads, demo_metadata, metadata_docs
from asu_stats.builds.catalogue import Catalogue, is_release
from asu_stats.policies import declare
from asu_stats.releases import MAIN
from asu_stats.settings import Settings
from asu_stats.text import one_spelling

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

REVISION: Final = "/api/v1/revision/{version}/{board}/{subtarget}"
# The list of a target must come first: otherwise `index` would be read as a profile.
REDIRECTED_PATHS: Final = tuple(
    f"/json/v1/{place}/{file}"
    for place in ("snapshots", "releases/{version}")
    for file in (
        "packages/{arch}-index.json",
        "targets/{board}/{subtarget}/index.json",
        "targets/{board}/{subtarget}/{profile}.json",
    )
)

_CACHED: Final = {"Cache-Control": "public, max-age=300"}
_NAME: Final = re.compile(metadata_docs.NAME_PATTERN)


def latest(catalogue: Catalogue | None) -> list[str]:
    """Return the newest release of each branch, newest first.

    LuCI offers the first one of its own branch. A candidate is listed until there is a release.
    """
    if catalogue is None:
        return []
    offered = catalogue.offered_versions().values()
    newest = (next(filter(is_release, versions), None) for versions in offered)
    return [version for version in newest if version]


def versions(catalogue: Catalogue | None) -> list[str]:
    """Return all available versions including snapshots, newest first."""
    if catalogue is None:
        return []
    return [version for branch in catalogue.offered_versions().values() for version in branch]


def branches(catalogue: Catalogue | None) -> dict[str, dict[str, Any]]:
    """Return the branches with their data for clients, newest first.

    Targets are those of any version of the branch, with the architecture of the packages.
    auc cannot use a target without architecture; owut only checks whether there are targets.
    """
    if catalogue is None:
        return {}
    return {
        branch: {
            "name": branch,
            "enabled": True,
            "snapshot": branch == MAIN,
            "path": "snapshots" if branch == MAIN else "releases/{version}",
            # auc requires it, but requests packages from `path`.
            "path_packages": "snapshots/packages"
            if branch == MAIN
            else "releases/packages-{branch}",
            "versions": versions,
            "targets": {
                target: catalogue.architectures.get(target, "")
                for target in sorted(set().union(*map(catalogue.targets_of, versions)))
            },
            "package_changes": [
                change.model_dump(exclude_defaults=True)
                for change in catalogue.package_changes.get(branch, [])
            ],
        }
        for branch, versions in catalogue.offered_versions().items()
    }


def overview(catalogue: Catalogue | None, settings: Settings) -> dict[str, Any]:
    """Return all metadata in one document, with the limits of this server."""
    return {
        "latest": latest(catalogue),
        "branches": branches(catalogue),
        "upstream_url": settings.upstream_url.rstrip("/"),
        "server": {
            "version": __version__,
            "allow_defaults": settings.allow_defaults,
            "repository_allow_list": settings.repository_allow_list,
            "max_custom_rootfs_size_mb": settings.max_custom_rootfs_size_mb,
            "max_defaults_length": settings.max_defaults_length,
        },
    }


def resolve_names(catalogue: Catalogue | None, names: Mapping[str, str]) -> dict[str, str] | None:
    """Return the names in a path, aliases replaced; `None` if one is unknown.

    Without a version it is main. Without a catalogue every name is accepted.
    """
    resolved = dict(names)
    if "profile" in resolved:
        resolved["profile"] = one_spelling(resolved["profile"])
    if not all(map(_NAME.fullmatch, resolved.values())):
        return None
    if catalogue is None:
        return resolved
    version = names.get("version", MAIN)
    if not (catalogue.offers_branch(version) and catalogue.offers_version(version)):
        return None
    if "board" in names:
        target = f"{names['board']}/{names['subtarget']}"
        if target not in catalogue.targets_of(version):
            return None
        if "profile" in names:
            profile = catalogue.profile_of(version, target, names["profile"])
            if profile is None:
                return None
            resolved["profile"] = profile
    return resolved


# All paths below these are public, so clients get 404 for a missing document, not 401.
_PREFIXES: Final = ("/json/", "/api/v1/revision/", "/releases/", "/snapshots/", "/.versions.json")


def router(settings: Settings, catalogue: Catalogue | None) -> APIRouter:
    """Return the routes of the metadata, without a prefix."""
    routes = APIRouter(tags=["metadata"])

    def add(path: str, endpoint: Endpoint, docs: metadata_docs.Docs) -> None:
        # Paths are read from the request: path arguments would add a 422 to the OpenAPI document.
        declared = declare("build", "none", *_PREFIXES)(endpoint)
        routes.get(path, response_class=Response, **docs)(declared)

    everything = overview(catalogue, settings)
    for path, docs in metadata_docs.OVERVIEW.items():
        add(path, _constant(everything), docs)
    for path, docs in metadata_docs.LATEST.items():
        add(
            path, _constant({"latest": everything["latest"], "versions": versions(catalogue)}), docs
        )
    for path, docs in metadata_docs.BRANCHES.items():
        add(path, _constant(list(everything["branches"].values())), docs)

    async def revision(request: Request) -> Response:
        names = resolve_names(catalogue, request.path_params)
        here = catalogue.revisions if catalogue else {}
        if names and names["version"] in here:
            return JSONResponse({"revision": here[names["version"]]}, headers=_CACHED)
        return _redirect(settings, REVISION, names)

    add(REVISION, revision, metadata_docs.revision(REVISION))

    for path in REDIRECTED_PATHS:
        add(path, _redirecting(settings, catalogue, path), metadata_docs.redirected(path))
    if settings.builder == "demo":
        routes.routes.extend(demo_downloads.router(catalogue).routes)
    return routes


def _redirecting(settings: Settings, catalogue: Catalogue | None, path: str) -> Endpoint:
    """Return an endpoint that redirects clients; the demo responds itself."""

    async def respond(request: Request) -> Response:
        names = resolve_names(catalogue, request.path_params)
        if names and settings.builder == "demo":
            if found := demo_metadata.document(catalogue, names):
                return JSONResponse(found, headers=_CACHED)
            names = None
        return _redirect(settings, path, names)

    return respond


def _constant(content: Any) -> Endpoint:
    """Return an endpoint with a constant response: settings and catalogue are read once."""
    body = json.dumps(content, separators=(",", ":")).encode()

    async def respond(_: Request) -> Response:
        return Response(body, media_type="application/json", headers=_CACHED)

    return respond


def _redirect(settings: Settings, path: str, names: Mapping[str, str] | None) -> Response:
    """Return a redirect, or a 404."""
    if names is None:
        problem = build_responses.problem(404, "Not Found", metadata_docs.UNAVAILABLE)
    elif not settings.metadata_url:
        problem = build_responses.problem(404, "Not Found", metadata_docs.NOT_IN_CATALOGUE)
    else:
        url = settings.metadata_url.rstrip("/") + path.format_map(names)
        return Response(status_code=307, headers={"Location": url, **_CACHED})
    return JSONResponse(problem.body, problem.status)
