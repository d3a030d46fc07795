"""A short campaign of `make upstream`, with a small server."""

import shutil
import sys
from pathlib import Path

import pytest

from tests.integrations import campaign


def test_every_figure_equals_what_the_server_answered(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    monkeypatch.setattr(campaign, "SCRATCH", tmp_path / "run")
    small, python = campaign.HERE / "small_upstream", Path(sys.executable)

    counts = campaign.run(small, python, requests=80, threads=20, seed=1, waves=2)

    outcomes = ("queued", "joined", "cache_hit", "cached_failure", "rejected")
    ends = ("success", "failure", "timeout", "cancelled")
    assert all(counts[each] for each in (*outcomes, *ends)), counts
