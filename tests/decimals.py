"""How a rate is shown to people, from counts: independent of the program."""

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from math import floor


def as_shown(part: int, whole: int) -> str:
    """Return `part` in percent of `whole`: no decimals below 100, one below 10,000, then two."""
    decimals = 0 if whole < 100 else 1 if whole < 10_000 else 2
    for more in range(decimals, 3):
        text = str(rounded(Fraction(100 * part, whole), more))
        if part in {0, whole} or Decimal(text) not in {0, 100}:
            break
    return text


def rounded(exact: Fraction, decimals: int) -> Decimal:
    """Return a number rounded half up, with all its decimals."""
    scaled = floor(exact * 10**decimals + Fraction(1, 2))
    return Decimal(scaled).scaleb(-decimals)


def one_decimal(value: float) -> str:
    """Return a rate whose sample is not known: with one decimal, unless that makes it 0 or 100."""
    exact = Decimal(str(value))
    text = exact.quantize(Decimal("0.1"), ROUND_HALF_UP)
    if text == exact == 0:
        return "0"
    return str(exact.quantize(Decimal("0.01")) if text in {0, 100} and text != exact else text)
