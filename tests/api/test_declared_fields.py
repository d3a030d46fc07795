"""Every text in a response is declared as a name of a dimension, or as not being one."""

from collections.abc import Iterator, Sequence
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin

from typing_extensions import get_type_hints, is_typeddict

from asu_stats.reports import now
from asu_stats.reports.cover import bare, marks_of
from asu_stats.reports.endpoints import REPORTS
from asu_stats.reports.marks import IDENTIFYING, Named

# Fields that hold no name of a dimension, whatever response they are in. Before you add one, say to
# yourself who could be recognised by it: a name belongs into `reports/fields.py`, with `Named`.
HARMLESS: Final = frozenset(
    {
        *("start", "end", "data_since", "timestamp", "date", "day", "at", "until"),
        *("first_seen", "last_seen", "since", "started_at", "finished_at", "released_on"),
        *("compared_until", "worth_keeping_since", "recovered_on"),
        *("figure", "unit", "method", "forecast_method", "before_unknown", "incomplete"),
        *("category", "type", "error_type", "status", "outcome", "phase", "worker"),
        *("measure", "supported_branches"),
    }
)
# Fields whose reports cover them, each with a test in `test_public_floor.py`.
COVERED_BY_REPORT: Final = frozenset(
    {
        ("Annotation", "text"),
        ("ErrorExample", "message"),
        ("ErrorExample", "fingerprint"),
        ("FailureGroup", "fingerprint"),
        ("FailureGroup", "reason"),
        ("FailureGroup", "example"),
        ("FingerprintRow", "fingerprint"),
        ("FingerprintRow", "pattern"),
        ("FingerprintRow", "example"),
        ("FingerprintRow", "example_request_hash"),
        *(("OneFingerprint", name) for name in ("fingerprint", "pattern", "example")),
        ("OneFingerprint", "example_request_hash"),
        ("PackageFailures", "package"),
        ("PackageFailures", "branch"),
        ("PackageFailures", "example"),
        ("Warmup", "version"),
        ("Tried", "version"),
    }
)


def texts(hint: Any, owner: str = "", field: str = "") -> Iterator[tuple[str, str, Any]]:
    """Yield each text in a type: the `TypedDict`, its field, and the type of the text."""
    inner, _ = bare(hint)
    if is_typeddict(inner):
        for name, each in get_type_hints(inner, include_extras=True).items():
            yield from texts(each, inner.__name__, name)
    elif get_origin(inner) in (Union, UnionType):
        if str in get_args(inner):
            yield owner, field, hint
        else:
            for each in get_args(inner):
                if each is not NoneType:
                    yield from texts(each, owner, field)
    elif get_origin(inner) in (list, Sequence, dict):
        yield from texts(get_args(inner)[-1], owner, field)
    elif inner is str or inner is Any:
        yield owner, field, hint


def test_every_text_is_declared() -> None:
    unknown = set()
    for response in (*(report.response for report in REPORTS), now.Now):
        for owner, field, hint in texts(response):
            marks = marks_of(hint)
            if any(isinstance(mark, Named) or mark is IDENTIFYING for mark in marks):
                continue
            if field not in HARMLESS and (owner, field) not in COVERED_BY_REPORT:
                unknown.add((owner, field))
    assert unknown == set()
