"""Packages that a process remembers: only those of one history of the database, and few."""

from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pytest
from sqlalchemy import select, update

from asu_stats.store.blocks import cached
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.database.schema import package_lists as package_lists_table
from asu_stats.store.database.schema import package_names
from asu_stats.store.details import known_packages, package_lists
from tests.conftest import postgresql_database
from tests.support import NOW, Stats, request


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of a database of PostgreSQL: on SQLite, no name is remembered."""
    yield from postgresql_database(request)


def packages(stats: Stats) -> dict[str, int]:
    return {row["package"]: row["requests"] for row in stats.get("packages")}


def numbered(stats: Stats) -> dict[str, int]:
    with read_snapshot(stats.engine) as connection:
        rows = connection.execute(select(package_names.c.name, package_names.c.number))
        return dict(tuple(row) for row in rows)


def exchange(stats: Stats, one: str, other: str) -> None:
    """Exchange the numbers of two names, as if they had come in the other order.

    The last name keeps its number, but is written again.
    """
    names, n = package_names, numbered(stats)
    with write_transaction(stats.engine) as connection:
        for number, name in ((n[other], "?"), (n[one], other), (n[other], one)):
            connection.execute(update(names).where(names.c.number == number).values(name=name))
        last = names.c.number == max(n.values())
        connection.execute(update(names).where(last).values(name=names.c.name))


def test_a_history_in_which_the_numbers_stand_for_other_names(stats: Stats) -> None:
    """As after a failover to a standby that lacked the last names."""
    stats.record(request("h1", packages=["a"]), request("h2", packages=["b"]))
    stats.record(request("h3", packages=["b"]), request("h4", packages=["c"]))
    assert packages(stats) == {"a": 1, "b": 2, "c": 1}
    exchange(stats, "a", "b")
    stats.record(request("h5", packages=["c"]))
    assert packages(stats) == {"a": 2, "b": 1, "c": 2}


def test_a_history_without_the_last_names(stats: Stats) -> None:
    stats.record(request("h1", packages=["a"]), request("h2", packages=["b"]))
    assert packages(stats) == {"a": 1, "b": 1}
    names, last = package_names, numbered(stats)["b"]
    with write_transaction(stats.engine) as connection:
        connection.execute(update(names).where(names.c.number == last).values(number=last + 1))
        connection.execute(names.insert().values(number=last, name="other"))
    stats.record(request("h3", packages=["b", "c"]))
    assert packages(stats) == {"a": 1, "b": 1, "c": 1, "other": 1}


@pytest.mark.parametrize(("limit", "most"), [("_MOST", 3), ("_BYTES", 400)])
def test_names_beyond_the_limit_are_looked_up(
    stats: Stats, monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    monkeypatch.setattr(known_packages, limit, most)
    expected: dict[str, int] = {}
    for number in range(4):
        names = [f"p{number}", f"q{number}"]
        stats.record(request(f"h{number}", NOW - timedelta(days=number), packages=names))
        expected |= dict.fromkeys(names, 1)
        assert packages(stats) == expected
        assert len(known_packages._known[stats.engine].names) <= 3
    cached.forget(stats.engine)
    stats.record(request("again", packages=["p0"]))
    assert packages(stats) == expected | {"p0": 2}
    assert len(known_packages._known[stats.engine].names) == 3


def members(stats: Stats, *names: str) -> list[list[str]]:
    """Return the packages of the lists that have one name each."""
    digests = [package_lists._digest((name,)) for name in names]
    table = package_lists_table
    with read_snapshot(stats.engine) as connection:
        known_packages.send(connection)
        rows = connection.execute(select(table.c.digest, table.c.number))
        numbers = {row.digest: row.number for row in rows}
        found = package_lists.send_members(
            connection, np.array([numbers[digest] for digest in digests])
        )()
    of = zip(found.lists.tolist(), found.names.tolist(), strict=True)
    pairs = [(place, found.values[name]) for place, name in of]
    return [[name for n, name in pairs if n == place] for place in range(len(names))]


def test_lists_in_a_history_in_which_the_numbers_stand_for_other_names(stats: Stats) -> None:
    stats.record(*(request(name, packages=[name]) for name in "abc"))
    assert members(stats, "a", "b") == [["a"], ["b"]]
    exchange(stats, "a", "b")
    digests = {name: package_lists._digest((name,)) for name in "ab"}
    lists = package_lists_table
    with write_transaction(stats.engine) as connection:
        rows = dict(
            tuple(row) for row in connection.execute(select(lists.c.digest, lists.c.packages))
        )
        for mine, other in ("ab", "ba"):
            packages = rows[digests[other]]
            here = lists.c.digest == digests[mine]
            connection.execute(update(lists).where(here).values(packages=packages))
    assert members(stats, "a", "b") == [["a"], ["b"]]


def test_few_lists_are_remembered(stats: Stats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_packages, "_LIST_BYTES", 1_000)
    names = [f"p{number}" for number in range(9)]
    stats.record(*(request(name, packages=[name]) for name in names))
    for _ in range(2):
        assert members(stats, *names) == [[name] for name in names]
        assert 0 < known_packages._known[stats.engine].lists.bytes <= 1_000
