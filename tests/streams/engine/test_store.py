"""Reading a range of rows; rows read back from a changelog."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import rocksdict
from faust.types import TP
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.engine import EngineSettings, StateDamaged, rows
from streams.engine.errors import StateLocked, StateUnwritable
from streams.engine.rows import ChangelogRecord, Place
from streams.engine.store import RocksOptions, Store

ROWS = 5_000


def at(offset: int) -> Place:
    """Of a changelog's record here, whatever it is."""
    return Place(offset, "digest", -1)


class OneDatabase(Store):
    """A store of one partition, without Faust around it."""

    def __init__(self, path: Path, options: type[RocksOptions] = RocksOptions) -> None:
        self._path, self._dbs, self.stale, self._highest = path, {}, {}, {}
        self._opener, self._check = opener(path, options), lambda partition, mark: None
        self._changelog_id = lambda: "id"
        self._db_for_partition(0)

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


def opener(path: Path, options: type[RocksOptions] = RocksOptions) -> RocksOptions:
    return options(EngineSettings(app_id="a", bootstrap="h:1", datadir=path, partitions=1))


def open_(path: Path) -> Any:
    return opener(path).open(path)


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = OneDatabase(path)
    yield store
    store.close_partition(0)


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
    store = OneDatabase(path)
    with pytest.raises(StateDamaged, match="will be recovered from the changelog"):
        keys(store, b"0", b"9")
    store.close_partition(0)
    assert (path / "DAMAGED").exists()


def copy(key: bytes, offset: int, *, gone: bool) -> ChangelogRecord:
    row = rows.pack(1, offset, b"%d" % offset)
    return (key, None, row[: rows.VERSION_BYTES]) if gone else (key, row, b"")


class Kept:
    """What the rows and the stale keys must be, with every stored row looked at."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.stale: set[bytes] = set()

    def apply(self, records: list[ChangelogRecord]) -> None:
        merged = rows.merge(records, lambda keys: [self.rows.get(key) for key in keys])
        self.rows.update(merged.puts)
        for key in merged.deletes:
            self.rows.pop(key, None)
        self.stale = (self.stale - merged.puts.keys() - set(merged.deletes)) | merged.stale


copies = st.builds(copy, st.sampled_from([b"a", b"b", b"c"]), st.integers(0, 9), gone=st.booleans())


@given(st.lists(st.lists(copies, max_size=6), max_size=4), st.integers(0, 4), st.booleans(), st.booleans())
@example([[copy(b"a", 5, gone=False)], [copy(b"a", 3, gone=False), copy(b"b", 4, gone=False)]], 4, False, False)
@example([[copy(b"a", 5, gone=True)], [copy(b"a", 3, gone=False)], [copy(b"a", 2, gone=False)]], 4, False, True)
@settings(max_examples=60, deadline=None)
def test_rows_read_back_are_the_highest_versions_wherever_the_changelog_is_cut(
    stretches: list[list[ChangelogRecord]], restart: int, closed: bool, bulk: bool
) -> None:
    """In an empty folder most rows are not compared with stored ones; a folder that is opened again is another case."""
    kept = Kept()
    with TemporaryDirectory() as name:
        store = OneDatabase(Path(name) / "rows.db")
        for number, records in enumerate(stretches):
            if closed and number == restart:
                store.close_partition(0)
                store = OneDatabase(Path(name) / "rows.db")
                kept.stale.clear()
            with store.reading_back([0]) if bulk else nullcontext():
                store.apply_changelog(0, records, upto=at(number))
            kept.apply(records)
        found = dict(store.scan(0, b"\x01", b"\xff", 100))
        assert (found, store.stale.get(0, set())) == (kept.rows, kept.stale)
        store.close_partition(0)


def test_a_copy_below_one_that_was_adopted_from_a_foreign_writer_is_stale(tmp_path: Path) -> None:
    """A gap merged while the partition is ours; then it comes back to the same open database, which reads on."""
    store = OneDatabase(tmp_path / "rows.db")
    store.apply_changelog(0, [copy(b"a", 10, gone=False)], upto=at(0))
    store.apply_changelog(0, [copy(b"a", 20, gone=False)], upto=None, complete_to=rows.pack(1, 10, b"")[:12])
    store.apply_changelog(0, [copy(b"a", 15, gone=False)], upto=at(2))
    assert (store.get_many(0, [b"a"]), store.stale[0]) == ([rows.pack(1, 20, b"20")], {b"a"})
    store.close_partition(0)


def test_a_copy_below_a_row_that_was_written_here_is_stale(tmp_path: Path) -> None:
    """Not all rows came from the changelog then: each is compared."""
    store = OneDatabase(tmp_path / "rows.db")
    store.apply_changelog(0, [copy(b"a", 1, gone=False)], upto=at(0))
    store.write(0, {b"a": rows.pack(1, 9, b"here")}, (), upto=at(1))
    store.apply_changelog(0, [copy(b"a", 5, gone=False)], upto=at(2))
    assert (store.get_many(0, [b"a"]), store.stale[0]) == ([rows.pack(1, 9, b"here")], {b"a"})
    store.close_partition(0)


BATCH = 1_000


def batch(number: int) -> list[ChangelogRecord]:
    """Rows of which some hundred fill a buffer of the database."""
    padding = b"x" * 2_000
    first = number * BATCH
    found = [(b"%06d" % row, rows.pack(1, row, padding)) for row in range(first, first + BATCH)]
    return [(key, row, b"") for key, row in found]


def write_and_die(path: Path, read_back: int, written: int, flush_every: int) -> None:
    """In a process of its own.  read_back: batches from the changelog.  written: those after them; 0: killed before.

    flush_every: so many written batches are put into a file; RocksDB itself does so when a buffer is full, and in its
    own time.
    """
    store = OneDatabase(path)
    with store.reading_back([0]):
        for number in range(read_back):
            store.apply_changelog(0, batch(number), upto=at(number))
        if not written:
            os.kill(os.getpid(), signal.SIGKILL)
    for number in range(read_back, read_back + written):
        store.write(0, {key: row for key, row, _ in batch(number) if row is not None}, (), upto=at(number))
        if (number + 1) % flush_every == 0:
            store._dbs[0].flush()
    os.kill(os.getpid(), signal.SIGKILL)


def left(path: Path) -> int:
    """The offset that stands beside the rows of a database, which are those up to it and no others; -1 for none."""
    store = OneDatabase(path)
    stored = store._dbs[0].get(store.offset_key)
    offset = -1 if stored is None else int(stored)
    assert store.scan_keys(0, b"\x01", b"\xff", 100 * BATCH) == [b"%06d" % row for row in range((offset + 1) * BATCH)]
    store.close_partition(0)
    return offset


def killed(path: Path, read_back: int, written: int, *, flush_every: int = 1_000) -> None:
    arguments = (path, read_back, written, flush_every)
    process = multiprocessing.get_context("spawn").Process(target=write_and_die, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize(("read_back", "written"), [(60, 0), (0, 60), (30, 30)])
def test_what_a_kill_leaves_is_a_prefix_with_its_offset(tmp_path: Path, read_back: int, written: int) -> None:
    killed(tmp_path / "rows.db", read_back, written)
    assert 0 < left(tmp_path / "rows.db") < 59, "some buffers were full and in files, the last was not"


def test_how_far_the_changelog_was_read_is_known_after_a_kill_and_another(tmp_path: Path) -> None:
    """A changelog that was cut since must not pass, though the last rows are read back from it."""
    path = tmp_path / "rows.db"
    killed(path, 0, 20)
    for _ in range(2):  # a start that ends before anything is read back, too
        killed(path, 0, 0)
    assert left(path) < 19
    for _ in range(2):
        store = OneDatabase(path)
        assert store.seen(0) == (19, at(19))
        store.close_partition(0)
    store = OneDatabase(path)
    store.write(0, {b"a": b"1"}, (), upto=at(20))
    assert store.seen(0) == (20, at(20))
    store.write(0, {b"b": b"1"}, (), upto=None)
    store.set_persisted_offset(TP("t", 0), 21)  # after a foreign writer: which record is there was not noted
    assert store.seen(0) == (21, None)
    store.close_partition(0)


def test_a_folder_whose_list_of_files_is_cut_is_an_earlier_prefix_or_found_damaged(tmp_path: Path) -> None:
    """A disk that forgets what it was to keep: RocksDB would put its own log on what is left, over a hole."""
    whole, path = tmp_path / "whole.db", tmp_path / "cut.db"
    killed(whole, 0, 7, flush_every=2)  # three files: of four RocksDB makes one, in its own time, and deletes them
    (manifest,) = whole.glob("MANIFEST-*")
    found = set()
    size = manifest.stat().st_size
    for length in [*range(0, size, 16), size]:
        shutil.copytree(whole, path)
        os.truncate(path / manifest.name, length)
        found.add(left(path))
        shutil.rmtree(path)
    assert found == {-1, 1, 3, 5}


def test_what_is_in_memory_is_in_files_after_a_flush(tmp_path: Path) -> None:
    store = OneDatabase(tmp_path / "rows.db")
    store.write(0, {b"a": b"1"}, (), upto=at(0))
    store.flush()
    deadline = time.monotonic() + 60
    while not list((tmp_path / "rows.db").glob("*.sst")) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(list((tmp_path / "rows.db").glob("*.sst"))) == 1
    store.flush()
    time.sleep(0.05)
    assert len(list((tmp_path / "rows.db").glob("*.sst"))) == 1, "nothing was new"
    store.close_partition(0)


@contextmanager
def full_disk(room: int = 0) -> Iterator[None]:
    """No file grows beyond these bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def read_back_nothing(store: Store) -> None:
    with store.reading_back([0]):
        pass


def open_again(store: Store) -> None:
    store.close_partition(0)
    store._db_for_partition(0)


def make_anew_for_damage(store: Store) -> None:
    (store.partition_path(0) / "DAMAGED").touch()
    open_again(store)


@pytest.mark.parametrize(
    "act",
    [
        lambda store: store.write(0, {b"a": b"1"}, (), upto=at(1)),
        lambda store: store.set_persisted_offset(TP("log", 0), 5),
        read_back_nothing,
        open_again,
        make_anew_for_damage,
    ],
    ids=["a write", "an offset", "a recovery", "a start", "a start after damage"],
)
def test_a_full_disk_has_one_name_whoever_meets_it(store: Store, act: Callable[[Store], None]) -> None:
    with full_disk(), pytest.raises(StateUnwritable, match=r"cannot write to .*rows\.db: .*free space"):
        act(store)


class FullOnceOpen(RocksOptions):
    """A disk that the opening itself fills. It has room again where the test says so."""

    def open(self, path: Path) -> Any:
        database = super().open(path)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        return database


@pytest.mark.parametrize("damaged", [False, True])
def test_how_far_the_changelog_was_read_outlives_a_start_on_a_full_disk(tmp_path: Path, damaged: bool) -> None:
    """Whichever file of the start has no room: what is noted first, RocksDB's list of files or options, a row."""
    whole, path = tmp_path / "whole.db", tmp_path / "rows.db"
    killed(whole, 0, 2)
    if damaged:
        (whole / "DAMAGED").touch()
    for room, options in [(0, RocksOptions), (50, RocksOptions), (1_000, RocksOptions), (100_000, FullOnceOpen)]:
        shutil.copytree(whole, path)
        for _ in range(2):
            with full_disk(room), pytest.raises(StateUnwritable):
                OneDatabase(path, options)
        store = OneDatabase(path)
        assert (store.seen(0), keys(store, b"\x01", b"\xff", 100)) == ((1, at(1)), []), room
        store.close_partition(0)
        assert not list(path.glob("SEEN*"))
        shutil.rmtree(path)


def seen(path: Path) -> int:
    store = OneDatabase(path)
    offset, _ = store.seen(0)
    store.close_partition(0)
    return offset


def note(offset: int, changelog: str) -> bytes:
    """What a start leaves in the folder that failed after it had read the log."""
    return json.dumps({rows.SEEN_OFFSET_KEY.decode(): str(offset), rows.CHANGELOG_KEY.decode(): changelog}).encode()


def test_a_note_of_how_far_the_changelog_was_read_that_is_damaged_or_older_than_the_log_is_not_believed(
    tmp_path: Path,
) -> None:
    whole, path = tmp_path / "whole.db", tmp_path / "rows.db"
    killed(whole, 0, 3)
    store = OneDatabase(whole)
    store._dbs[0].put(rows.CHANGELOG_KEY, b"id")
    store.close_partition(0)
    killed(whole, 3, 2)
    older, newer = note(3, "id"), note(9, "id")
    cut = [newer[:length] for length in range(0, len(newer), 9)]
    told = {4: [older, note(9, "another"), b"\xff", b"[]", b"{}", b'{"a": 1}', *cut], 9: [newer]}
    for offset, notes in told.items():
        for text in notes:
            shutil.copytree(whole, path)
            (path / "SEEN").write_bytes(text)
            assert seen(path) == offset, text
            shutil.rmtree(path)


def test_how_far_the_changelog_was_read_is_known_of_a_closed_database_that_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "rows.db"
    store = OneDatabase(path)
    store.write(0, {b"a": b"1"}, (), upto=at(7))
    store.close_partition(0)
    (path / "DAMAGED").touch()
    (path / "lost+found").mkdir()
    store = OneDatabase(path)
    assert (store.seen(0), keys(store, b"\x01", b"\xff")) == ((7, at(7)), [])
    store.close_partition(0)


def write_twice_and_die(path: Path, written: Any, go_on: Any) -> None:
    """In a process of its own: five batches, and five more when it may."""
    store = OneDatabase(path)
    for number in range(10):
        store.write(0, {key: row for key, row, _ in batch(number) if row is not None}, (), upto=at(number))
        if number == 4:
            written.set()
            go_on.wait()
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_start_beside_a_worker_that_has_the_database_takes_nothing_from_it(tmp_path: Path) -> None:
    path, spawn = tmp_path / "rows.db", multiprocessing.get_context("spawn")
    written, go_on = spawn.Event(), spawn.Event()
    owner = spawn.Process(target=write_twice_and_die, args=(path, written, go_on))
    owner.start()
    assert written.wait(60)
    files = sorted(file.name for file in path.iterdir())
    with pytest.raises(StateLocked, match="another process holds the lock"):
        OneDatabase(path)
    assert sorted(file.name for file in path.iterdir()) == files
    go_on.set()
    owner.join()
    assert seen(path) == 9
