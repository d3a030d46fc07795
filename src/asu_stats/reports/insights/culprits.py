"""The culprit of a failure: decided by its type, and for some types by who is affected.

If a package is missing for several devices and clients, the culprit is `packages`. If nearly all
failures come from one client, or one version of it, the culprit is `client`.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from asu_stats.error_types import TAXONOMY
from asu_stats.events import UNKNOWN
from asu_stats.reports import figures
from asu_stats.reports.insights.failure_rows import Failures, first_days
from asu_stats.reports.insights.significance import significant
from asu_stats.reports.packages import branch_of
from asu_stats.store.blocks.columns import Mask, Names, distinct, numbered, total
from asu_stats.store.blocks.keys import Ints
from asu_stats.store.blocks.totals import Totals

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
    "package_not_found": "user",  # these three by default; see `Attributions`
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

Ways: TypeAlias = NDArray[np.int8]
_BY_TYPE, _BY_PACKAGE, _BY_CLIENT, _BY_VERSION = range(4)


class Sent:
    """Accepted requests of the time range, by client and version, by client, and together."""

    def __init__(self, requests: Totals) -> None:
        """Take requests by client and version."""
        (client, _), counts = requests.columns()
        self._requests = requests
        # The last is of clients without requests.
        self._by_client = total(client.codes, len(client.values) + 1, counts)
        self.versions = len(counts)
        self.clients = int(np.count_nonzero(self._by_client))
        self.total = int(counts.sum())

    def of_versions(self, clients: Sequence[str], versions: Sequence[str]) -> Ints:
        """Return the requests of versions of clients."""
        return self._requests.of(clients, versions)

    def of_clients(self, clients: Sequence[str]) -> Ints:
        """Return the requests of clients, of all versions together."""
        codes = self._requests.vocabulary.find_names(0, clients)
        return self._by_client[np.where(codes < len(self._by_client), codes, -1)]


class Attribution(NamedTuple):
    """The culprit, with the reason as a sentence."""

    culprit: Culprit
    reason: str
    names: Sequence[tuple[str, str]] = ()  # dimensions and names in the reason


class _Requests:
    """Distinct failing requests of clients, or versions of clients, in clusters of failures."""

    def __init__(self, of: Ints, clusters: int, rows: Ints, counts: Ints) -> None:
        """Take the cluster, a failure and the requests of each client in each cluster."""
        self.total = total(of, clusters, counts)
        most = np.zeros(clusters, np.int64)
        order = np.argsort(counts, kind="stable")
        most[of[order]] = order  # of equal places, the last one stays
        # Of the client with most requests: a failure, and its requests.
        self.row, self.count = rows[most], counts[most]


class Attributions:
    """The culprits of clusters of failures.

    A cluster has failures with one type; if they name a package, also with one package and branch.
    """

    def __init__(self, failures: Failures, sent: Sent) -> None:
        kind, package = failures.name("type"), failures.name("package")
        branch = failures.name("version").mapped(branch_of)
        names_package = kind.mapped(_PACKAGE_TYPES.__contains__).equal(True) & ~package.equal("")
        parts = (np.where(names_package, part.codes + 1, 0) for part in (package, branch))
        self.cluster, firsts = numbered(kind.codes, *parts)  # of each failure
        size = len(firsts)
        self._failures, self._sent, self._firsts, self._branch = failures, sent, firsts, branch
        self._since = first_days(failures, self.cluster, size)
        self._devices = distinct(self.cluster, size, failures.device)
        client, version = failures.name("client"), failures.name("client_version")
        asker, _ = numbered(client.codes, version.codes)
        cluster, rows, counts = self._requests(asker)
        self._askers = np.bincount(cluster, minlength=size)
        self._of_version = _Requests(cluster, size, rows, counts)
        pair, some = numbered(cluster, client.codes[rows])
        together = total(pair, len(some), counts)
        self._of_client = _Requests(cluster[some], size, rows[some], together)
        is_missing = names_package[firsts] & (self._devices >= _MIN_DEVICES)
        is_missing &= self._askers >= _MIN_CLIENTS
        self._way: Ways = np.where(is_missing, _BY_PACKAGE, _BY_TYPE).astype(np.int8)
        self._blame_clients(kind.mapped(_CLIENT_TYPES.__contains__).equal(True)[firsts])
        by_type = kind.mapped(lambda name: CULPRITS.index(BY_TYPE.get(name, "unknown")))
        places = np.array(by_type.values or [0])[by_type.codes[firsts]]
        for way, name in _CULPRIT_OF_WAY.items():
            places[self._way == way] = CULPRITS.index(name)
        self.culprit = Names(list(CULPRITS), places)  # of each cluster

    def _requests(self, asker: Ints) -> tuple[Ints, Ints, Ints]:
        """Return cluster, a failure and distinct failing requests of each asker in each cluster."""
        of_cluster, _ = numbered(self.cluster, asker)
        firsts = self._failures.pairs(of_cluster)
        pair, of_pair = numbered(self.cluster[firsts], asker[firsts])
        rows = firsts[of_pair]
        return self.cluster[rows], rows, np.bincount(pair)

    def _blame_clients(self, can_be: Mask) -> None:
        """Blame clients, or versions of them, with nearly all failing requests of a cluster."""
        client, version = map(self._failures.name, ("client", "client_version"))
        for way, found, unknown, tests in (
            (_BY_VERSION, self._of_version, version.equal(UNKNOWN), self._sent.versions),
            (_BY_CLIENT, self._of_client, client.equal(UNKNOWN), self._sent.clients),
        ):
            nearly_all = found.count >= _CLIENT_SHARE * found.total
            some = np.flatnonzero(can_be & nearly_all & ~unknown[found.row])
            by_version = way == _BY_VERSION
            of = self._sent_of(found.row[some], by_version=by_version)
            blamed = some[
                _are_significant(found.count[some], found.total[some], of, self._sent.total, tests)
            ]
            self._way[blamed] = way
            can_be[blamed] = False

    def _sent_of(self, rows: Ints, *, by_version: bool) -> Ints:
        """Return all requests of the clients, or their versions, of some failures."""
        clients = self._failures.name("client").of(rows)
        if not by_version:
            return self._sent.of_clients(clients)
        return self._sent.of_versions(clients, self._failures.name("client_version").of(rows))

    def __getitem__(self, cluster: int) -> Attribution:
        """Return the culprit of a cluster, with the reason."""
        way, row = self._way[cluster], self._firsts[[cluster]]
        ((culprit,), (kind,)) = (
            self.culprit.of(np.array([cluster])),
            self._failures.name("type").of(row),
        )
        if way == _BY_TYPE:
            return Attribution(culprit, meaning(kind))
        if way == _BY_PACKAGE:
            (package,), (branch,) = self._failures.name("package").of(row), self._branch.of(row)
            return Attribution(
                culprit,
                f"{package} of {branch} fails for {self._devices[cluster]} devices and "
                f"{self._askers[cluster]} clients since "
                f"{date.fromordinal(int(self._since[cluster]))}.",
                (("package", package),),
            )
        by_version = way == _BY_VERSION
        found = self._of_version if by_version else self._of_client
        asker = found.row[[cluster]]
        (client,) = self._failures.name("client").of(asker)
        (version,) = self._failures.name("client_version").of(asker)
        reason = _reason(
            f"{client} {version}" if by_version else client,
            int(found.count[cluster]),
            int(found.total[cluster]),
            int(self._sent_of(asker, by_version=by_version)[0]),
            self._sent.total,
        )
        names = ("client", client), ("client_version", version)
        return Attribution(culprit, reason, names if by_version else names[:1])


_CULPRIT_OF_WAY: Final[Mapping[int, Culprit]] = {
    _BY_PACKAGE: "packages",
    _BY_CLIENT: "client",
    _BY_VERSION: "client",
}


def _are_significant(
    counts: Ints, totals: Ints, sent: Ints, all_requests: int, clients: int
) -> list[int]:
    """Return which clients have more failing requests than their share of requests explains.

    `counts` of `totals` failing requests and `sent` of `all_requests` are of the clients. `clients`
    is the number of tests, for Bonferroni's correction.
    """
    sent = np.maximum(sent, counts)
    others = np.maximum(all_requests - sent, totals - counts)
    return significant(counts, sent, totals - counts, others, max(1, clients))


def _reason(client: str, count: int, total: int, sent: int, all_requests: int) -> str:
    share = f"{figures.quotient(100 * sent, all_requests, 0) or 0:.0f}%"
    return f"{count} of {total} failing requests come from {client}, which sends {share} of all."


_MEANINGS: Final = {kind.type: meaning for kind, meaning in TAXONOMY.items()}


def meaning(error_type: str) -> str:
    """Return the meaning of an error type as a sentence."""
    text = _MEANINGS.get(error_type, "not an error type of asu-stats")
    return f"{text[:1].upper()}{text[1:]}."
