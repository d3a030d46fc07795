"""Forecasts of daily counts with a weekly pattern.

The methods are the seasonal naive one (same weekday last week) and exponential smoothing with a
damped trend and seven seasonal terms (Holt-Winters), on the counts (additive) and on their
logarithms (multiplicative). A backtest on the same series chooses the method.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

WEEK: Final = 7
HORIZON: Final = 28
MIN_DAYS: Final = 14  # of a series
_TRAINING_DAYS: Final = 14  # minimum before the first forecast of a backtest
_ORIGINS: Final = 6  # forecasts of a backtest, a week apart
_DAMPING: Final = 0.97
_ALPHAS: Final = (0.05, 0.15, 0.3, 0.5)  # candidates for the smoothing weight of the level,
_BETAS: Final = (0.0, 0.03, 0.1)  # of the trend
_GAMMAS: Final = (0.02, 0.1, 0.25)  # and of the seasonal terms
_LOW, _HIGH = 0.05, 0.95  # quantiles of the prediction interval

Series: TypeAlias = Sequence[float]
Method: TypeAlias = Callable[[Series, int], list[float]]


class Backtest(NamedTuple):
    """Errors of forecasts of the end of a series from its beginning.

    `mase` is the mean absolute scaled error: the scale is the mean absolute error of the seasonal
    naive method within the training data. It is `None` if the scale is 0 or the series is too
    short. `ratios` are pairs of days ahead and actual value over forecast.
    """

    mase: float | None
    ratios: list[tuple[int, float]]


class Forecast(NamedTuple):
    """Method, values, ends of the 90% prediction interval, and errors in the backtest."""

    method: str
    values: list[float]
    low: list[float]
    high: list[float]
    mase: float | None
    seasonal_naive_mase: float | None


def seasonal_naive(series: Series, days: int) -> list[float]:
    """Repeat the values of the last week."""
    return [series[len(series) - WEEK + ahead % WEEK] for ahead in range(days)]


def additive(series: Series, days: int) -> list[float]:
    """Forecast by exponential smoothing with an additive weekly pattern; never below 0."""
    return [max(0.0, value) for value in _smoothed(series, days)]


def multiplicative(series: Series, days: int) -> list[float]:
    """Forecast by exponential smoothing of the logarithms: the weekly pattern is a factor."""
    logarithms = _smoothed([math.log1p(value) for value in series], days)
    maximum = 10 * max(series) + 10
    return [min(max(0.0, math.expm1(min(value, 50.0))), maximum) for value in logarithms]


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
    seasons: list[float]  # seasonal terms by weekday; 0 is that of the first day of the series


def _smoothed(series: Series, days: int) -> list[float]:
    """Forecast with the weights that have the smallest squared one-day errors."""
    weeks = min(4, len(series) // WEEK)
    level = sum(series[: weeks * WEEK]) / (weeks * WEEK)
    seasons = [sum(series[day : weeks * WEEK : WEEK]) / weeks - level for day in range(WEEK)]
    best = min(
        (
            _fit(series, (alpha, beta, gamma), level, seasons)
            for alpha in _ALPHAS
            for beta in _BETAS
            for gamma in _GAMMAS
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


def _fit(
    series: Series, weights: tuple[float, float, float], level: float, initial: Series
) -> _State:
    alpha, beta, gamma = weights
    error = trend = 0.0
    seasons = list(initial)
    for day, value in enumerate(series):
        weekday = day % WEEK
        season = seasons[weekday]
        damped = _DAMPING * trend
        residual = value - level - damped - season
        if day >= WEEK:
            error += residual * residual
        level += damped + alpha * residual
        trend = damped + alpha * beta * residual
        seasons[weekday] = season + gamma * (1 - alpha) * residual
    return _State(error, level, trend, seasons)


def backtest(series: Series, method: Method) -> Backtest:
    """Return the errors of forecasts from up to 6 past days, each up to 28 days ahead."""
    ahead = min(HORIZON, len(series) - _TRAINING_DAYS)
    errors: list[float] = []
    scaled: list[float] = []
    ratios: list[tuple[int, float]] = []
    for number in range(_ORIGINS):
        origin = len(series) - ahead - number * WEEK
        if ahead < WEEK or origin < _TRAINING_DAYS:
            break
        past = series[:origin]
        scale = sum(abs(a - b) for a, b in zip(past[WEEK:], past, strict=False)) / (origin - WEEK)
        values = method(past, ahead)
        for day, (value, actual) in enumerate(zip(values, series[origin:], strict=False)):
            errors.append(abs(actual - value))
            ratios.append((day, (actual + 1) / (value + 1)))
            if scale > 0:
                scaled.append(abs(actual - value) / scale)
    if errors and len(scaled) == len(errors):
        return Backtest(sum(scaled) / len(scaled), ratios)
    return Backtest(0.0 if errors and not any(errors) else None, ratios)


def forecast(series: Series, days: int) -> Forecast:
    """Forecast a series of at least 14 days with the method that has the smallest MASE.

    The seasonal naive method wins ties. The prediction interval comes from the errors of the
    backtest at the same number of weeks ahead. If the series is too short for a backtest, it comes
    from the ratios of consecutive weeks.
    """
    tests = {name: backtest(series, method) for name, method in METHODS.items()}
    naive = tests[SEASONAL_NAIVE]
    chosen = SEASONAL_NAIVE
    for name, test in tests.items():
        smallest = tests[chosen].mase
        if test.mase is not None and smallest is not None and test.mase < smallest:
            chosen = name
    values = METHODS[chosen](series, days)
    ratios = tests[chosen].ratios or [
        (0, (b + 1) / (a + 1)) for a, b in zip(series, series[WEEK:], strict=False)
    ]
    low, high = [], []
    for ahead, value in enumerate(values):
        below, above = _interval(ratios, ahead)
        low.append(min(value, max(0.0, (value + 1) * below - 1)))
        high.append(max(value, (value + 1) * above - 1))
    return Forecast(chosen, values, low, high, tests[chosen].mase, naive.mase)


def _interval(ratios: Sequence[tuple[int, float]], ahead: int) -> tuple[float, float]:
    """Return the 5% and 95% quantiles of the ratios with the same number of weeks ahead."""
    week = min(ahead, max(day for day, _ in ratios)) // WEEK
    same_week = sorted(ratio for day, ratio in ratios if day // WEEK == week)
    last = len(same_week) - 1
    return same_week[math.floor(_LOW * last)], same_week[math.ceil(_HIGH * last)]
