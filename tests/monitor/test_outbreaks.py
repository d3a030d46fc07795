"""Outbreaks equal a plain reading of their definition, and every condition counts alone."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asu_stats.alert_rules import Rule
from asu_stats.chance import fisher
from asu_stats.events import UNKNOWN
from asu_stats.monitor.outbreaks import Counts, Finding, Subject, contains, find
from asu_stats.reports.recent import BuildGroups, Failure, Place
from tests.histories import examples

VERSIONS, TARGETS = ("1", "2", "3"), ("x86/64", "ath79/generic")
KINDS, CLIENTS = ("not_found", "too_big"), ("luci", "owut", UNKNOWN)


def rule(**changes: Any) -> Rule:
    given = {"above": 10.0, "recover": 5.0, "min_sample": 20, "chance": 1e-3} | changes
    return Rule(name="outbreak", watch="failure_rate", **given)


# The same by hand: every group is counted from the list of failures ------------------------------


def subjects() -> Iterable[Subject]:
    """Yield every group that there may be."""
    version = [(("version", each),) for each in VERSIONS]
    target = [(("target", each),) for each in TARGETS]
    kind = [(("error_type", each),) for each in KINDS]
    yield from [(), *version, *target, *kind]
    for pair in (version, target), (version, kind), (target, kind):
        yield from (first + second for first, second in product(*pair))
    yield from ((("client", each),) for each in CLIENTS if each != UNKNOWN)


def counted(
    subject: Subject,
    builds: Mapping[Place, int],
    succeeded: Mapping[str, int],
    failures: Sequence[Failure],
    *,
    others: bool = False,
) -> tuple[int, int]:
    """Return failures and builds of a group, or of the `others` beside it."""
    wanted = dict(subject)
    if "client" in wanted:
        mine = wanted["client"]
        clients = [each.client for each in failures] + [*Counter(succeeded).elements()]
        ended = [(each == mine) != others for each in clients if each != UNKNOWN]
        failed = [(each.client == mine) != others for each in failures if each.client != UNKNOWN]
        return sum(failed), sum(ended)
    place = {name: value for name, value in subject if name != "error_type"}
    if others and not place:
        return 0, 0

    def is_here(version: str, target: str) -> bool:
        return place.items() <= {"version": version, "target": target}.items()

    kind = wanted.get("error_type")
    return (
        sum(
            is_here(each.version, each.target) != others and kind in {None, each.error_type}
            for each in failures
        ),
        sum(count for where, count in builds.items() if is_here(*where) != others),
    )


def by_hand(
    rule: Rule,
    builds: Counter[Place],
    succeeded: Mapping[str, int],
    failures: Sequence[Failure],
    past: tuple[Counter[Place], Mapping[str, int], Sequence[Failure]],
    known: Sequence[Subject],
) -> list[Finding]:
    failures = list({(f.request_hash, f.error_type): f for f in failures}.values())
    kinds = len({f.error_type for f in past[2]})
    waiting, found = list(known), list[Finding]()
    while len(found) < 8:
        first = next_by_hand(rule, builds, succeeded, failures, past, waiting, kinds)
        if first is None:
            break
        found.append(first)
        waiting = [each for each in waiting if each != first.subject]
        gone = [f for f in failures if contains(first.subject, f)]
        failures = [f for f in failures if not contains(first.subject, f)]
        builds = builds - Counter((f.version, f.target) for f in gone)
    return found


def next_by_hand(
    rule: Rule,
    builds: Counter[Place],
    succeeded: Mapping[str, int],
    failures: Sequence[Failure],
    past: tuple[Counter[Place], Mapping[str, int], Sequence[Failure]],
    known: Sequence[Subject],
    kinds: int,
) -> Finding | None:
    findings: dict[Subject, Finding] = {}
    for subject in subjects():
        failed, ended = counted(subject, builds, succeeded, failures)
        beside = counted(subject, builds, succeeded, failures, others=True)
        before = counted(subject, *past)
        others = [each for each in (before, beside) if each[1] >= rule.min_sample]
        needs_others = subject and subject[0][0] == "client"
        if not ended or not others or (needs_others and beside[1] < rule.min_sample):
            continue
        chance = max(fisher(failed, ended, *each) for each in others)
        expected = max(bad / all_of_them for bad, all_of_them in others)
        findings[subject] = Finding(subject, failed, ended, expected, chance)
    still = [
        each
        for each in findings.values()
        if each.subject in known and not rule.has_recovered(each.points) and each.chance < 0.01
    ]
    firing = max(still, key=lambda each: each.excess, default=None)
    if firing and firing.subject:
        return firing
    places = [(), *((("version", v),) for v in VERSIONS), *((("target", t),) for t in TARGETS)]
    places += [(("version", v), ("target", t)) for v in VERSIONS for t in TARGETS]
    clients = [(("client", each),) for each in (*CLIENTS, "") if each != UNKNOWN]
    ended_of = [counted(each, builds, succeeded, failures)[1] for each in (*places, *clients[:-1])]
    all_clients = sum(
        count for each, count in Counter(f.client for f in failures).items() if each != UNKNOWN
    ) + sum(count for each, count in succeeded.items() if each != UNKNOWN)
    tried = sum(count >= 5 for count in (*ended_of, all_clients)) * (2 + kinds)
    beyond = [
        each
        for each in findings.values()
        if each.failures >= 5
        and each.builds >= rule.min_sample
        and rule.is_beyond(each.points)
        and each.failures > 2 * each.expected * each.builds
        and each.chance < 0.01
    ]
    certain = [each.excess for each in beyond if each.chance * tried < rule.chance]
    if not certain:
        return firing
    most = max(
        (each for each in beyond if each.excess >= 0.8 * max(certain)),
        key=lambda each: (len(each.subject), each.excess, each.subject),
    )
    return most if firing is None or most.excess >= 0.8 * firing.excess else firing


def grouped(
    builds: Mapping[Place, int], succeeded: Mapping[str, int], failures: Sequence[Failure]
) -> Counts:
    """Return the counts of the past as the monitor reads them."""
    kinds = Counter((f.version, f.target, f.error_type) for f in failures)
    failed = Counter(f.client for f in failures)
    clients = {
        each: (failed[each], failed[each] + succeeded.get(each, 0))
        for each in {*failed, *succeeded}
        if each != UNKNOWN
    }
    places = Counter((f.version, f.target) for f in failures)
    return Counts.of(BuildGroups(builds, places, [(*k, n) for k, n in kinds.items()], clients))


PLACES = list(product(VERSIONS, TARGETS))
FAILURES = st.builds(
    Failure,
    st.sampled_from(VERSIONS),
    st.sampled_from(TARGETS),
    st.sampled_from(KINDS),
    st.integers(0, 60).map(str),
    st.sampled_from(CLIENTS),
)
History = tuple[Counter[Place], dict[str, int], list[Failure]]


@st.composite
def histories(draw: st.DrawFn, *, most: int) -> History:
    """Builds by place, successes by client, and failures, many of them of one kind and place."""
    failures = draw(st.lists(FAILURES, max_size=10))
    cause = draw(FAILURES)
    many = draw(st.integers(0, most))
    fixed = draw(st.sets(st.sampled_from(("version", "target", "error_type", "client"))))
    for number in range(many):
        each = Failure(
            VERSIONS[number % 3],
            TARGETS[number % 2],
            KINDS[number // 3 % 2],
            f"many{number}",
            CLIENTS[number // 2 % 3],
        )
        failures.append(each._replace(**{name: getattr(cause, name) for name in fixed}))
    failures += draw(st.lists(st.sampled_from(failures), max_size=3)) if failures else []
    builds = Counter((f.version, f.target) for f in failures)
    for place in PLACES:
        builds[place] += draw(st.sampled_from((0, 3, 15, 20, 40, 100)))
    known = draw(st.sets(st.sampled_from(CLIENTS)))  # others have no success
    succeeded = {each: draw(st.sampled_from((0, 5, 20, 60))) for each in sorted(known)}
    return builds, succeeded, failures


@given(
    now=histories(most=60),
    past=histories(most=10),
    known=st.lists(st.sampled_from(list(subjects())), max_size=2, unique=True),
    chance=st.sampled_from((1e-6, 1e-4, 1e-2)),
    recover=st.sampled_from((0.0, 5.0, 10.0)),
)
@examples(40)
def test_findings_equal_the_definition(
    now: History, past: History, known: list[Subject], chance: float, recover: float
) -> None:
    chosen = rule(chance=chance, recover=recover)
    # Without hash a failure is another request each time.
    ended, succeeded, failures = now
    different = {(f.request_hash, f.error_type): f for f in failures}
    repeated = Counter((f.version, f.target) for f in failures)
    repeated -= Counter((f.version, f.target) for f in different.values())
    found = find(chosen, ended, succeeded, failures, grouped(*past), known)
    expected = by_hand(chosen, ended - repeated, succeeded, failures, past, known)
    assert [each.subject for each in found] == [each.subject for each in expected]
    for each, other in zip(found, expected, strict=True):
        assert (each.failures, each.builds) == (other.failures, other.builds)
        assert each.expected == pytest.approx(other.expected)


# Each condition alone ----------------------------------------------------------------------------


def failed(count: int, *, first: int = 0, **names: str) -> list[Failure]:
    usual = Failure("1", "x86/64", "not_found", "", UNKNOWN)
    return [usual._replace(request_hash=str(first + n), **names) for n in range(count)]


def found(
    failures: list[Failure],
    builds: int,
    past: tuple[int, int] = (10, 1000),
    *,
    known: Sequence[Subject] = (),
    kinds: int = 1,
    **changes: Any,
) -> list[Subject]:
    """Return the findings on one version and target, compared with its past (failures, builds)."""
    before = Counts.of(
        BuildGroups(
            {("1", "x86/64"): past[1]},
            {("1", "x86/64"): past[0]},
            [
                (
                    "1",
                    "x86/64",
                    f"kind{number}" if number else "not_found",
                    0 if number else past[0],
                )
                for number in range(kinds)
            ],
            {},
        )
    )
    ended = {("1", "x86/64"): builds}
    findings = find(rule(**changes), ended, {}, failures, before, known)
    return [each.subject for each in findings]


def test_fewer_builds_than_the_sample_are_not_judged() -> None:
    assert found(failed(10), 20)
    assert not found(failed(10), 19)
    assert found(failed(10), 19, min_sample=19)


def test_a_past_smaller_than_the_sample_is_no_measure() -> None:
    assert found(failed(10), 20, (0, 20), chance=0.1)
    assert not found(failed(10), 20, (0, 19), chance=0.1)


def test_five_failures_at_least_each_of_another_request() -> None:
    assert found(failed(5), 20, (0, 10_000))
    assert not found(failed(4), 20, (0, 10_000))
    assert not found([*failed(4), *failed(1)], 20, (0, 10_000))
    assert found([*failed(4), *failed(1, error_type="too_big")], 20, (0, 10_000))
    nameless = [each._replace(request_hash="") for each in failed(5)]
    assert found(nameless, 20, (0, 10_000))


def test_many_groups_make_a_finding_less_certain() -> None:
    """The same failures are significant with few possible groups, not with many."""
    chance = fisher(10, 40, 50, 1000)
    # All builds, the version, the target and both: four groups, each for any kind and each kind.
    for kinds in (1, 50):
        tried = 4 * (2 + kinds)
        limit = chance * tried
        assert found(failed(10), 40, (50, 1000), kinds=kinds, chance=limit * 1.01)
        assert not found(failed(10), 40, (50, 1000), kinds=kinds, chance=limit * 0.99)


def test_more_than_twice_as_many_failures_as_expected() -> None:
    assert found(failed(401), 1000, (2000, 10_000))
    assert not found(failed(400), 1000, (2000, 10_000))


def test_the_limit_counts_above_what_is_expected() -> None:
    past = (1000, 100_000)
    assert found(failed(111), 1000, past)
    assert not found(failed(110), 1000, past)
    assert found(failed(110), 1000, past, above=9.9)


def test_a_known_group_stays_until_it_has_recovered() -> None:
    known = [(("version", "1"),)]
    past = (1000, 100_000)
    assert found(failed(61), 1000, past, known=known) == known
    assert not found(failed(60), 1000, past, known=known)
    assert not found(failed(61), 1000, past)


def test_a_client_is_judged_by_its_own_requests() -> None:
    """It fails no more often than the others, although it fails most."""
    failures = [*failed(40, client="luci"), *failed(10, first=100, client="owut")]
    before = Counts.of(BuildGroups({}, {}, [], {}))
    ended = {("1", "x86/64"): 2050}
    for luci, expected in ((1600, []), (60, [(("client", "luci"),)])):
        succeeded = {"luci": luci, "owut": 400, UNKNOWN: 5}
        assert [
            (each.subject, each.failures, each.builds)
            for each in find(rule(), ended, succeeded, failures, before, ())
        ] == [(subject, 40, 40 + luci) for subject in expected]


def test_no_more_than_eight_findings() -> None:
    versions = [str(number) for number in range(12)]
    failures = [
        each
        for number, version in enumerate(versions)
        for each in failed(400, first=1000 * number, version=version)
    ]
    ended = {(version, "x86/64"): 2000 for version in versions} | {("calm", "x86/64"): 200_000}
    before = Counts.of(BuildGroups(dict.fromkeys(ended, 10_000), {}, [], {}))
    known: list[Subject] = [(("version", version),) for version in versions]
    subjects = [each.subject for each in find(rule(), ended, {}, failures, before, known)]
    assert len(subjects) == 8
    assert set(subjects) < set(known)
