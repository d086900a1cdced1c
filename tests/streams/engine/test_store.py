"""Reading a range of rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rocksdict

from streams.engine import EngineSettings, StateDamaged
from streams.engine.store import RocksOptions, Store

ROWS = 5_000


class OneDatabase(Store):
    """A store of one partition, without Faust around it."""

    def __init__(self, path: Path, database: Any) -> None:
        self._path, self._dbs = path, {0: database}  # type: ignore[assignment]

    def partition_path(self, partition: int) -> Path:
        return self._path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with rows in table files, and one row of the engine's own."""
    path = tmp_path / "rows.db"
    database = open_(path)
    batch = rocksdict.WriteBatch(raw_mode=True)
    batch.put(b"\x00own", b"x")
    for number in range(ROWS):
        batch.put(b"%05d" % number, b"%d" % number * 20)
    database.write(batch)
    database.flush()
    database.close()
    return path


def open_(path: Path) -> Any:
    return RocksOptions(EngineSettings(app_id="a", bootstrap="h:1", datadir=path, partitions=1)).open(path)


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    database = open_(path)
    yield OneDatabase(path, database)
    database.close()


def keys(store: Store, start: bytes, stop: bytes, limit: int = ROWS) -> list[bytes]:
    found = store.scan_keys(0, start, stop, limit)
    assert found == [key for key, _ in store.scan(0, start, stop, limit)]
    return found


def test_a_range_is_in_order_without_its_end_and_not_longer_than_asked(store: Store) -> None:
    assert keys(store, b"00010", b"00013") == [b"00010", b"00011", b"00012"]
    assert keys(store, b"00010", b"00013", 2) == [b"00010", b"00011"]
    assert keys(store, b"", b"00002") == [b"00000", b"00001"]
    assert keys(store, b"9", b"a") == []


def test_a_damaged_block_in_a_range_is_an_error_and_no_short_range(path: Path) -> None:
    (table,) = path.glob("*.sst")
    whole = bytearray(table.read_bytes())
    middle = len(whole) // 2
    whole[middle : middle + 50] = bytes(50)
    table.write_bytes(whole)
    database = open_(path)
    with pytest.raises(StateDamaged, match="will be recovered from the changelog"):
        keys(OneDatabase(path, database), b"0", b"9")
    database.close()
    assert (path / "DAMAGED").exists()
