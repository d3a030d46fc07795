"""Expected responses where a server has a choice: bounds of a histogram, format of times."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from asu_stats.conformance.history import percent, time_of
from asu_stats.conformance.oracle import Oracle

_EXAMPLES: Final = 20


def histogram(oracle: Oracle, received: Any, version: str | None = None) -> list[dict[str, Any]]:
    """Return the histogram of durations with the bounds of the received response.

    The bars must be contiguous and contain every successful build. Builds outside of them are an
    additional expected bar.
    """
    seconds = oracle.seconds(version)
    bars: list[dict[str, Any]] = []
    counted = 0
    for bar in _rows(received, "from_seconds", "to_seconds"):
        first = bars[-1]["to_seconds"] + 1 if bars else bar["from_seconds"]
        builds = sum(first <= duration <= bar["to_seconds"] for duration in seconds)
        counted += builds
        bars.append(_bar(first, bar["to_seconds"], builds, len(seconds)))
    if counted < len(seconds):
        low, high = (bars[0]["from_seconds"], bars[-1]["to_seconds"]) if bars else (1, 0)
        others = [duration for duration in seconds if not low <= duration <= high]
        bars.append(_bar(others[0], others[-1], len(others), len(seconds)))
    return bars


def _bar(first: int, last: int, builds: int, all_builds: int) -> dict[str, Any]:
    share = percent(builds, all_builds)
    return {"from_seconds": first, "to_seconds": last, "builds": builds, "percentage": share}


def examples(oracle: Oracle, received: Any) -> list[dict[str, Any]]:
    """Return the latest 20 errors, newest first, with times formatted as in the response."""
    times = [b.end for b in oracle.finished if b.failed and b.end]
    times += [time_of(event) for event in oracle.rejected]
    newest = sorted(times, reverse=True)[:_EXAMPLES]
    formatted = [row["timestamp"] for row in _rows(received, "timestamp")]
    formatted += [""] * (len(newest) - len(formatted))
    return [
        {"timestamp": text if _parsed(text) == time else time.isoformat()}
        for text, time in zip(formatted, newest, strict=False)
    ]


def _parsed(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (TypeError, ValueError):
        return None


def _rows(received: Any, *members: str) -> Sequence[Mapping[str, Any]]:
    """Return the rows of a response, up to the first one that lacks one of the members."""
    kind = str if members == ("timestamp",) else int
    rows: list[Mapping[str, Any]] = []
    for row in received if isinstance(received, list) else ():
        if not isinstance(row, Mapping) or any(type(row.get(name)) is not kind for name in members):
            break
        rows.append(row)
    return rows
