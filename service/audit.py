"""The audit topic: who did, read or changed what. Entries are only ever appended."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas import codec, topics
from service.cluster import describe
from service.errors import ClusterUnavailable, TopicMissing

TOPIC = "audit"
KEY_USE = "key.use"
"""Action: a query or admin key was used, which is told once a key and day."""
_TIMEOUT_MS = 5_000
# Whoever waits for it is answered within this.
_WRITE_TIMEOUT_S = 10.0


def entry(
    action: str,
    *,
    actor: str,
    actor_kind: str,
    tenant: str | None = None,
    target: str | None = None,
    outcome: str = "done",
    reason: str | None = None,
    detail: Mapping[str, Any] | None = None,
    client_address: str | None = None,
) -> dict[str, Any]:
    """One entry, as of now. The arguments are fields of the Audit record; detail becomes a JSON object."""
    return {
        "audit_id": str(uuid.uuid4()),
        "occurred_at": time.time_ns() // 1000,
        "tenant": tenant,
        "actor": actor,
        "actor_kind": actor_kind,
        "action": action,
        "target": target,
        "outcome": outcome,
        "reason": reason,
        "detail": None if detail is None else json.dumps(detail, sort_keys=True, ensure_ascii=False),
        "client_address": client_address,
    }


class AuditLog:
    """A long-lived way to the audit topic, for several callers at once. Use it from one event loop."""

    def __init__(self, kafka: Mapping[str, Any], prefix: str) -> None:
        """kafka: aiokafka's keyword arguments (service.settings.kafka_kwargs)."""
        self._kafka = dict(kafka)
        self._topic = topics.full_name(prefix, TOPIC)
        self._producer: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()

    async def write(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Append entries; returns when Kafka has acknowledged all of them. Connects at the first.

        Raises: ClusterUnavailable; TopicMissing.
        """
        try:
            async with asyncio.timeout(_WRITE_TIMEOUT_S):
                producer = await self._connected()
                for one in entries:
                    await producer.send_and_wait(self._topic, codec.encode("audit", one))
        except (KafkaError, OSError, TimeoutError) as error:
            # A producer that failed may be of no use for good; the next entry takes a new one.
            await self.close()
            address = str(self._kafka["bootstrap_servers"])
            raise ClusterUnavailable(address, str(error) or type(error).__name__) from error

    async def close(self) -> None:
        """Give the connection back."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def _connected(self) -> AIOKafkaProducer:
        async with self._connecting:
            if self._producer is None:
                # Asked for apart: a producer waits long for a topic that is not there.
                _, states = await describe(self._kafka, [self._topic])
                if self._topic not in states:
                    raise TopicMissing(self._topic)
                producer = AIOKafkaProducer(
                    **self._kafka, acks="all", enable_idempotence=True, request_timeout_ms=_TIMEOUT_MS
                )
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer


async def publish(kafka: Mapping[str, Any], prefix: str, entries: Sequence[Mapping[str, Any]]) -> None:
    """Append entries once, from a process that ends soon. Raises: as AuditLog.write."""
    log = AuditLog(kafka, prefix)
    try:
        await log.write(entries)
    finally:
        await log.close()
