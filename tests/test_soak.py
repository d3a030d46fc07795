"""The judgement of `make soak-server`."""

import pytest

from tests.soak_memory import Memory
from tests.soak_server import Sample, report


@pytest.mark.parametrize(
    ("grown", "is_flat"), [(0.0, True), (8.0, True), (30.0, False), (140.0, False)]
)
def test_memory_that_grows_is_not_flat(
    grown: float, is_flat: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """By MiB in an hour, after caches have filled in the first half."""
    samples = [
        Sample(seconds, min(200, seconds / 9) + grown * seconds / 3600, 40, 1, 30, 20, 30)
        for seconds in range(5, 3600, 5)
    ]
    assert report(samples) == is_flat
    assert ("NOT FLAT" in capsys.readouterr().out) != is_flat


def test_moments_of_much_memory_are_no_growth(capsys: pytest.CaptureFixture[str]) -> None:
    """A sixteenth of the time, at the end. Least squares take it for growth."""
    samples = [
        Sample(seconds, 128 + 30 * (seconds > 3150 and seconds % 10 == 0), 40, 1, 30, 20, 30)
        for seconds in range(5, 3600, 5)
    ]
    assert report(samples)
    assert "158.0" in capsys.readouterr().out


@pytest.mark.parametrize(("part", "most"), [("caches", 570), ("sqlite", 320), ("free", 336)])
def test_parts_of_memory_stay_within_their_limits(part: str, most: float) -> None:
    """What they have does not count as growth, but may not be more than the documentation says."""
    for mib, is_within in ((most - 1, True), (most + 1, False)):
        memory = Memory(1_000.0)._replace(**{part: mib})
        samples = [
            Sample(seconds, memory.other, 40, 1, 30, 20, 30, memory) for seconds in range(0, 60, 5)
        ]
        assert memory.other == 1_000 - mib
        assert report(samples) == is_within
