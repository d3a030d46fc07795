"""What a process remembers of a database: names, blocks and days, within limits."""

import logging
import threading
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine

from asu_stats.caches import LruCache
from asu_stats.logs import Condition
from asu_stats.store.blocks.codec import Block
from asu_stats.store.blocks.cubes import CUBES, Cube
from asu_stats.store.blocks.keys import Vocabulary
from asu_stats.store.blocks.spans import Span
from asu_stats.store.database import repeats
from asu_stats.store.details import known_packages

K = TypeVar("K")
D = TypeVar("D", bound=tuple[Vocabulary, Any])

log = logging.getLogger(__name__)

_CACHE_BYTES: Final = 64 << 20
_ENTRY_BYTES: Final = 600  # in memory besides the numbers: key, arrays and what holds them
# Names are untrusted, so memory for them must be limited. A key takes 310 bytes, with short names.
_CACHE_KEYS: Final = 1_000_000
_NAME_BYTES: Final = 128 << 20
# Rows of several days that are in memory together, as the database sent them: 0.5 KiB each.
_SENT_ROWS: Final = 16_384
_SENT_DAYS: Final = 64
_UNKNOWN_ROWS: Final = _SENT_ROWS // _SENT_DAYS  # of a day, until some were read


class Cached:
    """Vocabularies, blocks and days of a database in this process.

    A block and what is known of a day are valid for one change.
    """

    def __init__(self) -> None:
        self.days: LruCache[tuple[Any, int], tuple[int, Any]] = LruCache(
            size_bytes=_CACHE_BYTES, size=lambda key, known: _ENTRY_BYTES + key[0].size(known[1])
        )
        # What reports remember, in objects that have a size: `bytes`.
        self.memories: LruCache[Any, Any] = LruCache(
            size_bytes=_CACHE_BYTES, size=lambda _, memory: _ENTRY_BYTES + memory.bytes
        )
        self.vocabularies = {cube: Vocabulary(cube.orders) for cube in CUBES}
        self.damage = Condition(log, "blocks: a stored block is damaged")
        self._declared: dict[Any, Any] = {}
        self._rows: dict[Any, int] = {}
        self._blocks: LruCache[tuple[Cube, Span], tuple[int, Block]] = LruCache(
            size_bytes=_CACHE_BYTES, size=lambda _, known: _ENTRY_BYTES + known[1].bytes
        )

    @property
    def is_full(self) -> bool:
        """Whether the vocabularies have too many keys, or too long names."""
        known: list[Vocabulary] = [of for of, _ in list(self._declared.values())]
        known += self.vocabularies.values()
        keys, size = sum(each.size for each in known), sum(each.name_bytes for each in known)
        return keys > _CACHE_KEYS or size > _NAME_BYTES

    def declared(self, of: K, declare: Callable[[K], D]) -> D:
        """Return what `declare(of)` returns, the same as long as this remembers days."""
        found: D = self._declared.get(of) or self._declared.setdefault(of, declare(of))
        return found

    def days_at_once(self, days: Iterable[Any]) -> int:
        """Return how many days may be in memory together as the database sent them, at least one.

        `days` has what is read of each day, such as a cube.
        """
        rows = count = 0
        for count, of in enumerate(islice(days, _SENT_DAYS)):
            rows += self._rows.get(of, _UNKNOWN_ROWS)
            if rows > _SENT_ROWS and count:
                return count
        return count + 1

    def note_rows(self, of: Any, rows: int) -> None:
        """Note how many rows a day had of something; smaller days lower the note slowly."""
        self._rows[of] = max(rows, self._rows.get(of, 0) * 7 // 8)

    def get(self, cube: Cube, span: Span, changes: int) -> Block | None:
        """Return the block of a change, `None` if it is not in memory."""
        found = self._blocks.get((cube, span))
        return found[1] if found and found[0] == changes else None

    def put(self, cube: Cube, span: Span, changes: int, block: Block) -> None:
        """Keep a block in memory; the least recently used ones are dropped."""
        self._blocks.put((cube, span), (changes, block))


_caches: WeakKeyDictionary[Engine, Cached] = WeakKeyDictionary()
_guard = threading.Lock()


def of(connection: Connection) -> Cached:
    """Return what this process remembers of a database; with too many names, it begins again."""
    with _guard:
        found = _caches.get(connection.engine)
        if found is None or found.is_full:
            found = _caches[connection.engine] = Cached()
        return found


def forget(engine: Engine) -> None:
    """Drop everything that this process keeps in memory about a database."""
    with _guard:
        _caches.pop(engine, None)
    known_packages.forget(engine)
    repeats.forget(engine)
