"""The one DuckDB instance of the process: both files attached, locked down, guarded against a second owner.

Nobody else may open, copy or hash the files while this runs, not even with plain `open`: DuckDB's lock is a POSIX lock,
and closing any other handle on the file drops it. So the real guard is `flock` on a file of its own beside them.
"""

import fcntl
import logging
import os
import shutil
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from service.priority import give_way
from service.sql import literal
from sinks.errors import StoreUnavailable
from sinks.query import ddl
from sinks.query.tables import CATALOGS, File

logger = logging.getLogger(__name__)

_FILES: dict[File, str] = {"events": "events.duckdb", "content": "content.duckdb"}


@dataclass(frozen=True)
class Resources:
    """What the instance may take, writer and queries together.

    memory_mb: DuckDB's own buffers and operators; the process takes some 300 MB more.  temp_mb: what queries may spill
    to disk.  threads: of one query or write.
    """

    memory_mb: int = 1024
    temp_mb: int = 4096
    threads: int = max(1, min(4, os.cpu_count() or 1))


class Database:
    """Opens the store's files below `folder` and hands out cursors; each cursor belongs to one thread at a time."""

    def __init__(self, folder: Path, resources: Resources | None = None) -> None:
        self.folder = folder
        self.resources = Resources() if resources is None else resources
        self._connection: Any = None
        self._lock_fd: int | None = None
        self._guard = threading.Lock()
        self._opened, self._written = "", 0

    @property
    def version(self) -> str:
        """Changes whenever what is in the store may have; who reads it first, and then the store, misses nothing."""
        return f"{self._opened}.{self._written}"

    def wrote(self) -> None:
        """Say that the store may hold something else from now on. Only the one writer does."""
        self._written += 1

    @property
    def is_open(self) -> bool:
        """Whether cursors can be had."""
        return self._connection is not None

    def open(self, sink: str) -> None:
        """Take the lock, attach both files (replaying what a killed process left), make the tables, lock down.

        Raises: StoreUnavailable: the folder cannot be written, or another process owns it.  TableMismatch.
        """
        try:
            # What people wrote lies here: nobody else on the machine may read it.
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock(sink)
            connection = self._connect()
        except (OSError, duckdb.IOException) as error:
            self.close()
            raise StoreUnavailable(sink, f"{self.folder}: {error}") from error
        except BaseException:
            self.close()
            raise
        try:
            added = ddl.prepare(connection, sink)
            # From here on SQL reaches nothing but the attached files, and nobody can turn that back.
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
        except BaseException:
            connection.close()
            self.close()
            raise
        with self._guard:
            self._connection = connection
            self._opened = uuid.uuid4().hex
        if added:
            logger.info("query store: new columns %s", ", ".join(added))
        logger.info("query store: %s open", self.folder)

    def cursor(self) -> Any:
        """A connection of its own to the same instance. Raises: StoreUnavailable when the store is not open."""
        with self._guard:
            if self._connection is None:
                raise StoreUnavailable("query", "the query store is not open")
            return self._connection.cursor()

    def close(self) -> None:
        """Write everything into the files and give back the lock. May come twice."""
        with self._guard:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def _lock(self, sink: str) -> None:
        if self._lock_fd is not None:
            return
        fd = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(fd)
            raise StoreUnavailable(sink, f"{self.folder} is in use by another process") from error
        self._lock_fd = fd

    def _connect(self) -> Any:
        temp = self.folder / "temp"
        shutil.rmtree(temp, ignore_errors=True)  # what a killed process had spilled
        config: dict[str, Any] = {
            "threads": self.resources.threads,
            "memory_limit": f"{self.resources.memory_mb}MiB",
            "temp_directory": str(temp),
            "max_temp_directory_size": f"{self.resources.temp_mb}MiB",
            # A checkpoint writes the last, half-filled row group of two hundred columns anew. At DuckDB's own 16 MB
            # that was a quarter of the cost of storing events; 64 MB halve it, and replay in under a second.
            "checkpoint_threshold": "64MiB",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            "python_enable_replacements": "false",
        }
        # DuckDB's own threads are as the one that opens it. Most of what they do is of queries: a write has its own.
        with ThreadPoolExecutor(1, initializer=give_way) as opening:
            connection = opening.submit(duckdb.connect, ":memory:", config=config).result()
        try:
            connection.execute("SET GLOBAL TimeZone = 'UTC'")
            # Its join of two groupings has at most the rows of one, and is guessed as their product: plan.py would
            # refuse to count what is distinct by group among some hundred thousand rows. Without it is as fast.
            connection.execute("SET GLOBAL disabled_optimizers = 'distinct_aggregate_rewrite'")
            connection.execute("SET GLOBAL lambda_syntax = 'ENABLE_SINGLE_ARROW'")  # x -> x + 1, as analysts know it
            for file, name in _FILES.items():
                connection.execute(f"ATTACH {literal(str(self.folder / name))} AS {CATALOGS[file]}")
        except BaseException:
            connection.close()
            raise
        return connection
