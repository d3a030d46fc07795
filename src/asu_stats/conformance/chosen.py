"""Expected responses to what a server may form as it likes: bounds of bars, spelling of times."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from asu_stats.conformance.history import percent, when
from asu_stats.conformance.oracle import Oracle

_EXAMPLES: Final = 20


def bars(oracle: Oracle, received: Any, version: str | None = None) -> list[dict[str, Any]]:
    """Return the histogram of durations with the bounds that a response chose.

    Its bars must leave no gap and hold every successful build. Builds outside all of them are one
    more bar.
    """
    seconds = oracle.seconds(version)
    found: list[dict[str, Any]] = []
    inside = 0
    for bar in _rows(received, "from_seconds", "to_seconds"):
        first = found[-1]["to_seconds"] + 1 if found else bar["from_seconds"]
        builds = sum(first <= each <= bar["to_seconds"] for each in seconds)
        inside += builds
        found.append(_bar(first, bar["to_seconds"], builds, len(seconds)))
    if inside < len(seconds):
        low, high = (found[0]["from_seconds"], found[-1]["to_seconds"]) if found else (1, 0)
        others = [each for each in seconds if not low <= each <= high]
        found.append(_bar(others[0], others[-1], len(others), len(seconds)))
    return found


def _bar(first: int, last: int, builds: int, of_all: int) -> dict[str, Any]:
    share = percent(builds, of_all)
    return {"from_seconds": first, "to_seconds": last, "builds": builds, "percentage": share}


def examples(oracle: Oracle, received: Any) -> list[dict[str, Any]]:
    """Return the latest 20 errors, newest first, with times spelled as in a response."""
    times = [b.end for b in oracle.finished if b.bad and b.end] + [*map(when, oracle.rejected)]
    newest = sorted(times, reverse=True)[:_EXAMPLES]
    spelled = [row["timestamp"] for row in _rows(received, "timestamp")]
    spelled += [""] * (len(newest) - len(spelled))
    return [
        {"timestamp": text if _instant(text) == moment else moment.isoformat()}
        for text, moment in zip(spelled, newest, strict=False)
    ]


def _instant(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (TypeError, ValueError):
        return None


def _rows(received: Any, *members: str) -> Sequence[Mapping[str, Any]]:
    """Return the rows of a response up to the first without these members."""
    kind = str if members == ("timestamp",) else int
    rows: list[Mapping[str, Any]] = []
    for row in received if isinstance(received, list) else ():
        if not isinstance(row, Mapping) or any(type(row.get(name)) is not kind for name in members):
            break
        rows.append(row)
    return rows
