"""Significance: Fisher's exact test, one-sided, and the tail of the normal distribution.

Fisher's test is exact for small numbers. Unlike a binomial test against the rate of the past, it
treats the past as a sample too.
"""

import math


def fisher(failures: int, builds: int, other_failures: int, others: int) -> float:
    """Return the probability that a group has at least its failures if it is like the others.

    Given the total number of failures, the number in the group is hypergeometric.
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
            break  # all later terms are smaller
        term *= (failed - count) * (builds - count)
        term /= (count + 1) * (passed - builds + count + 1)
    return min(1.0, tail)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def normal(deviations: float) -> float:
    """Return the upper tail of the normal distribution at so many standard deviations."""
    return math.erfc(deviations / math.sqrt(2)) / 2
