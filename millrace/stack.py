"""The one-machine stack: what starts, in which order, with which settings; or streams workers alone."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError
from pydantic import SecretStr

from millrace import aot, jars, local_keys, notes, preflight, screen
from millrace.errors import KafkaFault
from millrace.kafka import Broker
from millrace.screen import Place
from millrace.settings import StackSettings
from millrace.supervisor import FEEDER, RESTART_SIGNAL, KafkaProgram, PythonProgram, Supervisor
from schemas.topics import CATALOGUE
from service import links, registry
from service.cluster import ensure_topics
from service.errors import ClusterUnavailable
from service.settings import kafka_kwargs

Say = Callable[[str], None]

# Enough for a picture within a minute, little enough to leave a laptop alone.
DEMO_REQUESTS_PER_S = 5.0
_GROUPS_PATIENCE_S = 5.0
_HOST = "127.0.0.1"


def run(settings: StackSettings, *, demo: bool, say: Say) -> None:
    """Run the stack until SIGINT or SIGTERM; returns when all has stopped in order.

    Raises: Fault (millrace.errors) or another MillraceError, with one clear line, when it cannot start.
    """
    supervisor = _supervisor(settings, say)
    with preflight.data_folder(settings.data, free_min_mb=settings.disk_free_min_mb):
        preflight.ports(_ports(settings))
        if warning := preflight.exposure(settings.data):
            say(warning)
        broker = None if settings.external_kafka else _broker(settings, say)
        # What we and our children write from here on is for its owner alone; the jars before it may be shared.
        os.umask(0o077)
        # From here on there is something to stop in order; until here an interrupt simply ends it.
        _supervise(supervisor, lambda: _start(settings, supervisor, broker, demo=demo, say=say), settings, say)


def run_streams(settings: StackSettings, *, say: Say) -> None:
    """Run the streams workers of this machine, and nothing else, until SIGINT or SIGTERM: for more machines than one.

    Raises: as run.
    """
    supervisor = _supervisor(settings, say)

    def start() -> None:
        for program in workers(settings, settings.kafka_address, socket.gethostname()):
            supervisor.start(program)
        supervisor.wait_ready(timeout_s=settings.ready_timeout_s)

    with preflight.data_folder(settings.data, free_min_mb=settings.disk_free_min_mb):
        preflight.ports(_streams_ports(settings))
        os.umask(0o077)
        _supervise(supervisor, start, settings, say)


def _supervisor(settings: StackSettings, say: Say) -> Supervisor:
    supervisor = Supervisor(lambda line: say(f"{time.strftime('%H:%M:%S')} {line}"), settings.data)
    # Before the folder is locked: `millrace restart` sends it to whoever holds the lock.
    signal.signal(RESTART_SIGNAL, supervisor.ask_restart)
    return supervisor


def _supervise(supervisor: Supervisor, start: Callable[[], None], settings: StackSettings, say: Say) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, supervisor.ask_stop)
    notes.clear(settings.data)
    notes.write_streams(settings.data, settings.streams_ports())
    try:
        start()
        supervisor.run()
    finally:
        if supervisor.busy():
            say("stopping")
        supervisor.stop(settings.stop_timeout_s)
    say("stopped")


def workers(settings: StackSettings, bootstrap: str, name: str) -> list[PythonProgram]:
    """The streams workers of this machine.  name: of the machine, unique in the consumer group.

    Each has a static place in the group (`<name>-<number>`): after kill -9 it takes it again without waiting.
    """
    data = settings.data.absolute()
    return [
        PythonProgram(
            name=worker,
            arguments=["-m", "streams"],
            environment={
                "MILLRACE_DATA": str(data),
                "MILLRACE_BOOTSTRAP": bootstrap,
                "MILLRACE_PREFIX": settings.prefix,
                "MILLRACE_STREAMS_FOLDER": worker,
                "MILLRACE_STREAMS_HEALTH_PORT": str(port),
                "MILLRACE_STREAMS_INSTANCE_ID": f"{name}-{number}",
            },
            health_url=f"http://{settings.health_host}:{port}/readyz",
            log=data / "logs" / f"{worker}.log",
            pool="streams",
        )
        for number, (worker, port) in enumerate(settings.streams_ports().items())
    ]


@dataclass(frozen=True)
class Secrets:
    """What the processes are told and nobody else.  admin_key: the console asks with it."""

    identity: str
    console: str
    admin_key: str


def programs(settings: StackSettings, bootstrap: str, secrets: Secrets) -> list[PythonProgram]:
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
                "MILLRACE_IDENTITY_SECRET": secrets.identity,
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
        "console": (
            "console",
            settings.console_health_port,
            {
                "MILLRACE_CONSOLE_PORT": str(settings.console_port),
                "MILLRACE_CONSOLE_HEALTH_PORT": str(settings.console_health_port),
                "MILLRACE_CONSOLE_PUBLIC_URL": settings.console_url,
                "MILLRACE_CONSOLE_KEY": secrets.admin_key,
                "MILLRACE_CONSOLE_SECRET": secrets.console,
                "MILLRACE_CONSOLE_TENANT": settings.tenant,
                "MILLRACE_CONSOLE_INGEST_GRPC_URL": settings.ingest_grpc_url,
                "MILLRACE_CONSOLE_INGEST_HTTP_URL": settings.ingest_http_url,
                "MILLRACE_SQL_URL": settings.sql_url or f"http://{_HOST}:{settings.sql_port}",
            },
        ),
    }
    gateway, sinks, console = (
        PythonProgram(
            name=name,
            arguments=["-m", module],
            environment={**shared, **environment},
            health_url=f"http://{settings.health_host}:{port}/readyz",
            log=data / "logs" / f"{name}.log",
        )
        for name, (module, port, environment) in own.items()
    )
    return [gateway, *workers(settings, bootstrap, "local"), sinks, console]


def _ports(settings: StackSettings) -> list[tuple[str, int, str]]:
    kafka = [] if settings.external_kafka else [("Kafka", settings.kafka_port, "MILLRACE_KAFKA_PORT")]
    return [
        *kafka,
        ("OTLP over gRPC", settings.gateway_grpc_port, "MILLRACE_GATEWAY_GRPC_PORT"),
        ("OTLP over HTTP", settings.gateway_http_port, "MILLRACE_GATEWAY_HTTP_PORT"),
        ("the gateway's health", settings.gateway_health_port, "MILLRACE_GATEWAY_HEALTH_PORT"),
        *_streams_ports(settings),
        ("the health of sinks", settings.sinks_health_port, "MILLRACE_SINKS_HEALTH_PORT"),
        ("SQL", settings.sql_port, "MILLRACE_SQL_PORT"),
        ("the console", settings.console_port, "MILLRACE_CONSOLE_PORT"),
        ("the health of the console", settings.console_health_port, "MILLRACE_CONSOLE_HEALTH_PORT"),
    ]


def _streams_ports(settings: StackSettings) -> list[tuple[str, int, str]]:
    variables = [
        "MILLRACE_STREAMS_HEALTH_PORT",
        *["MILLRACE_STREAMS_HEALTH_PORT_MORE"] * (settings.streams_workers - 1),
    ]
    return [
        (f"the health of {worker}", port, variable)
        for (worker, port), variable in zip(settings.streams_ports().items(), variables, strict=True)
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
        registry.use(settings)
        keys = asyncio.run(local_keys.ensure(kafka, settings.prefix, settings.data, settings.tenant))
    except ClusterUnavailable as error:
        raise KafkaFault(str(error), "is it up, and is BOOTSTRAP (MILLRACE_BOOTSTRAP) its address?") from error
    secrets = Secrets(
        _given(settings.identity_secret) or local_keys.identity_secret(settings.data),
        console_secret(settings),
        keys.admin,
    )
    say("starting gateway, streams, sinks and console")
    for program in programs(settings, bootstrap, secrets):
        supervisor.start(program)
    supervisor.wait_ready(timeout_s=settings.ready_timeout_s)
    if supervisor.stopping():
        return
    say(f"all ready after {time.monotonic() - began:.1f} s")
    if broker is not None:
        aot.make_apart(broker.directory)
    say(_screen(settings, bootstrap, keys.ingest, sign_in=links.link(settings.console_url, secrets.console)))
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


def _given(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def console_secret(settings: StackSettings) -> str:
    """The secret of the console on this machine: the one that was given, else the data folder's."""
    return _given(settings.console_secret) or local_keys.console_secret(settings.data)


def _screen(settings: StackSettings, bootstrap: str, key: str, *, sign_in: str) -> str:
    host = _HOST
    places = [
        Place("kafka", bootstrap, "yours" if settings.external_kafka else "our own, one node"),
        Place("gateway", f"{host}:{settings.gateway_grpc_port}", "OTLP over gRPC"),
        Place("", f"http://{host}:{settings.gateway_http_port}", "OTLP over HTTP: /v1/logs, /v1/metrics, /v1/traces"),
        *(
            Place(worker, f"http://{host}:{port}/metrics", "sessions and users")
            for worker, port in settings.streams_ports().items()
        ),
        Place("sinks", f"http://{host}:{settings.sql_port}/sql", "lake, query tables, SQL over HTTP"),
        Place("console", settings.console_url, "the pages"),
    ]
    return screen.render(
        places,
        endpoint=settings.ingest_grpc_url,
        key=key,
        data=str(settings.data.absolute()),
        tenant=settings.tenant,
        sign_in=sign_in,
    )


def say_on_stderr(line: str) -> None:
    """One line for the person at the terminal, at once."""
    print(line, file=sys.stderr, flush=True)
