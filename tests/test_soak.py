"""The judgement of `make soak-server`."""

import pytest

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
