"""Failures, fingerprints and packages: equal to naive counts, with the right culprit."""

import random
import zlib
from collections import Counter, defaultdict
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given

from asu_stats import fingerprints
from asu_stats.conformance.history import Build, Event, History, client_of, time_of
from asu_stats.reports.insights import culprits
from asu_stats.reports.release_days import shipped
from asu_stats.store.archive import retention
from asu_stats.store.archive.expiry import Policy
from asu_stats.store.blocks import cached, packer
from asu_stats.store.details import error_fingerprints
from asu_stats.store.verification import verify
from tests import histories
from tests.support import NOW, CloudEvent, Stats, build, request

TODAY = date(2026, 9, 30)
WINDOWS = [(date(2026, 9, 1), TODAY), (date(2026, 9, 27), date(2026, 9, 28)), (TODAY, TODAY)]
TEXTS = (
    None,
    "Impossible package selection: missing (vim)",
    "Error: Impossible package selection: missing (tcpdump, nano)",
    "x.bin is too big: 25 > 11",
    "[Errno 28] No space left on device: '/srv/store/8ea8ae6f'",
)


class Naive(History):
    """Failures counted one by one."""

    def failures(self) -> list[dict[str, Any]]:
        found = [self._failure(e, time_of(e).date(), e["data"]) for e in self.rejected]
        return found + [
            self._failure(self._end_of(ended), ended.end.date(), vars(ended))
            for ended in self.finished
            if ended.failed and ended.end is not None
        ]

    def _failure(self, event: Event, day: date, names: dict[str, Any]) -> dict[str, Any]:
        data = event["data"]
        kind = data["error_category"], data["error_type"]
        text = data.get("error_message")
        known = fingerprints.of(text, *kind)
        if event["type"] == "asu.request.received":
            client = client_of(data.get("client"))[0]
        else:
            client = self._client(event)
        return {
            "day": day.isoformat(),
            "category": kind[0],
            "type": kind[1],
            **known._asdict(),
            "package": fingerprints.package_of(text),
            **{name: names.get(name, "unknown") for name in ("version", "target", "profile")},
            "request_hash": data.get("request_hash"),
            "client": client,
        }

    def _end_of(self, ended: Build) -> Event:
        mine = [
            e
            for e in self.events
            if e["type"] == "asu.build.finished"
            and e["data"]["build_id"] == ended.build_id
            and e["data"].get("request_hash") == ended.request_hash
        ]
        return min(mine, key=time_of)

    def _client(self, event: Event) -> str:
        waited = [
            (time_of(e), *client_of(e["data"].get("client")))
            for e in self.all_requests
            if e["data"]["outcome"] in {"queued", "joined"}
            and e["data"].get("request_hash")
            and (awaited := self.build_for(e))
            and awaited.build_id == event["data"]["build_id"]
            and awaited.request_hash == event["data"].get("request_hash")
        ]
        return min(waited)[1] if waited else "unknown"


def with_texts(history: list[CloudEvent]) -> list[CloudEvent]:
    """Let failures say something, each event always the same."""
    for event in history:
        if "error_type" in event["data"]:
            text = TEXTS[zlib.crc32(event["id"].encode()) % len(TEXTS)]
            if text:
                event["data"]["error_message"] = text
    return history


def expected(history: Naive, start: date, end: date) -> dict[str, Any]:
    everything = history.window(date(2000, 1, 1), date(2100, 1, 1)).failures()
    found = history.window(start, end).failures()
    days = defaultdict(list)
    for failure in everything:
        days[failure["fingerprint"]].append(failure["day"])
    listed = []
    for name in {failure["fingerprint"] for failure in found}:
        mine = [failure for failure in found if failure["fingerprint"] == name]
        listed.append(
            {
                "fingerprint": name,
                "pattern": mine[0]["pattern"],
                "count": len(mine),
                "first_seen": min(days[name]),
                "last_seen": max(days[name]),
                "versions": {failure["version"] for failure in mine},
                "devices": len({(failure["target"], failure["profile"]) for failure in mine}),
            }
        )
    packages = Counter(
        (f["package"], f["version"][:5] if "." in f["version"] else f["version"])
        for f in found
        if f["package"]
    )
    return {
        "failures": len(found),
        "fingerprints": sorted(listed, key=lambda row: (-row["count"], row["fingerprint"])),
        "packages": sorted((-n, *key) for key, n in packages.items()),
        "by client": Counter(failure["client"] for failure in found),
        "hit": {
            kind: len({f["request_hash"] for f in found if f["type"] == kind} - {None})
            for kind in {failure["type"] for failure in found}
        },
    }


def answers(stats: Stats, start: date, end: date) -> dict[str, Any]:
    window = {"start": start.isoformat(), "end": end.isoformat()}
    failures = stats.get("insights/failures", **window)
    listed = stats.get("insights/fingerprints", **window)
    packages = stats.get("insights/packages", **window)
    total = failures["failures"] or 0
    assert stats.get("errors", **window)["total_errors"] == total
    assert sum(row["failures"] for row in failures["by_culprit"]) == total
    assert sum(row["failures"] for row in failures["groups"]) == total
    shown = ("fingerprint", "pattern", "count", "first_seen", "last_seen", "devices")
    by_client = {}
    for client in ("luci", "owut", "auc", "unknown", "asu-web"):
        answer = stats.get("insights/failures", client=client, **window)
        if answer["failures"]:
            by_client[client] = answer["failures"]
    for row in listed["fingerprints"]:
        one = stats.get(f"insights/fingerprints/{row['fingerprint']}", **window)
        assert {name: one[name] for name in row} == row
        assert sum(day["count"] for day in one["timeseries"]) == row["count"]
    hit: dict[str, int] = {}
    for row in stats.get("errors/types", **window):
        (group,) = [
            stats.get("insights/failures", type=row["type"], category=row["category"], **window)
        ]
        assert group["failures"] == row["count"]
        hit[row["type"]] = sum(each["requests_hit"] for each in group["groups"])
    return {
        "failures": total,
        "fingerprints": [
            {name: row[name] for name in shown} | {"versions": set(row["versions"])}
            for row in listed["fingerprints"]
        ],
        "packages": sorted(
            (-row["failures"], row["package"], row["branch"]) for row in packages["packages"]
        ),
        "by client": by_client,
        "hit": hit,
        "examples": {row["fingerprint"]: row["example"] for row in listed["fingerprints"]},
    }


@given(history=histories.histories(imported=True), seed=histories.st.integers(0, 2**32))
@histories.examples(4)
def test_figures_equal_naive_counts_in_any_order(
    stats: Stats, history: list[CloudEvent], seed: int
) -> None:
    history = with_texts(history)
    stats.clear()
    for start in range(0, len(history), 3):
        stats.bring_in(*history[start : start + 3])
    naive = Naive(history)
    first = {window: answers(stats, *window) for window in WINDOWS}
    for window, answer in first.items():
        wanted = expected(naive, *window)
        hit = wanted.pop("hit")  # a hash may be in groups of several fingerprints
        assert {k: v for k, v in answer.items() if k not in {"hit", "examples"}} == wanted
        assert all(answer["hit"][kind] >= n for kind, n in hit.items())
    assert list(verify.differences(stats.engine)) == []
    retention.run(stats.engine, Policy(1, 1, 1, 3650, latest=1), TODAY)
    packer.pack(stats.engine, TODAY)
    cached.forget(stats.engine)
    assert {window: answers(stats, *window) for window in WINDOWS} == first
    again = list(history)
    random.Random(seed).shuffle(again)
    stats.clear()
    stats.bring_in(*again)
    assert {window: answers(stats, *window) for window in WINDOWS} == first
    verify.rebuild(stats.engine)
    assert {window: answers(stats, *window) for window in WINDOWS} == first


def test_an_empty_history_says_that_it_knows_nothing(sqlite_stats: Stats) -> None:
    failures = sqlite_stats.get("insights/failures")
    assert failures["basis"]["enough"] is False
    assert (failures["failures"], failures["by_culprit"], failures["groups"]) == (None, [], [])
    assert sqlite_stats.get("insights/fingerprints")["fingerprints"] == []
    assert sqlite_stats.get("insights/packages")["packages"] == []


# Planted truths -----------------------------------------------------------------------------------

CLIENTS = ("luci/24.1", "luci/25.2", "owut/2026.1", "auc/3.0")


def quiet(seed: int, requests: int = 400) -> list[CloudEvent]:
    """Return builds of 20 days of which 4% fail, for reasons of their users."""
    rng = random.Random(seed)
    events: list[CloudEvent] = []
    for number in range(requests):
        end = NOW - timedelta(hours=rng.randrange(480))
        data = {
            "version": rng.choice(("24.10.2", "23.05.5", "SNAPSHOT")),
            "target": (target := rng.choice(("ath79/generic", "x86/64", "ramips/mt7621"))),
            "profile": f"{target[:3]}-{rng.randrange(4)}",
            "client": rng.choice(CLIENTS),
            "packages": rng.sample(("luci", "vim", "tcpdump", "nano", "htop"), 2),
        }
        name = f"q{seed}-{number}"
        events.append(request(name, end - timedelta(minutes=2), **data))
        worker = f"worker-{rng.randrange(3)}"
        if rng.random() < 0.04:
            text = f"x{number}.bin is too big: {number} > 1"
            events += build(name, "failure", end=end, worker_id=worker, error_message=text)
        else:
            events += build(name, end=end, worker_id=worker)
    return events


def failing(count: int, text: str, worker: str = "worker-0", **data: Any) -> list[CloudEvent]:
    """Return builds that fail today; `{n}` in a value is the number of the build."""
    events: list[CloudEvent] = []
    for number in range(count):
        names = {k: v.format(n=number) if isinstance(v, str) else v for k, v in data.items()}
        names.setdefault("client", CLIENTS[number % len(CLIENTS)])
        name = f"f-{zlib.crc32(text.encode())}-{number}"
        events.append(request(name, NOW - timedelta(minutes=2), **names))
        events += build(name, "failure", worker_id=worker, error_message=text)
    return events


def culprit_of(answer: dict[str, Any], kind: str) -> str:
    (found,) = {row["culprit"] for row in answer["groups"] if row["type"] == kind}
    return str(found)


def test_a_package_that_vanished_from_a_branch(sqlite_stats: Stats) -> None:
    text = "Impossible package selection: missing (kmod-gone)"
    sqlite_stats.record(quiet(1), failing(8, text, version="24.10.2", profile="device-{n}"))
    answer = sqlite_stats.get("insights/failures")
    assert culprit_of(answer, "package_not_found") == "packages"
    (group,) = [row for row in answer["groups"] if row["type"] == "package_not_found"]
    assert group["failures"] == group["devices"] == group["requests_hit"] == 8
    assert group["reason"].startswith("kmod-gone of 24.10 fails for 8 devices")
    assert group["example"] == text
    (package,) = sqlite_stats.get("insights/packages")["packages"]
    assert (package["package"], package["branch"]) == ("kmod-gone", "24.10")
    assert package["failing_today"] is True
    sqlite_stats.now = NOW + timedelta(days=1)
    assert sqlite_stats.get("insights/packages")["packages"][0]["failing_today"] is False


def test_of_packages_asked_for_together_the_one_that_errors_name(sqlite_stats: Stats) -> None:
    text = "Impossible package selection: missing (wsdd2)"
    together = failing(8, text, packages=["luci-app-samba4", "wsdd2"], profile="device-{n}")
    asked = request("alone", NOW - timedelta(minutes=2), packages=["wsdd2"])
    sqlite_stats.record(quiet(1), together, asked, build("alone"))
    (row,) = sqlite_stats.get("insights/failures")["over_represented"]
    assert (row["dimension"], row["value"]) == ("package", "wsdd2")
    assert (row["failures"], row["builds"]) == (8, 9)


def test_a_client_that_asks_for_a_removed_package(sqlite_stats: Stats) -> None:
    text = "Impossible package selection: missing (auc)"
    sqlite_stats.record(
        quiet(2), failing(8, text, client="luci/99", profile="device-{n}", version="SNAPSHOT")
    )
    answer = sqlite_stats.get("insights/failures")
    assert culprit_of(answer, "package_not_found") == "client"
    found = [(row["dimension"], row["value"]) for row in answer["over_represented"]]
    assert found == [("client_version", "99")]
    (row,) = answer["over_represented"]
    assert (row["client"], row["failures"], row["builds"]) == ("luci", 8, 8)
    assert row["failure_rate"] == 100.0
    assert row["p_value"] < 1e-6


def test_nothing_but_rejected_requests(stats: Stats) -> None:
    rejected = {"outcome": "rejected", "error_type": "package_not_found", "client": "luci/99"}
    stats.record([request(f"r{n}", error_category="validation", **rejected) for n in range(30)])
    answer = stats.get("insights/failures")
    assert (answer["failures"], answer["groups_total"]) == (30, 1)
    assert answer["groups"][0]["requests_hit"] == 30


def test_one_user_who_tries_again_is_the_user(sqlite_stats: Stats) -> None:
    text = "Impossible package selection: missing (typo)"
    asked = request("same", NOW - timedelta(minutes=2))
    attempts = [build("same", "failure", error_message=text) for _ in range(12)]
    sqlite_stats.record(quiet(3), asked, *attempts)
    answer = sqlite_stats.get("insights/failures")
    assert culprit_of(answer, "package_not_found") == "user"
    (group,) = [row for row in answer["groups"] if row["type"] == "package_not_found"]
    assert (group["failures"], group["requests_hit"]) == (12, 1)
    assert answer["over_represented"] == []


def test_a_worker_with_a_full_disk(sqlite_stats: Stats) -> None:
    text = "[Errno 28] No space left on device"
    sqlite_stats.record(quiet(4), failing(12, text, worker="worker-9", profile="device-{n}"))
    answer = sqlite_stats.get("insights/failures")
    assert culprit_of(answer, "disk_full") == "server"
    assert [(row["dimension"], row["value"]) for row in answer["over_represented"]] == [
        ("worker", "worker-9")
    ]


def test_two_causes_are_two_rows(sqlite_stats: Stats) -> None:
    sqlite_stats.record(
        quiet(5),
        failing(20, "No space left on device", worker="worker-9", profile="device-{n}"),
        failing(15, "x.itb is too big: 2 > 1", profile="tiny", target="ath79/tiny"),
        [e for n in range(60) for e in build(f"fine-{n}", worker_id="worker-9")],
    )
    rows = sqlite_stats.get("insights/failures")["over_represented"]
    assert {(row["dimension"], row["value"]) for row in rows} == {
        ("worker", "worker-9"),
        ("target", "ath79/tiny"),
    }
    assert [row["p_value"] for row in rows] == sorted(row["p_value"] for row in rows)


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_nothing_stands_out_in_a_quiet_history(sqlite_stats: Stats, seed: int) -> None:
    sqlite_stats.record(quiet(seed))
    answer = sqlite_stats.get("insights/failures")
    assert answer["over_represented"] == []
    assert {row["culprit"] for row in answer["by_culprit"] if row["failures"]} == {"user"}
    filtered = sqlite_stats.get("insights/failures", version="24.10.2", client="luci")
    assert filtered["over_represented"] == []
    assert 0 < filtered["failures"] < answer["failures"]


# Fingerprints -------------------------------------------------------------------------------------


def test_one_text_with_many_names_is_one_fingerprint(sqlite_stats: Stats) -> None:
    for number in range(5):
        text = f"Impossible package selection: missing (package-{number})"
        sqlite_stats.record(failing(1, text, version=f"24.10.{number}"))
    (row,) = sqlite_stats.get("insights/fingerprints")["fingerprints"]
    assert row["pattern"] == "impossible package selection: missing (<package>)"
    assert (row["count"], row["devices"]) == (5, 1)
    assert row["versions"] == [f"24.10.{number}" for number in range(5)]
    one = sqlite_stats.get(f"insights/fingerprints/{row['fingerprint']}")
    assert one["top_versions"][0] == {"version": "24.10.0", "count": 1}
    assert one["top_profiles"] == [
        {"target": "ath79/generic", "profile": "tplink_archer-c7-v5", "count": 5}
    ]
    assert {each["fingerprint"] for each in one["examples"]} == {row["fingerprint"]}
    assert len(one["examples"]) == 5
    listed = sqlite_stats.get("errors/examples")
    assert {each["fingerprint"] for each in listed} == {row["fingerprint"]}


def test_new_since_means_ever(sqlite_stats: Stats) -> None:
    old, new = "x.bin is too big: 2 > 1", "No space left on device"
    past = [e | {"time": (NOW - timedelta(days=90)).isoformat()} for e in failing(1, old)]
    sqlite_stats.record(past, [e | {"id": f"{e['id']}-2"} for e in failing(1, old)])
    sqlite_stats.record(failing(1, new))
    (row,) = sqlite_stats.get("insights/fingerprints", new_since="2026-09-20")["fingerprints"]
    assert row["type"] == "disk_full"
    assert len(sqlite_stats.get("insights/fingerprints", type="disk_full")["fingerprints"]) == 1
    assert sqlite_stats.get("insights/fingerprints", version="1.0")["fingerprints"] == []
    bad = sqlite_stats.client.get("/api/v1/stats/insights/fingerprints?new_since=yesterday")
    assert bad.status_code == 422
    assert "new_since" in bad.json()["detail"]


def test_new_since_accepts_a_release(sqlite_stats: Stats) -> None:
    day = shipped()["24.10.7"]
    texts = {-1: "x.bin is too big: 2 > 1", 0: "No space left on device", 9: "Killed"}
    for days, text in texts.items():
        time = f"{day + timedelta(days=days)}T12:00:00Z"
        sqlite_stats.record([event | {"time": time} for event in failing(1, text)])
    window = {"start": str(day - timedelta(days=30)), "end": str(day + timedelta(days=30))}

    def new_since(value: str) -> dict[str, str]:
        found = sqlite_stats.get("insights/fingerprints", new_since=value, **window)
        return {row["type"]: row["first_seen"] for row in found["fingerprints"]}

    assert len(new_since("24.10.7")) == 2
    assert new_since("24.10.7") == new_since(str(day))
    assert new_since("1.0.0") == {}  # in no list and never requested
    at = NOW.replace(year=day.year, month=day.month, day=day.day) + timedelta(days=3)
    sqlite_stats.record([request("r", at, version="1.0.0")])
    assert new_since("1.0.0") == new_since(str(day + timedelta(days=3)))
    assert len(new_since("1.0.0")) == 1
    for wrong in ("24.10", "24.10.7-rc1", "SNAPSHOT", "2026-02-30", ""):
        address = f"/api/v1/stats/insights/fingerprints?new_since={wrong}"
        bad = sqlite_stats.client.get(address)
        assert bad.status_code == 422, wrong
        assert "a day as YYYY-MM-DD, or a release" in bad.json()["detail"]


def test_an_unknown_fingerprint_is_not_found(sqlite_stats: Stats) -> None:
    answer = sqlite_stats.client.get("/api/v1/stats/insights/fingerprints/0123456789abcdef")
    assert answer.status_code == 404
    assert "0123456789abcdef" in answer.json()["detail"]


def test_a_corrected_end_takes_its_example_along(stats: Stats) -> None:
    later = build("h", "failure", build_id="b", error_message="x.bin is too big: 2 > 1")[1]
    other = build("i", "failure", build_id="c", error_message="y.bin is too big: 9 > 8")[1]
    earlier = build(
        "h",
        "failure",
        build_id="b",
        error_message="No space left on device",
        end=NOW - timedelta(hours=1),
    )[1]
    stats.record(later, other)
    stats.record(earlier)
    rows = {row["type"]: row for row in stats.get("insights/fingerprints")["fingerprints"]}
    assert rows["image_too_big"]["example"] == "y.bin is too big: 9 > 8"
    assert rows["image_too_big"]["count"] == 1
    assert rows["disk_full"]["example"] == "No space left on device"


def test_too_many_fingerprints_of_a_type_are_others(
    sqlite_stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(error_fingerprints, "MAX_PER_TYPE", 3)
    words = ("apple", "pear", "plum", "cherry", "quince")
    for word in words:
        sqlite_stats.record(failing(1, f"something about {word}"))
    sqlite_stats.record(failing(1, "No space left on device"))
    rows = sqlite_stats.get("insights/fingerprints")["fingerprints"]
    assert sorted(row["count"] for row in rows) == [1, 1, 1, 1, 2]
    assert rows[0]["pattern"] == "unknown (all others)"
    assert sqlite_stats.get("insights/failures")["failures"] == 6
    assert list(verify.differences(sqlite_stats.engine)) == []


def test_the_share_in_a_reason_is_rounded_half_up() -> None:
    reason = culprits._reason("luci", 9, 10, 1, 8)
    assert reason == "9 of 10 failing requests come from luci, which sends 13% of all."
