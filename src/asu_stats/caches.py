"""Bounded caches in memory."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """Values by key; the least recently used are dropped. Safe from any thread.

    It holds at most `entries` values, and `size_bytes` as `size` measures a key and its value.
    """

    def __init__(
        self,
        *,
        entries: int | None = None,
        size_bytes: int | None = None,
        size: Callable[[K, V], int] = lambda _key, _value: 0,
    ) -> None:
        self._entries = entries
        self._most_bytes = size_bytes
        self._size = size
        self._values: OrderedDict[K, V] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """The size of all values, as `size` measures them."""
        return self._bytes

    def get(self, key: K) -> V | None:
        with self._lock:
            found = self._values.get(key)
            if found is not None:
                self._values.move_to_end(key)
            return found

    def take(self, key: K) -> V | None:
        """Remove a value and return it; `None` if there is none."""
        with self._lock:
            found = self._values.pop(key, None)
            if found is not None:
                self._bytes -= self._size(key, found)
            return found

    def put(self, key: K, value: V) -> None:
        with self._lock:
            before = self._values.pop(key, None)
            if before is not None:
                self._bytes -= self._size(key, before)
            self._values[key] = value
            self._bytes += self._size(key, value)
            while self._is_full():
                dropped, oldest = self._values.popitem(last=False)
                self._bytes -= self._size(dropped, oldest)

    def _is_full(self) -> bool:
        many = self._entries is not None and len(self._values) > self._entries
        return many or (self._most_bytes is not None and self._bytes > self._most_bytes)
