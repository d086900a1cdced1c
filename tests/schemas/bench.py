"""How fast the codec is: records per CPU second, one process.

    python -m tests.schemas.bench            needs nothing running; about 20 s

Data: the recorded requests under tests/captures, their log records cut into requests of 1, 20 and 100 records.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from schemas import codec, otlp, records

CAPTURES = Path(__file__).parents[1] / "captures"
CONTEXT = otlp.Context("bench", 1_795_180_000_000_000, b"k" * 32)
# What the sessions stage folds: fields near the front of the schema.
STAGE_FIELDS = [
    *("event_id", "tenant", "event_name", "event_time", "received_time", "session_id", "user_key", "event_sequence"),
    *("user_id", "user_email", "user_account_uuid", "organization_id", "team", "department", "cost_center"),
    *("service_name", "service_version", "app_version", "app_entrypoint", "terminal_type", "model", "cost_usd"),
    *("cost_usd_micros", "input_tokens", "output_tokens", "cache_read_tokens", "cache_creation_tokens", "success"),
    *("decision", "to_mode"),
]


def log_requests(per_request: int) -> list[bytes]:
    """The recorded log records as protobuf requests of `per_request` records."""
    found: list[tuple[Any, Any, Any]] = []
    for path in sorted(CAPTURES.glob("*/*-logs.*")):
        if path.name.endswith(".meta.json"):
            continue
        request = ExportLogsServiceRequest()
        if path.suffix == ".pb":
            request.ParseFromString(path.read_bytes())
        else:
            json_format.Parse(path.read_bytes(), request)
        for outer in request.resource_logs:
            for inner in outer.scope_logs:
                found += [(outer.resource, inner.scope, record) for record in inner.log_records]
    bodies = []
    for start in range(0, len(found) - len(found) % per_request, per_request):
        request = ExportLogsServiceRequest()
        outer = request.resource_logs.add()
        inner = outer.scope_logs.add()
        for resource, scope, record in found[start : start + per_request]:
            outer.resource.CopyFrom(resource)
            inner.scope.CopyFrom(scope)
            inner.log_records.add().CopyFrom(record)
        bodies.append(request.SerializeToString())
    return bodies


def rate(records_per_call: int, call: Callable[[], Any], seconds: float = 1.5) -> float:
    """Records per CPU second, the best of three."""
    call()
    best = 0.0
    for _ in range(3):
        calls, start = 0, time.process_time()
        while (spent := time.process_time() - start) < seconds / 3:
            call()
            calls += 1
        best = max(best, calls * records_per_call / spent)
    return best


def show(what: str, value: float) -> None:
    """One line."""
    print(f"{what:<58}{value:>12,.0f}")


def main() -> None:
    """Print the table."""
    for size in (1, 20, 100):
        protobuf = log_requests(size)
        as_json = [
            json_format.MessageToJson(ExportLogsServiceRequest.FromString(b), indent=None).encode() for b in protobuf
        ]
        for name, content_type, bodies in (("protobuf", otlp.PROTOBUF, protobuf), ("JSON", otlp.JSON, as_json)):

            def run(content_type: str = content_type, bodies: list[bytes] = bodies) -> None:
                for body in bodies:
                    otlp.transcode("logs", content_type, body, CONTEXT)

            show(f"transcode, {name}, {size} a request", rate(size * len(bodies), run))
    messages = [
        entry.messages[0].value
        for body in log_requests(100)
        for entry in otlp.transcode("logs", otlp.PROTOBUF, body, CONTEXT).entries
    ] * 5
    size, plain = len(messages), records.record("claude_event").plain
    read, parsed = codec.reader("claude_event", STAGE_FIELDS), fastavro.parse_schema(plain)
    reduced = fastavro.parse_schema({**plain, "fields": [f for f in plain["fields"] if f["name"] in STAGE_FIELDS]})
    show(f"reader, {len(STAGE_FIELDS)} fields", rate(size, lambda: read(messages)))
    show(
        f"  fastavro, {len(STAGE_FIELDS)} fields by reader schema",
        rate(size, lambda: [fastavro.schemaless_reader(io.BytesIO(m[10:]), parsed, reduced) for m in messages]),
    )
    show("decode, all fields", rate(size, lambda: [codec.decode("claude_event", m) for m in messages]))
    show(
        "  fastavro, all fields",
        rate(size, lambda: [fastavro.schemaless_reader(io.BytesIO(m[10:]), parsed, None) for m in messages]),
    )
    show("arrow, all fields", rate(size, lambda: codec.arrow("claude_event", messages)))
    values = [codec.decode("claude_event", m) for m in messages]
    sparse = [{k: v for k, v in value.items() if v not in (None, {}, [], False)} for value in values]
    show("encode, all fields given", rate(size, lambda: [codec.encode("claude_event", v) for v in values]))
    show("encode, only what is set", rate(size, lambda: [codec.encode("claude_event", v) for v in sparse]))
    print(f"{sum(map(len, messages)) / size:.0f} bytes a record")


if __name__ == "__main__":
    main()
