"""The public floor: callers without a `read` token see names with few requests as `other`.

The setting `public_floor` is the minimum number of requests. The API applies it while it computes a
response for such a caller (`applied`). Everywhere else it is 0, and all names are shown. It is not
a parameter of reports, so no report can forget to pass it on.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Connection

from asu_stats.events import UNKNOWN
from asu_stats.reports import figures, sums
from asu_stats.store.blocks.cubes import (
    BY_CLIENT,
    BY_PACKAGE,
    BY_PROFILE,
    TARGETS,
    VERSIONS,
    Cube,
)
from asu_stats.store.blocks.totals import Ranked, Top, Totals
from asu_stats.store.rollups.definitions import (
    CLIENT_DEVICES,
    CLIENT_VERSIONS,
    CLIENTS,
    PROFILES,
    VERSION_TARGET,
)
from asu_stats.windows import FIRST_DAY, Window

OTHER: Final = "other"
RECENT_DAYS: Final = 30  # of responses without a time range

_min_requests: ContextVar[int] = ContextVar("public_floor", default=0)


@contextmanager
def applied(requests: int) -> Iterator[None]:
    """Show only names with so many requests in what this context computes; with 0, all names."""
    before = _min_requests.set(requests)
    try:
        yield
    finally:
        _min_requests.reset(before)


def min_requests() -> int:
    """Return the number of requests that a name needs to be shown; 0: none."""
    return _min_requests.get()


def fold(counts: Mapping[str, int]) -> dict[str, int]:
    """Return counts by name, those below the floor added up as `other`."""
    if not min_requests():
        return dict(counts)
    shown = {name: n for name, n in counts.items() if n >= min_requests() and name != OTHER}
    rest = sum(counts.values()) - sum(shown.values())
    return {**shown, OTHER: rest} if rest else shown


def fold_ranked(ranked: Ranked) -> tuple[Ranked, list[str]]:
    """Return ranked names, those below the floor added up as `other`, and the names in it."""
    return ranked.folded(min_requests(), OTHER) if min_requests() else (ranked, [])


def tops(
    below: sums.Below,
    names: Sequence[str],
    hidden: Sequence[str],
    places: int,
    order: Callable[[str], str],
) -> list[Top]:
    """Return the names below each of `names` with most requests, `hidden` being in `other`."""
    if not min_requests():
        return below.of([(name,) for name in names])
    found = []
    for name in names:
        heads = hidden if name == OTHER else (name,)
        counts = below.counts_of([(head,) for head in heads])
        found.append(Top(len(counts), figures.top(fold(counts), places, order)))
    return found


def rename(connection: Connection, window: Window, totals: Totals, place: int, kind: str) -> Totals:
    """Return totals in which names of one part of the keys that are not shown are `other`."""
    if not min_requests():
        return totals
    names = Visible(connection, window)
    hidden = [name for name in totals.counts(place) if not names.has(kind, name)]
    return totals.renamed(place, hidden, OTHER)


class Visible:
    """The names that are shown: with enough requests in a time range. Read as they are needed."""

    def __init__(self, connection: Connection, window: Window) -> None:
        self._connection = connection
        self._window = window
        self._names: dict[str, set[str]] = {}

    def has(self, kind: str, name: str) -> bool:
        """Return whether a name of a dimension is shown. What is no dimension is always shown."""
        if not min_requests() or name in {OTHER, UNKNOWN} or kind not in _KINDS:
            return True
        if kind not in self._names:
            counts = _requests(self._connection, self._window, kind)
            self._names[kind] = {each for each, n in counts.items() if n >= min_requests()}
        return name in self._names[kind]

    def shown(self, kind: str, name: str) -> str:
        """Return a name if it is shown, else `other`."""
        return name if self.has(kind, name) else OTHER


_CUBES: Final[Mapping[str, tuple[Cube, int]]] = {
    "version": (VERSIONS, 0),
    "target": (TARGETS, 0),
    "profile": (BY_PROFILE, 0),
    "client": (BY_CLIENT, 0),
    "package": (BY_PACKAGE, 1),
}
_CLIENT_VERSION: Final = "client_version"
_KINDS: Final = frozenset({*_CUBES, _CLIENT_VERSION})


def _requests(connection: Connection, window: Window, kind: str) -> Mapping[str, int]:
    """Return the accepted requests of each name of a dimension."""
    if kind == _CLIENT_VERSION:
        rows = sums.rows(connection, CLIENT_VERSIONS, (kind,), window)
        return {row[0]: int(row.requests) for row in rows}
    cube, place = _CUBES[kind]
    (totals,) = sums.cubes(connection, window, cube)
    return totals.counts(place)


_FILTERS: Final = ("version", "target", "profile", "client")
_OF_FILTERS: Final = (PROFILES, VERSION_TARGET, CLIENT_DEVICES, CLIENT_VERSIONS, CLIENTS)


def masked(connection: Connection, window: Window, filters: Mapping[str, Any]) -> dict[str, Any]:
    """Return filters, with names that have too few requests together replaced by `other`.

    The response to them is then the same as to names that no request ever had.
    """
    asked = {name: filters[name] for name in _FILTERS if name in filters}
    if min_requests() and asked and is_rare(connection, window, asked):
        return {**filters, **dict.fromkeys(asked, OTHER)}
    return dict(filters)


def is_rare(connection: Connection, window: Window, asked: Mapping[str, str]) -> bool:
    """Return whether the names together have too few requests, as far as a rollup has them."""
    tried: list[set[str]] = []
    for rollup in _OF_FILTERS:
        mine = {name: value for name, value in asked.items() if name in rollup.key}
        if not mine or any(mine.keys() <= others for others in tried):
            continue
        tried.append(set(mine))
        (row,) = sums.rows(connection, rollup, (), window, mine)
        if int(row[0] or 0) < min_requests():
            return True
    return False


def recent(connection: Connection) -> Window:
    """Return the days that decide where a response has no time range: the last ones with data."""
    last = sums.last_day(connection)
    return Window.last(RECENT_DAYS, today=last or FIRST_DAY + timedelta(days=RECENT_DAYS))
