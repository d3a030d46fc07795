"""Package lists: each distinct list is stored once, numbered, as numbers of its names.

The row of a request and the rollup `stats_packages` contain the number of the list. Counting a
request therefore costs the same for any number of packages. Reports on packages expand the lists.
Lists and names are kept forever.
"""

import re
import zlib
from base64 import b64decode, b64encode
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from hashlib import blake2b
from operator import sub
from struct import pack
from typing import Any, Final, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Date, FromClause, Select, Table, func, select

from asu_stats.events import Event, RequestReceived
from asu_stats.store.database import locks, statements
from asu_stats.store.database.dialects import Field, Row
from asu_stats.store.database.schema import package_lists, package_names
from asu_stats.store.details import known_packages

Names: TypeAlias = tuple[str, ...]
Rows: TypeAlias = Sequence[Row]  # of new lists
_UNCOUNTED: Final = frozenset({"cache_hit", "rejected"})
_CHUNK: Final = 10_000
_NOTHING: Final = np.zeros(0, np.int64)
_FIRST_OF_DIGEST: Final = 1 << 61
_SIGNED: Final = re.compile(r"(?:^|\0)[+-]")


def of(request: RequestReceived) -> Names:
    """Return the packages that a request counts for, sorted.

    Only accepted requests that are not cache hits count. A leading `+` is ignored. A leading `-`
    removes a package, which is not counted.
    """
    if not request.packages or request.outcome in _UNCOUNTED:
        return ()
    names: Iterable[str] = request.packages
    if _SIGNED.search("\0".join(request.packages)):
        names = (name.removeprefix("+") for name in names if not name.startswith("-"))
    return tuple(sorted({*names} - {""}))


class Lists(NamedTuple):
    """Number of the list of each request that has one, by place, and digests by number."""

    numbers: Mapping[int, int] = {}
    digests: Mapping[int, str] = {}


class Asked(NamedTuple):
    """Lists of requests: their digests, and their known numbers, which are not waited for yet."""

    connection: Connection
    digests: Mapping[Names, str]
    known: Callable[[], dict[str, int]]

    def numbers(self, requests: Sequence[RequestReceived]) -> tuple[Lists, Callable[[], Rows]]:
        """Return the lists of some of the requests; new lists get a number.

        The function returns the rows of the new lists, to `keep`. It waits for their names.
        """
        lists = {place: names for place, request in enumerate(requests) if (names := of(request))}
        digests = {place: self.digests[names] for place, names in lists.items()}
        numbers = self.known()
        new = {digests[place]: names for place, names in lists.items()}
        new = {digest: names for digest, names in new.items() if digest not in numbers}
        if new:
            numbers |= _list_numbers(self.connection, new)
        found = Lists(
            {place: numbers[digest] for place, digest in digests.items()},
            {number: digest for digest, number in numbers.items()},
        )
        return found, _send_rows(self.connection, new, numbers)


def ask(connection: Connection, events: Iterable[Event]) -> Asked:
    """Ask for the numbers of the lists of requests, as in `statements.send`."""
    lists = {of(event) for event in events if isinstance(event, RequestReceived)}
    digests = {names: _digest(names) for names in lists if names}
    return Asked(connection, digests, _send_numbers(connection, _lists, _DIGEST, digests.values()))


def keep(connection: Connection, rows: Rows) -> None:
    """Store new lists, unless another batch has stored them."""
    statements.insert_missing(connection, package_lists, ("number", "digest", "packages"), rows)


def _send_rows(
    connection: Connection, new: Mapping[str, Names], numbers: Mapping[str, int]
) -> Callable[[], Rows]:
    """Ask for the names in new lists. Return a function that waits for them, and returns rows."""
    named = _send_named(connection, {name for names in new.values() for name in names})

    def rows() -> Rows:
        known = named()
        return [(numbers[digest], digest, _encode(names, known)) for digest, names in new.items()]

    return rows


def _list_numbers(connection: Connection, digests: Iterable[str]) -> dict[str, int]:
    """Return numbers for new lists.

    On PostgreSQL they follow from the digests, so batches that run side by side agree on them. They
    differ from the numbers of SQLite, which are shorter.
    """
    if connection.dialect.name == "sqlite":
        return _numbered(statements.send(connection, _LAST_LIST), digests)
    return {
        digest: _FIRST_OF_DIGEST | int.from_bytes(b64decode(digest)[:8]) >> 3 for digest in digests
    }


def digests(
    connection: Connection, lists: Iterable[int], known: Mapping[int, str]
) -> Mapping[int, str]:
    """Return the digests of lists by number, some of which are `known`.

    They do not depend on the order of arrival.
    """
    rows = [(number,) for number in sorted({*lists} - known.keys())]
    return {**known, **dict(statements.fetch_for(connection, _digests, _NUMBER, rows))}


def with_packages(lists: Select[Any]) -> Select[Any]:
    """Return a statement whose rows begin with the packages of the list that is its first column.

    Without this, the lists could be read only after the rows.
    """
    rows = lists.subquery()
    number, *others = rows.c
    return select(package_lists.c.packages, *others).join_from(
        rows, package_lists, package_lists.c.number == number
    )


def by_group(connection: Connection, rows: Sequence[Row]) -> list[Row]:
    """Return rows of a list as `with_packages` has it, a group and sums as rows of its packages.

    These are (group, package, sums). Equal ones are added up.
    """
    groups: dict[Any, list[Row]] = defaultdict(list)
    for packages, group, *added in rows:
        groups[group].append((packages, *added))
    found: list[tuple[Any, int, list[int]]] = []
    for group, of_group in groups.items():
        parts = [_decode(packages) for packages, *_ in of_group]
        numbers, places = np.unique(np.concatenate(parts), return_inverse=True)
        sizes = [len(part) for part in parts]
        amounts = np.array([[int(n) for n in row[1:]] for row in of_group], np.int64)
        total = np.zeros((len(numbers), amounts.shape[1]), np.int64)
        np.add.at(total, places, np.repeat(amounts, sizes, axis=0))
        found += ((group, n, of) for n, of in zip(numbers.tolist(), total.tolist(), strict=True))
    names = known_packages.names(connection, {number for _, number, _ in found})
    return [(group, names[number], *of) for group, number, of in found]


def count(connection: Connection, lists: Mapping[int, int]) -> dict[str, int]:
    """Return the requests per package, given the requests per list."""
    found: defaultdict[int, int] = defaultdict(int)
    for start in range(0, len(lists), _CHUNK):
        some = list(lists)[start : start + _CHUNK]
        parts = [(part, lists[n]) for n, part in _send_lists(connection, some)().items()]
        if parts:
            times = np.repeat([n for _, n in parts], [len(part) for part, _ in parts])
            names, places = np.unique(
                np.concatenate([part for part, _ in parts]), return_inverse=True
            )
            sums = np.zeros(len(names), np.int64)
            np.add.at(sums, places, times)
            for name, total in zip(names.tolist(), sums.tolist(), strict=True):
                found[name] += total
    known = known_packages.names(connection, found)
    return {known[number]: requests for number, requests in found.items()}


def of_rows(table: Table, *where: ColumnElement[bool]) -> statements.Joined:
    """Return what selects the lists in rows of a rollup, of given days."""

    def make(given: FromClause) -> Select[Any]:
        t = package_lists.c
        rows = select(table.c.package_list).join_from(given, table, table.c.date == given.c.date)
        return select(t.number, t.packages).where(t.number.in_(rows.where(*where)))

    return make


def send_of_rows(
    connection: Connection, of_rows: statements.Joined, changes: Mapping[int, int], days: int
) -> None:
    """Ask for lists that are not remembered, and for names, and do not wait for them.

    The lists are those in the rows of the days that have changed. `changes` has the last change of
    each day by ordinal. After a change of more than `days`, they are looked up.
    """
    known_packages.send(connection)
    if (likely := known_packages.likely(connection)) is None:
        return
    new = [day for day, count in changes.items() if likely.days.get((of_rows, day)) != count]
    for day in new:
        likely.days.put((of_rows, day), changes[day])
    if len(new) <= days:
        rows = [(date.fromordinal(day),) for day in new]
        sent = statements.send_for(connection, of_rows, _DATE, rows)
        _ahead.setdefault(connection, []).append(sent)


# The lists that a snapshot asked for before it knew which it needs.
_ahead: Final[WeakKeyDictionary[Connection, list[statements.Sent]]] = WeakKeyDictionary()


def _send_lists(
    connection: Connection, numbers: Sequence[int]
) -> Callable[[], dict[int, NDArray[Any]]]:
    """Ask for lists that are not remembered. Return a function that waits for them.

    0 is the number of no list: of requests that named no package.
    """
    known, wanted = known_packages.known(connection), set(numbers)
    found: dict[int, NDArray[Any]] = {}

    def receive(rows: Iterable[Row]) -> Iterator[tuple[int, NDArray[Any]]]:
        for number, packages in rows:
            decoded = _decode(packages)
            if known is not None:
                known.lists.put(number, decoded.astype(np.uint32))
            yield number, decoded

    if known is not None:
        # Those sent ahead need not have stayed in memory.
        ahead = {n: part for sent in _ahead.pop(connection, ()) for n, part in receive(sent())}
        remembered = {n: part for n in numbers if (part := known.lists.get(n)) is not None}
        found = {n: part for n, part in (remembered | ahead).items() if n in wanted}
    missing = [(number,) for number in numbers if number and number not in found]
    chunks = [
        statements.send_for(connection, _of_lists, _NUMBER, missing[start : start + _CHUNK])
        for start in range(0, len(missing), _CHUNK)
    ]

    def lists() -> dict[int, NDArray[Any]]:
        for chunk in chunks:
            found.update(receive(chunk()))
        return found

    return lists


class Members(NamedTuple):
    """Packages of lists: place of the list and place of the name of each package, and the names."""

    lists: NDArray[np.int64]
    names: NDArray[np.int64]
    values: list[str]


def send_members(connection: Connection, lists: NDArray[np.int64]) -> Callable[[], Members]:
    """Ask for the packages of lists. Return a function that waits for them and their names."""
    numbers, places = np.unique(lists, return_inverse=True)
    sent = _send_lists(connection, numbers.tolist())

    def members() -> Members:
        parts = sent()
        each = [parts.get(number, _NOTHING) for number in numbers.tolist()]
        sizes = np.array([len(part) for part in each], np.int64)
        starts, of_each = np.cumsum(sizes) - sizes, sizes[places]
        up_to = np.cumsum(of_each)
        of = np.repeat(np.arange(len(lists)), of_each)
        rows_of = np.arange(len(of)) + np.repeat(starts[places] - up_to + of_each, of_each)
        found, codes = np.unique(np.concatenate([_NOTHING, *each]), return_inverse=True)
        wanted = found.tolist()
        known = known_packages.names(connection, wanted)
        return Members(of, codes[rows_of], [known[number] for number in wanted])

    return members


def in_total(connection: Connection, rows: Sequence[Row]) -> list[Row]:
    """Return the same without groups: (package, sums) for rows of a list and sums."""
    found = by_group(connection, [(packages, None, *added) for packages, *added in rows])
    return [row[1:] for row in found]


def _digest(names: Names) -> str:
    return b64encode(blake2b("\0".join(names).encode(), digest_size=15).digest()).decode()


def _encode(names: Names, numbers: Mapping[str, int]) -> bytes:
    """Return the numbers of names in stored form: sorted, as differences, compressed."""
    ordered = sorted(map(numbers.__getitem__, names))
    return zlib.compress(pack(f"<{len(ordered)}I", *map(sub, ordered, [0, *ordered])), 1)


def _decode(packages: bytes) -> NDArray[np.int64]:
    return np.cumsum(np.frombuffer(zlib.decompress(packages), "<u4"), dtype=np.int64)


_DIGEST: Final = (("digest", package_lists.c.digest.type),)
_NAME: Final = (("name", package_names.c.name.type),)
_NUMBER: Final = (("number", package_lists.c.number.type),)
_DATE: Final = (("date", Date()),)


def _lists(given: FromClause) -> Select[Any]:
    """Select the numbers of lists with given digests."""
    t = package_lists
    return select(t.c.digest, t.c.number).join_from(given, t, t.c.digest == given.c.digest)


def _digests(given: FromClause) -> Select[Any]:
    """Select the digests of lists with given numbers."""
    t = package_lists
    return select(t.c.number, t.c.digest).join_from(given, t, t.c.number == given.c.number)


def _names(given: FromClause) -> Select[Any]:
    """Select the numbers of given names."""
    t = package_names
    return select(t.c.name, t.c.number).join_from(given, t, t.c.name == given.c.name)


def _of_lists(given: FromClause) -> Select[Any]:
    """Select the lists with given numbers."""
    t = package_lists
    return select(t.c.number, t.c.packages).join_from(given, t, t.c.number == given.c.number)


def _send_numbers(
    connection: Connection, make: statements.Joined, field: tuple[Field], keys: Iterable[str]
) -> Callable[[], dict[str, int]]:
    rows = statements.send_for(connection, make, field, [(key,) for key in sorted(keys)])
    return lambda: {row[0]: row[1] for row in rows()}


def _send_named(connection: Connection, names: set[str]) -> Callable[[], dict[str, int]]:
    """Ask for the numbers of `names`. The function waits for them; new names get one."""
    sent = _send_numbers(connection, _names, _NAME, names)

    def named() -> dict[str, int]:
        known = sent()
        return known if names <= known.keys() else _numbered_names(connection, names)

    return named


def _numbered_names(connection: Connection, names: set[str]) -> dict[str, int]:
    """Return the numbers of names, after giving one to those that still have none."""
    locks.lock_names(connection)  # other batches may have numbered some meanwhile
    sent = _send_numbers(connection, _names, _NAME, names)
    last = statements.send(connection, _LAST_NAME)
    known = sent()
    given = _numbered(last, sorted(names - known.keys()))
    rows = [(number, name) for name, number in given.items()]
    statements.insert(connection, package_names, ("number", "name"), rows)
    return known | given


_LAST_LIST: Final = select(func.max(package_lists.c.number))
_LAST_NAME: Final = select(func.max(package_names.c.number))


def _numbered(last: statements.Sent, keys: Iterable[str]) -> dict[str, int]:
    """Give each of `keys` the number after the `last`. No other batch gives one meanwhile."""
    ((number,),) = last()
    return {key: place for place, key in enumerate(keys, (number or 0) + 1)}
