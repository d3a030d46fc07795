"""Caches: size limits and eviction."""

from asu_stats.caches import LruCache


def test_the_least_recently_used_makes_room() -> None:
    cache: LruCache[str, int] = LruCache(entries=2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert [cache.get(key) for key in "abc"] == [1, None, 3]


def test_bytes_are_those_of_what_is_there() -> None:
    cache: LruCache[str, bytes] = LruCache(
        size_bytes=10, size=lambda key, value: len(key) + len(value)
    )
    for length in (9, 1, 9, 1):  # put again, a value takes the place of its former size
        cache.put("a", b"x" * length)
    cache.put("b", b"x" * 7)
    assert cache.get("a") == b"x"
    cache.put("c", b"x" * 9)
    assert [cache.get(key) for key in "abc"] == [None, None, b"x" * 9]
    cache.put("d", b"x" * 10)  # larger than all there may be
    assert [cache.get(key) for key in "abcd"] == [None] * 4
    cache.put("e", b"x" * 9)
    assert cache.get("e")


def test_a_value_that_is_taken_makes_room() -> None:
    cache: LruCache[str, bytes] = LruCache(size_bytes=10, size=lambda _, value: len(value))
    cache.put("a", b"x" * 6)
    assert cache.take("a") == b"x" * 6
    assert cache.take("a") is None
    cache.put("b", b"x" * 4)
    cache.put("c", b"x" * 6)
    assert [cache.get(key) for key in "bc"] == [b"x" * 4, b"x" * 6]
