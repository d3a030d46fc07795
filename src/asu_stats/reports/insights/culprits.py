"""The culprit of a failure: decided by its type, and for some types by who is affected.

If a package is missing for several devices and clients, the culprit is `packages`. If nearly all
failures come from one client, or one version of it, the culprit is `client`.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final, Literal, NamedTuple

import numpy as np

from asu_stats.chance import fisher
from asu_stats.error_types import TAXONOMY
from asu_stats.events import UNKNOWN
from asu_stats.reports.insights.failure_rows import Failures, first_days
from asu_stats.reports.packages import branch_of
from asu_stats.store.blocks.columns import distinct, numbered
from asu_stats.store.blocks.keys import Ints

Culprit = Literal["user", "client", "packages", "server", "unknown"]
CULPRITS: Final[tuple[Culprit, ...]] = ("user", "client", "packages", "server", "unknown")

# By type; types that are missing here are `unknown`.
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
    "package_not_found": "user",  # these three by default; see `attribute`
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
_PACKAGE_TYPES: Final = frozenset(
    {"package_not_found", "package_unsatisfiable", "manifest_mismatch"}
)
# Errors that a client can cause without its user having chosen the value.
_CLIENT_TYPES: Final = _PACKAGE_TYPES | {
    *("unsupported_version", "unsupported_target", "unsupported_profile", "unsupported_distro"),
    *("invalid_request", "package_conflict"),
}
_MIN_DEVICES: Final = 2
_MIN_CLIENTS: Final = 2
_CLIENT_SHARE: Final = 0.9  # of failing requests, for the culprit `client`
_P: Final = 0.01

Client = tuple[str, str]  # client and its version
Requests = Mapping[Client, int]  # accepted requests


class Sent:
    """All requests of the time range, by client and version, by client, and together."""

    def __init__(self, requests: Requests) -> None:
        self.by_version = requests
        self.by_client: Counter[str] = Counter()
        for (client, _), count in requests.items():
            self.by_client[client] += count
        self.total = self.by_client.total()


class Attribution(NamedTuple):
    """The culprit, with the reason as a sentence."""

    culprit: Culprit
    reason: str
    names: Sequence[tuple[str, str]] = ()  # dimensions and names in the reason


class Cluster(NamedTuple):
    """Failures with one type; if they name a package, also with one package and branch.

    `requests` are the distinct failing requests of each client.
    """

    type: str
    package: str
    branch: str
    requests: Requests
    devices: int
    since: date


def clusters(failures: Failures) -> tuple[list[Cluster], Ints]:
    """Return the clusters of failures, and the number of the cluster of each failure."""
    kind, package = failures.name("type"), failures.name("package")
    branch = failures.name("version").mapped(branch_of)
    names_package = kind.mapped(_PACKAGE_TYPES.__contains__).equal(True) & ~package.equal("")
    parts = (np.where(names_package, part.codes + 1, 0) for part in (package, branch))
    cluster, firsts = numbered(kind.codes, *parts)
    has_package = names_package[firsts].tolist()
    types, packages, branches = kind.of(firsts), package.of(firsts), branch.of(firsts)
    requests = _requests(failures, cluster)
    devices = distinct(cluster, len(firsts), failures.device).tolist()
    since = first_days(failures, cluster, len(firsts)).tolist()
    found = [
        Cluster(
            types[n],
            packages[n] if has_package[n] else "",
            branches[n] if has_package[n] else "",
            requests[n],
            devices[n],
            date.fromordinal(since[n]),
        )
        for n in range(len(firsts))
    ]
    return found, cluster


def _requests(failures: Failures, cluster: Ints) -> Mapping[int, dict[Client, int]]:
    """Return the distinct failing requests of each client in each cluster."""
    client, version = failures.name("client"), failures.name("client_version")
    asker, _ = numbered(client.codes, version.codes)
    of_cluster, _ = numbered(cluster, asker)
    firsts = failures.pairs(of_cluster)
    pair, of_pair = numbered(cluster[firsts], asker[firsts])
    counts = np.bincount(pair).tolist()
    rows = firsts[of_pair]
    found: defaultdict[int, dict[Client, int]] = defaultdict(dict)
    for number, *who, count in zip(
        cluster[rows].tolist(), client.of(rows), version.of(rows), counts, strict=True
    ):
        found[number][who[0], who[1]] = count
    return found


def attribute(cluster: Cluster, sent: Sent) -> Attribution:
    """Return the culprit of the failures of a cluster."""
    if cluster.type in _CLIENT_TYPES and (client := _failing_client(cluster.requests, sent)):
        return client
    if cluster.package and (reason := _missing_package(cluster)):
        return Attribution("packages", reason, (("package", cluster.package),))
    return Attribution(BY_TYPE.get(cluster.type, "unknown"), meaning(cluster.type))


def _failing_client(failing: Requests, sent: Sent) -> Attribution | None:
    """Return the client, or its version, with nearly all failing requests, beyond its share."""
    by_version = Counter(failing)
    by_client: Counter[str] = Counter()
    for (client, _), count in by_version.items():
        by_client[client] += count
    total = by_client.total()
    for (client, version), count in by_version.most_common(1):
        if version != UNKNOWN and count >= _CLIENT_SHARE * total:
            of_version = sent.by_version.get((client, version), 0)
            if _is_significant(count, total, of_version, sent.total, len(sent.by_version)):
                reason = _reason(f"{client} {version}", count, total, of_version, sent.total)
                names = ("client", client), ("client_version", version)
                return Attribution("client", reason, names)
    for client, count in by_client.most_common(1):
        if client != UNKNOWN and count >= _CLIENT_SHARE * total:
            of_client = sent.by_client[client]
            if _is_significant(count, total, of_client, sent.total, len(sent.by_client)):
                reason = _reason(client, count, total, of_client, sent.total)
                return Attribution("client", reason, (("client", client),))
    return None


def _is_significant(count: int, total: int, sent: int, all_requests: int, clients: int) -> bool:
    """Return whether a client has more failing requests than its share of requests explains.

    `count` of `total` failing requests and `sent` of `all_requests` are of the client; `clients` is
    the number of tests, for Bonferroni's correction.
    """
    sent, others = max(sent, count), max(all_requests - sent, total - count)
    p_value = fisher(count, sent, total - count, others)
    return p_value * max(1, clients) < _P


def _reason(client: str, count: int, total: int, sent: int, all_requests: int) -> str:
    share = f"{100 * sent / all_requests:.0f}%" if all_requests else "0%"
    return f"{count} of {total} failing requests come from {client}, which sends {share} of all."


def _missing_package(cluster: Cluster) -> str | None:
    """Return the reason if a package is missing for several devices and clients."""
    clients = len(cluster.requests)
    if cluster.devices < _MIN_DEVICES or clients < _MIN_CLIENTS:
        return None
    return (
        f"{cluster.package} of {cluster.branch} fails for {cluster.devices} devices and "
        f"{clients} clients since {cluster.since}."
    )


_MEANINGS: Final = {kind.type: meaning for kind, meaning in TAXONOMY.items()}


def meaning(error_type: str) -> str:
    """Return the meaning of an error type as a sentence."""
    text = _MEANINGS.get(error_type, "not an error type of asu-stats")
    return f"{text[:1].upper()}{text[1:]}."
