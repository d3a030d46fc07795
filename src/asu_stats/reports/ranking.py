"""The report behind versions, targets and profiles: a row per name, by requests descending."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, cast

from sqlalchemy import Connection

from asu_stats.releases import order_of
from asu_stats.reports import builds, floor, sums
from asu_stats.reports.listing import Listing
from asu_stats.reports.report import Query
from asu_stats.store.blocks.cubes import Cube
from asu_stats.store.blocks.totals import NOTHING, Ranked, Top
from asu_stats.store.rollups.definitions import PROFILES, VERSION_TARGET, Rollup
from asu_stats.windows import Window

Row = TypeVar("Row")

_TOP: Final = 5
_DECIDING: Final = 4  # a name is listed with a request, cache hit, success or failure


@dataclass(frozen=True, slots=True)
class Ranking(Generic[Row]):
    """The rows of one dimension. Each row can rank the names of the dimension below.

    `row` is the `TypedDict` of a row. `order` sorts names with equal requests. `cube` has the sums
    of each name. `below` is the dimension that each row counts and ranks, and `pairs` the cube of
    both dimensions.
    """

    name: str
    row: type[Row]
    order: Callable[[str], str]
    cube: Cube
    below: str | None = None
    pairs: Cube | None = None

    @property
    def cubes(self) -> tuple[Cube, ...]:
        """The cubes that it reads without filters."""
        return (self.cube, *([self.pairs] if self.pairs else []))

    def send(self, connection: Connection, query: Query) -> None:
        """Ask for what `read` needs, and do not wait for it."""
        if not query.filters:
            sums.send_cubes(connection, query.window, *self.cubes)
            return
        for by in ((self.name,), *([(self.name, self.below)] if self.below else [])):
            rollup = self._rollup(*by, *query.filters)
            sums.send_rows(connection, rollup, by, query.window, query.filters)

    def read(
        self, connection: Connection, window: Window, filters: Mapping[str, str]
    ) -> Listing[Row]:
        """Return the rows of `window`. `filters` can name values of other dimensions."""
        below: sums.Below | None = None
        if filters:
            rollup = self._rollup(self.name, *filters)
            rows = sums.rows(connection, rollup, (self.name,), window, filters)
            by_name = sorted(rows, key=lambda row: self.order(row[0]))
            found = Ranked.of(
                [(row[0], list(map(int, row[1:]))) for row in by_name],
                len(rollup.adds),
                _DECIDING,
            )
            if self.below:
                by = (self.name, self.below)
                pairs = sums.rows(connection, self._rollup(*by, *filters), by, window, filters)
                below = sums.TopsOf(
                    (getattr(pair, self.name), getattr(pair, self.below), int(pair.request_count))
                    for pair in pairs
                )
        else:
            names, *both = sums.cubes(connection, window, *self.cubes)
            found = names.ranked_rows(_DECIDING)
            below = both[0].tops() if both else None
        found, hidden = floor.fold_ranked(found)

        def tops_of(names: list[str]) -> list[Top]:
            if below is None or self.below is None:
                return [NOTHING] * len(names)
            return floor.tops(below, names, hidden, _TOP, order_of(self.below))

        return Listing(len(found), lambda first, after: self._make(found, tops_of, first, after))

    @staticmethod
    def _rollup(*columns: str) -> Rollup:
        """Return the smaller of the two rollups that have the columns."""
        return PROFILES if "profile" in columns else VERSION_TARGET

    def _make(
        self,
        found: Ranked,
        tops_of: Callable[[list[str]], list[Top]],
        first: int,
        after: int,
    ) -> list[Row]:
        names = found.names(first, after)
        added = found.columns(first, after)[: len(builds.ADDS)]
        below = tops_of(names)
        columns: dict[str, Sequence[Any]] = {
            self.name: names,
            **builds.columns(added),
            f"unique_{self.below}s": [top.names for top in below],
            f"top_{self.below}s": [
                [{self.below: name, "requests": n} for name, n in top.first] for top in below
            ],
        }
        fields = tuple(self.row.__annotations__)
        rows = zip(*(columns[field] for field in fields), strict=True)
        return cast(list[Row], [dict(zip(fields, row, strict=True)) for row in rows])
