"""A search for texts that take long to classify: pieces that the rules know, put together anew.

It climbs: of each round the slowest text is kept, and changed in one place for the next.
"""

import random
import time
from collections.abc import Callable

from asu_stats.error_rules import NOISE, RULES
from asu_stats.error_types import classify

SIZE = 16_384
PHRASES = sorted(
    {part for r in RULES for p in (*r.phrases, *r.near, *r.where) for part in p.split(" ... ")}
)
PIECES = [
    *PHRASES,
    *(part[: len(part) // 2] for part in PHRASES),
    *(f"x{part}" for part in PHRASES),
    *(f"{part}-" for part in PHRASES),
    *NOISE,
    *("a", " ", "\n", "\t", "\r\n", "-", ":", ": ", '"', "'", "(", "{", "[", "\\", "\\n", "\0"),
    *("\x1b[", "\x1b[3", "\x1b[31m", "\u0130", "\u2019", "\ud800", "\u2028", "\U0001f600", "%2f"),
]


def seconds(text: str, do: Callable[[str], object] = classify) -> float:
    """Return the least processor time of three runs."""

    def once() -> float:
        began = time.thread_time()
        do(text)
        return time.thread_time() - began

    return min(once() for _ in range(3))


def _repeated(rng: random.Random) -> str:
    pieces = rng.choices(PIECES, k=rng.choice((1, 1, 2, 3, 8, 40, 400)))
    between = rng.choice(("", "", " ", "\n", "x", ": ", " - "))
    unit = between.join(pieces) + between
    if rng.random() < 0.5:  # so that no line is like another
        count = SIZE // (len(unit) + 2) + 1
        return "".join(f"{unit}{number}{rng.choice('n ')}" for number in range(count))
    return unit * (SIZE // max(1, len(unit)) + 1)


def _changed(rng: random.Random, text: str) -> str:
    begin = rng.randrange(len(text))
    length = rng.choice((1, 10, 100, 4000))
    piece = rng.choice((rng.choice(PIECES), rng.choice(PIECES) * 50, _repeated(rng)[:length]))
    return text[:begin] + piece + text[begin + rng.choice((0, length)) :] + text


def search(
    run_seconds: float, seed: int, do: Callable[[str], object] = classify
) -> tuple[float, str]:
    """Return the slowest text found in a time, and the seconds that it takes."""
    rng = random.Random(seed)
    until = time.monotonic() + run_seconds
    worst, slowest = 0.0, "x"
    while time.monotonic() < until:
        text = _repeated(rng) if rng.random() < 0.5 else _changed(rng, slowest)
        text = text[:SIZE]
        if seconds(text, do) <= worst:
            continue
        elapsed = min(seconds(text, do) for _ in range(6))  # once more: the machine may stumble
        if elapsed > worst:
            worst, slowest = elapsed, text
    return worst, slowest
