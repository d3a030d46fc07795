"""The forecast of `insights/capacity` beside `statsforecast`: AutoETS and seasonal naive."""

import math
import random
from collections.abc import Callable, Sequence
from statistics import mean
from typing import Final

import numpy as np
from statsforecast.models import AutoETS, SeasonalNaive

from asu_stats.reports.insights import forecasts
from benchmarks.report import Results, Table, Target

_WEEKDAYS: Final = (0.97, 0.92, 0.91, 0.93, 1.0, 1.1, 1.17)
_SERIES: Final = 12  # of each kind
_DAYS: Final = (70, 182)
KINDS: Final = ("steady", "growing", "falling", "releases", "step", "no week", "few")


def run(results: Results, _days: int, _per_day: int) -> None:
    """Forecast 28 days of series of several kinds and compare the errors (MASE)."""
    rows: list[Sequence[object]] = []
    every: list[tuple[float, float, float]] = []
    for kind in KINDS:
        of_kind = []
        for number in range(_SERIES):
            for days in _DAYS:
                series = made(kind, days + forecasts.HORIZON, number)
                past, actual = series[:days], series[days:]
                ours = forecasts.forecast(past, forecasts.HORIZON).values
                of_kind.append(
                    (
                        _mase(past, actual, ours),
                        _mase(past, actual, _rival(AutoETS(season_length=7), past)),
                        _mase(past, actual, _rival(SeasonalNaive(season_length=7), past)),
                    )
                )
        every += of_kind
        rows.append((kind, len(of_kind), *map(mean, zip(*of_kind, strict=True))))
    ours, ets, naive = map(mean, zip(*every, strict=True))
    rows.append(("all", len(every), ours, ets, naive))
    targets = [
        Target("forecast", "MASE over that of AutoETS", ours / ets, "at most", 1),
        Target("forecast", "MASE over that of seasonal naive", ours / naive, "at most", 1),
    ]
    columns = ("series", "number", "MASE", "AutoETS", "seasonal naive")
    note = "28 days ahead, after 70 and 182 days. `few` has about 15 requests a day."
    results.add("forecast", rows, [Table("Forecast", columns, rows, note)], targets)


def made(kind: str, days: int, number: int) -> list[float]:
    """Return daily counts with a weekly pattern, of the given kind."""
    chance = random.Random(f"{kind} {number}")
    level = 15 if kind == "few" else chance.choice((400, 1500, 13_000))
    drift = {"growing": 0.004, "falling": -0.003}.get(kind, 0.0)
    shift = chance.randint(days // 3, days - 40) if kind == "step" else days
    releases = {chance.randrange(days) for _ in range(days // 45)} if kind == "releases" else set()
    found: list[float] = []
    boost = 0.0
    for day in range(days):
        boost = 1.2 if day in releases else boost * 0.75
        week = 1.0 if kind == "no week" else _WEEKDAYS[(day + number) % 7] ** 2
        usual = level * math.exp(drift * day) * week * (1 + boost)
        usual *= 1.6 if day >= shift else 1
        usual *= math.exp(chance.gauss(0, 0.06))
        found.append(float(max(0, round(chance.gauss(usual, math.sqrt(usual))))))
    return found


def _rival(model: AutoETS | SeasonalNaive, past: Sequence[float]) -> Sequence[float]:
    fit: Callable[..., dict[str, Sequence[float]]] = model.forecast
    return list(map(float, fit(y=np.array(past), h=forecasts.HORIZON)["mean"]))


def _mase(past: Sequence[float], actual: Sequence[float], forecast: Sequence[float]) -> float:
    scale = mean(abs(a - b) for a, b in zip(past[7:], past, strict=False))
    return mean(abs(a - b) for a, b in zip(actual, forecast, strict=True)) / scale
