"""Records to fill a store with, and batches of them as the worker would cut them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from schemas import codec
from schemas.topics import CATALOGUE, make_key
from sinks.protocol import Batch, Identity, SinkRecord
from sinks.query.tables import TOPICS

T0 = 1_790_000_000_000_000  # 2026-09-21T14:13:20Z in microseconds
SECOND = 1_000_000
HOUR = 3_600 * SECOND

IDENTITY = Identity("cluster-1", {topic: f"id-of-{topic}" for topic in TOPICS})


def event(number: int, tenant: str = "acme", **fields: Any) -> dict[str, Any]:
    """The number-th event of a tenant, one a second."""
    return {
        "event_id": f"{tenant}-event-{number}",
        "tenant": tenant,
        "event_name": "api_request",
        "event_time": T0 + number * SECOND,
        "received_time": T0 + number * SECOND + 1500,
        "session_id": f"{tenant}-session-{number % 7}",
        "user_key": f"{tenant}-user-{number % 3}",
        "event_sequence": number,
        "clock_suspect": False,
        **fields,
    }


def point(number: int, tenant: str = "acme", **fields: Any) -> dict[str, Any]:
    return {
        "point_id": f"{tenant}-point-{number}",
        "tenant": tenant,
        "metric": "claude_code.cost.usage",
        "event_time": T0 + number * SECOND,
        "received_time": T0 + number * SECOND + 1500,
        "series": f"{tenant}-series",
        "kind": "sum",
        "value": 0.5,
        "clock_suspect": False,
        **fields,
    }


def span(number: int, tenant: str = "acme", **fields: Any) -> dict[str, Any]:
    return {
        "trace_id": f"{number:032x}",
        "span_id": f"{number:016x}",
        "tenant": tenant,
        "name": "claude_code.tool",
        "start_time": T0 + number * SECOND,
        "received_time": T0 + number * SECOND + 1500,
        "clock_suspect": False,
        **fields,
    }


def content(number: int, tenant: str = "acme", **fields: Any) -> dict[str, Any]:
    text = fields.pop("text", f"secret words {number} of {tenant}")
    return {
        "event_id": f"{tenant}-event-{number}",
        "tenant": tenant,
        "event_name": "user_prompt",
        "event_time": T0 + number * SECOND,
        "received_time": T0 + number * SECOND + 1500,
        "session_id": f"{tenant}-session-{number % 7}",
        "field": "prompt",
        "text": text,
        "length": len(text),
        "truncated": False,
        **fields,
    }


def rejected(number: int, tenant: str = "acme", **fields: Any) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "received_at": T0 + number * SECOND,
        "stage": "gateway",
        "reason": "too_large",
        "error": "the record is over Kafka's limit",
        "original": b"secret original",
        "length": 15,
        "sha256": "0" * 64,
        **fields,
    }


def audit(number: int, tenant: str | None = "acme", **fields: Any) -> dict[str, Any]:
    return {
        "audit_id": f"{tenant}-audit-{number}",
        "occurred_at": T0 + number * SECOND,
        "tenant": tenant,
        "actor": f"{tenant}-auditor",
        "actor_kind": "admin",
        "action": "content.read",
        "outcome": "done",
        **fields,
    }


def session(number: int, version: int = 1, tenant: str = "acme", **fields: Any) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "session_id": f"{tenant}-session-{number}",
        "user_key": f"{tenant}-user-{number % 3}",
        "start_time": T0 + number * SECOND,
        "last_time": T0 + number * SECOND + 60 * SECOND,
        "prompts": 1,
        "cost_usd": 0.25 * version,
        "models": {"opus": 0.25 * version},
        "event_counts": {"api_request": version},
        "metric_totals": {},
        "ghost": False,
        "pseudo": False,
        "epoch": 1,
        "version": version,
        "received_time": T0 + number * SECOND + version,
        **fields,
    }


def session_hour(number: int, version: int = 1, tenant: str = "acme", **fields: Any) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "session_id": f"{tenant}-session-{number}",
        "user_key": f"{tenant}-user-{number % 3}",
        "start": T0 - T0 % HOUR,
        "active": True,
        "prompts": version,
        "epoch": 1,
        "version": version,
        "received_time": T0,
        **fields,
    }


def user_window(number: int, version: int = 1, tenant: str = "acme", **fields: Any) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "user_key": f"{tenant}-user-{number}",
        "team": "core",
        "cost_center": "cc-1",
        "grain": "hour",
        "start": T0 - T0 % HOUR,
        "sessions": 1,
        "prompts": version,
        "cost_usd": 0.5 * version,
        "epoch": 1,
        "version": version,
        "received_time": T0,
        **fields,
    }


def key_of(topic: str, value: Mapping[str, Any]) -> bytes | None:
    """Kafka's key of a record."""
    parts = CATALOGUE[topic].key_parts
    return make_key(*(str(value.get(part) or "") for part in parts)) if parts else None


def records(topic: str, values: Iterable[Mapping[str, Any]], first_offset: int = 0) -> list[SinkRecord]:
    name = CATALOGUE[topic].record
    return [
        SinkRecord(first_offset + i, key_of(topic, value), codec.encode(name, value)) for i, value in enumerate(values)
    ]


def batch(
    topic: str, values: Sequence[Mapping[str, Any]], first_offset: int = 0, partition: int = 0, last: int | None = None
) -> Batch:
    """A range with these values at first_offset and after it."""
    return of_records(topic, records(topic, values, first_offset), first_offset, partition, last)


def of_records(
    topic: str, held: Sequence[SinkRecord], first_offset: int = 0, partition: int = 0, last: int | None = None
) -> Batch:
    end = last if last is not None else max([r.offset for r in held], default=first_offset)
    return Batch(topic, partition, first_offset, end, held)
