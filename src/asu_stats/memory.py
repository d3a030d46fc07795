"""How a process that runs for long allocates and collects memory."""

import ctypes
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from asu_stats.loops import Loop

# A report over 90 days creates some 100,000 objects. With Python's default of 700, looking through
# all objects again and again takes a third of its time. Requests that are not collected yet keep
# their headers, up to 64 KiB each, so that the number must not be much larger.
_NEW_OBJECTS: Final = 1_500
_M_ARENA_MAX: Final = -8  # of malloc.h
_KEPT_BYTES: Final = 16 << 20
_GIVING_BACK_SECONDS: Final = 60


class MallocInfo(ctypes.Structure):
    """`struct mallinfo2` of malloc.h, since glibc 2.33."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def collect_less_garbage() -> None:
    """Collect garbage less often, and never among the objects that exist now, such as modules."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS)


@contextmanager
def kept_low() -> Iterator[None]:
    """Share one arena of malloc, and give free memory back every minute. Enter before threads."""
    share_arena()
    with Loop("memory", give_back, seconds=_GIVING_BACK_SECONDS):
        yield


def share_arena() -> None:
    """Let all threads share one arena of glibc's malloc; to be called before they start.

    By default there are up to eight per processor. What one arena has free is of no use to threads
    of another, so each keeps as much as its threads ever needed at once. After three minutes of the
    same load, five arenas had 29 MiB free and more each minute, two 18 MiB, and one 10 MiB. Python
    runs one thread at a time, so one is enough. The environment variable `MALLOC_ARENA_MAX` takes
    precedence. Does nothing with another C library.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        set_option = getattr(ctypes.CDLL(None), "mallopt", None)
        if set_option is not None:
            set_option(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Give free memory back to the system if there is more than 16 MiB of it.

    malloc alone returns only what is free after the last piece in use, so a process would keep
    what its largest responses needed together. Takes 3 ms for 34 MiB and 12 ms for 131 MiB, in
    which threads that allocate wait. Does nothing with another or an older C library.

    Gaps that single pages of SQLite left are smaller than two pages of the system, so most of them
    stay. SQLite uses them again.
    """
    info = malloc_info()
    if info is not None and info.fordblks > _KEPT_BYTES:
        ctypes.CDLL(None).malloc_trim(0)


def malloc_info() -> MallocInfo | None:
    """Return what malloc has in use and free, `None` with another or an older C library."""
    read_info = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if read_info is None:
        return None
    read_info.restype = MallocInfo
    found: MallocInfo = read_info()
    return found
