"""The same history as raw rows in two Parquet files, for the column stores.

In favour of those, everything that our store works out is there as a column: how the wait of a
request ended, whole seconds of a build, its version, target and profile.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from asu_stats.events import OUTCOMES, STATUSES
from benchmarks.data import CACHE_HIT, CACHED_FAILURE, NOT_ENDED, REJECTED, Chunk, Integers, Plan
from benchmarks.stream import build_ids

REQUESTS: Final = "requests.parquet"
BUILDS: Final = "builds.parquet"
_ROWS: Final = 100_000


def write(plan: Plan, directory: Path) -> None:
    """Write both files."""
    files = {name: _File(directory / name) for name in (REQUESTS, BUILDS)}
    for chunk in plan.chunks():
        files[REQUESTS].add(_requests(plan, chunk))
        files[BUILDS].add(_builds(plan, chunk))
    for file in files.values():
        file.close()


class _File:
    """A Parquet file in row groups of a size that suits readers."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: Any = None
        self._held: list[Any] = []

    def add(self, columns: dict[str, Any]) -> None:
        """Add rows."""
        table = pa.table(columns)
        self._held.append(table)
        if sum(held.num_rows for held in self._held) >= _ROWS:
            self._flush()

    def close(self) -> None:
        """Write what is left."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._held:
            table = pa.concat_tables(self._held)
            self._writer = self._writer or pq.ParquetWriter(self._path, table.schema)
            self._writer.write_table(table)
            self._held.clear()


def _timestamps(ms: Integers) -> Any:
    return pa.array(ms, pa.timestamp("ms"))


def _pick(names: list[str], places: Integers) -> Any:
    """Return names by place, null for -1."""
    chosen = pa.array(places, mask=places < 0)
    return pa.array(names).take(chosen)


def _names(plan: Plan, hashes: Integers) -> dict[str, Any]:
    versions, devices, diff, packages = plan.names(hashes)
    return {
        "request_hash": pa.array(plan.hash_texts(hashes)),
        "version": _pick(plan.population.versions, versions),
        "target": _pick([target for target, _ in plan.population.devices], devices),
        "profile": _pick([profile for _, profile in plan.population.devices], devices),
        "diff_packages": pa.array(diff),
        "package_count": pa.array(packages, pa.int32()),
    }


def _requests(plan: Plan, chunk: Chunk) -> dict[str, Any]:
    r, population = chunk.requests, plan.population
    status = np.where(r.wait_status == NOT_ENDED, len(STATUSES), r.wait_status)
    for outcome, name in ((CACHE_HIT, 0), (CACHED_FAILURE, 1), (REJECTED, len(STATUSES) + 1)):
        status = np.where(r.outcome == outcome, name, status)
    return {
        "timestamp": _timestamps(r.time_ms),
        **_names(plan, r.hash_number),
        "client": _pick([client for client, _ in population.clients], r.client),
        "client_version": _pick([version for _, version in population.clients], r.client),
        "outcome": _pick(list(OUTCOMES), r.outcome),
        "status": _pick([*STATUSES, "queued", "rejected"], status),
        "error_category": _pick([each.category for each in population.errors[2]], r.error),
        "error_type": _pick([each.type for each in population.errors[2]], r.error),
    }


def _builds(plan: Plan, chunk: Chunk) -> dict[str, Any]:
    b = chunk.builds
    failures = plan.population.errors[0] + plan.population.errors[1]
    second = np.where(b.status == 2, len(plan.population.errors[0]), 0)
    errors = np.where(b.error < 0, -1, b.error + second)
    names = _names(plan, b.hash_number)
    del names["package_count"]
    return {
        "finished_at": _timestamps(b.finished_ms),
        "started_at": _timestamps(b.started_ms),
        "build_id": pa.array(build_ids(b.number, b.started_ms)),
        **names,
        "status": _pick(list(STATUSES), b.status),
        "duration_seconds": pa.array((b.finished_ms - b.started_ms + 500) // 1000, pa.int32()),
        "error_category": _pick([each.category for each in failures], errors),
        "error_type": _pick([each.type for each in failures], errors),
    }
