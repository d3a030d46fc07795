"""Outbreaks: groups in which far more builds fail than before and elsewhere.

Groups are: all builds, those of a version, a target or an error type, or of two of
these. One cause shows in many groups. So the group that explains most is found, its failures
are removed, and the rest is examined again: a broken version is one finding, not forty.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from asu_stats.alert_rules import Rule
from asu_stats.chance import fisher
from asu_stats.reports.recent import BuildGroups, Failure, Place

# A group: (dimension, value) pairs in the order of the dimensions; empty: all builds.
Subject: TypeAlias = tuple[tuple[str, str], ...]

_MIN_FAILURES: Final = 5  # minimum number of failures, each of another request
_MIN_RATIO: Final = 2.0  # minimum ratio of failures to expected failures
_MIN_EXPLAINED: Final = (
    0.8  # share of the larger group's failures that a smaller one must explain to be the cause
)
_MAX_FINDINGS: Final = 8
_STILL_SIGNIFICANT: Final = 0.01  # significance level for alerts that fire already


@dataclass(frozen=True, slots=True)
class Finding:
    """A group that fails too often."""

    subject: Subject
    failures: int  # of different requests
    builds: int
    expected: float  # rate: that of its past or of its siblings, whichever is higher
    chance: float  # p-value, corrected for the number of groups

    @property
    def points(self) -> float:
        """Percentage points of failures above what is expected."""
        return 100 * (self.failures / self.builds - self.expected)

    @property
    def excess(self) -> float:
        """Failures above what is expected."""
        return self.failures - self.builds * self.expected


@dataclass(frozen=True, slots=True)
class _Counts:
    """Builds by place, and failures by place and error type, each summed over every group."""

    builds: Mapping[Subject, int]
    failures: Mapping[Subject, int]

    @classmethod
    def of(cls, groups: BuildGroups) -> "_Counts":
        builds: Counter[Subject] = Counter()
        failures: Counter[Subject] = Counter()
        for place, count in groups.ended.items():
            builds.update(dict.fromkeys(_places(*place), count))
        for place, count in groups.failed.items():
            failures.update(dict.fromkeys(_places(*place), count))
        for version, target, kind, count in groups.kinds:
            failures.update(dict.fromkeys(_kinds(version, target, kind), count))
        return cls(builds, failures)

    def of_subject(self, subject: Subject) -> tuple[int, int]:
        """Return failures and builds of a group. For an error type, all builds of its place count.

        A build fails with one type only, so a group of errors is a part of its place.
        """
        return self.failures.get(subject, 0), self.builds.get(place_of(subject), 0)


def _places(version: str, target: str) -> list[Subject]:
    return [
        (),
        (("version", version),),
        (("target", target),),
        (("version", version), ("target", target)),
    ]


def _kinds(version: str, target: str, kind: str) -> list[Subject]:
    of_kind = ("error_type", kind)
    return [(of_kind,), (("version", version), of_kind), (("target", target), of_kind)]


def place_of(subject: Subject) -> Subject:
    """Return a group without its error type."""
    return tuple(pair for pair in subject if pair[0] != "error_type")


def contains(subject: Subject, failure: Failure) -> bool:
    """Tell whether a failure is in a group."""
    return all(getattr(failure, dimension) == value for dimension, value in subject)


def find(
    rule: Rule,
    ended: Mapping[Place, int],
    failures: Sequence[Failure],
    past: BuildGroups,
    known: Iterable[Subject],
) -> list[Finding]:
    """Return the groups in which too many builds fail, those already `known` first.

    `ended` counts all finished builds, including `failures`. A known group is reported until it has
    recovered; a new one must exceed the limit and be significant.
    """
    different = _of_different_requests(failures)
    repeated = _by_place(failures) - _by_place(different)
    builds = Counter(ended) - repeated
    before = _Counts.of(past)
    found: list[Finding] = []
    waiting = list(known)
    while len(found) < _MAX_FINDINGS:
        counts = _Counts.of(_grouped(builds, different))
        finding = _next_known(rule, counts, before, waiting) or _largest(rule, counts, before)
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


def _grouped(builds: Mapping[Place, int], failures: Sequence[Failure]) -> BuildGroups:
    kinds = Counter((each.version, each.target, each.error_type) for each in failures)
    return BuildGroups(
        builds, _by_place(failures), [(*names, count) for names, count in kinds.items()]
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


def _next_known(
    rule: Rule, counts: _Counts, before: _Counts, known: Sequence[Subject]
) -> Finding | None:
    findings = (_finding(rule, subject, counts, before, 1) for subject in known)
    still = [
        each
        for each in findings
        if each and not rule.has_recovered(each.points) and each.chance < _STILL_SIGNIFICANT
    ]
    return max(still, key=lambda each: each.excess, default=None)


def _largest(rule: Rule, counts: _Counts, before: _Counts) -> Finding | None:
    # Every group that is large enough could have been found, so it counts as tried.
    tried = sum(count >= _MIN_FAILURES for count in counts.builds.values())
    kinds = len({subject[-1] for subject in before.failures if _has_kind(subject)}) + 1
    tried *= 1 + kinds
    candidates = [subject for subject, count in counts.failures.items() if count >= _MIN_FAILURES]
    findings = (_finding(rule, subject, counts, before, tried) for subject in candidates)
    beyond = [
        each
        for each in findings
        if each
        and each.builds >= rule.min_sample
        and rule.is_beyond(each.points)
        and each.failures > _MIN_RATIO * each.expected * each.builds
        and each.chance < rule.chance
    ]
    most = max((each.excess for each in beyond), default=0.0)
    explaining = [each for each in beyond if each.excess >= _MIN_EXPLAINED * most]
    return max(
        explaining,
        key=lambda each: (len(each.subject), each.excess, each.subject),
        default=None,
    )


def _has_kind(subject: Subject) -> bool:
    return bool(subject) and subject[-1][0] == "error_type"


def _finding(
    rule: Rule, subject: Subject, counts: _Counts, before: _Counts, tried: int
) -> Finding | None:
    """Compare a group with its past and its siblings; `None` if there are neither."""
    failures, builds = counts.of_subject(subject)
    if not builds:
        return None
    rates, chances = [], []
    for others in (before.of_subject(subject), _siblings(subject, counts)):
        other_failures, other_builds = others
        if other_builds >= rule.min_sample:
            rates.append(other_failures / other_builds)
            chances.append((other_failures, other_builds))
    if not rates:
        return None
    finding = Finding(subject, failures, builds, max(rates), 1.0)
    if not rule.is_beyond(finding.points) and tried > 1:
        return finding  # most groups need no significance test
    chance = max(fisher(failures, builds, *others) for others in chances)
    return replace(finding, chance=min(1.0, chance * tried))


def _siblings(subject: Subject, counts: _Counts) -> tuple[int, int]:
    """Return failures and builds of the other groups in the same hours, (0, 0) if none."""
    if not place_of(subject):
        return 0, 0
    kind = subject[-1:] if _has_kind(subject) else ()
    failures, builds = counts.of_subject(subject)
    all_failures, all_builds = counts.of_subject(kind)
    return all_failures - failures, all_builds - builds
