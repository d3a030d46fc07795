"""Checks whether a valid request can be built here.

The messages are upstream's: clients show them, and some recognise how they begin.
"""

from collections.abc import Iterable

from asu_stats import urls
from asu_stats.builds.catalogue import Catalogue
from asu_stats.builds.requests import BuildRequest
from asu_stats.exceptions import AsuStatsError
from asu_stats.settings import Settings

DISTRO = "openwrt"


class RejectedRequestError(AsuStatsError):
    """A request that fails validation. `error_type` is the type of error that it counts as."""

    def __init__(self, error_type: str, detail: str) -> None:
        self.error_type = error_type
        super().__init__(detail)


def repository_allowed(url: str, allowed: Iterable[str]) -> bool:
    """Return whether `url` lies below one of the URLs of `allowed`.

    A URL with a user name, or with a path that a server may normalise, never does.
    """
    requested = urls.parse(url)
    if requested is None:
        return False
    path = requested.parts.path
    disguised = "\\" in url or "%" in requested.parts.netloc or {".", ".."} & set(path.split("/"))
    if requested.parts.username is not None or disguised or "%2e" in path.lower():
        return False
    return any(
        requested.origin == base.origin and path.startswith(f"{base.parts.path.rstrip('/')}/")
        for each in allowed
        if (base := urls.parse(each))
    )


def validate(
    request: BuildRequest, settings: Settings, catalogue: Catalogue | None = None
) -> BuildRequest:
    """Return the request with the profile that its name or alias stands for.

    Raises `RejectedRequestError` if it cannot be built here. Without a catalogue every version,
    target and profile is accepted.
    """
    if request.defaults and not settings.allow_defaults:
        raise RejectedRequestError(
            "defaults_not_allowed", "Handling `defaults` not enabled on server"
        )
    for url in request.repositories.values():
        if not repository_allowed(url, settings.repository_allow_list):
            raise RejectedRequestError("repository_not_allowed", f"Repository not allowed: {url}")
    if request.distro != DISTRO:
        raise RejectedRequestError("unsupported_distro", f"Unsupported distro: {request.distro}")
    profile = _offered_profile(request, catalogue)
    return request.model_copy(update={"profile": profile})


def _offered_profile(request: BuildRequest, catalogue: Catalogue | None) -> str:
    version, target, profile = request.version, request.target, request.profile
    if catalogue and not catalogue.offers_branch(version):
        raise RejectedRequestError("unsupported_version", f"Unsupported branch: {version}")
    if not version or (catalogue and not catalogue.offers_version(version)):
        raise RejectedRequestError("unsupported_version", f"Unsupported version: {version}")
    if not all(target.split("/")) or (catalogue and target not in catalogue.targets_of(version)):
        raise RejectedRequestError(
            "unsupported_target",
            f"Unsupported target: {target}. The requested target was either dropped, is still "
            "being built or is not supported by the selected version. Please check the forums or "
            "try again later.",
        )
    resolved = catalogue.profile_of(version, target, profile) if catalogue else profile
    if not resolved:
        raise RejectedRequestError(
            "unsupported_profile",
            f"Unsupported profile: {profile}. The requested profile was either dropped or never "
            "existed. Please check the forums for more information.",
        )
    return resolved
