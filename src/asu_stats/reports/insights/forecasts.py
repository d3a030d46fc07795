"""Forecasts of daily counts with a weekly pattern. Pure mathematics, on plain lists.

The methods are `same day last week`, and exponential smoothing with a damped trend and seven
seasonal terms (Holt and Winters), on the counts (additive) and on their logarithms
(multiplicative). A backtest on the same series chooses.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

WEEK: Final = 7
HORIZON: Final = 28
LEAST_DAYS: Final = 14  # of a series that is forecast at all
_TRAINING: Final = 14  # days before the first forecast of a backtest
_ORIGINS: Final = 6  # forecasts of a backtest, a week apart
_DAMPING: Final = 0.97
_LEVELS: Final = (0.05, 0.15, 0.3, 0.5)
_TRENDS: Final = (0.0, 0.03, 0.1)
_SEASONS: Final = (0.02, 0.1, 0.25)
_LOW, _HIGH = 0.05, 0.95

Series: TypeAlias = Sequence[float]
Method: TypeAlias = Callable[[Series, int], list[float]]


class Backtest(NamedTuple):
    """Errors of forecasts that were made from the past of a series.

    `mase` is the mean absolute error, divided by that of `same day last week` one week ahead within
    the past; `None` if that is 0 or there is too little past. `ratios` are actual by forecast, with
    the days ahead.
    """

    mase: float | None
    ratios: list[tuple[int, float]]


class Forecast(NamedTuple):
    """A forecast: the method, values with a range that holds 90% of days, and the backtest."""

    method: str
    values: list[float]
    low: list[float]
    high: list[float]
    mase: float | None
    seasonal_naive_mase: float | None


def seasonal_naive(series: Series, days: int) -> list[float]:
    """Return the values of the last week, again and again."""
    return [series[len(series) - WEEK + ahead % WEEK] for ahead in range(days)]


def additive(series: Series, days: int) -> list[float]:
    """Return an exponential smoothing with additive weekly pattern; never below 0."""
    return [max(0.0, value) for value in _smoothed(series, days)]


def multiplicative(series: Series, days: int) -> list[float]:
    """Return an exponential smoothing of the logarithms: the weekly pattern is a factor."""
    found = _smoothed([math.log1p(value) for value in series], days)
    most = 10 * max(series) + 10
    return [min(max(0.0, math.expm1(min(value, 50.0))), most) for value in found]


SEASONAL_NAIVE: Final = "seasonal naive"
METHODS: Final[Mapping[str, Method]] = {
    SEASONAL_NAIVE: seasonal_naive,
    "additive exponential smoothing": additive,
    "multiplicative exponential smoothing": multiplicative,
}


class _State(NamedTuple):
    error: float  # sum of the squared errors, one day ahead
    level: float
    trend: float
    seasons: list[float]  # by day of the week, counted from the beginning of the series


def _smoothed(series: Series, days: int) -> list[float]:
    """Return the forecast of the smoothing whose one-day errors were least."""
    weeks = min(4, len(series) // WEEK)
    level = sum(series[: weeks * WEEK]) / (weeks * WEEK)
    seasons = [sum(series[day : weeks * WEEK : WEEK]) / weeks - level for day in range(WEEK)]
    best = min(
        (
            _run(series, (alpha, beta, gamma), level, seasons)
            for alpha in _LEVELS
            for beta in _TRENDS
            for gamma in _SEASONS
        ),
        key=lambda state: state.error,
    )
    found, damped, factor = [], 0.0, 1.0
    for ahead in range(days):
        factor *= _DAMPING
        damped += factor
        season = best.seasons[(len(series) + ahead) % WEEK]
        found.append(best.level + damped * best.trend + season)
    return found


def _run(
    series: Series, weights: tuple[float, float, float], level: float, initial: Series
) -> _State:
    alpha, beta, gamma = weights
    error = trend = 0.0
    seasons = list(initial)
    for day, value in enumerate(series):
        place = day % WEEK
        season = seasons[place]
        steady = _DAMPING * trend
        missed = value - level - steady - season
        if day >= WEEK:
            error += missed * missed
        level += steady + alpha * missed
        trend = steady + alpha * beta * missed
        seasons[place] = season + gamma * (1 - alpha) * missed
    return _State(error, level, trend, seasons)


def backtest(series: Series, method: Method) -> Backtest:
    """Return the errors of forecasts from several days of the past, up to 28 days ahead."""
    ahead = min(HORIZON, len(series) - _TRAINING)
    errors: list[float] = []
    scaled: list[float] = []
    ratios: list[tuple[int, float]] = []
    for number in range(_ORIGINS):
        begin = len(series) - ahead - number * WEEK
        if ahead < WEEK or begin < _TRAINING:
            break
        past = series[:begin]
        scale = sum(abs(a - b) for a, b in zip(past[WEEK:], past, strict=False)) / (begin - WEEK)
        forecast = method(past, ahead)
        for day, (found, actual) in enumerate(zip(forecast, series[begin:], strict=False)):
            errors.append(abs(actual - found))
            ratios.append((day, (actual + 1) / (found + 1)))
            if scale > 0:
                scaled.append(abs(actual - found) / scale)
    if errors and len(scaled) == len(errors):
        return Backtest(sum(scaled) / len(scaled), ratios)
    return Backtest(0.0 if errors and not any(errors) else None, ratios)


def forecast(series: Series, days: int) -> Forecast:
    """Forecast a series of at least 14 days by the method with the least error in the backtest.

    Where the seasonal naive method errs no more than the others, it is used. The range comes from
    the errors of the backtest for as many weeks ahead; without a backtest from those of the method
    within the series.
    """
    tests = {name: backtest(series, method) for name, method in METHODS.items()}
    naive = tests[SEASONAL_NAIVE]
    chosen = SEASONAL_NAIVE
    for name, test in tests.items():
        least = tests[chosen].mase
        if test.mase is not None and least is not None and test.mase < least:
            chosen = name
    values = METHODS[chosen](series, days)
    ratios = tests[chosen].ratios or [
        (0, (b + 1) / (a + 1)) for a, b in zip(series, series[WEEK:], strict=False)
    ]
    low, high = [], []
    for ahead, value in enumerate(values):
        below, above = _range(ratios, ahead)
        low.append(min(value, max(0.0, (value + 1) * below - 1)))
        high.append(max(value, (value + 1) * above - 1))
    return Forecast(chosen, values, low, high, tests[chosen].mase, naive.mase)


def _range(ratios: Sequence[tuple[int, float]], ahead: int) -> tuple[float, float]:
    """Return between which ratios 90% of the days lie that were as many weeks ahead."""
    week = min(ahead, max(day for day, _ in ratios)) // WEEK
    found = sorted(ratio for day, ratio in ratios if day // WEEK == week)
    last = len(found) - 1
    return found[math.floor(_LOW * last)], found[math.ceil(_HIGH * last)]
