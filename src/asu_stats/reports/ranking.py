"""One report for versions, targets and profiles: a row per name, by requests descending."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from sqlalchemy import Connection

from asu_stats.reports import sums
from asu_stats.reports.builds import Ranked
from asu_stats.reports.listing import Listing
from asu_stats.store.blocks.cubes import Cube
from asu_stats.store.rollups.definitions import PROFILES, VERSION_TARGET, Rollup
from asu_stats.windows import Window

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Ranking(Generic[Row]):
    """The rows of one dimension, and in each row the names of the dimension below.

    `row` is a `TypedDict` whose fields are among those that `_make` has. Names with equal requests
    stand in the order of `order`. `cube` has the sums of each name; `below` is the dimension whose
    names are counted and ranked in each row, and `pairs` the cube of both.
    """

    name: str
    row: type[Row]
    order: Callable[[str], str]
    cube: Cube
    below: str | None = None
    pairs: Cube | None = None

    def read(
        self, connection: Connection, window: Window, filters: Mapping[str, str]
    ) -> Listing[Row]:
        """Return the rows of `window`; `filters` may name values of the other dimensions."""
        tops: sums.Below | None = None
        if filters:
            rollup = self._rollup(self.name, *filters)
            rows = sums.rows(connection, rollup, (self.name,), window, filters)
            found = Ranked.of_rows(rows, self.order)
            if self.below:
                by = (self.name, self.below)
                pairs = sums.rows(connection, self._rollup(*by, *filters), by, window, filters)
                tops = sums.TopsOf(
                    (getattr(pair, self.name), getattr(pair, self.below), int(pair.request_count))
                    for pair in pairs
                )
        else:
            cubes = [self.cube, *([self.pairs] if self.pairs else [])]
            names, *both = sums.cubes(connection, window, *cubes)
            found = Ranked(*names.by_name())
            tops = sums.Tops(*both[0].grouped()) if both else None
        return Listing(len(found), lambda first, after: self._make(found, tops, first, after))

    @staticmethod
    def _rollup(*columns: str) -> Rollup:
        """Return the smaller of the two rollups that has the columns."""
        return PROFILES if "profile" in columns else VERSION_TARGET

    def _make(self, found: Ranked, tops: sums.Below | None, first: int, after: int) -> list[Row]:
        shown = found.rows(first, after)
        below = tops.of([(row.name,) for row in shown]) if tops else [sums.NOTHING] * len(shown)
        fields: tuple[str, ...] = tuple(self.row.__annotations__)
        rows = [
            {
                self.name: row.name,
                "requests": row.requests,
                "cache_hits": row.cache_hits,
                "cache_hit_rate": row.cache_hit_rate,
                "avg_build_duration": row.avg_build_duration,
                "successful_builds": row.successful,
                "failed_builds": row.failed,
                "success_rate": row.success_rate,
                f"unique_{self.below}s": top.names,
                f"top_{self.below}s": [{self.below: name, "requests": n} for name, n in top.first],
            }
            for row, top in zip(shown, below, strict=True)
        ]
        return cast(list[Row], [{field: row[field] for field in fields} for row in rows])
