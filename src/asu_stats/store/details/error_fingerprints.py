"""Fingerprints of errors: pattern, category, type, and the earliest error as an example.

The example is the earliest by time, then by request hash, then by text, so it does not depend on
the order of arrival. Fingerprints beyond the limits count as `other` of their type.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

from sqlalchemy import (
    Connection,
    FromClause,
    Select,
    Update,
    bindparam,
    func,
    literal,
    select,
    tuple_,
    update,
)

from asu_stats import fingerprints
from asu_stats.fingerprints import Fingerprint
from asu_stats.store.database import statements
from asu_stats.store.database.dialects import Row
from asu_stats.store.database.schema import error_fingerprints
from asu_stats.store.rollups.counting import Rejection

MAX_PER_TYPE: Final = 2_000
MAX_FINGERPRINTS: Final = 50_000
EXAMPLE: Final = 2_000  # characters, from the end

_t: Final = error_fingerprints.c
_COLUMNS: Final = tuple(column.name for column in error_fingerprints.columns)
_EXAMPLE: Final = ("example", "example_hash", "example_at")
_FINGERPRINT: Final = (("fingerprint", _t.fingerprint.type),)
_TYPE: Final = (("error_type", _t.error_type.type),)
# Limits do not count what is beyond them: that can be any number.
_SOME: Final = select(literal(1)).select_from(error_fingerprints).limit(bindparam("most"))
_TOTAL: Final = select(func.count()).select_from(_SOME.subquery())


class ErrorOccurrence(NamedTuple):
    """An error: when it happened (as the store keeps times), of which request, and its text."""

    category: str
    type: str
    text: str | None
    at: datetime
    request_hash: str


class Example(NamedTuple):
    """The earliest error of a fingerprint; the order is that of examples."""

    at: datetime
    request_hash: str
    text: str

    @classmethod
    def of(cls, at: datetime, request_hash: str, text: str | None) -> "Example":
        return cls(at, request_hash, (text or "")[-EXAMPLE:])


# Waits for the examples of known fingerprints, and returns them.
Known: TypeAlias = Callable[[], dict[str, Example | None]]


class Resolved(NamedTuple):
    """Fingerprint and package of each error of a batch, and the rows to `keep`."""

    errors: Sequence[Rejection] = ()
    new: Sequence[Row] = ()
    examples: Sequence[Row] = ()

    def keep(self, connection: Connection) -> None:
        """Store new fingerprints, and examples that are the earliest."""
        statements.insert_missing(connection, error_fingerprints, _COLUMNS, self.new)
        make = _earlier[connection.dialect.name]
        statements.update_for(connection, make, _EXAMPLES, self.examples)


def send_known(connection: Connection, errors: Iterable[ErrorOccurrence]) -> Known:
    """Ask for the fingerprints of errors that are known, as in `statements.send`."""
    return _send_known_rows(connection, {_fingerprint(each) for each in errors})


def resolve(connection: Connection, errors: Sequence[ErrorOccurrence], sent: Known) -> Resolved:
    """Return fingerprint and package of new errors, and what must be stored for that.

    `sent` comes from `send_known`, for these errors and maybe others.
    """
    if not errors:
        return Resolved()
    found = [_fingerprint(each) for each in errors]
    kinds = {fingerprint: each[:2] for fingerprint, each in zip(found, errors, strict=True)}
    known = sent()
    others = _beyond(connection, kinds, known)
    if others:
        found = [others.get(fingerprint, fingerprint) for fingerprint in found]
        kinds |= {others[each]: kinds[each] for each in others}
        known |= _send_known_rows(connection, others.values())()
    examples: dict[Fingerprint, Example] = {}
    for fingerprint, each in zip(found, errors, strict=True):
        example = Example.of(each.at, each.request_hash, each.text)
        examples[fingerprint] = min(example, examples.get(fingerprint, example))
    said = [
        Rejection(fingerprint.fingerprint, fingerprints.package_of(each.text) or "")
        for fingerprint, each in zip(found, errors, strict=True)
    ]
    return Resolved(said, *_rows(kinds, examples, known))


def _beyond(
    connection: Connection,
    kinds: dict[Fingerprint, tuple[str, str]],
    known: dict[str, Example | None],
) -> dict[Fingerprint, Fingerprint]:
    """Return the new fingerprints that exceed the limits, and what they count as."""
    new = [each for each in kinds if each.fingerprint not in known]
    if not new:
        return {}
    types = sorted({(kinds[each][1],) for each in new})
    stored = statements.send_for(connection, _select_counts, _TYPE, types)
    ((total,),) = statements.fetch(connection, _TOTAL, most=MAX_FINGERPRINTS)
    counts: Counter[str] = Counter(dict(stored()))
    found: dict[Fingerprint, Fingerprint] = {}
    for fingerprint in sorted(new):
        category, error_type = kinds[fingerprint]
        if counts[error_type] >= MAX_PER_TYPE or total >= MAX_FINGERPRINTS:
            found[fingerprint] = fingerprints.other(category, error_type)
        else:
            counts[error_type] += 1
            total += 1
    return found


def _select_counts(given: FromClause) -> Select[Any]:
    """Select how many fingerprints each of the given types has."""
    same = _t.error_type == given.c.error_type
    counts = select(_t.error_type, func.count()).join_from(given, error_fingerprints, same)
    return counts.group_by(_t.error_type)


def _rows(
    kinds: dict[Fingerprint, tuple[str, str]],
    examples: dict[Fingerprint, Example],
    known: dict[str, Example | None],
) -> tuple[list[Row], list[Row]]:
    """Return the rows of new fingerprints, and the examples that may be the earliest."""
    new, earliest = [], []
    for (name, pattern), example in examples.items():
        row = example.text, example.request_hash, example.at
        if name not in known:
            kind = kinds[Fingerprint(name, pattern)]
            new.append((name, *kind, pattern, fingerprints.ALGORITHM, *row))
        elif (before := known[name]) is not None and before <= example:
            continue
        earliest.append((name, *row))
    return sorted(new), sorted(earliest)


def _update_earlier(collation: str, given: FromClause) -> Update:
    """Set the given examples that are earlier than the stored ones: others may have stored one."""
    order = [given.c[name] for name in ("example_at", "example_hash")]
    stored = [_t[name] for name in ("example_at", "example_hash")]
    earlier = tuple_(*order, given.c.example.collate(collation)) < tuple_(
        *stored, _t.example.collate(collation)
    )
    here = (_t.fingerprint == given.c.fingerprint) & (_t.example_at.is_(None) | earlier)
    values = {name: given.c[name] for name in _EXAMPLE}
    return update(error_fingerprints).where(here).values(values)


_EXAMPLES: Final = (*_FINGERPRINT, *((name, _t[name].type) for name in _EXAMPLE))
# By code point, like Python.
_earlier: Final = {
    "sqlite": partial(_update_earlier, "BINARY"),
    "postgresql": partial(_update_earlier, "C"),
}


def _select_known(given: FromClause) -> Select[Any]:
    same = _t.fingerprint == given.c.fingerprint
    columns = _t.fingerprint, _t.example_at, _t.example_hash, _t.example
    return select(*columns).join_from(given, error_fingerprints, same)


def _fingerprint(error: ErrorOccurrence) -> Fingerprint:
    return fingerprints.of(error.text, error.category, error.type)


def _send_known_rows(connection: Connection, wanted: Iterable[Fingerprint]) -> Known:
    """Ask for the examples of known fingerprints."""
    rows = sorted({(each.fingerprint,) for each in wanted})
    sent = statements.send_for(connection, _select_known, _FINGERPRINT, rows)
    return lambda: {row[0]: None if row[1] is None else Example(*row[1:]) for row in sent()}


def forget(connection: Connection, gone: Iterable[tuple[str, datetime, str]]) -> list[str]:
    """Remove errors (fingerprint, time, hash) that no longer hold from the examples.

    Returns the fingerprints that need another example: see `store.archive.errors`.
    """
    wanted = sorted(set(gone))
    rows = sorted({(name,) for name, _, _ in wanted})
    found = statements.fetch_for(connection, _select_known, _FINGERPRINT, rows)
    examples = {row[0]: (row[1], row[2]) for row in found}
    lost = [name for name, *example in wanted if examples.get(name) == tuple(example)]
    set_example(connection, dict.fromkeys(lost))
    return lost


def set_example(connection: Connection, examples: dict[str, Example | None]) -> None:
    """Set the examples of fingerprints."""
    for name, example in examples.items():
        row = (None, None, None) if example is None else (
            example.text, example.request_hash, example.at
        )  # fmt: skip
        values = dict(zip(_EXAMPLE, row, strict=True))
        connection.execute(update(error_fingerprints).where(_t.fingerprint == name).values(values))
