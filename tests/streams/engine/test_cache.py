"""The cache of rows gives what was written last, and no more of it than it may hold."""

from __future__ import annotations

import random
from collections.abc import Sequence

from streams.engine.cache import RowCache
from streams.engine.rows import Row


def test_a_cached_row_is_the_row_that_was_written_last_whatever_was_read_or_deleted_before() -> None:
    randomly, cache, stored = random.Random(5), RowCache(20_000), dict[bytes, Row]()
    reads = 0

    def read(keys: Sequence[bytes]) -> list[Row | None]:
        nonlocal reads
        reads += len(keys)
        return [stored.get(key) for key in keys]

    asked = 0
    for offset in range(3000):
        keys = [b"k%d" % randomly.randrange(60) for _ in range(randomly.randrange(1, 8))]
        assert cache.get_many(keys, read) == [stored.get(key) for key in keys]
        asked += len(keys)
        fresh = {key: Row(1, offset, b"x" * randomly.randrange(50)) for key in keys[1:]}
        stored.update(fresh)
        cache.put(fresh)
        if randomly.random() < 0.1 and keys[0] not in fresh:
            stored.pop(keys[0], None)
            cache.drop([keys[0]])
    assert 0 < reads < asked / 2


def test_the_cache_forgets_what_was_not_written_for_long() -> None:
    cache = RowCache(20_000)
    for number in range(1000):
        cache.put({b"k%d" % number: Row(1, number, b"x" * 100)})
    kept = cache.get_many([b"k%d" % number for number in range(1000)], lambda keys: [None] * len(keys))
    assert kept[-1] is not None
    assert sum(len(row.payload) for row in kept if row is not None) < 20_000
