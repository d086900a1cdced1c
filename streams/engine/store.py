"""The rows of one table in RocksDB, one database a partition: a prefix of its changelog, stored with its offset.

RocksDB's own log is for those who look at a database while its worker runs. A start takes from it only how far the
changelog was read, which a changelog that was cut must not pass unseen. RocksDB would put the log on whatever files it
finds, also where a disk that forgot has taken them back to an older list, and nothing would tell of the hole. Rows that
stood in it alone are read back from the changelog.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import rocksdict
from faust.stores import rocksdb as faust_rocksdb
from faust.types import TP

from streams.engine import rows
from streams.engine.errors import ChangelogReplaced, StateDamaged, StateLocked, StateUnwritable
from streams.engine.marks import Mark
from streams.engine.rows import ChangelogRecord, Place
from streams.engine.settings import EngineSettings

logger = logging.getLogger(__name__)

T = TypeVar("T")

_OPEN_FILES_MAX = 128
_WRITE_BUFFERS_MAX = 3
_BLOOM_BITS = 10
# Rows soon leave the upper levels (300 MB a database at most); unpacking a block costs more than reading it.
_COMPRESSION = [rocksdict.DBCompressionType.none()] * 2 + [rocksdict.DBCompressionType.snappy()] * 5
# What RocksDB says of files that are cut, changed or gone. (A lock, a full disk, missing rights are not damage.)
_DAMAGE = ("Corruption", "No such file or directory")
_IO_ERROR = "IO error"
# What the system says of a disk that takes nothing more, in RocksDB's words or rocksdict's.
_UNWRITABLE = ("No space left", "File too large", "Disk quota", "Read-only file system")
# While rows are read back nobody reads them: their files are sorted into levels once, when it is over. To do that again
# and again was a third of what a row cost. Files that wait for it must not hold up the writes that follow.
_READING_BACK = {
    "disable_auto_compactions": "true",
    "level0_slowdown_writes_trigger": "1000",
    "level0_stop_writes_trigger": "1000",
}
_READ_BACK = {"disable_auto_compactions": "false"}
_DAMAGED = "DAMAGED"
"""An empty file in a database that was found damaged while it was in use."""
_LOCK = "LOCK"
"""RocksDB's."""
_SEEN = "SEEN"
"""A file in a database that is being opened: what RocksOptions.seen found, as JSON, until it is beside the rows."""


class RocksOptions:
    """How databases are opened: one block cache and one budget of memtables for all tables and partitions."""

    def __init__(self, settings: EngineSettings) -> None:
        self._cache = rocksdict.Cache(settings.block_cache_bytes + settings.write_buffers_bytes)
        self._buffers = rocksdict.WriteBufferManager.new_write_buffer_manager_with_cache(
            settings.write_buffers_bytes, False, self._cache
        )
        self._write_buffer_bytes = settings.write_buffers_bytes // 4

    def open(self, path: Path) -> Any:
        """The database in this folder as its files are, made where there is none. Its log is removed: see seen."""
        with _alone(path):
            for log in path.glob("*.log"):
                log.unlink()
        options = rocksdict.Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_max_open_files(_OPEN_FILES_MAX)
        options.set_write_buffer_size(self._write_buffer_bytes)
        options.set_max_write_buffer_number(_WRITE_BUFFERS_MAX)
        options.set_write_buffer_manager(self._buffers)
        options.set_keep_log_file_num(2)
        options.set_compression_per_level(_COMPRESSION)
        table = rocksdict.BlockBasedOptions()
        table.set_block_cache(self._cache)
        table.set_bloom_filter(_BLOOM_BITS, block_based=False)
        options.set_block_based_table_factory(table)
        return rocksdict.Rdict(str(path), options=options)

    def clear(self, path: Path) -> None:
        """Remove all that a database holds; what is noted of how far its changelog was read stays."""
        with _alone(path):
            for file in path.iterdir():
                if file.is_dir():
                    shutil.rmtree(file)
                elif file.name not in (_SEEN, _LOCK):
                    file.unlink()

    def seen(self, path: Path) -> dict[bytes, bytes]:
        """Rows to keep of a database that is to be opened: how far its changelog was read, as its log tells.

        Nothing of one that was closed and is whole, or that cannot be read. They stand in a file when this returns, so
        that the next start finds them where this one removes the log, or the database, and then fails.
        """
        with _alone(path):
            noted, found = _noted(path), _logged(path)
            # The note is of a start that failed. What ran after it (an earlier release, the one that had it open) has
            # read further, or another changelog.
            same = found.get(rows.CHANGELOG_KEY) in (None, noted.get(rows.CHANGELOG_KEY))
            if not found or (same and int(noted.get(rows.SEEN_OFFSET_KEY, -1)) >= int(found[rows.SEEN_OFFSET_KEY])):
                return noted
            _note(path, found)
        return found


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold RocksDB's lock of a database that is not open in this process: its files are nobody's.

    Raises: StateLocked.
    """
    if not path.exists():
        yield
        return
    with (path / _LOCK).open("ab") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise StateLocked(path) from error
        yield


def _logged(path: Path) -> dict[bytes, bytes]:
    """How far the changelog was read, as the log tells; of a damaged database also as its files do."""
    if not (path / _DAMAGED).exists() and not any(log.stat().st_size for log in path.glob("*.log")):
        return {}
    database: Any = None
    try:
        options, read_only = rocksdict.Options(raw_mode=True), rocksdict.AccessType.read_only()
        database = rocksdict.Rdict(str(path), options, access_type=read_only)
        (at, record), id_ = _furthest(database), database.get(rows.CHANGELOG_KEY)
    except Exception as error:
        if not _is_damage(error):
            raise
        return {}
    finally:
        if database is not None:
            database.close()
    found = {rows.SEEN_OFFSET_KEY: str(at).encode(), rows.SEEN_RECORD_KEY: record, rows.CHANGELOG_KEY: id_}
    return {key: value for key, value in found.items() if value is not None} if at >= 0 else {}


def _noted(path: Path) -> dict[bytes, bytes]:
    """What a start noted that then failed; nothing where that is cut or is nonsense, as damage leaves it."""
    try:
        noted = {key.encode(): value.encode() for key, value in json.loads((path / _SEEN).read_bytes()).items()}
        int(noted[rows.SEEN_OFFSET_KEY])
    except (FileNotFoundError, ValueError, AttributeError, KeyError):
        return {}
    return noted


def _note(path: Path, found: Mapping[bytes, bytes]) -> None:
    scratch = path / f"{_SEEN}.new"
    with scratch.open("w") as file:
        json.dump({key.decode(): value.decode() for key, value in found.items()}, file)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path / _SEEN)
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Store(faust_rocksdb.Store):
    """The stock store of Faust with rows that carry versions, and with an explicit close."""

    logger = logging.getLogger("faust.stores")
    offset_key = rows.OFFSET_KEY

    def __init__(
        self,
        *args: Any,
        opener: RocksOptions,
        check: Callable[[int, Mark], None],
        changelog_id: Callable[[], str],
        epoch: int,
        **kwargs: Any,
    ) -> None:
        """check: raises when a partition's mark is not of our source.  changelog_id: Kafka's, as last asked for."""
        super().__init__(*args, driver="rocksdict", **kwargs)
        self._opener = opener
        self._check = check
        self._changelog_id = changelog_id
        self._epoch = epoch
        #: partition -> keys whose last copy in the changelog is not the row we hold.
        self.stale: dict[int, set[bytes]] = {}
        #: partition whose rows all came from its changelog since its database was made -> their highest version.
        self._highest: dict[int, bytes] = {}

    # -- rows ---------------------------------------------------------------------
    def get_many(self, partition: int, keys: Sequence[bytes]) -> list[bytes | None]:
        with self._watching(partition):
            found = _read(self._dbs[partition], keys)
        return list(map(found.get, keys))

    def scan(self, partition: int, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Ordered (key, row) with start <= key < stop, at most `limit`, without the engine's own rows."""
        return self._walk(partition, start, stop, limit, lambda rocks: (rocks.key(), rocks.value()))

    def scan_keys(self, partition: int, start: bytes, stop: bytes, limit: int) -> list[bytes]:
        """As scan, the keys alone."""
        return self._walk(partition, start, stop, limit, lambda rocks: rocks.key())

    def _walk(
        self, partition: int, start: bytes, stop: bytes, limit: int, take: Callable[[rocksdict.RdictIter], T]
    ) -> list[T]:
        found: list[T] = []
        with self._watching(partition):
            rocks = self._dbs[partition].iter()  # items() would just end where a block is damaged
            rocks.seek(max(start, b"\x01"))
            while rocks.valid() and len(found) < limit and rocks.key() < stop:
                found.append(take(rocks))
                rocks.next()
            rocks.status()
        return found

    def write(
        self, partition: int, puts: Mapping[bytes, bytes], deletes: Iterable[bytes], *, upto: Place | None
    ) -> None:
        """All of it or nothing.  upto: of the changelog; everything up to it is here then; None: not known."""
        self._highest.pop(partition, None)
        self._commit(partition, self._dbs[partition], puts, deletes, upto)

    def _commit(
        self,
        partition: int,
        database: Any,
        puts: Mapping[bytes, bytes],
        deletes: Iterable[bytes],
        upto: Place | None,
    ) -> None:
        """Raises: StateUnwritable."""
        batch = rocksdict.WriteBatch(raw_mode=True)
        put = batch.put
        for key in sorted(puts):
            put(key, puts[key])
        for key in deletes:
            batch.delete(key)
        if upto is not None:
            put(self.offset_key, str(upto.offset).encode())
            put(rows.CHANGELOG_KEY, self._changelog_id().encode())
            put(rows.RECORD_KEY, upto.pack())
        with self._writing(partition):
            database.write(batch)

    @contextmanager
    def _writing(self, partition: int, failures: Iterable[str] = (_IO_ERROR, *_UNWRITABLE)) -> Iterator[None]:
        """Raises: StateUnwritable for an error that says one of these."""
        try:
            yield
        except Exception as error:
            if not any(words in str(error) for words in failures):
                raise
            raise StateUnwritable(self.partition_path(partition), str(error)) from error

    def mark(self, partition: int) -> Mark | None:
        """What the partition's rows are made from; None where it has none yet."""
        stored = self._dbs[partition].get(rows.MARK_KEY)
        return None if stored is None else Mark.unpack(stored)

    def size(self) -> tuple[int, int]:
        """Rows, as RocksDB estimates them (a row counts again until it is compacted), and bytes, in files and memory.

        Of all open databases, standbys among them. Some 30 µs for each.
        """
        databases = list(self._dbs.values())
        rows, *stored = (
            sum(database.property_int_value(f"rocksdb.{name}") or 0 for database in databases)
            for name in ("estimate-num-keys", "total-sst-files-size", "size-all-mem-tables")
        )
        return rows, sum(stored)

    # -- the changelog read back --------------------------------------------------
    @contextmanager
    def reading_back(self, partitions: Iterable[int]) -> Iterator[None]:
        """Many rows of these partitions come from their changelogs, and nothing else is written to them.

        Without RocksDB's log. All is in files before the first write that is logged again, for who looks meanwhile.
        Raises: StateUnwritable.
        """
        databases: dict[int, Any] = {partition: self._db_for_partition(partition) for partition in partitions}
        unlogged = rocksdict.WriteOptions()
        setattr(unlogged, "disable_wal", True)  # noqa: B010  (an attribute, of which the stubs say that it is a method)
        try:
            for partition, database in databases.items():
                database.set_write_options(unlogged)
                with self._writing(partition):
                    database.set_options(_READING_BACK)
            yield
        finally:
            for partition, database in databases.items():
                if database not in self._dbs.values():  # it was closed, and its rows are in files
                    continue
                with self._writing(partition):
                    database.flush()
                    database.set_write_options(rocksdict.WriteOptions())
                    database.set_options(_READ_BACK)

    def apply_changelog(
        self, partition: int, records: Sequence[ChangelogRecord], *, upto: Place | None, complete_to: bytes = b""
    ) -> None:
        """Merge changelog records in one atomic write; keys whose last copy lost are remembered as stale.

        A row is compared with the stored one only where that can be newer: above the highest version that was ever
        stored nothing is to be found. (A writer's chunks rise, so that is nearly every row of a changelog.)

        Args: upto: the last record, stored with the rows it covers; None where others before it are still unread.
              complete_to: see rows.merge.
        """
        database = self._db_for_partition(partition)
        highest = None if complete_to else self._highest.get(partition)
        with self._watching(partition):
            merged = rows.merge(
                records,
                lambda keys: list(map(_read(database, keys).get, keys)),
                complete_to=complete_to,
                highest=highest,
            )
        self._commit(partition, database, merged.puts, merged.deletes, upto)
        if complete_to:
            self._highest.pop(partition, None)  # these can be above it
        elif highest is not None:
            self._highest[partition] = max(highest, max(merged.puts.values(), default=b"")[: rows.VERSION_BYTES])
        stale = self.stale.setdefault(partition, set())
        stale.difference_update(merged.puts, merged.deletes)
        stale |= merged.stale

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        # The stock method would silently open (and lock) the database of a partition that was
        # revoked between the send and its acknowledgement.
        database = self._dbs.get(tp.partition)
        if database is not None:
            with self._writing(tp.partition):
                database.put(self.offset_key, str(offset).encode())

    def apply_changelog_batch(self, batch: Iterable[Any], to_key: Any, to_value: Any) -> None:
        """Stock entry point: Faust calls it when it empties its buffers, and finds them empty: see Consumer."""
        for event in batch:
            message = event.message
            self.apply_changelog(message.partition, rows.changelog_records((message,)), upto=None)

    # -- life cycle ---------------------------------------------------------------
    def flush(self) -> None:
        """Have what is in memory written to files, soon. Raises: StateUnwritable."""
        for partition, database in list(self._dbs.items()):
            if database.property_int_value("rocksdb.num-entries-active-mem-table"):
                with self._writing(partition):
                    database.flush(wait=False)

    @contextmanager
    def _watching(self, partition: int) -> Iterator[None]:
        """Raises: StateDamaged for what RocksDB finds damaged only now; the database is made anew when it is opened."""
        try:
            yield
        except Exception as error:
            if not _is_damage(error):
                raise
            path = self.partition_path(partition)
            (path / _DAMAGED).touch()
            raise StateDamaged(path, str(error)) from error

    def _open_for_partition(self, partition: int) -> Any:
        path = self.partition_path(partition)
        with self._writing(partition, _UNWRITABLE):  # a lock is an IO error, too
            database, seen = self._open(path)
        if database.latest_sequence_number() == 0:
            self._highest[partition] = b""
        try:
            if seen:
                with self._writing(partition):
                    batch = rocksdict.WriteBatch(raw_mode=True)  # a kill between two would leave half of it in the log
                    for key, value in seen.items():
                        batch.put(key, value)
                    database.write(batch)
                    database.flush()
            (path / _SEEN).unlink(missing_ok=True)
            self._check_changelog(database, partition)
            if (stored := database.get(rows.MARK_KEY)) is not None:
                # Before the changelog is read on from our offset: that offset means nothing in another cluster.
                self._check(partition, Mark.unpack(stored))
        except Exception:
            self._close(partition, database)
            raise
        return database

    def _open(self, path: Path) -> tuple[Any, dict[bytes, bytes]]:
        """The database in this folder, made anew where it is damaged, and the rows to keep of the one before."""
        opener, database = self._opener, None
        seen = opener.seen(path)
        try:
            if (path / _DAMAGED).exists():
                raise StateDamaged(path, "found while it was in use")
            database = opener.open(path)
            database.get(rows.MARK_KEY)
        except Exception as error:
            if not isinstance(error, StateDamaged) and not _is_damage(error):
                raise
            # Never ahead of the changelog, so nothing is lost with it.
            logger.error("%s is damaged and will be recovered from the changelog: %s", path, error)
            if database is not None:
                database.close()
            opener.clear(path)
            database = opener.open(path)
        return database, seen

    def check_changelog(self, partition: int) -> None:
        """Whether the offset beside the rows is of the changelog that there is now.

        Raises: ChangelogReplaced.
        """
        self._check_changelog(self._db_for_partition(partition), partition)

    def _check_changelog(self, database: Any, partition: int) -> None:
        # A folder of an earlier release has no id: it gets one with its next offset.
        stored, found = database.get(rows.CHANGELOG_KEY), self._changelog_id()
        if stored is not None and stored.decode() != found:
            folder = self.partition_path(partition)
            where = f"table {self.table_name}[{partition}] in {folder}"
            raise ChangelogReplaced(where, was=stored.decode(), found=found, folder=folder, epoch=self._epoch)

    def seen(self, partition: int) -> tuple[int, Place | None]:
        """The offset up to which the changelog was ever here, -1 for none, and the record there; None: nobody noted it.

        So it is in a folder of an earlier release, and after a foreign writer, until the next row is written.
        """
        at, noted = _furthest(self._db_for_partition(partition))
        place = None if noted is None else Place.unpack(noted)
        return at, place if place is not None and place.offset == at else None

    def make_anew(self, partition: int) -> None:
        """Forget all rows: what the changelog has will be read back."""
        self._db_for_partition(partition)
        self.close_partition(partition)
        self._opener.clear(self.partition_path(partition))
        self._db_for_partition(partition)

    def close_partition(self, partition: int) -> None:
        database = self._dbs.pop(partition, None)
        self.stale.pop(partition, None)
        self._highest.pop(partition, None)
        if database is not None:
            self._close(partition, database)

    def _close(self, partition: int, database: Any) -> None:
        # The stock store leaves the LOCK file to the garbage collector.
        for end in (database.flush, database.close):
            try:
                with self._writing(partition):
                    end()
            except StateUnwritable as error:
                logger.warning("%s; what is not in files will be read back from the changelog", error)

    def revoke_partitions(self, table: Any, tps: set[TP]) -> None:
        for tp in tps:
            if tp.topic in table.changelog_topic.topics:
                self.close_partition(tp.partition)

    async def stop(self) -> None:
        for partition in list(self._dbs):
            self.close_partition(partition)


def _furthest(database: Any) -> tuple[int, bytes | None]:
    """Up to which offset of its changelog a database ever was, -1 for none, and the record that was noted beside it."""
    keys = [rows.OFFSET_KEY, rows.RECORD_KEY, rows.SEEN_OFFSET_KEY, rows.SEEN_RECORD_KEY]
    offset, record, offset_seen, record_seen = database.get(keys)
    return max((int(offset or -1), record), (int(offset_seen or -1), record_seen), key=lambda pair: pair[0])


def _read(database: Any, keys: Iterable[bytes]) -> dict[bytes, bytes | None]:
    # In the order of the files: neighbours share blocks and a place in the processor's caches.
    in_order = sorted(keys)
    return dict(zip(in_order, database.get(in_order), strict=True))


def _is_damage(error: Exception) -> bool:
    return any(words in str(error) for words in _DAMAGE)
