"""What holds the memory of a server: runs inside it, and writes a file that the soak reads."""

import _sqlite3
import ctypes
import json
import os
import re
import threading
import time
from pathlib import Path
from typing import Any, Final, NamedTuple
from weakref import WeakSet

from asu_stats import memory
from asu_stats.caches import LruCache
from asu_stats.store.blocks.keys import Vocabulary

_MIB: Final = 1 << 20
_SECONDS: Final = 1.0
_KEY_BYTES: Final = 310  # see the limits in docs/reliability.md
_HEAP: Final = re.compile(r"\[heap\]\n(?:.*\n)*?Rss:\s+(\d+) kB")  # the system may split it
_caches: Final[WeakSet[LruCache[Any, Any]]] = WeakSet()
_vocabularies: Final[WeakSet[Vocabulary]] = WeakSet()


class Memory(NamedTuple):
    """MiB of private memory, together and of parts that have a limit of their own."""

    private: float
    caches: float = 0  # with the names of blocks
    sqlite: float = 0  # mostly pages
    free: float = 0  # of malloc, and resident

    @property
    def other(self) -> float:
        """All that has no limit of its own."""
        return self.private - self.caches - self.sqlite - self.free


NOTHING: Final = Memory(0)


def now() -> Memory:
    """Return the memory of this process."""
    info = memory.malloc_info()
    _, resident, shared, *_ = map(int, Path("/proc/self/statm").read_text().split())
    heap = sum(map(int, _HEAP.findall(Path("/proc/self/smaps").read_text())))
    sqlite = ctypes.CDLL(_sqlite3.__file__)
    sqlite.sqlite3_memory_used.restype = ctypes.c_int64
    caches = sum(each.bytes for each in [*_caches])
    caches += sum(_KEY_BYTES * each.size for each in [*_vocabularies])
    return Memory(
        (resident - shared) * os.sysconf("SC_PAGE_SIZE") / _MIB,  # the system may drop files
        caches / _MIB,
        sqlite.sqlite3_memory_used() / _MIB,
        max(heap / 1024 - info.uordblks / _MIB, 0.0) if info else 0.0,
    )


def start(file: str) -> None:
    """Write the memory of this process to a file each second, from before it makes caches."""
    for kind, known in ((LruCache, _caches), (Vocabulary, _vocabularies)):
        _remember(kind, known)
    memory.share_arena()  # as the server does, but before this thread
    threading.Thread(target=_write, args=(Path(file),), daemon=True).start()


def read(file: Path) -> Memory:
    """Return what a server wrote last."""
    return Memory(*json.loads(file.read_text()))


def _remember(kind: Any, known: WeakSet[Any]) -> None:
    create = kind.__init__

    def remember(self: object, *arguments: object, **more: object) -> None:
        create(self, *arguments, **more)
        known.add(self)

    kind.__init__ = remember


def _write(file: Path) -> None:
    while True:
        new = file.with_suffix(".new")
        new.write_text(json.dumps(now()))
        new.replace(file)
        time.sleep(_SECONDS)
