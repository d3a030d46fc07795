"""Number of fuzz examples: few in every run; `FUZZ_EXAMPLES` sets more."""

import os
import secrets

import pytest

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
# A run repeats itself; a campaign tries what none before it did, unless it is told its seed.
SEED = int(os.environ.get("FUZZ_SEED", str(secrets.randbits(32) if EXAMPLES else 1)))

campaign = pytest.mark.timeout(0 if EXAMPLES else 1_200)  # 90 s of a core of its own


def examples(quick: int, *, times: int = 1) -> int:
    """Return how many examples to try: `quick`, or in a campaign `times` what it asks for."""
    return EXAMPLES * times if EXAMPLES else quick
