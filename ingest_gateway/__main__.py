"""`python -m ingest_gateway`: listens at once, is ready when Kafka and the keys are, runs until SIGTERM."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiokafka.errors import KafkaError

from ingest_gateway.batcher import Batcher
from ingest_gateway.credentials import Credentials, Sender
from ingest_gateway.grpc_front import GrpcFront
from ingest_gateway.handler import Handler, Outcome, Request
from ingest_gateway.http_front import HttpFront
from ingest_gateway.metrics import GatewayMetrics
from ingest_gateway.policies import Policies
from ingest_gateway.publisher import Publisher
from ingest_gateway.room import Room
from ingest_gateway.routing import RoutedCounts, RoutingInForce
from ingest_gateway.settings import GatewaySettings
from schemas.errors import MillraceError
from schemas.otlp import Context
from schemas.policy import NONE, HashKeys, Policy, PolicyError
from schemas.routing import Routing
from schemas.topics import full_name
from service import process, registry
from service.cluster import describe
from service.control import ControlView
from service.errors import TopicMissing
from service.health import Health
from service.settings import kafka_kwargs, load

logger = logging.getLogger("ingest_gateway")

TOPICS = ("events", "content", "metrics", "spans", "rejected")
_RETRY_S = 1.0
_REPORT_S = 0.25


def contexts(
    settings: GatewaySettings,
    policy: Callable[[str], tuple[Policy, bytes]] = lambda _: (NONE, b""),
    routing: Callable[[str], Routing | None] = lambda _: None,
) -> Callable[[Sender, int], Context]:
    """Makes the transcoder's context of a sender and a received time in µs.

    Args: policy: a tenant's privacy policy and the key of its hashes.  routing: the rules about a tenant.
    """
    master = hashlib.sha256(settings.identity_secret.get_secret_value().encode()).digest()
    limits, names = settings.limits, settings.attribute_names

    @functools.lru_cache(maxsize=1024)
    def identity_key(tenant: str) -> bytes:
        return hashlib.blake2b(tenant.encode(), digest_size=32, key=master).digest()

    def context(sender: Sender, received_us: int) -> Context:
        tenant = sender.tenant
        return Context(
            tenant,
            received_us,
            identity_key(tenant),
            limits,
            *names,
            *policy(tenant),
            routing(tenant),
            sender.ingest_key_id,
        )

    return context


class Gateway:
    """The process: everything that is built once."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._kafka: Mapping[str, Any] = kafka_kwargs(settings)
        self.health = Health(settings.process)
        self.metrics = GatewayMetrics()
        self._control = ControlView(on_error=self.health.failed)
        self._routing = RoutingInForce(self._control.record, self.health.failed)
        self._routed = RoutedCounts(self.metrics)
        self.health.details["dropped_by_rule"] = self._routed.dropped
        self._policies = Policies(
            self._control.record,
            HashKeys(settings.hash_ring()),
            retry_after_s=settings.retry_after_s,
            on_fault=self._policy_fault,
        )
        self._publisher: Publisher | None = None
        self._handler: Handler | None = None
        room = Room(settings.in_flight_bytes_max, settings.retry_after_s, self.metrics)
        self._batcher = Batcher(
            self._handle,
            room,
            ack_timeout_s=settings.ack_timeout_s,
            retry_after_s=settings.retry_after_s,
            rounds_max=settings.flushes_max,
        )
        credentials = Credentials(self._control.authenticate, lambda: self._publisher is not None)
        self.grpc = GrpcFront(settings, self._batcher, room, credentials, self.metrics)
        self.http = HttpFront(settings, self._batcher, room, credentials, self.metrics)

    def _policy_fault(self, error: PolicyError) -> None:
        self.metrics.policy_fault()
        self.health.failed(error)

    async def _handle(self, requests: Sequence[Request]) -> list[Outcome]:
        assert self._handler is not None, "nobody is let in before"
        return await self._handler(requests)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`. Raises: OSError when a port is taken."""
        settings = self._settings
        await self.health.serve(settings.health_host, settings.health_port, self.metrics.registry)
        await self.grpc.start()
        await self.http.start()
        logger.info("OTLP over gRPC on port %d, over HTTP on port %d", self.grpc.port, self.http.port)
        operating, stopping = asyncio.create_task(self._operate()), asyncio.create_task(stop.wait())
        await asyncio.wait({operating, stopping}, return_when=asyncio.FIRST_COMPLETED)
        logger.info("stopping")
        self.health.set_ready(False, "stopping")
        broken = operating.done()
        operating.cancel()
        try:
            async with asyncio.timeout(settings.stop_timeout_s):
                await self._stop()
        except (KafkaError, TimeoutError):
            logger.warning(
                "not everything ended within %g s; what was not answered was not stored", settings.stop_timeout_s
            )
        if broken:
            operating.result()  # a bug of ours, to be seen

    async def _stop(self) -> None:
        grace_s = self._settings.stop_timeout_s
        await asyncio.gather(self.grpc.stop(grace_s), self.http.stop(grace_s), self._batcher.close(grace_s))
        if self._publisher is not None:
            await self._publisher.stop()
        await self._control.stop()
        await self.health.close()

    async def _operate(self) -> None:
        await self.grpc.set_ready(False)
        await self._connect()
        await self._report()

    async def _connect(self) -> None:
        """Wait for Kafka, topics, schema registry and keys, however long they take; then let requests in."""
        settings = self._settings
        said = ""
        while True:
            try:
                publisher = await self._open()
            except (MillraceError, KafkaError, OSError) as error:
                why = f"{type(error).__name__}: {error}"
                if why != said:
                    logger.warning("waiting: %s", why)
                    said = why
                self.health.failed(error)
                self.health.set_ready(False, str(error))
                await asyncio.sleep(_RETRY_S)
            else:
                context = contexts(settings, self._policies.of, self._routing.of)
                self._handler = Handler(publisher, context, self.metrics, self._routed)
                self._publisher = publisher
                return

    async def _open(self) -> Publisher:
        settings = self._settings
        names = {name: full_name(settings.prefix, name) for name in TOPICS}
        _, states = await describe(self._kafka, list(names.values()))
        for full in names.values():
            if full not in states:
                raise TopicMissing(full)
        await asyncio.to_thread(registry.use, settings)
        await self._control.start(self._kafka, settings.prefix)
        publisher = Publisher(
            self._kafka,
            settings.prefix,
            {name: states[full].partitions for name, full in names.items()},
            self.metrics,
            request_timeout_s=max(10.0, 2 * settings.ack_timeout_s),
            retry_after_s=settings.retry_after_s,
            cloud_events=settings.cloud_events,
        )
        try:
            self._routing.load()  # before anybody is let in: without the rules it would store what they drop
            await publisher.start()
        except BaseException:
            await self._control.stop()
            raise
        return publisher

    async def _report(self) -> None:
        """Keep health as the publisher is, and say which routing rules are in force."""
        assert self._publisher is not None
        publisher = self._publisher
        while True:
            self._routing.refresh()
            self.health.details["routing_version"] = self._routing.version
            why = "" if publisher.ready else publisher.last_error or "no producer"
            why = why or self._policies.fault()
            if bool(why) == self.health.ready:
                await self.grpc.set_ready(not why)
                if why:
                    self.health.failed(why)
            self.health.set_ready(not why, why)
            await asyncio.sleep(_REPORT_S)


async def main() -> int:
    """Settings from the system, then the process."""
    settings = load(GatewaySettings)
    return await process.run(settings, lambda stop: Gateway(settings).run(stop))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
