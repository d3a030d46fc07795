"""Rounding, rates, averages and ranks (docs/reference/figures.md, Rounding)."""

from collections.abc import Callable, Iterable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from heapq import nsmallest


def quotient(numerator: int, denominator: int, decimals: int) -> float | None:
    """Return numerator / denominator, rounded half up from the exact value; `None` over 0."""
    if denominator == 0:
        return None
    scale: int = 10**decimals
    return (2 * numerator * scale + denominator) // (2 * denominator) / scale


def exactly(value: Fraction | float, decimals: int) -> float:
    """Return the exact value of a number, rounded half up."""
    exact = Fraction(value)
    return quotient(exact.numerator, exact.denominator, decimals) or 0.0


def as_text(value: float, decimals: int) -> str:
    """Return a figure with so many decimals, rounded half up as it is written: 2.5 is 3, not 2."""
    return str(Decimal(str(value)).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP))


# `quotient` written out: long lists need several per row.


def rate(part: int, whole: int) -> float | None:
    """Return `part` in percent of `whole`, with 2 decimals; `None` of 0."""
    return (20_000 * part + whole) // (2 * whole) / 100 if whole else None


def growth(now: float, before: float) -> float | None:
    """Return the change from `before` to `now` in percent, with 2 decimals; `None` from 0."""
    new, old = (round(value * 100) for value in (now, before))
    return rate(new - old, old)


def points(now: float, before: float) -> float:
    """Return the difference of two figures that are shown with 2 decimals."""
    return (round(now * 100) - round(before * 100)) / 100


def hundredths(value: float) -> float:
    """Round a value that is not a quotient of whole numbers to 2 decimals."""
    return quotient(round(value * 1e6), 1_000_000, 2) or 0.0


def average(total: int, count: int) -> float | None:
    """Return total / count with 1 decimal; `None` without any."""
    return (20 * total + count) // (2 * count) / 10 if count else None


def rates(parts: Iterable[int], wholes: Iterable[int]) -> list[float | None]:
    """Return the `rate` of each of `parts`, each of the whole at the same place."""
    pairs = zip(parts, wholes, strict=True)
    return [(20_000 * p + w) // (2 * w) / 100 if w else None for p, w in pairs]


def averages(totals: Iterable[int], counts: Iterable[int]) -> list[float | None]:
    """Return the `average` of each of `totals` over the count at the same place."""
    pairs = zip(totals, counts, strict=True)
    return [(20 * t + n) // (2 * n) / 10 if n else None for t, n in pairs]


def hours(seconds: int) -> float:
    """Return seconds as hours with 2 decimals."""
    return quotient(seconds, 3600, 2) or 0.0


def top(
    counts: Mapping[str, int] | Iterable[tuple[str, int]],
    places: int,
    order: Callable[[str], str] | None = None,
) -> list[tuple[str, int]]:
    """Return the `places` names with the largest counts above 0: by count descending, then by name.

    Names are compared by `order`, by default as text.
    """
    pairs = counts.items() if isinstance(counts, Mapping) else counts
    ranked = [(-count, order(name) if order else name, name) for name, count in pairs if count]
    first = sorted(ranked) if len(ranked) <= 2 * places else nsmallest(places, ranked)
    return [(name, -count) for count, _, name in first[:places]]
