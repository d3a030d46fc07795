"""The judgement of `make soak-server`."""

import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

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
    assert report(samples, samples[::60]) == is_flat
    assert ("NOT FLAT" in capsys.readouterr().out) != is_flat


def test_memory_of_requests_is_no_growth(capsys: pytest.CaptureFixture[str]) -> None:
    """It grows with the database; what grows without an end stays when they have ended."""
    times = range(5, 3600, 5)
    memory = [Memory(128 + seconds / 100) for seconds in times]
    samples = [
        Sample(seconds, each.other, 40, 1, 30, 20, 30, memory=each)
        for seconds, each in zip(times, memory, strict=True)
    ]
    rests = [replace(each, memory_mib=128) for each in samples[::60]]
    assert report(samples, rests)
    assert "163.9" in capsys.readouterr().out
    assert not report(samples, samples[::60])


@pytest.mark.parametrize(("part", "most"), [("caches", 570), ("sqlite", 320), ("free", 336)])
def test_parts_of_memory_stay_within_their_limits(part: str, most: float) -> None:
    """What they have does not count as growth, but may not be more than the documentation says."""
    for mib, is_within in ((most - 1, True), (most + 1, False)):
        memory = Memory(mib + 100)._replace(**{part: mib})
        samples = [
            Sample(seconds, memory.other, 40, 1, 30, 20, 30, memory=memory)
            for seconds in range(0, 60, 5)
        ]
        assert memory.other == 100
        assert report(samples, samples) == is_within


@pytest.mark.parametrize(("mib", "is_within"), [(256, True), (257, False)])
def test_memory_under_load_has_a_limit(mib: float, is_within: bool) -> None:
    rests = [Sample(seconds, 100, 40, 1, 30, 20, 30) for seconds in range(0, 60, 5)]
    samples = [replace(each, memory=Memory(mib)) for each in rests]
    assert report(samples, rests) == is_within


# Allocates 32 MiB, lets the system split the heap in their midst, and frees all but the last.
SPLIT = """
import ctypes
from asu_stats import memory
from tests import soak_memory
memory.share_arena()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_size_t
libc.madvise.argtypes = ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int
libc.free.argtypes = (ctypes.c_size_t,)
blocks = [libc.malloc(64 << 10) for _ in range(512)]
for block in blocks:
    ctypes.memset(block, 1, 64 << 10)
before = soak_memory.now()
MADV_DONTDUMP = 16
for block in blocks[::8]:
    assert libc.madvise(block + 4095 & ~4095, 4096, MADV_DONTDUMP) == 0
for block in blocks[:-1]:
    libc.free(block)
print(soak_memory.now().free - before.free)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="musl keeps no statistics")
def test_free_memory_is_that_of_a_heap_in_several_parts() -> None:
    root = Path(__file__).parents[1]
    found = subprocess.run([sys.executable, "-c", SPLIT], cwd=root, capture_output=True, check=True)
    assert 31 < float(found.stdout) < 33
