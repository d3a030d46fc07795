"""Fisher's exact test for many groups at once."""

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from asu_stats.chance import fisher
from asu_stats.store.blocks.columns import Mask
from asu_stats.store.blocks.keys import Ints

Floats: TypeAlias = NDArray[np.float64]

P: Final = 0.01  # what p-values, corrected for the number of tests, must be below
_LARGE: Final = 16  # from here on Stirling's series is exact to 12 digits
_SMALL: Final = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, _LARGE)))))
_ROUNDING: Final = 1e-4


def significant(
    failures: Ints, builds: Ints, other_failures: Ints, others: Ints, tests: int
) -> list[int]:
    """Return the places of the groups that fail significantly more often than others.

    The arguments are those of `chance.fisher`, for each group. `tests` is the number of tests, for
    Bonferroni's correction.
    """
    numbers = failures, builds, other_failures, others
    return [
        place
        for place in np.flatnonzero(tests * least_p(*numbers) < P).tolist()
        if tests * fisher(*(int(of[place]) for of in numbers)) < P
    ]


def least_p(failures: Ints, builds: Any, other_failures: Any, others: Any) -> Floats:
    """Return lower bounds of `chance.fisher` of the same arguments, to prune by.

    A bound is the first term of the sum, and 1 for groups that fail no more often than others.
    """
    total, failed = builds + others, failures + other_failures
    passed = total - failed
    least = np.maximum(failures, builds - passed)
    first = _log_choose(failed, least) + _log_choose(passed, builds - least)
    found: Floats = np.exp(first - _log_choose(total, builds)) * (1 - _ROUNDING)
    more: Mask = failures * total > builds * failed
    return np.where(more, found, 1.0)


def _log_choose(n: Any, k: Any) -> Floats:
    return _log_factorial(n) - _log_factorial(k) - _log_factorial(n - k)


def _log_factorial(n: Any) -> Floats:
    whole = np.asarray(n, np.int64)
    x = np.maximum(whole, _LARGE).astype(float)
    square = x * x
    series = (1 / 12 - (1 / 360 - 1 / (1260 * square)) / square) / x
    large = x * np.log(x) - x + 0.5 * np.log(2 * np.pi * x) + series
    small = np.minimum(np.maximum(whole, 0), _LARGE - 1)  # `np.clip` takes several times as long
    found: Floats = np.where(whole < _LARGE, _SMALL[small], large)
    return found
