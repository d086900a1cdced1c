"""`python -m streams`, one worker: waits for Kafka and its topics, builds the engine with every stage, runs.

SIGTERM and SIGINT end it for good: it leaves the group, and its partitions move at once. SIGUSR1 ends it to be started
again: a worker with an instance id keeps its place for a session timeout, and no partition moves. Either way it
finishes its chunk, flushes and commits, and ends with 0.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from aiokafka.errors import KafkaError

from schemas.errors import MillraceError
from schemas.topics import full_name
from service import logs, registry
from service.cluster import TopicState, cluster_identity, describe
from service.errors import ClusterUnavailable, RegistryUnavailable, SchemaMissing, TopicMissing
from service.health import Health
from service.settings import kafka_kwargs, load
from streams.engine import Cluster, Engine, EngineSettings, Status, Stop, WorkerFenced, collector
from streams.errors import EXIT_TRY_AGAIN, FolderUnusable, SourcesDiffer, exit_code
from streams.metrics import StreamsMetrics
from streams.sessions import agent as sessions
from streams.settings import StreamsSettings
from streams.stage import Stage
from streams.users import agent as users

logger = logging.getLogger("streams")

TOPICS = ("events", "metrics", "sessions", "session-hours", "user-windows", "rejected")
_RETRY_S = 0.5
_SAY_AGAIN_S = 10.0
_REPORT_S = 0.25
_FENCED = "fenced"
"""A file in the worker's folder, one byte for each time it was fenced: the process that is fenced tells nobody more."""


async def wait_for_topics(settings: StreamsSettings, kafka: Mapping[str, Any], health: Health) -> tuple[str, Any]:
    """The cluster's id and the state of our topics by short name; the codec then writes as the registry says.

    Waits as long as Kafka or the registry does not answer.
    Raises: TopicMissing, SchemaMissing: not there after topics_timeout_s.  SourcesDiffer, RegistryRefused.
    """
    clock = asyncio.get_running_loop().time
    said_at, missing_since = -_SAY_AGAIN_S, None
    while True:
        try:
            found = await _topics(settings, kafka)
            await asyncio.to_thread(registry.use, settings)
            return found
        except (ClusterUnavailable, RegistryUnavailable) as error:
            why, missing_since = str(error), None
        except (TopicMissing, SchemaMissing) as error:
            missing_since = missing_since or clock()
            if clock() - missing_since > settings.topics_timeout_s:
                raise
            why = f"waiting: {error}"
        health.set_ready(False, why)
        if clock() - said_at >= _SAY_AGAIN_S:
            logger.warning("%s", why)
            said_at = clock()
        await asyncio.sleep(_RETRY_S)


async def _topics(settings: StreamsSettings, kafka: Mapping[str, Any]) -> tuple[str, dict[str, TopicState]]:
    names = {name: full_name(settings.prefix, name) for name in TOPICS}
    cluster_id, found = await describe(kafka, list(names.values()))
    for topic in names.values():
        if topic not in found:
            raise TopicMissing(topic)
    states = {name: found[topic] for name, topic in names.items()}
    first, second = states["events"], states["metrics"]
    if first.partitions != second.partitions:
        raise SourcesDiffer((first.name, first.partitions), (second.name, second.partitions))
    return cluster_id, states


def build(
    settings: StreamsSettings,
    kafka: Mapping[str, Any],
    cluster_id: str,
    states: Mapping[str, TopicState],
    **kwargs: Any,
) -> Engine:
    """The engine with every stage registered."""
    engine_settings = EngineSettings(
        app_id=settings.app_id,
        bootstrap=settings.bootstrap,
        kafka={name: value for name, value in kafka.items() if name != "bootstrap_servers"},
        datadir=settings.data.absolute() / settings.folder,
        partitions=states["events"].partitions,
        replication=settings.changelog_replication or states["events"].replication,
        epoch=settings.epoch,
        shadow=settings.shadow,
        instance_id=settings.instance_id,
        standby_replicas=settings.standby_replicas,
        chunk_records=settings.chunk_records,
        commit_interval_s=settings.commit_interval_s,
        session_timeout_s=settings.session_timeout_s,
        heartbeat_interval_s=min(EngineSettings.heartbeat_interval_s, settings.session_timeout_s / 3),
        request_timeout_s=max(30.0, settings.session_timeout_s),
        block_cache_bytes=settings.block_cache_mb << 20,
    )
    topic_ids = {state.name: state.topic_id for state in states.values()}

    async def ids_of(names: Sequence[str]) -> Mapping[str, str]:
        return (await cluster_identity(kafka, names))[1]

    engine = Engine(engine_settings, Cluster(cluster_id, topic_ids, ids_of), **kwargs)
    partitions = {name: state.partitions for name, state in states.items()}
    stage = Stage(prefix=settings.prefix, partitions=partitions, epoch=settings.epoch, fold=settings.fold)
    sessions.register(engine, stage)
    users.register(engine, stage)
    return engine


async def report(engine: Engine, health: Health, metrics: StreamsMetrics) -> None:
    """Keep health and metrics as the engine is."""
    while True:
        status = engine.status()
        metrics.record(status)
        health.set_lag({topic: source.lag for topic, source in status.sources.items() if source.lag is not None})
        health.details = details(status, metrics)
        health.set_ready(status.ready, status.why)
        await asyncio.sleep(_REPORT_S)


def details(status: Status, metrics: StreamsMetrics) -> dict[str, Any]:
    """What /readyz and `millrace status --json` show of the metrics, beside readiness and lag."""
    waits = [source.lag_s for source in status.sources.values()]
    ages = [source.event_age_s for source in status.sources.values() if source.event_age_s is not None]
    return {
        "lag_s": None if None in waits else round(max((wait for wait in waits if wait is not None), default=0.0), 3),
        "event_age_s": round(min(ages), 3) if ages else None,
        "state_rows": sum(table.rows for table in status.tables.values()),
        "state_bytes": sum(table.bytes for table in status.tables.values()),
        "commit_age_s": round(status.commit_age_s, 3),
        "recovery_records": sum(table.unread for table in status.tables.values()),
        "recovery_s": round(status.recovery_s, 3),
        "rebalances": status.rebalances,
        "fenced": int(metrics.registry.get_sample_value("streams_fenced_total") or 0),
        "sources": {
            topic: {**asdict(source), "chunk_s": metrics.chunk_s(topic)} for topic, source in status.sources.items()
        },
        "tables": {name: asdict(table) for name, table in status.tables.items()},
    }


async def run(settings: StreamsSettings, stop: Stop) -> int:
    """Everything between settings and exit code."""
    health, metrics = Health(settings.process), StreamsMetrics()
    fenced = settings.data / settings.folder / _FENCED
    try:
        await health.serve(settings.health_host, settings.health_port, metrics.registry)
    except OSError as error:
        logger.error("port %s of health is not to be had: %s", settings.health_port, error)
        return EXIT_TRY_AGAIN

    def die(error: BaseException) -> None:
        health.failed(error)
        if isinstance(error, WorkerFenced):
            with suppress(OSError), fenced.open("ab") as file:
                file.write(b"\n")
        logging.shutdown()
        os._exit(exit_code(error))  # at once: what a graceful stop would flush or commit must not leave

    with suppress(OSError):
        metrics.fenced(fenced.stat().st_size)
    kafka = kafka_kwargs(settings)
    working = asyncio.ensure_future(_work(settings, kafka, health, metrics, stop, die))
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
        health.set_ready(False, "stopping")
    done, _ = await asyncio.wait({working}, timeout=settings.stop_timeout_s)
    stopping.cancel()
    await health.close()
    if not done:
        logger.error("not stopped within %s s; what was not committed will be read again", settings.stop_timeout_s)
        logging.shutdown()
        os._exit(EXIT_TRY_AGAIN)
    return working.result()


async def _work(
    settings: StreamsSettings,
    kafka: Mapping[str, Any],
    health: Health,
    metrics: StreamsMetrics,
    stop: Stop,
    die: Any,
) -> int:
    waiting = asyncio.ensure_future(wait_for_topics(settings, kafka, health))
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            return 0
        cluster_id, states = waiting.result()
        engine = build(settings, kafka, cluster_id, states, on_fatal=die, on_chunk=metrics.chunk)
        _check_folder(engine.settings.datadir)
        collector.calm()
        reporting = asyncio.ensure_future(report(engine, health, metrics))
        reporting.add_done_callback(partial(_not_in_silence, die))
        try:
            await engine.run(stop)
        finally:
            reporting.cancel()
    except (MillraceError, KafkaError) as error:
        health.failed(error)
        logger.critical("%s", error)
        return exit_code(error)
    finally:
        waiting.cancel()
        stopping.cancel()
    return 0


def _not_in_silence(die: Any, task: asyncio.Task[None]) -> None:
    """Without its report a worker would be ready for ever."""
    if not task.cancelled() and (error := task.exception()) is not None:
        die(error)


def _check_folder(folder: Path) -> None:
    """Raises: FolderUnusable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise FolderUnusable(folder, error.strerror or str(error)) from error


async def main() -> int:
    settings = load(StreamsSettings)
    logs.setup(settings.process, settings.log_level)
    stop, loop = Stop(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.for_good)
    loop.add_signal_handler(signal.SIGUSR1, stop.for_a_restart)
    return await run(settings, stop)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(asyncio.run(main()))
