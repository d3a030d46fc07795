"""Insights from stored sums, computed naively from raw events."""

from collections import Counter, defaultdict
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any

from asu_stats.conformance.history import client_of, percent, percentile, rounded, time_of
from tests.oracle import Oracle
from tests.support import CloudEvent

TTLS = (3600, 21600, 86400, 259200, 604800, 1209600, 2592000)


def cache(history: list[CloudEvent], start: date, end: date) -> dict[str, Any]:
    """Return `now` and `what_if` of `insights/cache`, and how many requests they rest on."""
    oracle = Oracle(history)
    oracle.window(start, end)
    totals = oracle.overview()["totals"]
    known = [e for e in oracle.accepted if e["data"].get("request_hash")]
    now = {
        "hit_rate": totals["cache_hit_rate"],
        "hits": totals["cache_hits"],
        "builds": totals["successful_builds"] + totals["failed_builds"],
    }
    if not known:
        return {"now": dict.fromkeys(now), "what_if": [], "requests": 0}
    times: defaultdict[str, list[datetime]] = defaultdict(list)
    for event in {event["id"]: event for event in history}.values():
        data = event["data"]
        if data.get("request_hash") and data.get("outcome", "rejected") != "rejected":
            times[data["request_hash"]].append(time_of(event))
    seconds = [b.seconds for b in oracle.finished if b.succeeded and b.seconds is not None]
    what_if = []
    for ttl in TTLS:
        hits = 0
        for of in times.values():
            of.sort()
            for place in range(1, len(of)):
                near = of[place] - of[place - 1] <= timedelta(seconds=ttl)
                hits += near and start <= of[place].date() <= end
        hours = rounded(Fraction(hits * sum(seconds), len(seconds) * 3600), 2) if seconds else None
        what_if.append(
            {
                "ttl_seconds": ttl,
                "hit_rate": percent(hits, len(known)),
                "builds_saved": hits,
                "build_hours_saved": hours,
            }
        )
    return {"now": now, "what_if": what_if, "requests": len(known)}


def starts(oracle: Oracle) -> dict[tuple[str, str], datetime]:
    """Return the earliest start of each build."""
    found: dict[tuple[str, str], datetime] = {}
    for event in oracle.events:
        if event["type"] == "asu.build.started":
            key = event["data"]["request_hash"], event["data"]["build_id"]
            found[key] = min(found.get(key, time_of(event)), time_of(event))
    return found


def queue(history: list[CloudEvent], start: date, end: date) -> dict[str, Any]:
    """Return how long requests waited, and the storms, of `insights/queue`."""
    oracle = Oracle(history)
    oracle.window(start, end)
    begun = starts(oracle)
    waits: list[tuple[int, int]] = []
    failing: defaultdict[tuple[str, str, date], Counter[str]] = defaultdict(Counter)
    for event in oracle.accepted + oracle.rejected:
        data, at = event["data"], time_of(event)
        request_hash, outcome = data.get("request_hash"), data["outcome"]
        if request_hash is None:
            continue
        key = request_hash, client_of(data.get("client"))[0], at.date()
        if outcome in {"rejected", "cached_failure"}:
            failing[key][outcome] += 1
        build = oracle.build_for(event) if outcome in {"queued", "joined"} else None
        if build is None:
            continue
        if build.failed:
            failing[key]["failure"] += 1
        started = begun.get((request_hash, build.build_id))
        if started is not None and build.end is not None and started <= build.end:
            micros = max(timedelta(), started - at) // timedelta(microseconds=1)
            waited = (Fraction(micros, 1_000_000) + Fraction(1, 2)).__floor__()
            waits.append((at.weekday() * 24 + at.hour, waited))
    seconds = [waited for _, waited in waits]
    storms: dict[tuple[str, str], Counter[str]] = {}
    since: dict[tuple[str, str], date] = {}
    for (request_hash, client, day), counts in failing.items():
        if sum(counts.values()) >= 10:
            storm = request_hash, client
            storms[storm] = storms.get(storm, Counter()) + counts
            since[storm] = min(day, since.get(storm, day))
    rows = [
        (-sum(counts.values()), *storm, since[storm].isoformat())
        for storm, counts in storms.items()
    ]
    return {
        "waited": {
            "p50_seconds": percentile(seconds, 50),
            "p95_seconds": percentile(seconds, 95),
            "max_seconds": max(seconds, default=None),
        },
        "by_hour": [
            percentile([waited for at, waited in waits if at == hour], 95) for hour in range(168)
        ],
        "requests": len(seconds),
        "storms": sorted(rows),
        "distinct_hashes": len({request_hash for request_hash, _ in storms}),
    }


def phases(history: list[CloudEvent], start: date, end: date) -> dict[str, Any]:
    """Return the phases of `insights/phases`, as tuples of builds, p50 and p95."""
    oracle = Oracle(history)
    oracle.window(start, end)
    said = {}
    for event in sorted(oracle.events, key=time_of, reverse=True):
        if event["type"] == "asu.build.finished":  # the earliest comes last
            key = event["data"]["request_hash"], event["data"]["build_id"]
            said[key] = event["data"]
    took: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for build in oracle.finished:
        data = said[build.request_hash or "", build.build_id]
        for phase, seconds in (data.get("phases") or {}).items() if build.succeeded else ():
            step = 1 if seconds < 10 else 10 if seconds < 100 else 100 if seconds < 1000 else 1000
            steps = (Fraction(str(seconds)) * 1000 / step + Fraction(1, 2)).__floor__()
            assert build.end is not None
            day = build.end.date().isoformat()
            for part in (("all",), ("version", build.version), ("day", day)):
                took[phase, *part].append(steps * step)
    return {
        "/".join(key): (len(of), *((percentile(of, p) or 0) / 1000 for p in (50, 95)))
        for key, of in took.items()
    }
