"""Whether a request that parses can be built here: the refusals and their words.

The words are those of the upstream server: clients show them, and some look for their beginning.
"""

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

from asu_stats.builds.catalogue import Catalogue
from asu_stats.builds.requests import BuildRequest
from asu_stats.exceptions import AsuStatsError
from asu_stats.settings import Settings

DISTRO = "openwrt"


class RefusedRequestError(AsuStatsError):
    """A request that fails validation. `error_type` is the type of error that it counts as."""

    def __init__(self, error_type: str, detail: str) -> None:
        self.error_type = error_type
        super().__init__(detail)


class _Place(NamedTuple):
    """Where a URL points, without what doesn't change that."""

    scheme: str
    host: str
    port: int | None
    path: str


def _place(url: str) -> _Place | None:
    """Return where a URL points, `None` if that is not plain."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None
    disguised = "\\" in url or "%" in parts.netloc or {".", ".."} & set(parts.path.split("/"))
    if parts.username is not None or disguised or "%2e" in parts.path.lower():
        return None
    return _Place(parts.scheme, parts.hostname or "", port, parts.path)


def repository_allowed(url: str, allowed: Iterable[str]) -> bool:
    """Tell whether `url` lies below one of the URLs of `allowed`."""
    asked = _place(url)
    if asked is None or not asked.host:
        return False
    places = (place for each in allowed if (place := _place(each)))
    return any(
        asked[:3] == place[:3] and asked.path.startswith(f"{place.path.rstrip('/')}/")
        for place in places
    )


def validate(
    request: BuildRequest, settings: Settings, catalogue: Catalogue | None = None
) -> BuildRequest:
    """Return the request with the profile that is meant.

    Raises `RefusedRequestError` when it can't be built here. Without a catalogue every version,
    target and profile is taken.
    """
    if request.defaults and not settings.allow_defaults:
        raise RefusedRequestError(
            "defaults_not_allowed", "Handling `defaults` not enabled on server"
        )
    for url in request.repositories.values():
        if not repository_allowed(url, settings.repository_allow_list):
            raise RefusedRequestError("repository_not_allowed", f"Repository not allowed: {url}")
    if request.distro != DISTRO:
        raise RefusedRequestError("unsupported_distro", f"Unsupported distro: {request.distro}")
    profile = _offered_profile(request, catalogue)
    return request.model_copy(update={"profile": profile})


def _offered_profile(request: BuildRequest, catalogue: Catalogue | None) -> str:
    version, target, profile = request.version, request.target, request.profile
    if catalogue and not catalogue.offers_branch(version):
        raise RefusedRequestError("unsupported_version", f"Unsupported branch: {version}")
    if not version or (catalogue and not catalogue.offers_version(version)):
        raise RefusedRequestError("unsupported_version", f"Unsupported version: {version}")
    if not all(target.split("/")) or (catalogue and target not in catalogue.targets_of(version)):
        raise RefusedRequestError(
            "unsupported_target",
            f"Unsupported target: {target}. The requested target was either dropped, is still "
            "being built or is not supported by the selected version. Please check the forums or "
            "try again later.",
        )
    meant = catalogue.profile_of(version, target, profile) if catalogue else profile
    if not meant:
        raise RefusedRequestError(
            "unsupported_profile",
            f"Unsupported profile: {profile}. The requested profile was either dropped or never "
            "existed. Please check the forums for more information.",
        )
    return meant
