"""Covers names in responses that callers may not see, by what the fields are declared to hold.

Every response passes here (`Report.answer`): a name that stays in one is `other`, even if the
report itself does not know of the public floor.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, wraps
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Final,
    NotRequired,
    ParamSpec,
    TypeAlias,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

from sqlalchemy import Connection
from typing_extensions import get_type_hints, is_typeddict

from asu_stats.reports import floor
from asu_stats.reports.floor import OTHER, Visible
from asu_stats.reports.listing import Listing
from asu_stats.reports.marks import IDENTIFYING, Named
from asu_stats.windows import Window

Response = TypeVar("Response")
Given = ParamSpec("Given")

_Cover: TypeAlias = Callable[[Any, Visible], Any]
_LISTS: Final = (list, Sequence)


def cover(kind: Any, response: Response, connection: Connection, window: Window) -> Response:
    """Return a response of type `kind` in which names that are not shown are `other`.

    What identifies a request beside such a name becomes `None`, or `other` where there must be one.
    """
    covered = _of(kind) if floor.min_requests() else None
    found: Response = covered(response, Visible(connection, window)) if covered else response
    return found


def covers(kind: Any) -> Callable[[Callable[Given, Response]], Callable[Given, Response]]:
    """Cover what a function of a connection and a time range returns, which is of type `kind`."""

    def decorate(read: Callable[Given, Response]) -> Callable[Given, Response]:
        @wraps(read)
        def covering(*args: Given.args, **kwargs: Given.kwargs) -> Response:
            found = read(*args, **kwargs)
            connection: Any = args[0]
            window: Any = args[1]
            return cover(kind, found, connection, window)

        return covering

    return decorate


@cache
def _of(hint: Any) -> _Cover | None:
    """Return what covers values of a type; `None` if there is nothing to cover in them."""
    hint, marks = bare(hint)
    named = next((mark for mark in marks if isinstance(mark, Named)), None)
    if named is not None:
        return _name(named.kind) if named.kind else None
    if is_typeddict(hint):
        return _fields(hint)
    arguments = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        (inner,) = [_of(each) for each in arguments if each is not NoneType][:1]
        return None if inner is None else _optional(inner)
    if get_origin(hint) in _LISTS and (each := _of(arguments[0])):
        return _list(each, are_names=bool(bare(arguments[0])[1]))
    return None


def bare(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return a type without what is said about it, and that."""
    if get_origin(hint) is NotRequired:
        return bare(get_args(hint)[0])
    if get_origin(hint) is Annotated:
        inner, *marks = get_args(hint)
        found, more = bare(inner)
        return found, (*more, *marks)
    return hint, ()


def _name(kind: str) -> _Cover:
    return lambda name, names: None if name is None else names.shown(kind, name)


def _optional(inner: _Cover) -> _Cover:
    return lambda value, names: None if value is None else inner(value, names)


def _list(each: _Cover, *, are_names: bool) -> _Cover:
    def covered(rows: Any, names: Visible) -> Any:
        if isinstance(rows, Listing):
            return Listing(
                len(rows),
                lambda first, after: [each(row, names) for row in rows[first:after]],
                rows.ranked_by,
            )
        found = [each(row, names) for row in rows]
        return list(dict.fromkeys(found)) if are_names else found

    return covered


def _fields(row: Any) -> _Cover | None:
    """Return what covers the fields of a `TypedDict`."""
    hints = get_type_hints(row, include_extras=True)
    covered = {name: found for name, hint in hints.items() if (found := _of(hint))}
    said = {name: marks_of(hint) for name, hint in hints.items()}
    by = {
        name: mark.by
        for name, marks in said.items()
        for mark in marks
        if isinstance(mark, Named) and mark.by
    }
    own = {name for name, marks in said.items() if any(isinstance(m, Named) for m in marks)}
    identifying = {
        name: None if NoneType in get_args(bare(hint)[0]) else OTHER
        for name, hint in hints.items()
        if IDENTIFYING in said[name]
    }
    if not covered and not by:
        return None

    def cover_fields(value: Mapping[str, Any], names: Visible) -> Any:
        found = {name: each(value[name], names) for name, each in covered.items() if name in value}
        for name, sibling in by.items():
            found[name] = _name(value[sibling])(value[name], names)
        hidden = any(found[name] != value[name] for name in own if name in found)
        return {**value, **found, **(identifying if hidden else {})}

    return cover_fields


def marks_of(hint: Any) -> tuple[Any, ...]:
    """Return what is said about a type, or about what it may be besides `None`."""
    inner, marks = bare(hint)
    if get_origin(inner) in (Union, UnionType):
        return (*marks, *(mark for each in get_args(inner) for mark in bare(each)[1]))
    return marks
