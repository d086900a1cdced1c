"""The one-machine stack: what starts, in which order, with which settings."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError

from millrace import jars, local_keys, notes, preflight, screen
from millrace.errors import KafkaFault
from millrace.kafka import Broker
from millrace.screen import Place
from millrace.settings import StackSettings
from millrace.supervisor import FEEDER, KafkaProgram, PythonProgram, Supervisor
from schemas.topics import CATALOGUE
from service.cluster import ensure_topics
from service.errors import ClusterUnavailable
from service.settings import kafka_kwargs

Say = Callable[[str], None]

# Enough for a picture within a minute, little enough to leave a laptop alone.
DEMO_REQUESTS_PER_S = 5.0
_GROUPS_PATIENCE_S = 5.0


def run(settings: StackSettings, *, demo: bool, say: Say) -> None:
    """Run the stack until SIGINT or SIGTERM; returns when all has stopped in order.

    Raises: Fault (millrace.errors) or another MillraceError, with one clear line, when it cannot start.
    """
    supervisor = Supervisor(lambda line: say(f"{time.strftime('%H:%M:%S')} {line}"), settings.data)
    with preflight.data_folder(settings.data, free_min_mb=settings.disk_free_min_mb):
        preflight.ports(_ports(settings))
        if warning := preflight.exposure(settings.data):
            say(warning)
        broker = None if settings.external_kafka else _broker(settings, say)
        # What we and our children write from here on is for its owner alone; the jars before it may be shared.
        os.umask(0o077)
        notes.clear(settings.data)
        # From here on there is something to stop in order; until here an interrupt simply ends it.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, supervisor.ask_stop)
        try:
            _start(settings, supervisor, broker, demo=demo, say=say)
            supervisor.run()
        finally:
            if supervisor.busy():
                say("stopping")
            supervisor.stop(settings.stop_timeout_s)
    say("stopped")


def programs(settings: StackSettings, bootstrap: str, identity_secret: str) -> list[PythonProgram]:
    """The processes in the order of their starts, each with the environment that the stack gives it."""
    data = settings.data.absolute()
    shared = {"MILLRACE_DATA": str(data), "MILLRACE_BOOTSTRAP": bootstrap, "MILLRACE_PREFIX": settings.prefix}
    own = {
        "gateway": (
            "ingest_gateway",
            settings.gateway_health_port,
            {
                "MILLRACE_GATEWAY_GRPC_PORT": str(settings.gateway_grpc_port),
                "MILLRACE_GATEWAY_HTTP_PORT": str(settings.gateway_http_port),
                "MILLRACE_GATEWAY_HEALTH_PORT": str(settings.gateway_health_port),
                "MILLRACE_IDENTITY_SECRET": identity_secret,
            },
        ),
        "streams": (
            "streams",
            settings.streams_health_port,
            {
                "MILLRACE_STREAMS_HEALTH_PORT": str(settings.streams_health_port),
                # The only worker of its group: after kill -9 it takes its place again without waiting for the old one.
                "MILLRACE_STREAMS_INSTANCE_ID": "local",
            },
        ),
        "sinks": (
            "sinks",
            settings.sinks_health_port,
            {
                "MILLRACE_SINKS_HEALTH_PORT": str(settings.sinks_health_port),
                "MILLRACE_SQL_PORT": str(settings.sql_port),
            },
        ),
    }
    return [
        PythonProgram(
            name=name,
            arguments=["-m", module],
            environment={**shared, **environment},
            health_url=f"http://{settings.health_host}:{port}/readyz",
            log=data / "logs" / f"{name}.log",
        )
        for name, (module, port, environment) in own.items()
    ]


def _ports(settings: StackSettings) -> list[tuple[str, int, str]]:
    kafka = [] if settings.external_kafka else [("Kafka", settings.kafka_port, "MILLRACE_KAFKA_PORT")]
    return [
        *kafka,
        ("OTLP over gRPC", settings.gateway_grpc_port, "MILLRACE_GATEWAY_GRPC_PORT"),
        ("OTLP over HTTP", settings.gateway_http_port, "MILLRACE_GATEWAY_HTTP_PORT"),
        ("the gateway's health", settings.gateway_health_port, "MILLRACE_GATEWAY_HEALTH_PORT"),
        ("the health of streams", settings.streams_health_port, "MILLRACE_STREAMS_HEALTH_PORT"),
        ("the health of sinks", settings.sinks_health_port, "MILLRACE_SINKS_HEALTH_PORT"),
        ("SQL", settings.sql_port, "MILLRACE_SQL_PORT"),
    ]


def _broker(settings: StackSettings, say: Say) -> Broker:
    directory = jars.ensure(settings.cache.expanduser(), repository=settings.maven, say=say)
    return Broker(
        directory,
        settings.data / "kafka",
        log=settings.data / "logs" / "kafka.log",
        port=settings.kafka_port,
        heap_mb=settings.kafka_heap_mb,
    )


def _start(settings: StackSettings, supervisor: Supervisor, broker: Broker | None, *, demo: bool, say: Say) -> None:
    began = time.monotonic()
    bootstrap = settings.kafka_address
    if broker is not None:
        say("starting Kafka")
        supervisor.start(KafkaProgram(broker))
        supervisor.wait_ready(timeout_s=settings.ready_timeout_s)
    if supervisor.stopping():
        return
    kafka = {**kafka_kwargs(settings), "bootstrap_servers": bootstrap}
    try:
        asyncio.run(ensure_topics(kafka, CATALOGUE.values(), settings.prefix, settings.profile))
        if broker is not None:
            asyncio.run(_wait_for_groups(kafka))
        keys = asyncio.run(local_keys.ensure(kafka, settings.prefix, settings.data, settings.tenant))
    except ClusterUnavailable as error:
        raise KafkaFault(str(error), "is it up, and is BOOTSTRAP (MILLRACE_BOOTSTRAP) its address?") from error
    secret = settings.identity_secret
    identity = local_keys.identity_secret(settings.data) if secret is None else secret.get_secret_value()
    say("starting gateway, streams and sinks")
    for program in programs(settings, bootstrap, identity):
        supervisor.start(program)
    supervisor.wait_ready(timeout_s=settings.ready_timeout_s)
    if supervisor.stopping():
        return
    say(f"all ready after {time.monotonic() - began:.1f} s")
    say(_screen(settings, bootstrap, keys.ingest))
    if demo:
        supervisor.start(_demo(settings, keys.ingest))
        say(f"feeding a synthetic fleet, {DEMO_REQUESTS_PER_S:g} requests a second, until you stop it")


async def _wait_for_groups(kafka: Mapping[str, Any]) -> None:
    """Let a new Kafka make its topic of group offsets, which it does when it is first asked for a group.

    It is no fault when that takes longer: the processes ask again by themselves, but log an error each time.
    """
    admin = AIOKafkaAdminClient(**kafka)
    deadline = time.monotonic() + _GROUPS_PATIENCE_S
    with contextlib.suppress(KafkaError):
        await admin.start()
        while time.monotonic() < deadline:
            with contextlib.suppress(GroupCoordinatorNotAvailableError):
                await admin.find_coordinator("millrace")
                break
            await asyncio.sleep(0.05)
    await admin.close()


def _demo(settings: StackSettings, key: str) -> PythonProgram:
    endpoint = f"http://127.0.0.1:{settings.gateway_http_port}"
    return PythonProgram(
        name=FEEDER,
        arguments=["-m", "millrace", "demo", "--endpoint", endpoint, "--rate", str(DEMO_REQUESTS_PER_S)],
        environment={"MILLRACE_KEY": key},
        health_url=None,
        log=settings.data.absolute() / "logs" / "demo.log",
    )


def _screen(settings: StackSettings, bootstrap: str, key: str) -> str:
    host = "127.0.0.1"
    places = [
        Place("kafka", bootstrap, "yours" if settings.external_kafka else "our own, one node"),
        Place("gateway", f"{host}:{settings.gateway_grpc_port}", "OTLP over gRPC"),
        Place("", f"http://{host}:{settings.gateway_http_port}", "OTLP over HTTP: /v1/logs, /v1/metrics, /v1/traces"),
        Place("streams", f"http://{host}:{settings.streams_health_port}/metrics", "sessions and users"),
        Place("sinks", f"http://{host}:{settings.sql_port}/sql", "lake, query tables, SQL over HTTP"),
    ]
    return screen.render(
        places,
        grpc_port=settings.gateway_grpc_port,
        key=key,
        data=str(settings.data.absolute()),
        tenant=settings.tenant,
    )


def say_on_stderr(line: str) -> None:
    """One line for the person at the terminal, at once."""
    print(line, file=sys.stderr, flush=True)
