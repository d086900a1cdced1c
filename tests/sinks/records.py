"""Records of a few topics, and ranges of them as the worker would cut them."""

from collections.abc import Iterable, Sequence
from typing import Any

from schemas import codec
from schemas.topics import CATALOGUE, make_key
from sinks.protocol import Batch, Identity, SinkRecord

T0 = 1_790_000_000_000_000  # 2026-09-21T14:13:20Z in microseconds
SECOND = 1_000_000
HOUR = 3_600 * SECOND
DAY = 24 * HOUR

IDENTITY = Identity("cluster-1", {topic: f"id-of-{topic}" for topic in CATALOGUE})


def event(number: int, **fields: Any) -> dict[str, Any]:
    """The number-th event, one a second, received 1.5 ms later."""
    return {
        "event_id": f"event-{number}",
        "tenant": "acme",
        "event_name": "api_request",
        "event_time": T0 + number * SECOND,
        "received_time": T0 + number * SECOND + 1500,
        "session_id": f"session-{number % 7}",
        "user_key": f"user-{number % 3}",
        "event_sequence": number,
        "clock_suspect": False,
        **fields,
    }


def session(number: int, version: int, **fields: Any) -> dict[str, Any]:
    """A session row; its number of prompts is its version."""
    return {
        "tenant": "acme",
        "session_id": f"session-{number}",
        "start_time": T0 + number * SECOND,
        "last_time": T0 + number * SECOND + version,
        "prompts": version,
        "epoch": 1,
        "version": version,
        "received_time": T0 + number * SECOND + version,
        **fields,
    }


def span(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "trace_id": f"{number:032x}",
        "span_id": f"{number:016x}",
        "tenant": "acme",
        "name": "claude_code.tool",
        "start_time": T0 + number * SECOND,
        "received_time": T0 + number * SECOND + 1500,
        "session_id": "session-1",
        "clock_suspect": False,
        **fields,
    }


def content(number: int, field: str, **fields: Any) -> dict[str, Any]:
    return {
        "event_id": f"event-{number}",
        "tenant": "acme",
        "event_name": "user_prompt",
        "event_time": T0 + number * SECOND,
        "received_time": T0 + number * SECOND + 1500,
        "session_id": "session-1",
        "field": field,
        "text": "words",
        "length": 5,
        "truncated": False,
        **fields,
    }


def encoded(topic: str, value: dict[str, Any]) -> tuple[bytes, bytes]:
    """Kafka's key and value of a record."""
    spec = CATALOGUE[topic]
    return make_key(*(str(value.get(part) or "") for part in spec.key_parts)), codec.encode(spec.record, value)


def batch(topic: str, values: Iterable[dict[str, Any]], first_offset: int = 0, partition: int = 0) -> Batch:
    """A range without holes that holds these values."""
    records = [SinkRecord(first_offset + i, *encoded(topic, value)) for i, value in enumerate(values)]
    return Batch(topic, partition, first_offset, first_offset + len(records) - 1, records)


def events(numbers: Iterable[int], first_offset: int = 0, partition: int = 0) -> Batch:
    """A range of plain events."""
    return batch("events", [event(number) for number in numbers], first_offset, partition)


def ids(numbers: Iterable[int]) -> list[str]:
    """The ids of these events, sorted."""
    return sorted(f"event-{number}" for number in numbers)


def versions(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Session → prompts."""
    return {row["session_id"]: row["prompts"] for row in rows}
