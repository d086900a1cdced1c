"""`python -m sinks`: waits for Kafka, then fills lake and query tables and serves SQL, until SIGTERM."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from schemas.errors import MillraceError
from schemas.roles import CONTROL_KIND as ROLE
from schemas.roles import finder
from service import logs, registry
from service.audit import AuditLog
from service.control import TOPIC as CONTROL
from service.control import ControlView
from service.errors import ClusterUnavailable, RegistryUnavailable, SchemaMissing, TopicMismatch, TopicMissing
from service.health import Health
from service.settings import kafka_kwargs, load
from sinks.errors import EXIT_FAILED, EXIT_TRY_AGAIN, StoreUnavailable, exit_code
from sinks.lake import LakeSink
from sinks.lake import Limits as LakeLimits
from sinks.metrics import SinkMetrics
from sinks.protocol import Sink
from sinks.query.database import Database, Resources
from sinks.query.metrics import QueryMetrics
from sinks.query.runner import Limits as SqlLimits
from sinks.query.service import Door, SqlService
from sinks.query.store import QueryStore
from sinks.settings import SinksSettings
from sinks.source import Source, find
from sinks.worker import Batching, Worker

logger = logging.getLogger("sinks")

_T = TypeVar("_T")

_RETRY_S = 0.5
_SAY_AGAIN_S = 10.0
_REPORT_S = 0.25
_WATCH_S = 10.0
_QUERY_BATCH_BYTES = 32 << 20
# Of the interval: a commit that begins here has usually ended when the interval has.
_COMMIT_BEGINS = 0.9


class Process:
    """What runs here, built from the settings; `run` once."""

    def __init__(self, settings: SinksSettings) -> None:
        self.settings = settings
        self.health = Health(settings.process)
        self.metrics = SinkMetrics()
        self.control = ControlView(on_error=self.health.failed)
        self._kafka = kafka_kwargs(settings)
        self.audit = AuditLog(self._kafka, settings.prefix)
        self._kafka_fault = ""
        self._workers: list[Worker] = []
        self.sql_port: int | None = None

    async def run(self, stop: asyncio.Event) -> int:
        """Everything between settings and exit code."""
        settings = self.settings
        try:
            await self.health.serve(settings.health_host, settings.health_port, self.metrics.registry)
        except OSError as error:
            logger.critical("port %d of health is not to be had: %s", settings.health_port, error)
            return EXIT_TRY_AGAIN
        stopping = asyncio.create_task(stop.wait())
        working = asyncio.create_task(self._work(stop))
        await asyncio.wait({stopping, working}, return_when=asyncio.FIRST_COMPLETED)
        self.health.set_ready(False, "stopping")
        done, _ = await asyncio.wait({working}, timeout=settings.stop_timeout_s)
        stopping.cancel()
        if not done:
            # A write runs in a thread and cannot be called back. It is one transaction: whole, or as if never begun.
            logger.warning("not done after %.0f s: what is not stored is read again", settings.stop_timeout_s)
            logging.shutdown()
            os._exit(EXIT_TRY_AGAIN)
        await self.health.close()
        try:
            working.result()
        except MillraceError as error:
            logger.critical("%s", error)
            return exit_code(error)
        except Exception:
            logger.critical("stopped by an error that nobody expected", exc_info=True)
            return EXIT_FAILED
        return 0

    async def _work(self, stop: asyncio.Event) -> None:
        """Raises: whatever stopped the process, after all that was started is closed."""
        database = Database(
            self.settings.data.absolute() / "query",
            Resources(self.settings.query_memory_mb, self.settings.query_temp_mb, self.settings.query_threads),
        )
        sinks = self._sinks(database)
        try:
            source = await _unless(stop, self._start(sorted({topic for sink, _ in sinks for topic in sink.topics})))
            if source is not None:
                self._workers = [
                    Worker(sink, source, batching, metrics=self.metrics, allow_gaps=self.settings.allow_gaps)
                    for sink, batching in sinks
                ]
                await self._drive(stop, source, database)
        finally:
            await self.audit.close()
            await self.control.stop()

    def _sinks(self, database: Database) -> list[tuple[Sink, Batching]]:
        settings = self.settings
        query = Batching(settings.query_batch_records, _QUERY_BATCH_BYTES, settings.query_batch_interval_s, eager=True)
        sinks: list[tuple[Sink, Batching]] = [(QueryStore(database, self.metrics), query)]
        if settings.lake:
            lake = LakeSink(
                settings.catalog,
                namespace=settings.lake_namespace,
                limits=LakeLimits(settings.dedup_horizon_s * 1_000_000, settings.lake_dedup_ids_max),
                metrics=self.metrics,
            )
            seldom = Batching(
                settings.lake_commit_records,
                settings.lake_commit_mb << 20,
                _COMMIT_BEGINS * settings.lake_commit_interval_s,
                eager=False,
            )
            sinks.append((lake, seldom))
        return sinks

    async def _drive(self, stop: asyncio.Event, source: Source, database: Database) -> None:
        """Workers, SQL and their watchers, until one of them fails or all are to stop."""
        workers = [asyncio.create_task(worker.run(), name=worker.sink.name) for worker in self._workers]
        others = [
            asyncio.create_task(self._serve_sql(database), name="sql"),
            asyncio.create_task(self._watch(source), name="watch"),
            asyncio.create_task(self._report(), name="report"),
            asyncio.create_task(_wait(stop), name="stop"),
        ]
        await asyncio.wait([*workers, *others], return_when=asyncio.FIRST_COMPLETED)
        for task in others:
            task.cancel()
        ended = await asyncio.gather(*others, return_exceptions=True)  # SQL ends before the store that it reads
        for worker in self._workers:
            worker.stop()
        ended += await asyncio.gather(*workers, return_exceptions=True)
        for result in ended:
            if isinstance(result, Exception):
                raise result

    async def _start(self, topics: Sequence[str]) -> Source:
        """Kafka as we find it, with the control plane read; waits as long as Kafka or the registry does not answer.

        Raises: TopicMissing, SchemaMissing: not there after topics_timeout_s.  RegistryRefused.
        """
        clock = asyncio.get_running_loop().time
        said_at, missing_since = -_SAY_AGAIN_S, None
        while True:
            try:
                source = await find(self._kafka, self.settings.prefix, [*topics, CONTROL])
                await asyncio.to_thread(registry.use, self.settings)
                await self.control.start(self._kafka, self.settings.prefix)
                return source
            except (ClusterUnavailable, RegistryUnavailable) as error:
                why, missing_since = str(error), None
            except (TopicMissing, SchemaMissing) as error:
                missing_since = missing_since or clock()
                if clock() - missing_since > self.settings.topics_timeout_s:
                    raise
                why = f"waiting: {error}"
            self.health.set_ready(False, why)
            if clock() - said_at >= _SAY_AGAIN_S:
                logger.warning("%s", why)
                said_at = clock()
            await asyncio.sleep(_RETRY_S)

    async def _serve_sql(self, database: Database) -> None:
        """Answer queries from when the query tables are open until cancelled. Raises: OSError: the port is taken."""
        await self._workers[0].opened.wait()
        settings = self.settings
        service = SqlService(
            database,
            Door(self.control.authenticate, finder(lambda name: self.control.record(ROLE, name)), self.audit.write),
            host=settings.sql_host,
            port=settings.sql_port,
            limits=SqlLimits(
                seconds=settings.sql_timeout_s,
                rows=settings.sql_rows,
                rows_max=settings.sql_rows_max,
                running=settings.sql_running,
            ),
            metrics=QueryMetrics(self.metrics.registry),
        )
        try:
            self.sql_port = await service.start()
        except OSError as error:
            raise StoreUnavailable("sql", f"port {settings.sql_port} is not to be had: {error}") from error
        try:
            await asyncio.Event().wait()
        finally:
            await service.close()

    # While it runs

    async def _watch(self, source: Source) -> None:
        """Kafka must stay the one that we began with: a topic made anew under our hands has other records.

        Raises: IdentityMismatch, TopicMismatch, TopicMissing.
        """
        while True:
            await asyncio.sleep(_WATCH_S)
            try:
                now = await find(self._kafka, self.settings.prefix, list(source.partitions))
            except ClusterUnavailable as error:
                self._kafka_fault = str(error)
                self.health.failed(error)
                continue
            self._kafka_fault = ""
            for topic, count in now.partitions.items():
                now.identity.check("sinks", topic, 0, source.identity.offset(topic, 0))
                if count != source.partitions[topic]:
                    raise TopicMismatch(source.full_name(topic), expected=source.partitions[topic], found=count)

    async def _report(self) -> None:
        """Keep health as the workers are."""
        told: dict[str, BaseException | None] = {}
        while True:
            lag: dict[str, int] = {}
            for worker in self._workers:
                name = worker.sink.name
                lag |= {f"{name} {topic}": records for topic, records in worker.lag().items()}
                if worker.last_error is not told.get(name):
                    told[name] = worker.last_error
                    if worker.last_error is not None:
                        self.health.failed(worker.last_error)
                self.health.details[name] = worker.state()
            self.health.details["sql_port"] = self.sql_port
            self.health.set_lag(lag)
            self.health.set_ready(*self._readiness())
            await asyncio.sleep(_REPORT_S)

    def _readiness(self) -> tuple[bool, str]:
        # One that cannot write (a full disk) is not ready either: its attempts go on, its last error says why.
        waiting = [worker for worker in self._workers if not worker.consuming or worker.last_error is not None]
        if self._kafka_fault:
            return False, self._kafka_fault
        if waiting:
            return False, f"{waiting[0].sink.name}: {waiting[0].last_error or 'opening'}"
        return (True, "") if self.sql_port is not None else (False, "SQL is not served yet")


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, _T]) -> _T | None:
    """What `work` returns; None when asked to stop before it did."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)


async def _wait(stop: asyncio.Event) -> None:
    await stop.wait()


async def main() -> int:
    """Settings and signals from the system, then the process."""
    settings = load(SinksSettings)
    logs.setup(settings.process, settings.log_level)
    # The group's offsets are for show. On a young Kafka it has no coordinator for a moment, which is no ERROR here.
    logging.getLogger("aiokafka.consumer.group_coordinator").setLevel(logging.CRITICAL)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return await Process(settings).run(stop)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(asyncio.run(main()))
