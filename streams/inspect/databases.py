"""The databases below the data folder, and reading one of them while its worker goes on.

A database is opened read-only: without its lock, as it is at that moment. Its table files stay open, so what the worker
compacts away meanwhile can still be read. (All that is written is rocksdict's own file of one line, as it was.)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rocksdict

from streams.engine import rows
from streams.engine.errors import WrongRow
from streams.engine.marks import Mark
from streams.engine.rows import Row
from streams.inspect.errors import DatabaseUnreadable, NotOnThisMachine, UnknownFormat

# <worker's folder>/<group>/v<Faust's app version>/tables/<table>-<partition>.db
_PATTERN = "*/*/v*/tables/*.db"
_NAME = re.compile(r"(?P<table>.+)-(?P<partition>\d+)\.db")
# Between the list of its files and their opening the worker may have compacted some away.
_ATTEMPTS = 5


@dataclass(frozen=True, order=True)
class Database:
    """One partition of one table.  group: of the workers, with the epoch.  folder: the worker's."""

    group: str
    table: str
    partition: int
    folder: str
    path: Path

    @property
    def where(self) -> str:
        return f"{self.table}[{self.partition}] in {self.path}"

    @property
    def bytes(self) -> int:
        """Of all its files."""
        return sum(path.stat().st_size for path in self.path.glob("*") if path.is_file())


class Snapshot:
    """A database as it was when it was opened.

    mark: what its rows are made from, None before the first.  changelog: offset up to which the changelog is here, -1.
    """

    def __init__(self, database: Database, rocks: Any) -> None:
        self.database = database
        self._rocks = rocks
        with self._watching():
            mark, changelog = rocks.get([rows.MARK_KEY, rows.OFFSET_KEY])
            self.mark = None if mark is None else Mark.unpack(mark)
        self.changelog = -1 if changelog is None else int(changelog)

    def get_many(self, keys: Sequence[bytes]) -> list[Row | None]:
        """In the order of the keys; None for an unknown one."""
        with self._watching():
            return rows.unpack_all(self._rocks.get(list(keys)))

    def scan(self, prefix: bytes = b"") -> Iterator[tuple[bytes, Row]]:
        """(key, row) of the keys that begin so, in order, without the engine's own."""
        with self._watching():
            for rocks in self._walk(max(prefix, b"\x01")):
                key = rocks.key()
                if not key.startswith(prefix):
                    break
                yield key, rows.unpack(rocks.value())

    def kinds(self) -> dict[bytes, int]:
        """Rows by the first byte of their keys: a walk over all of them."""
        with self._watching():
            return dict(Counter(rocks.key()[:1] for rocks in self._walk(b"\x01")))

    def _walk(self, start: bytes) -> Iterator[Any]:
        """RocksDB's iterator at every key from `start` on. (rocksdict's own items() just ends where a file is damaged.)

        Raises: RocksDB's error.
        """
        rocks = self._rocks.iter()
        rocks.seek(start)
        while rocks.valid():
            yield rocks
            rocks.next()
        rocks.status()

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Raises: DatabaseUnreadable.  UnknownFormat."""
        try:
            yield
        except WrongRow as error:
            raise UnknownFormat(self.database.where, str(error)) from error
        except Exception as error:
            if type(error) is not Exception:  # rocksdict has no class of its own for what RocksDB says
                raise
            raise DatabaseUnreadable(self.database.path, str(error)) from error


def find(data: Path) -> list[Database]:
    """Every database below the data folder, of every worker and epoch, in order."""
    found = []
    for path in data.glob(_PATTERN):
        if named := _NAME.fullmatch(path.name):
            worker, group = path.parts[-5], path.parts[-4]
            found.append(Database(group, named["table"], int(named["partition"]), worker, path))
    return sorted(found)


@contextmanager
def opened(database: Database) -> Iterator[Snapshot]:
    """Raises: DatabaseUnreadable.  UnknownFormat."""
    rocks = _open(database)
    try:
        yield Snapshot(database, rocks)
    finally:
        rocks.close()


def _open(database: Database) -> Any:
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(False)
    options.set_max_open_files(-1)
    for attempt in range(_ATTEMPTS):
        if not (database.path / "CURRENT").exists():
            raise DatabaseUnreadable(database.path, "it has no file CURRENT")  # rocksdict would make the folder again
        try:
            return rocksdict.Rdict(str(database.path), options, access_type=rocksdict.AccessType.read_only())
        except Exception as error:
            if attempt == _ATTEMPTS - 1:
                raise DatabaseUnreadable(database.path, str(error)) from error
    raise AssertionError


class Here:
    """The databases of one group on this machine."""

    def __init__(self, data: Path, group: str) -> None:
        self._data, self._group = data, group
        self._found = [database for database in find(data) if database.group == group]

    def newest(self, *, table: str | None = None, partition: int | None = None) -> list[Database]:
        """One database for each table and partition. Where several workers have one, the newest: the others are what
        a partition left behind when it moved.

        Raises: DatabaseUnreadable.
        """
        chosen: dict[tuple[str, int], list[Database]] = {}
        for database in self._found:
            if table in (None, database.table) and partition in (None, database.partition):
                chosen.setdefault((database.table, database.partition), []).append(database)
        return [max(several, key=_progress) if len(several) > 1 else several[0] for several in chosen.values()]

    def partitions(self, table: str) -> int:
        """How many partitions the table has, here and elsewhere.

        Raises: NotOnThisMachine: none of them is here.
        """
        for database in self._found:
            if database.table == table:
                try:
                    with opened(database) as snapshot:
                        if snapshot.mark is not None:
                            return snapshot.mark.partitions
                except DatabaseUnreadable:
                    continue
        raise self.missing(table, None)

    def partition(self, table: str, partition: int) -> Database:
        """Raises: NotOnThisMachine.  DatabaseUnreadable."""
        found = self.newest(table=table, partition=partition)
        if not found:
            raise self.missing(table, partition)
        return found[0]

    def missing(self, table: str | None, partition: int | None) -> NotOnThisMachine:
        """The error that says what of it is here."""
        here = sorted({database.partition for database in self._found if table in (None, database.table)})
        return NotOnThisMachine(table, partition, group=self._group, data=self._data, here=here)


def _progress(database: Database) -> int:
    with opened(database) as snapshot:
        return snapshot.changelog
