"""Rules for tables whose rows Citus keeps on its workers (docs/scaling.md, Citus), without Citus.

Every statement that names such a table is collected while events are recorded, archived, restored,
read by every report, verified and exported, in the forms that Citus runs. Plain PostgreSQL runs
these forms too, so the figures are checked with them.
"""

import re
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import (
    CTE,
    Alias,
    ClauseElement,
    Delete,
    Index,
    Select,
    Subquery,
    Table,
    UniqueConstraint,
    Update,
    event,
    exists,
    func,
    select,
    union_all,
    update,
)
from sqlalchemy.sql import visitors
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.selectable import Join, SelectBase

from asu_stats.builds.combined_queue import CombinedQueue
from asu_stats.reports import now
from asu_stats.store import export
from asu_stats.store.archive import expiry, retention
from asu_stats.store.archive.archive import ARCHIVES
from asu_stats.store.archive.expiry import Policy
from asu_stats.store.archive.retention import ArchiveDirectory
from asu_stats.store.database import dialects, postgresql
from asu_stats.store.database.citus import SHARD_BY
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.database.metadata import metadata
from asu_stats.store.database.schema import (
    build_metrics,
    client_stats,
    event_identities,
    request_days,
    request_metadata,
    store_state,
)
from asu_stats.store.distribute import PLACED
from asu_stats.store.verification import verify
from asu_stats.windows import Window
from tests.api.test_oracle import TODAY, answers, expected
from tests.conftest import postgresql_database
from tests.oracle import Oracle
from tests.store.test_plans import QUESTIONS
from tests.support import NOW, CloudEvent, Stats, build, request

# Rules ------------------------------------------------------------------------------------------


def problems(statement: ClauseElement) -> Iterator[str]:
    """Yield the rules that a statement breaks."""
    elements = list(visitors.iterate(statement))
    yield from _of_writing(statement)
    for root in (statement, *(each.element for each in elements if isinstance(each, CTE))):
        near = tables(root)
        if near & PLACED.keys() and near - PLACED.keys():
            others = ", ".join(sorted(table.name for table in near - PLACED.keys()))
            yield f"reads {others} together with tables that have shards"
        if len({PLACED[table] for table in near & PLACED.keys()}) > 1:
            yield "reads tables with shards by different columns"
    for each in elements:
        yield from _of_reading(each)


def _of_writing(statement: ClauseElement) -> Iterator[str]:
    if isinstance(statement, Update) and statement.table in PLACED:
        changed = {getattr(column, "key", column) for column in statement._values or ()}
        if PLACED[cast(Table, statement.table)] in changed:
            yield "changes the column that places the row"
    text = dialects.compiled("postgresql", statement).text
    if re.search(r"\bFOR (NO KEY )?(UPDATE|SHARE)\b", text):
        yield "locks rows"


def _of_reading(element: Any) -> Iterator[str]:
    if isinstance(element, CTE) and element.recursive and tables(element.element) & PLACED.keys():
        yield "recursive"
    is_outer = isinstance(element, Join) and element.isouter and element.right in PLACED
    if is_outer and not tables(element.left) & PLACED.keys():
        yield f"an outer join of read rows reads all of {element.right}"
    parts = getattr(element, "selects", ())
    if any(not tables(part) for part in parts) and any(
        part.whereclause is None for part in parts if tables(part) & PLACED.keys()
    ):
        yield "a part of a union with given rows has no condition"


_NAMES = re.compile(rf"\b({'|'.join(table.name for table in PLACED)})\b")


def tables(element: Any) -> set[Table]:
    """Return the tables that an element reads, without those of a CTE, which is read first."""
    if isinstance(element, CTE):
        return set()
    if isinstance(element, Table):
        return {element} if element.metadata is metadata else set()
    found = {cast(Table, element.table)} if isinstance(element, Update | Delete) else set()
    for child in element.get_children():
        if isinstance(child, Table | Join | Alias | Subquery | Select | ClauseElement):
            found |= tables(child)
    if isinstance(element, Alias | Subquery):
        found |= tables(element.element)
    return found


def test_every_unique_key_contains_the_column_that_places_the_row() -> None:
    declared = {table for table in metadata.tables.values() if SHARD_BY in table.info}
    assert declared == set(PLACED)
    assert {request_metadata, event_identities, *ARCHIVES, *ARCHIVES.values()} == declared
    for table, column in PLACED.items():
        assert not table.c[column].nullable
        keys: list[UniqueConstraint | Index] = [each for each in table.indexes if each.unique]
        keys += [each for each in table.constraints if isinstance(each, UniqueConstraint)]
        for key in keys:
            assert column in key.columns, (table.name, key)
        primary = [each.name for each in table.primary_key.columns]
        assert column in primary or primary == ["id"], table.name  # `distribute` adds it to an id
        assert not table.foreign_keys


_r, _m, _b, _days = client_stats, request_metadata, build_metrics, request_days
_GIVEN = dialects.given("postgresql", (("request_hash", _r.c.request_hash.type),))
_FIRST = select(_r.c.request_hash, _r.c.id).limit(2).cte("first")
_ALL = select(func.min(_r.c.timestamp).label("at")).cte("days", recursive=True)
BROKEN = {
    "changes": update(_b).values(request_hash="x"),
    "locks": select(_b.c.id).with_for_update(),
    "recursive": select(_ALL.union_all(select(_ALL.c.at))),
    "reads request_days": select(_m.c.version).join(
        _days, _days.c.request_number == _m.c.request_number
    ),
    "reads store_state": select(_m.c.version).where(exists().where(store_state.c.id == 1)),
    "reads tables with shards by": select(event_identities.c.content, _m.c.version),
    "an outer join": select(_b.c.id).select_from(
        _FIRST.outerjoin(_b, _b.c.request_hash == _FIRST.c.request_hash)
    ),
    "a part of a union": union_all(select(_r.c.request_hash), select(_GIVEN.c.request_hash)),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_a_statement_that_breaks_a_rule_is_found(rule: str) -> None:
    assert any(each.startswith(rule) for each in problems(BROKEN[rule]))


# Statements --------------------------------------------------------------------------------------


@pytest.fixture
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    yield from postgresql_database(request)


@pytest.fixture
def on_citus(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stats]:
    """A service that takes plain PostgreSQL for Citus."""
    monkeypatch.setattr(postgresql, "_WHO", "SELECT pg_catalog.pg_backend_pid(), true")
    with Stats.on(url, tmp_path / "spool") as stats:
        yield stats


@contextmanager
def collected(stats: Stats, monkeypatch: pytest.MonkeyPatch) -> Iterator[set[ClauseElement]]:
    """Collect the statements of a block."""
    found: set[ClauseElement] = set()
    compiled = dialects.compiled

    def note(name: str, statement: ClauseElement) -> dialects.Compiled:
        found.add(statement)
        return compiled(name, statement)

    def note_executed(_: object, statement: Any, *_more: object) -> None:
        if isinstance(statement, ClauseElement):
            found.add(statement)

    monkeypatch.setattr(dialects, "compiled", note)
    dialects.writer.cache_clear()
    event.listen(stats.engine, "before_execute", note_executed)
    yield found
    event.remove(stats.engine, "before_execute", note_executed)


def declared() -> Iterator[ClauseElement]:
    """Yield the statements that modules declare."""
    for name, module in list(sys.modules.items()):
        if name.startswith("asu_stats."):
            for value in vars(module).values():
                several = value.values() if isinstance(value, dict) else value
                for each in several if isinstance(several, Collection) else (value,):
                    if isinstance(each, SelectBase | UpdateBase):
                        yield each


SAID: dict[str, Any] = {"error_category": "build", "error_type": "image_too_big"}


def history(first: int, last: int) -> list[CloudEvent]:
    """Return requests of each outcome, on days before `NOW`, and the ends of their builds."""
    found: list[CloudEvent] = []
    for number in range(first, last):
        at = NOW - timedelta(days=number % 2 * 80, minutes=number)
        outcome = ("queued", "joined", "cache_hit", "rejected", "cached_failure")[number % 5]
        more: dict[str, Any] = SAID if outcome == "rejected" else {"packages": ["luci"]}
        found.append(request(f"h{number % 7}", at, outcome=outcome, **more))
        status = ("success", "failure", "timeout")[number % 3]
        said = {} if status == "success" else SAID
        found += build(f"h{number % 7}", status, end=at + timedelta(seconds=number), **said)
    return found


def use(stats: Stats, directory: Path) -> list[CloudEvent]:
    """Record, ask, archive, restore and verify. Return the events."""
    engine, policy = stats.engine, Policy(30, 30, 30, 3650, latest=1)
    events = history(0, 30)
    stats.record(*events[::2])  # starts without their ends, and the other way round
    assert stats.record(*events)["duplicates"] == len(events[::2])
    where = ArchiveDirectory(directory, "csv.gz")
    for archive_directory in (None, where):
        expiry.waiting(engine, policy, NOW.date())
        retention.run(engine, policy, NOW.date(), archive_directory=archive_directory)
        late = [
            build(f"h{number}", "failure", end=NOW - timedelta(days=90))[-1] for number in (1, 2)
        ]
        late += history(30, 40)
        stats.record(*late)
        events += late
    verify.rebuild(engine)
    assert list(verify.differences(engine)) == []
    window = Window(NOW.date() - timedelta(days=100), NOW.date())
    for question in QUESTIONS.values():
        with read_snapshot(engine) as connection:
            question(connection, window)
    queue = CombinedQueue(engine, lambda: NOW, timedelta(hours=3))
    queue.waiting_longest(5)
    with read_snapshot(engine) as connection:
        now.read(connection, queue)
    for name in ("build_metrics", "request_metadata"):
        with read_snapshot(engine, streams=True) as connection:
            assert list(export.rows(connection, name, None, None))
    stats.get("overview", hours=48)
    return events


def test_every_statement_keeps_the_rules(
    on_citus: Stats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collected(on_citus, monkeypatch) as found:
        events = use(on_citus, tmp_path / "archive")
    oracle, clients = Oracle(events), set[str]()
    for window in ((TODAY - timedelta(days=6), TODAY), (TODAY - timedelta(days=80),) * 2):
        assert answers(on_citus, *window, clients) == expected(oracle, *window, clients)
    found.update(declared())
    of_shards = [each for each in found if _NAMES.search(str(each))]
    kinds = {type(each).__name__ for each in of_shards}
    assert {"Select", "Insert", "Update", "Delete"} <= kinds
    assert len(of_shards) > 80
    broken = {str(each): rules for each in of_shards if (rules := list(problems(each)))}
    assert broken == {}


def test_a_late_request_is_not_looked_up_by_itself(
    on_citus: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Citus cannot read a table with shards once for each given row."""
    with collected(on_citus, monkeypatch) as found:
        for hours in (0, 9, 5):  # the last of them is between two others of its hash
            on_citus.record(request("h", NOW - timedelta(hours=hours), outcome="cache_hit"))
    texts = [str(each) for each in found]
    assert [each for each in texts if "(SELECT" in each and "client_stats" in each] == []
    assert list(verify.differences(on_citus.engine)) == []
