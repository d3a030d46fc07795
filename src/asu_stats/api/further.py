"""Endpoints for charts and details."""

from typing import Final

from asu_stats.api import params
from asu_stats.api.questions import Question
from asu_stats.reports import (
    adoption,
    answers,
    comparison,
    distribution,
    error_types,
    request_patterns,
    week,
)

FURTHER: Final[tuple[Question, ...]] = (
    Question(
        "comparison",
        "The figures of the overview beside those of the window before",
        lambda db, window, *_: comparison.read(db, window),
        list[answers.Compared],
        default_days=7,
        row=answers.Compared,
    ),
    Question(
        "timeseries/week",
        "Requests by hour of the week",
        lambda db, window, *_: week.read(db, window),
        list[answers.WeekHour],
        row=answers.WeekHour,
    ),
    Question(
        "versions/timeseries",
        "Share of versions over time",
        lambda db, window, given, *_: adoption.read(db, window, **params.keywords(given)),
        list[answers.VersionBucket],
        row=answers.VersionBucket,
        interval=params.DAYS_INTERVAL,
    ),
    Question(
        "request-patterns",
        "What requests ask for",
        lambda db, window, filters, _: request_patterns.read(db, window, **filters),
        request_patterns.RequestPatterns,
        filters=(params.VERSION, params.CLIENT),
    ),
    Question(
        "performance/distribution",
        "How durations are spread",
        lambda db, window, filters, *_: distribution.read(db, window, **filters),
        list[answers.DurationBar],
        filters=(params.VERSION,),
        row=answers.DurationBar,
    ),
    Question(
        "performance/timeseries",
        "Durations over time",
        lambda db, window, given, *_: distribution.over_time(db, window, **params.keywords(given)),
        list[answers.DurationBucket],
        filters=(params.VERSION,),
        row=answers.DurationBucket,
        interval=params.DAYS_INTERVAL,
    ),
    Question(
        "errors/types",
        "Errors type by type",
        lambda db, window, filters, *_: error_types.read(db, window, **filters),
        list[answers.ErrorTypeRow],
        filters=(params.VERSION, params.CATEGORY),
        default_days=7,
        row=answers.ErrorTypeRow,
        paged=True,
    ),
    Question(
        "errors/timeseries",
        "Errors by category over time",
        lambda db, window, given, *_: error_types.over_time(db, window, **params.keywords(given)),
        list[answers.ErrorBucket],
        filters=(params.VERSION,),
        default_days=7,
        row=answers.ErrorBucket,
        interval=params.DAYS_INTERVAL,
    ),
    Question(
        "errors/examples",
        "The latest errors whose details are kept",
        lambda db, window, filters, *_: error_types.examples(db, window, **filters),
        list[answers.ErrorExample],
        filters=(params.VERSION, params.CATEGORY, params.ERROR_TYPE),
        default_days=7,
        row=answers.ErrorExample,
    ),
)
