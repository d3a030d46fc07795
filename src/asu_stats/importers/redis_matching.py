"""Matches samples of several series that belong to one request or build, if unambiguous.

A request leaves a sample in `requests`, milliseconds later one in `clients`, and for a cache hit
one in `cache-hits`. Requests within 250 ms of each other form a cluster. The clients of a cluster
are known if all are the same, or if all or none of its requests are cache hits. Otherwise the
requests are counted without their clients.
"""

from bisect import bisect_left, bisect_right
from typing import Final, NamedTuple

from asu_stats.importers.redis_series import Failed, Names, Samples

_CLOSE: Final = 250  # milliseconds between requests that could be confused
_LATE: Final = 60_000
_TIMED: Final = 5_000
_LOGGED: Final = 3_000


class Request(NamedTuple):
    """A request; `client` is `None` if it is unknown."""

    at: int
    is_hit: bool
    client: str | None


class Build(NamedTuple):
    """A successful build, with its known data."""

    at: int
    names: Names | None
    seconds: int | None


def requests(samples: Samples) -> tuple[list[Request], list[int]]:
    """Return the requests in order, and cache hits without a request."""
    found: list[Request] = []
    times, hits = samples.summary["requests"], sorted(samples.summary["cache-hits"])
    clients = [at for at, _ in samples.clients]
    first = 0
    while first < len(times):
        last = first
        while last + 1 < len(times) and times[last + 1] - times[last] <= _CLOSE:
            last += 1
        cluster, end = times[first : last + 1], times[last] + _CLOSE
        near = slice(bisect_left(clients, cluster[0]), bisect_right(clients, end))
        names = [client for _, client in samples.clients[near]]
        hit_count = bisect_right(hits, end) - bisect_left(hits, cluster[0])
        is_sure = len(set(names)) == 1 or hit_count in {0, len(cluster)}
        is_sure = is_sure and len(names) == len(cluster)
        found += [Request(at, False, names[n] if is_sure else None) for n, at in enumerate(cluster)]
        first = last + 1
    return found, _assign_hits(found, hits)


def _assign_hits(found: list[Request], hits: list[int]) -> list[int]:
    """Assign each hit to the last request before it. Returns hits without a request.

    A late hit can belong to another request; the series do not say which.
    """
    times = [request.at for request in found]
    left = []
    for hit in hits:
        place = bisect_right(times, hit) - 1
        while place >= 0 and found[place].is_hit and hit - times[place] <= _LATE:
            place -= 1
        if place >= 0 and hit - times[place] <= _LATE:
            request = found[place]
            late = hit - request.at > _CLOSE
            found[place] = Request(request.at, True, None if late else request.client)
        else:
            left.append(hit)
    return left


def builds(samples: Samples) -> list[Build]:
    """Return the successful builds, including those without other data."""
    found = [
        Build(at, names, _seconds(samples.seconds.get(names, []), times, place))
        for names, times in samples.builds.items()
        for place, at in enumerate(times)
    ]
    found.sort(key=lambda build: (build.at, build.names or ()))
    successes = sorted(samples.summary["successes"])
    place, unknown = 0, []
    for build in found:
        while place < len(successes) and successes[place] < build.at:
            unknown.append(Build(successes[place], None, None))
            place += 1
        if place < len(successes) and successes[place] - build.at <= _LATE:
            place += 1
    unknown += [Build(at, None, None) for at in successes[place:]]
    return found + unknown


def _seconds(timed: list[tuple[int, float]], times: list[int], place: int) -> int | None:
    """Return the duration of a build, if exactly one sample matches."""
    at = times[place]
    matching = [(when, value) for when, value in timed if at <= when <= at + _TIMED]
    if len(matching) != 1:
        return None
    when, value = matching[0]
    others = [other for other in times if other <= when <= other + _TIMED]
    return round(value) if len(others) == 1 and value >= 0 else None


def failures(samples: Samples) -> tuple[list[tuple[int, Failed | None]], list[Failed]]:
    """Return the failed builds with their entries in the error list, and unmatched entries.

    A sample has nothing but a time, so any assignment of entries of the same second is equivalent.
    """
    found: list[tuple[int, Failed | None]] = []
    entries, left = list(samples.failed), []
    place = 0
    for at in sorted(samples.summary["failures"]):
        while place < len(entries) and entries[place].at < at - at % 1000:
            left.append(entries[place])
            place += 1
        is_match = place < len(entries) and entries[place].at <= at + _LOGGED
        found.append((at, entries[place] if is_match else None))
        place += is_match
    return found, left + entries[place:]
