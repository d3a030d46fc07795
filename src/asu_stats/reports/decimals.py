"""Decimals of rates for people: as many as the sample carries (docs/dashboard.md, Decimals).

The API returns all rates with 2 decimals. Of a sample of n requests or builds, each of them is
100/n points of the rate. A page or table shows

* no decimals below 100: one request is more than a point;
* 1 decimal below 10,000: one request is more than 0.01 points, so a second decimal says nothing;
* 2 decimals from there.

This is about what was counted, which is exact. As an estimate of the future, a rate is less
certain: at the 95% level by up to 98/√n points, which is 10 points at n = 100, and 1 at 10,000.

A rate that is neither 0 nor 100 is never shown as `0%` or `100%`: it gets one more decimal, if the
exact value has one.
"""

from collections.abc import Mapping
from typing import Any, Final

from asu_stats.reports.figures import as_text, quotient

# The least samples of one and of two decimals.
FROM: Final = (100, 10_000)
_EXACT: Final = 2
_UNKNOWN: Final = 1  # of a rate whose sample is not in the response

_RATES: Final = ("_rate", "percentage", "share", "utilisation")
# The fields that add up to the sample of a rate, first match.
_SAMPLES: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "success_rate": (("successful_builds", "failed_builds"),),
    "cache_hit_rate": (("requests",), ("total_requests",)),
    "percentage_enabled": (
        ("enabled", "disabled"),
        ("diff_packages_enabled", "diff_packages_disabled"),
    ),
    "hit_rate": (("hits", "builds"),),
    "failure_rate": (("builds",),),
    "before": (("builds",),),
    "after": (("builds",),),
}
# Counts of which `percentage` is the share.
_PARTS: Final = ("count", "requests", "failures", "builds")
# Rates of all requests, or of all builds, of a report that states how many it used (`basis`).
_OF_REQUESTS: Final = ("share", "end_of_life_share", "hit_rate")


def is_rate(row: Mapping[str, Any], field: str) -> bool:
    """Return whether a field of a row of a report is a rate or a change in percent."""
    if field in {"value", "before"} and "unit" in row:
        return bool(row["unit"] == "percent")
    if field in {"before", "after"}:
        return row.get("measure") == "success_rate"
    return field == "change" or any(name in field for name in _RATES)


def sample_of(row: Mapping[str, Any], field: str, basis: Mapping[str, Any] | None = None) -> int:
    """Return the number of requests or builds that a rate of `row` is of; 0 if unknown.

    `basis` has the numbers for the whole response. The sample of a share is its part divided by the
    share, which is exact to 2 decimals. So it is on the right side of 100, and of 10,000 unless it
    is close below and the part is below 10.
    """
    for names in _SAMPLES.get(field, ()):
        if all(row.get(name) is not None for name in names):
            return sum(int(row[name]) for name in names)
    if field == "percentage" and row["percentage"]:
        part = next((row[name] for name in _PARTS if name in row), 0)
        share: float = row["percentage"]
        return round(100 * part / share)
    if basis is None:
        return 0
    return int(basis["requests" if field in _OF_REQUESTS else "builds"] or 0)


def decimals_of(sample: int) -> int:
    """Return the decimals of a rate of `sample` requests or builds; 0: not known how many."""
    return sum(sample >= least for least in FROM) if sample else _UNKNOWN


def shown(value: float, sample: int) -> str:
    """Return a rate in percent, or a difference in points, with the decimals of its sample.

    It is rounded half up from the exact quotient, not from the rounded value.
    """
    decimals = decimals_of(sample) if sample or value else 0
    text = _rounded(value, sample, decimals)
    while decimals < _EXACT and float(text) in {0, 100} and float(text) != value:
        decimals += 1
        text = _rounded(value, sample, decimals)
    return text


def _rounded(value: float, sample: int, decimals: int) -> str:
    # A rate of fewer than 10,000 tells how many of them it counts.
    part = round(value * sample / 100)
    if 0 < sample < FROM[1] and quotient(100 * part, sample, _EXACT) == value:
        return f"{quotient(100 * part, sample, decimals):.{decimals}f}"
    return as_text(value, decimals)
