"""Forecasts of daily counts with a weekly pattern.

The methods are the seasonal naive one (same weekday last week) and exponential smoothing of the
logarithms with a damped trend and seven seasonal terms (Holt-Winters). A backtest on the same
series chooses the method.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

WEEK: Final = 7
HORIZON: Final = 28
MIN_DAYS: Final = 14  # of a series
_TRAINING_DAYS: Final = 28  # minimum before the first forecast of a backtest
_ORIGINS: Final = 6  # forecasts of a backtest, a week apart
_FIRST_WEEKS: Final = 4  # that the first level and trend come from
_LOW, _HIGH = 0.025, 0.975  # errors of a few weeks depend on each other: 9 of 10 days are within

# Candidates for the smoothing weights of level, trend and seasonal terms, and for the damping.
_ALPHA, _BETA, _GAMMA, _DAMPING = np.array(
    list(product((0.01, 0.03, 0.1, 0.3), (0.0, 0.05), (0.0, 0.05), (0.9, 0.98, 1.0)))
).T

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


def exponential_smoothing(series: Series, days: int) -> list[float]:
    """Forecast by exponential smoothing of the logarithms: the weekly pattern is a factor."""
    logarithms = _smoothed(np.log1p(series), days)
    maximum = 10 * max(series) + 10
    return [min(max(0.0, math.expm1(min(value, 50.0))), maximum) for value in logarithms]


SEASONAL_NAIVE: Final = "seasonal naive"
EXPONENTIAL_SMOOTHING: Final = "exponential smoothing"
METHODS: Final[Mapping[str, Method]] = {
    SEASONAL_NAIVE: seasonal_naive,
    EXPONENTIAL_SMOOTHING: exponential_smoothing,
}


def _smoothed(series: NDArray[np.float64], days: int) -> list[float]:
    """Forecast with the candidate that has the smallest squared one-day errors."""
    first = series[: WEEK * min(_FIRST_WEEKS, len(series) // WEEK)]
    slope = _first_trend(first.reshape(-1, WEEK).mean(axis=1))
    level = np.full(len(_ALPHA), first.mean() - slope * (len(first) + 1) / 2)
    trend = np.full(len(_ALPHA), slope)
    seasons = np.repeat(_seasonal_terms(series)[:, np.newaxis], len(_ALPHA), axis=1)
    errors = np.zeros(len(_ALPHA))
    for day, value in enumerate(series):
        season = seasons[day % WEEK]
        damped = _DAMPING * trend
        residual = value - level - damped - season
        if day >= WEEK:
            errors += residual * residual
        level += damped + _ALPHA * residual
        trend = damped + _ALPHA * _BETA * residual
        season += _GAMMA * (1 - _ALPHA) * residual
    best = int(errors.argmin())
    growth = trend[best] * np.cumsum(_DAMPING[best] ** np.arange(1, days + 1))
    weekdays = (len(series) + np.arange(days)) % WEEK
    found: list[float] = (level[best] + growth + seasons[weekdays, best]).tolist()
    return found


def _first_trend(weeks: NDArray[np.float64]) -> float:
    """Return the change per day over the means of the first weeks, halved as it may be chance."""
    return float(weeks[-1] - weeks[0]) / (2 * WEEK * max(1, len(weeks) - 1))


def _seasonal_terms(series: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the difference of each weekday from the seven days around it.

    Differences that chance explains are shrunk towards 0. The first term is that of the first day.
    """
    days = np.arange(WEEK // 2, len(series) - WEEK // 2)
    differences = series[days] - np.convolve(series, np.full(WEEK, 1 / WEEK), "valid")
    weekdays = days % WEEK
    terms = np.array([differences[weekdays == weekday].mean() for weekday in range(WEEK)])
    terms -= terms.mean()
    spread = (terms * terms).sum() / (WEEK - 1)
    chance = (differences - terms[weekdays]).var() * WEEK / len(days)
    return terms * max(0.0, 1 - chance / spread) if spread > 0 else terms


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
    """Forecast a series of at least 14 days.

    The seasonal naive method is used unless exponential smoothing has a smaller MASE in the
    backtest. The prediction interval comes from the errors of the backtest at the same number of
    weeks ahead. If the series is too short for a backtest, it comes from the ratios of consecutive
    weeks.
    """
    tests = {name: backtest(series, method) for name, method in METHODS.items()}
    naive, smoothed = (tests[name].mase for name in (SEASONAL_NAIVE, EXPONENTIAL_SMOOTHING))
    is_smoothed = naive is not None and smoothed is not None and smoothed < naive
    chosen = EXPONENTIAL_SMOOTHING if is_smoothed else SEASONAL_NAIVE
    values = METHODS[chosen](series, days)
    ratios = tests[chosen].ratios or [
        (0, (b + 1) / (a + 1)) for a, b in zip(series, series[WEEK:], strict=False)
    ]
    low, high = [], []
    for ahead, value in enumerate(values):
        below, above = _interval(ratios, ahead)
        low.append(min(value, max(0.0, (value + 1) * below - 1)))
        high.append(max(value, (value + 1) * above - 1))
    return Forecast(chosen, values, low, high, tests[chosen].mase, naive)


def _interval(ratios: Sequence[tuple[int, float]], ahead: int) -> tuple[float, float]:
    """Return two quantiles of the ratios with the same number of weeks ahead."""
    week = min(ahead, max(day for day, _ in ratios)) // WEEK
    same_week = sorted(ratio for day, ratio in ratios if day // WEEK == week)
    last = len(same_week) - 1
    return same_week[math.floor(_LOW * last)], same_week[math.ceil(_HIGH * last)]
