"""The audit topic: who did, read or changed what. Entries are only ever appended."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas import codec, topics
from service.errors import ClusterUnavailable

TOPIC = "audit"
_TIMEOUT_MS = 10_000


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
        "at": time.time_ns() // 1000,
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
    """A long-lived way to the audit topic. Use it from one event loop."""

    def __init__(self, kafka: Mapping[str, Any], prefix: str) -> None:
        """kafka: aiokafka's keyword arguments (service.settings.kafka_kwargs)."""
        self._kafka = dict(kafka)
        self._topic = topics.full_name(prefix, TOPIC)
        self._producer: AIOKafkaProducer | None = None

    async def write(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Append entries; returns when Kafka has acknowledged all of them. Connects at the first.

        Raises: ClusterUnavailable.
        """
        try:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self._kafka, acks="all", enable_idempotence=True, request_timeout_ms=_TIMEOUT_MS
                )
                await producer.start()
                self._producer = producer
            for one in entries:
                await self._producer.send_and_wait(self._topic, codec.encode("audit", one))
        except (KafkaError, OSError, TimeoutError) as error:
            address = str(self._kafka["bootstrap_servers"])
            raise ClusterUnavailable(address, str(error) or type(error).__name__) from error

    async def close(self) -> None:
        """Give the connection back."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()


async def publish(kafka: Mapping[str, Any], prefix: str, entries: Sequence[Mapping[str, Any]]) -> None:
    """Append entries once, from a process that ends soon. Raises: as AuditLog.write."""
    log = AuditLog(kafka, prefix)
    try:
        await log.write(entries)
    finally:
        await log.close()
