"""How likely chance alone is: Fisher's exact test, one-sided.

Exact, so small numbers can't fool it; and it takes into account that the past is a sample too,
which a binomial test against the past's rate does not.
"""

import math


def fisher(failures: int, builds: int, other_failures: int, others: int) -> float:
    """Return how likely a group has at least its number of failures if it is like the others.

    Given how many failed of all together, the number in the group is hypergeometric.
    """
    total, failed = builds + others, failures + other_failures
    passed = total - failed
    least, most = max(failures, builds - passed), min(builds, failed)
    if least <= max(0, builds - passed):
        return 1.0
    term = math.exp(
        _log_choose(failed, least)
        + _log_choose(passed, builds - least)
        - _log_choose(total, builds)
    )
    tail = 0.0
    for count in range(least, most + 1):
        tail += term
        if term < tail * 1e-12 and count * total > builds * failed:
            break  # from here on they only get smaller
        term *= (failed - count) * (builds - count)
        term /= (count + 1) * (passed - builds + count + 1)
    return min(1.0, tail)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def normal(deviations: float) -> float:
    """Return how likely something normal lies at least so many standard deviations above."""
    return math.erfc(deviations / math.sqrt(2)) / 2
