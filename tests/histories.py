"""Generated histories: raw CloudEvents around midnights, with everything that can go wrong."""

import os
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from tests.support import SOURCE, CloudEvent


def examples(usual: int) -> settings:
    """Return settings for so many examples, `SOAK` times as many where that is set."""
    return settings(
        max_examples=usual * int(os.environ.get("SOAK", "1")),
        deadline=None,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking would take minutes
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


# Five days around a change of month; the clock of the test stands on the last of them.
FIRST_DAY = datetime(2026, 9, 26, tzinfo=UTC)
DAYS = 5

HASHES = [f"hash-{number}" for number in range(6)]
NAMES = {
    request_hash: {
        "version": ("24.10.2", "23.05.5", "SNAPSHOT", "24.10.10", "23.05.5", "SNAPSHOT")[number],
        "target": ("ath79/generic", "x86/64")[number % 2],
        "profile": ("generic", "tplink_archer-c7-v5", "glinet_gl-mt6000")[number % 3],
        "diff_packages": number % 2 == 0,
    }
    for number, request_hash in enumerate(HASHES)
}
CLIENTS = ("luci/1", "luci/2", "owut/2026.1", " auc / 3 ", "", "/5", "asu-web", None)
PACKAGES: tuple[list[str] | None, ...] = (
    None,
    [],
    ["luci"],
    ["luci", "-dnsmasq", "dnsmasq-full"],
    ["dnsmasq-full", "luci", "+luci", "luci"],
    ["é", "tcpdump"],
)
FEATURES: dict[str, tuple[Any, ...]] = {
    "has_custom_repos": ("absent", None, True, False),
    "has_defaults": ("absent", None, True, False),
    "rootfs_size_mb": ("absent", None, 0, 64, 256, 257, 104_857),
}
PHASES = (0, 0.0004, 0.0005, 9.9994, 9.9995, 12.345, 99.994, 100.05, 1234.5)
ERRORS = (("build", "package_not_found"), ("build", "image_too_big"), ("network", "tls_failed"))
OUTCOMES = ("queued", "joined", "cache_hit", "cached_failure", "rejected")
STATUSES = ("success", "success", "failure", "timeout", "cancelled")


def moments() -> st.SearchStrategy[datetime]:
    """Moments of the days, many of them close to a midnight and many at the same instant."""
    near_midnight = st.builds(
        lambda day, micros: FIRST_DAY + timedelta(days=day, microseconds=micros),
        st.integers(1, DAYS - 1),
        st.sampled_from((-1_500_000, -1, 0, 1, 400_000, 1_500_000)),
    )
    anywhere = st.builds(
        lambda seconds, micros: FIRST_DAY + timedelta(seconds=seconds, microseconds=micros),
        st.integers(0, DAYS * 86400 - 90_000),
        st.sampled_from((0, 499_999, 500_000, 999_999)),
    )
    few = st.sampled_from([FIRST_DAY + timedelta(hours=7 * number) for number in range(12)])
    return st.one_of(near_midnight, anywhere, few)


def zoned(moment: datetime, offset: int) -> str:
    """Write the same instant with another offset."""
    return moment.astimezone(timezone(timedelta(minutes=offset))).isoformat()


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    request_hash = draw(st.sampled_from(HASHES))
    outcome = draw(st.sampled_from(OUTCOMES))
    data: dict[str, Any] = {
        "request_hash": request_hash,
        "outcome": outcome,
        **NAMES[request_hash],
    }
    client = draw(st.sampled_from(CLIENTS))
    if client is not None:
        data["client"] = client
    packages = draw(st.sampled_from(PACKAGES))
    if packages is not None:
        data["packages"] = packages
    for name, values in FEATURES.items():
        if (value := draw(st.sampled_from(values))) != "absent":
            data[name] = value
    if outcome == "rejected":
        data["error_category"], data["error_type"] = draw(st.sampled_from(ERRORS))
        if not draw(st.integers(0, 3)):
            del data["request_hash"]  # rejected before there was one
    return {"type": "asu.request.received", "time": draw(moments()), "data": data}


@st.composite
def builds(draw: st.DrawFn) -> list[dict[str, Any]]:
    request_hash = draw(st.sampled_from(HASHES))
    end = draw(moments())
    ids: dict[str, Any] = {
        "request_hash": request_hash,
        "build_id": f"b{draw(st.integers(0, 30))}",
    }
    if draw(st.booleans()):
        ids |= {"version": "own-version", "profile": "own-profile"}
    events = []
    if draw(st.integers(0, 4)):
        lasted = draw(st.sampled_from((0, 499_999, 500_000, 45_500_000, 61_000_000, 90_000_000)))
        start = end - timedelta(microseconds=lasted)
        events.append({"type": "asu.build.started", "time": start, "data": dict(ids)})
    if draw(st.integers(0, 5)):
        status = draw(st.sampled_from(STATUSES))
        data: dict[str, Any] = {**ids, "status": status}
        if status != "success":
            data["error_category"], data["error_type"] = draw(st.sampled_from(ERRORS))
        if draw(st.booleans()):
            data["duration_seconds"] = draw(st.integers(0, 200))
            data["phases"] = {"setup": draw(st.sampled_from(PHASES)), "building_image": 61}
        events.append({"type": "asu.build.finished", "time": end, "data": data})
    return events


@st.composite
def unhashed(draw: st.DrawFn) -> dict[str, Any]:
    """A request or a build as an importer finds it: without hash, perhaps without diff_packages."""
    if draw(st.booleans()):
        event = draw(requests())
        if draw(st.booleans()):
            del event["data"]["diff_packages"]
        if event["data"]["outcome"] == "queued" and draw(st.booleans()):
            event["data"]["outcome"] = "unknown"  # all that is known is that it was no hit
    else:
        event = draw(builds().filter(lambda events: len(events) == 2))[1]
        event["data"] |= NAMES[event["data"]["request_hash"]] if draw(st.booleans()) else {}
    event["data"].pop("request_hash", None)
    return event


@st.composite
def histories(draw: st.DrawFn, *, imported: bool = False) -> list[CloudEvent]:
    """A history: events with identity, in any order, some of them more than once.

    Some of `imported` ones have no request hash.
    """
    raw = draw(st.lists(requests(), max_size=25))
    for events in draw(st.lists(builds(), max_size=12)):
        raw += events
    _spread_ends(raw)
    for event in draw(st.lists(unhashed(), min_size=1, max_size=8)) if imported else ():
        if "build_id" in event["data"]:
            event["data"]["build_id"] = f"imported-{len(raw)}"
        raw.append(event)
    history = [
        {
            "specversion": "1.0",
            "id": f"event-{number}",
            "source": SOURCE,
            **event,
            "time": zoned(event["time"], draw(st.sampled_from((0, 0, 60, -480, 840)))),
        }
        for number, event in enumerate(raw)
    ]
    again = draw(st.lists(st.sampled_from(history), max_size=4)) if history else []
    return draw(st.permutations(history + again))


def _spread_ends(raw: list[dict[str, Any]]) -> None:
    """Let no two starts or ends of one build share an instant: which holds is no one's business."""
    taken = set()
    for event in raw:
        if event["type"] == "asu.request.received":
            continue
        data = event["data"]
        while (
            key := (event["type"], data["request_hash"], data["build_id"], event["time"])
        ) in taken:
            event["time"] += timedelta(microseconds=1)
        taken.add(key)
