"""Outbreaks: groups in which far more builds fail than before and elsewhere.

Groups are: all builds, those of a version, a target or an error type, or of two of these, and those
of a client. One cause shows in many groups. So the group that explains most is found, its failures
are removed, and the rest is examined again: a broken version is one finding, not forty.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from asu_stats.alert_rules import Rule
from asu_stats.chance import fisher
from asu_stats.events import UNKNOWN
from asu_stats.reports.recent import BuildGroups, Failure, Place

# A group: (dimension, value) pairs in the order of the dimensions; empty: all builds.
Subject: TypeAlias = tuple[tuple[str, str], ...]

_MIN_FAILURES: Final = 5  # minimum number of failures, each of another request
_MIN_RATIO: Final = 2.0  # minimum ratio of failures to expected failures
_MIN_EXPLAINED: Final = (
    0.8  # share of the larger group's failures that a smaller one must explain to be the cause
)
_MAX_FINDINGS: Final = 8
# Significance level for alerts that fire already, and for parts of a finding.
_STILL_SIGNIFICANT: Final = 0.01
_CLIENTS: Final[Subject] = (("client", ""),)  # all clients together; no client has this name


@dataclass(frozen=True, slots=True)
class Finding:
    """A group that fails too often."""

    subject: Subject
    failures: int  # of different requests
    builds: int
    expected: float  # rate: that of its past or of its siblings, whichever is higher
    chance: float  # p-value, not corrected for the number of groups

    @property
    def points(self) -> float:
        """Percentage points of failures above what is expected."""
        return 100 * (self.failures / self.builds - self.expected)

    @property
    def excess(self) -> float:
        """Failures above what is expected."""
        return self.failures - self.builds * self.expected


@dataclass(frozen=True, slots=True)
class Counts:
    """Builds by place, and failures by place and error type, each summed over every group."""

    builds: Mapping[Subject, int]
    failures: Mapping[Subject, int]
    error_types: int  # number of types that occurred

    @classmethod
    def of(cls, groups: BuildGroups) -> "Counts":
        """Return the sums of builds by version, target and error type."""
        builds: dict[Subject, int] = defaultdict(int)
        failures: dict[Subject, int] = defaultdict(int)
        for place, count in groups.ended.items():
            for subject in _places(*place):
                builds[subject] += count
        for place, count in groups.failed.items():
            for subject in _places(*place):
                failures[subject] += count
        for version, target, kind, count in groups.kinds:
            for subject in _kinds(version, target, kind):
                failures[subject] += count
        for client, (failed, ended) in groups.clients.items():
            for subject in ((("client", client),), _CLIENTS):
                failures[subject] += failed
                builds[subject] += ended
        return cls(builds, failures, len({kind for _, _, kind, _ in groups.kinds}))

    def of_subject(self, subject: Subject) -> tuple[int, int]:
        """Return failures and builds of a group. For an error type, all builds of its place count.

        A build fails with one type only, so a group of errors is a part of its place.
        """
        return self.failures.get(subject, 0), self.builds.get(place_of(subject), 0)


def _places(version: str, target: str) -> tuple[Subject, ...]:
    of_version, of_target = ("version", version), ("target", target)
    return (), (of_version,), (of_target,), (of_version, of_target)


def _kinds(version: str, target: str, kind: str) -> tuple[Subject, ...]:
    of_kind = ("error_type", kind)
    return (of_kind,), (("version", version), of_kind), (("target", target), of_kind)


def place_of(subject: Subject) -> Subject:
    """Return a group without its error type."""
    return tuple(pair for pair in subject if pair[0] != "error_type")


def contains(subject: Subject, failure: Failure) -> bool:
    """Return whether a failure is in a group."""
    return all(getattr(failure, dimension) == value for dimension, value in subject)


def find(
    rule: Rule,
    ended: Mapping[Place, int],
    succeeded: Mapping[str, int],
    failures: Sequence[Failure],
    before: Counts,
    known: Iterable[Subject],
) -> list[Finding]:
    """Return the groups in which too many builds fail, those already `known` first.

    `ended` counts all finished builds, including `failures`, `succeeded` each client's requests
    whose builds succeeded; `before` is of the past. A known group is reported until it has
    recovered; a new one must exceed the limit and be significant.
    """
    different = _of_different_requests(failures)
    repeated = _by_place(failures) - _by_place(different)
    builds = Counter(ended) - repeated
    found: list[Finding] = []
    waiting = list(known)
    while len(found) < _MAX_FINDINGS:
        counts = Counts.of(_grouped(builds, succeeded, different))
        finding = _next(rule, counts, before, waiting)
        if finding is None:
            break
        waiting = [subject for subject in waiting if subject != finding.subject]
        found.append(finding)
        explained = [each for each in different if contains(finding.subject, each)]
        different = [each for each in different if not contains(finding.subject, each)]
        builds -= _by_place(explained)
    return found


def _by_place(failures: Iterable[Failure]) -> Counter[Place]:
    return Counter((each.version, each.target) for each in failures)


def _grouped(
    builds: Mapping[Place, int], succeeded: Mapping[str, int], failures: Sequence[Failure]
) -> BuildGroups:
    kinds = Counter((each.version, each.target, each.error_type) for each in failures)
    failed = Counter(each.client for each in failures)
    return BuildGroups(
        builds,
        _by_place(failures),
        [(*names, count) for names, count in kinds.items()],
        {
            client: (failed[client], failed[client] + succeeded.get(client, 0))
            for client in failed.keys() | succeeded.keys()
            if client != UNKNOWN
        },
    )


def _of_different_requests(failures: Sequence[Failure]) -> list[Failure]:
    """Return one failure per request and error type, so retries count once.

    Failures without hash (imported history) each count as a different request.
    """
    return list(
        {
            (each.request_hash or number, each.error_type): each
            for number, each in enumerate(failures)
        }.values()
    )


def _next(rule: Rule, counts: Counts, before: Counts, known: Sequence[Subject]) -> Finding | None:
    """Return a known group, else the largest new one.

    All builds give way to a part that explains nearly as much. Otherwise an alert about all builds
    would hide the next cause for as long as it fires.
    """
    found = _next_known(rule, counts, before, known)
    if found is not None and found.subject:
        return found
    largest = _largest(rule, counts, before)
    if found is None or (largest and largest.excess >= _MIN_EXPLAINED * found.excess):
        return largest
    return found


def _next_known(
    rule: Rule, counts: Counts, before: Counts, known: Sequence[Subject]
) -> Finding | None:
    findings = (_finding(rule, subject, counts, before) for subject in known)
    still = [
        each
        for each in findings
        if each and not rule.has_recovered(each.points) and each.chance < _STILL_SIGNIFICANT
    ]
    return max(still, key=lambda each: each.excess, default=None)


def _largest(rule: Rule, counts: Counts, before: Counts) -> Finding | None:
    """Return the group that explains most, or the part of it that explains nearly as much.

    That something fails is tested once, with all groups that could have been found. Which part of
    it fails is then asked of a few groups only, so that each is tested on its own.
    """
    # Every group that is large enough could have been found, so it counts as tried.
    tried = sum(count >= _MIN_FAILURES for count in counts.builds.values())
    tried *= 1 + before.error_types + 1
    candidates = [
        subject
        for subject, count in counts.failures.items()
        if count >= _MIN_FAILURES and subject != _CLIENTS
    ]
    findings = (_finding(rule, subject, counts, before) for subject in candidates)
    beyond = [
        each
        for each in findings
        if each
        and each.builds >= rule.min_sample
        and rule.is_beyond(each.points)
        and each.failures > _MIN_RATIO * each.expected * each.builds
        and each.chance < _STILL_SIGNIFICANT
    ]
    certain = [each.excess for each in beyond if each.chance * tried < rule.chance]
    if not certain:
        return None
    return max(
        (each for each in beyond if each.excess >= _MIN_EXPLAINED * max(certain)),
        key=lambda each: (len(each.subject), each.excess, each.subject),
    )


def _has_kind(subject: Subject) -> bool:
    return bool(subject) and subject[-1][0] == "error_type"


def _is_client(subject: Subject) -> bool:
    return bool(subject) and subject[0][0] == "client"


def _finding(rule: Rule, subject: Subject, counts: Counts, before: Counts) -> Finding | None:
    """Compare a group with its past and its siblings; `None` if there are neither.

    A client needs siblings: if all requests come from it, nothing says that it is to blame.
    """
    failures, builds = counts.of_subject(subject)
    siblings = _siblings(subject, counts)
    if not builds or (_is_client(subject) and siblings[1] < rule.min_sample):
        return None
    rates, chances = [], []
    for others in (before.of_subject(subject), siblings):
        other_failures, other_builds = others
        if other_builds >= rule.min_sample:
            rates.append(other_failures / other_builds)
            chances.append((other_failures, other_builds))
    if not rates:
        return None
    finding = Finding(subject, failures, builds, max(rates), 1.0)
    if rule.has_recovered(finding.points):
        return finding  # most groups need no significance test
    return replace(finding, chance=max(fisher(failures, builds, *others) for others in chances))


def _siblings(subject: Subject, counts: Counts) -> tuple[int, int]:
    """Return failures and builds of the other groups in the same hours, (0, 0) if none."""
    if not place_of(subject):
        return 0, 0
    every = subject[-1:] if _has_kind(subject) else ()
    if _is_client(subject):
        every = _CLIENTS
    failures, builds = counts.of_subject(subject)
    all_failures, all_builds = counts.of_subject(every)
    return all_failures - failures, all_builds - builds
