"""Figures of the insights that stored sums answer, computed naively from raw events."""

from collections import defaultdict
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any

from asu_stats.conformance.history import percent, rounded, when
from tests.oracle import Oracle
from tests.support import CloudEvent

LIFETIMES = (3600, 21600, 86400, 259200, 604800, 1209600, 2592000)


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
            times[data["request_hash"]].append(when(event))
    seconds = [b.seconds for b in oracle.finished if b.good and b.seconds is not None]
    what_if = []
    for lifetime in LIFETIMES:
        hits = 0
        for of in times.values():
            of.sort()
            for place in range(1, len(of)):
                near = of[place] - of[place - 1] <= timedelta(seconds=lifetime)
                hits += near and start <= of[place].date() <= end
        hours = rounded(Fraction(hits * sum(seconds), len(seconds) * 3600), 2) if seconds else None
        what_if.append(
            {
                "ttl_seconds": lifetime,
                "hit_rate": percent(hits, len(known)),
                "builds_saved": hits,
                "build_hours_saved": hours,
            }
        )
    return {"now": now, "what_if": what_if, "requests": len(known)}
