"""Who is to blame for a failure: by its type, and for missing packages by who meets it.

A package that several devices and clients miss is a matter of the packages; one that only one
client, or one version of it, asks for is a matter of that client; anything else of the user.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final, Literal, NamedTuple

from asu_stats.chance import fisher
from asu_stats.error_types import TAXONOMY
from asu_stats.events import UNKNOWN
from asu_stats.reports.insights.rows import Failure

Culprit = Literal["user", "client", "packages", "server", "unknown"]
CULPRITS: Final[tuple[Culprit, ...]] = ("user", "client", "packages", "server", "unknown")

# By type; what is missing here is `unknown`.
BY_TYPE: Final[Mapping[str, Culprit]] = {
    "unsupported_version": "user",
    "unsupported_target": "user",
    "unsupported_profile": "user",
    "unsupported_distro": "user",
    "repository_not_allowed": "user",
    "defaults_not_allowed": "user",
    "invalid_request": "user",
    "package_conflict": "user",
    "image_too_big": "user",
    "package_not_found": "user",  # these three unless the evidence says otherwise
    "package_unsatisfiable": "user",
    "manifest_mismatch": "user",
    "version_mismatch": "client",
    "queue_full": "server",
    "imagebuilder_info_invalid": "server",
    "build_output_missing": "server",
    "build_timeout": "server",
    **{kind.type: "server" for kind in TAXONOMY if kind.category in {"container", "storage"}},
    **{kind.type: "server" for kind in TAXONOMY if kind.category == "network"},
}
_OF_PACKAGES: Final = frozenset({"package_not_found", "package_unsatisfiable", "manifest_mismatch"})
# What a client may send without its user being asked.
_OF_CLIENTS: Final = _OF_PACKAGES | {
    *("unsupported_version", "unsupported_target", "unsupported_profile", "unsupported_distro"),
    *("invalid_request", "package_conflict"),
}
_DEVICES: Final = 2
_CLIENTS: Final = 2
_MOSTLY: Final = 0.9  # of the requests that a client's fault hits
_CHANCE: Final = 0.01

Asker = tuple[str, str]
Asked = Mapping[Asker, int]  # accepted requests by client and its version


class Blame(NamedTuple):
    """Who is to blame, and why, as a sentence."""

    culprit: Culprit
    reason: str
    names: Sequence[tuple[str, str]] = ()  # dimension and name that the reason mentions


class Cluster(NamedTuple):
    """Failures that have one cause as far as their texts say."""

    type: str
    package: str
    branch: str


def clusters(failures: Sequence[Failure]) -> dict[Cluster, list[Failure]]:
    """Return failures by type; those that name a package by package and branch too."""
    found: dict[Cluster, list[Failure]] = defaultdict(list)
    for failure in failures:
        named = failure.type in _OF_PACKAGES and failure.package
        where = (failure.package, failure.branch) if named else ("", "")
        found[Cluster(failure.type, *where)].append(failure)
    return found


def blame(cluster: Cluster, failures: Sequence[Failure], asked: Asked) -> Blame:
    """Return who is to blame for the failures of a cluster; `asked` is of all in the window."""
    if cluster.type in _OF_CLIENTS and (client := _client(failures, asked)):
        return client
    if cluster.package and (reason := _missing(cluster, failures)):
        return Blame("packages", reason, (("package", cluster.package),))
    return Blame(BY_TYPE.get(cluster.type, "unknown"), meaning(cluster.type))


def _client(failures: Sequence[Failure], asked: Asked) -> Blame | None:
    """Say which client, or version of it, has nearly all of the failures, far beyond its share."""
    requests: dict[Asker, set[object]] = defaultdict(set)
    for failure in failures:
        requests[failure.client, failure.client_version].add(failure.request)
    by_version = Counter({asker: len(of) for asker, of in requests.items()})
    by_client: Counter[str] = Counter()
    for (client, _), count in by_version.items():
        by_client[client] += count
    total, of_all = by_client.total(), sum(asked.values())
    for (client, version), count in by_version.most_common(1):
        if version != UNKNOWN and count >= _MOSTLY * total:
            share = asked.get((client, version), 0)
            if _stands_out(count, total, share, of_all, len(asked)):
                reason = _sentence(f"{client} {version}", count, total, share, of_all)
                return Blame("client", reason, (("client", client), ("client_version", version)))
    for client, count in by_client.most_common(1):
        if client != UNKNOWN and count >= _MOSTLY * total:
            share = sum(n for (name, _), n in asked.items() if name == client)
            if _stands_out(count, total, share, of_all, len({name for name, _ in asked})):
                reason = _sentence(client, count, total, share, of_all)
                return Blame("client", reason, (("client", client),))
    return None


def _stands_out(count: int, total: int, share: int, of_all: int, tried: int) -> bool:
    """Tell whether a client has more of the failing requests than its share explains."""
    share, others = max(share, count), max(of_all - share, total - count)
    p_value = fisher(count, share, total - count, others)
    return p_value * max(1, tried) < _CHANCE


def _sentence(client: str, count: int, total: int, share: int, of_all: int) -> str:
    usual = f"{100 * share / of_all:.0f}%" if of_all else "0%"
    return f"{count} of {total} requests hit come from {client}, which sends {usual} of all."


def _missing(cluster: Cluster, failures: Sequence[Failure]) -> str | None:
    """Say that a package is missing for several devices and clients."""
    devices = {failure.device for failure in failures}
    clients = {(failure.client, failure.client_version) for failure in failures}
    if len(devices) < _DEVICES or len(clients) < _CLIENTS:
        return None
    since: date = min(failure.day for failure in failures)
    return (
        f"{cluster.package} of {cluster.branch} fails for {len(devices)} devices and "
        f"{len(clients)} clients since {since}."
    )


_MEANINGS: Final = {kind.type: meaning for kind, meaning in TAXONOMY.items()}


def meaning(error_type: str) -> str:
    """Return what a type of error means, as a sentence."""
    words = _MEANINGS.get(error_type, "the type is not one of ours")
    return f"{words[:1].upper()}{words[1:]}."
