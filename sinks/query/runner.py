"""One query from text to rows.

It is checked, bound in the shadow, bound on views of the key's own, its plan is checked, and it runs on a cursor that
reads one snapshot, bounded by time, memory, rows, bytes and the client's patience.
"""

import asyncio
import hashlib
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb

from schemas.errors import MillraceError
from service.priority import give_way
from sinks.query import guard, plan, shadow, values
from sinks.query.catalogue import NAMES, Access, content_names
from sinks.query.database import Database
from sinks.query.errors import QueryError
from sinks.query.metrics import QueryMetrics
from sinks.query.turns import Turns

logger = logging.getLogger(__name__)

_CHUNK_ROWS = 1000
_INTERRUPT_EVERY_S = 0.05
# How long an interrupted query may still hold up its answer; its place stays taken until it has really ended.
_INTERRUPT_GRACE_S = 2.0
# A query that made the process grow by less is not the one to stop.
_GROWTH_BYTES = 128 << 20
_NOT_TOLD = "content can only be read where the audit is told of it, and here nothing tells it"
_OUT_OF_MEMORY = "the query needs more memory than there is for it: filter or aggregate more"

# What a non-admin hears of an error on the data: nothing of the data.
_WORDS: dict[type[Exception], str] = {
    duckdb.ConversionException: "a value cannot be converted to the type asked for (try_cast gives null instead)",
    duckdb.OutOfRangeException: "a number is out of range",
    duckdb.InvalidInputException: "a function was given a value that it does not take",
    duckdb.InvalidTypeException: "a value has the wrong type",
    duckdb.TypeMismatchException: "a value has the wrong type",
    duckdb.SyntaxException: "a text is not what a function expects",
}


@dataclass(frozen=True)
class Limits:
    """Bounds of one query and of all together.

    seconds: from the request to the last row, its wait included.  rows: without a limit of the asker's own.
    rows_max: whatever the asker says.  bytes_max: of the rows as JSON.  running: at once, of all askers (of one, one
    less).  waiting: beyond those, in all; more are refused.  sql_bytes: of the text.  uncounted_mb: what the process
    may take beyond DuckDB's own limit, which does not see texts that grow inside of an expression.
    """

    seconds: float = 30.0
    rows: int = 10_000
    rows_max: int = 1_000_000
    bytes_max: int = 64 * 1024 * 1024
    running: int = 4
    waiting: int = 32
    sql_bytes: int = 100_000
    uncounted_mb: int = 1024


@dataclass(frozen=True)
class Answer:
    """A result.  rows: fragments of JSON, each one or more rows as arrays, to be joined by commas.  truncated: rows or
    bytes came to their limit, and there is more.  version: of the store (Runner.version), no newer than the rows.
    seconds: that it ran, without its wait."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: tuple[bytes, ...]
    count: int
    truncated: bool
    version: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Read:
    """A read of content.  names: the SQL names.  rows: that go out; None: none, for this reason (errors.REASONS)."""

    names: tuple[str, ...]
    sql: str
    rows: int | None
    reason: str | None


Tell = Callable[[Read], Awaitable[None]]


class _Job:
    """A query on its thread, and how to stop it from another one.

    resident: the process's bytes when it began.  began: when its turn came, s; None before.  content: names that it
    reads and that hold class content.
    """

    def __init__(self, resident: int) -> None:
        self.resident = resident
        self.began: float | None = None
        self.content: tuple[str, ...] = ()
        self._guard = threading.Lock()
        self._cursor: Any = None
        self.stopped: str | None = None

    @property
    def seconds(self) -> float:
        """Since its turn came."""
        return 0.0 if self.began is None else time.monotonic() - self.began

    def use(self, cursor: Any) -> Any:
        """Say which cursor runs from now on. Raises: _Stopped."""
        with self._guard:
            self._cursor = cursor
        self.check()
        return cursor

    def done(self) -> None:
        """The cursor is about to be closed."""
        with self._guard:
            self._cursor = None

    def check(self) -> None:
        """Raises: _Stopped."""
        if self.stopped is not None:
            raise _Stopped

    def stop(self, reason: str) -> None:
        """Interrupt what runs now. An interrupt between two statements is lost, so come again until it has ended."""
        with self._guard:
            self.stopped = self.stopped or reason
            if self._cursor is not None:
                self._cursor.interrupt()


class _Stopped(Exception):
    """The job was told to stop."""


class Runner:
    """Runs queries on threads of its own, so many at once and no more."""

    def __init__(self, database: Database, limits: Limits, metrics: QueryMetrics | None = None) -> None:
        """database: the one that the store opened; queries read beside its writer."""
        self._database = database
        self.limits = limits
        self._metrics = metrics
        self._shadows = shadow.Shadows()
        self._pool = ThreadPoolExecutor(limits.running, thread_name_prefix="query", initializer=give_way)
        self._turns = Turns(limits.running, limits.waiting, lambda *busy: metrics.busy(*busy) if metrics else None)
        self._jobs: set[_Job] = set()
        self._watching: asyncio.Task[None] | None = None

    def version(self, access: Access) -> str:
        """The same as long as every query has the same answer: neither the store nor what one may see is another."""
        told = f"{self._database.version} {access!r}"
        return hashlib.blake2b(told.encode(), digest_size=12).hexdigest()  # not how often others write

    async def run(
        self,
        who: Hashable,
        access: Access,
        sql: str,
        limit: int | None,
        gone: Callable[[], Any],
        tell: Tell | None = None,
    ) -> Answer:
        """Answer one query.

        Args:    who: the asker, who takes turns with the others.  limit: rows at most; None takes the default.
                 gone: awaitable that returns when the asker has left.  tell: is told of a read of content before its
                 answer, be it an error, goes out; what it raises is the answer instead. None: content is not read at
                 all.
        Raises:  QueryError.
        """
        began = time.monotonic()
        outcome = "internal"
        job = _Job(_resident_bytes())
        try:
            try:
                found = await self._run(job, who, access, sql, limit, gone, may_read=tell is not None)
                answer = replace(found, seconds=job.seconds)
            except QueryError as error:
                if job.content and tell is not None:
                    await tell(Read(job.content, sql, None, error.reason))
                raise
            if job.content and tell is not None:
                await tell(Read(job.content, sql, answer.count, None))
            outcome = "ok"
            return answer
        except QueryError as error:
            outcome = error.reason
            error.seconds = job.seconds
            raise
        finally:
            if self._metrics is not None:
                self._metrics.answered(outcome, time.monotonic() - began)

    def stop_all(self) -> None:
        """Interrupt whatever runs now."""
        for job in self._jobs:
            job.stop("cancelled")

    async def close(self) -> None:
        """Stop what runs and give back the threads; waits for a query that does not heed an interrupt."""
        while self._jobs:
            self.stop_all()
            await asyncio.sleep(_INTERRUPT_EVERY_S)
        if self._watching is not None:
            self._watching.cancel()
        self._pool.shutdown()
        self._shadows.close()

    async def _run(
        self,
        job: _Job,
        who: Hashable,
        access: Access,
        sql: str,
        limit: int | None,
        gone: Callable[[], Any],
        *,
        may_read: bool,
    ) -> Answer:
        if len(sql) > self.limits.sql_bytes or len(sql.encode("utf-8", "replace")) > self.limits.sql_bytes:
            raise QueryError(f"the query is longer than {self.limits.sql_bytes} bytes", reason="too_large")
        deadline = asyncio.get_running_loop().time() + self.limits.seconds
        rows = min(self.limits.rows if limit is None else limit, self.limits.rows_max)
        leaving = asyncio.ensure_future(gone())
        try:
            await self._place(who, leaving)
            job.resident, job.began = _resident_bytes(), time.monotonic()
            self._jobs.add(job)
            if self._watching is None or self._watching.done():
                self._watching = asyncio.create_task(self._watch_memory(), name="query-memory")
            future = asyncio.get_running_loop().run_in_executor(
                self._pool, self._answer, job, access, sql, rows, may_read
            )
            future.add_done_callback(lambda done: self._free(job, who, done))
            remaining = deadline - asyncio.get_running_loop().time()
            await asyncio.wait({future, leaving}, timeout=remaining, return_when=asyncio.FIRST_COMPLETED)
            if not future.done():
                await self._stop(job, future, "cancelled" if leaving.done() else "time_limit")
            return await future
        except asyncio.CancelledError:
            job.stop("cancelled")
            raise
        except _Stopped as error:
            raise self._stopped(job) from error
        finally:
            leaving.cancel()

    async def _place(self, who: Hashable, leaving: "asyncio.Future[Any]") -> None:
        """Wait for a turn. Raises: QueryError(busy, cancelled)."""
        taking = asyncio.ensure_future(self._turns.take(who))
        try:
            await asyncio.wait({taking, leaving}, timeout=self.limits.seconds, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if not taking.cancel() and taking.exception() is None:
                self._turns.give(who)
            raise
        if taking.done():
            taking.result()
            return
        taking.cancel()  # which takes it out of the queue
        if leaving.done():
            raise QueryError("the query was cancelled", reason="cancelled")
        raise QueryError("too many queries at once; try again in a moment", reason="busy")

    def _free(self, job: _Job, who: Hashable, done: "asyncio.Future[Answer]") -> None:
        if not done.cancelled():
            done.exception()  # of a query that was given up nobody else asks
        self._jobs.discard(job)
        self._turns.give(who)

    async def _stop(self, job: _Job, future: "asyncio.Future[Answer]", reason: str) -> None:
        until = asyncio.get_running_loop().time() + _INTERRUPT_GRACE_S
        while not future.done() and asyncio.get_running_loop().time() < until:
            job.stop(reason)
            await asyncio.wait({future}, timeout=_INTERRUPT_EVERY_S)
        if not future.done():
            logger.warning("a query does not stop (%s); its place stays taken until it does", reason)
            task = asyncio.ensure_future(self._keep_stopping(job, future))
            future.add_done_callback(lambda _: task.cancel())
            raise self._stopped(job)

    async def _keep_stopping(self, job: _Job, future: "asyncio.Future[Answer]") -> None:
        while not future.done():
            job.stop("time_limit")
            await asyncio.sleep(_INTERRUPT_EVERY_S)

    async def _watch_memory(self) -> None:
        """Stop queries under which the process grows beyond all limits, while there are any."""
        bound = (self._database.resources.memory_mb + self.limits.uncounted_mb) << 20
        while self._jobs:
            resident = _resident_bytes()
            for job in self._jobs:
                # An allocator may keep what an earlier query took, which is not the fault of this one.
                if resident > bound and resident - job.resident > _GROWTH_BYTES:
                    job.stop("memory_limit")
            await asyncio.sleep(_INTERRUPT_EVERY_S)

    def _stopped(self, job: _Job) -> QueryError:
        if job.stopped == "memory_limit":
            return QueryError(_OUT_OF_MEMORY, reason="memory_limit")
        if job.stopped == "time_limit":
            return QueryError(f"the query took longer than {self.limits.seconds:g} s", reason="time_limit")
        return QueryError("the query was cancelled", reason="cancelled")

    def _answer(self, job: _Job, access: Access, sql: str, limit: int, may_read: bool) -> Answer:
        """On the query's thread."""
        try:
            checked = self._checked(job, access, sql)
            if job.content and not may_read:
                raise QueryError(_NOT_TOLD, reason="unavailable")
            try:
                return self._executed(job, access, checked, limit)
            except QueryError as error:
                if error.reason == "runtime_error" and not access.sees_all:
                    raise self._own_fault(job, access, sql) or error from error
                raise
        except duckdb.InterruptException as error:
            raise _Stopped from error

    def _own_fault(self, job: _Job, access: Access, sql: str) -> QueryError | None:
        """The error in full, if the query fails without any data as well: then every value in it is the asker's."""
        cursor = self._shadows.cursor(access)
        try:
            job.use(cursor).execute(sql).fetchall()
        except duckdb.InterruptException:
            raise
        except duckdb.Error as error:
            return guard.from_duckdb(error, sql, reason="runtime_error")
        finally:
            job.done()
            cursor.close()
        return None

    def _checked(self, job: _Job, access: Access, sql: str) -> guard.Checked:
        passed = self._shadows.passed(access, sql)
        if passed is not None:
            job.content = content_names(passed.names)
            return passed
        cursor = self._shadows.cursor(access)
        try:
            checked = guard.check(job.use(cursor), sql, NAMES, access.names, access.refusal)
            job.content = content_names(checked.names)
            try:
                shadow.bind(cursor, sql)
            except QueryError as error:
                why = access.missing_column(checked.names, str(error))
                if why is None:
                    raise
                raise QueryError(why, reason="forbidden", position=error.position) from error
            self._shadows.let_through(access, checked)
            return checked
        finally:
            job.done()
            cursor.close()

    def _executed(self, job: _Job, access: Access, checked: guard.Checked, limit: int) -> Answer:
        try:
            cursor = self._database.cursor()
        except MillraceError as error:
            raise QueryError("the query store is not open yet; try again in a moment", reason="unavailable") from error
        try:
            job.use(cursor)
            version = self.version(access)  # before the snapshot, which may hold more than it says, but not less
            for name in checked.names:
                cursor.execute(access.view(name))
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            explained = cursor.execute(f"EXPLAIN (FORMAT JSON)\n{checked.sql}").fetchall()[0][1]
            plan.check(explained, {NAMES[name].path for name in checked.names}, tell=access.sees_all)
            job.check()
            return self._fetched(job, cursor.execute(checked.sql), limit, version)
        except duckdb.InterruptException:
            raise
        except duckdb.Error as error:
            raise _wrapped(error, access) from error
        finally:
            job.done()
            cursor.close()

    def _fetched(self, job: _Job, cursor: Any, limit: int, version: str) -> Answer:
        columns = tuple(str(column[0]) for column in cursor.description)
        types = tuple(str(column[1]) for column in cursor.description)
        fragments: list[bytes] = []
        count = size = 0
        while True:
            job.check()
            try:
                # One more than asked for tells whether there is more.
                fetched = cursor.fetchmany(min(_CHUNK_ROWS, limit + 1 - count))
            except (ValueError, OverflowError) as error:
                raise QueryError("a value of the result is out of range", reason="runtime_error") from error
            kept = fetched[: limit - count]
            if kept:
                fragments.append(values.encode_rows(kept, types))
                size += len(fragments[-1])
                count += len(kept)
            if len(kept) < len(fetched) or (size > self.limits.bytes_max and fetched):
                return Answer(columns, types, tuple(fragments), count, truncated=True, version=version)
            if not fetched:
                return Answer(columns, types, tuple(fragments), count, truncated=False, version=version)


def _resident_bytes() -> int:
    """Memory that the process holds now; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _wrapped(error: duckdb.Error, access: Access) -> QueryError:
    """An error of a running query, without any value that the asker may not see."""
    if isinstance(error, duckdb.OutOfMemoryException):
        return QueryError(_OUT_OF_MEMORY, reason="memory_limit")
    if isinstance(error, duckdb.FatalException | duckdb.InternalException):
        logger.error("the query store failed on a query: %s", type(error).__name__)
        return QueryError("the query store failed on this query", reason="internal")
    if access.sees_all:
        return QueryError(str(error).partition("\n\nLINE ")[0], reason="runtime_error")
    words = next((text for kind, text in _WORDS.items() if isinstance(error, kind)), "the query failed on the data")
    return QueryError(words, reason="runtime_error")
