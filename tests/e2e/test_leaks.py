"""What may be nowhere is nowhere: marks are planted in a whole stack, and everything it wrote is searched for them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet
from aiokafka import AIOKafkaConsumer, TopicPartition

from millrace import local_keys
from schemas.keys import Kind
from service.cluster import describe
from tests.e2e.stack import Stack, eventually
from tests.e2e.test_catalogue import CATALOGUE, SESSION_ID, a_value, common, fields_of

CONTENT = "LEAKcontentLEAK"  # text of content of a tenant that keeps it: only where content stands
DERIVED = "LEAKderivedLEAK"  # a command, in content and in the fields derived from it
DROPPED = "LEAKdroppedLEAK"  # whatever the policy of the other tenant drops: nowhere
SECRET = "sk-ant-api03-LEAKsecretLEAKaaaaaaaaaaaa"  # in every text of both: nowhere
THOUGHT = "LEAKthoughtLEAK"  # what a model thought: nowhere
NOW_NS = time.time_ns()
TABLES = [
    "events",
    "metrics",
    "spans",
    "content",
    "sessions",
    "session_hours",
    "user_hours",
    "user_days",
    "people",
    "rejected",
]
PERSON_AND_DETAIL_AND_CONTENT = ("person", "detail", "content")


def value(text: str) -> dict[str, Any]:
    return {"stringValue": text}


def planted(names: list[str], record: str, event: str, *, keeps: bool) -> list[dict[str, Any]]:
    """An attribute of each name, with the marks that its class asks for."""
    fields, out = fields_of(record), []
    for name in dict.fromkeys(names):
        particular = fields.get(f"{event}:{name}")
        field = particular or fields[name]
        content = field.cls == "content" or (name in field.content and particular is None)
        given, _ = a_value(field, name)
        if content:
            thought = {"type": "thinking", "thinking": THOUGHT, "signature": THOUGHT}
            command = {"full_command": f"{DERIVED if keeps else DROPPED} --token {SECRET}", "command": "x"}
            text = {**command, "more": [thought, CONTENT if keeps else DROPPED, SECRET]}
            given = value(json.dumps(text))
        elif field.cls in PERSON_AND_DETAIL_AND_CONTENT:
            mark = f"kept {name}" if keeps else DROPPED
            text = f"{mark} {SECRET}" if field.cls == "detail" else mark
            given = {"arrayValue": {"values": [value(text)]}} if field.type == "array_string" else value(text)
        out.append({"key": name, "value": given})
    return [*out, SESSION_ID]


def more(keeps: bool) -> list[dict[str, Any]]:
    """What no catalogue knows."""
    mark = "kept" if keeps else DROPPED
    tree = {
        "values": [{"key": "user.email", "value": value(mark)}, {"key": "note", "value": value(f"{mark} {SECRET}")}]
    }
    return [
        {"key": "novel.text", "value": value(f"{mark} {SECRET}")},
        {"key": "novel.long", "value": value((CONTENT if keeps else DROPPED) + f" {SECRET} " * 9)},
        {"key": "novel.tree", "value": {"kvlistValue": tree}},
        {"key": "novel.thinking", "value": value(THOUGHT)},
    ]


def requests(*, keeps: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """(signal, body) with every event, metric and span of the catalogue."""
    mark = "kept" if keeps else DROPPED
    resource = {
        "attributes": [
            {"key": "service.name", "value": value("claude-code")},
            {"key": "vcs.repository.url.full", "value": value(f"https://u:{SECRET}@{mark}/x")},
            {"key": "host.owner", "value": value(f"{mark} {SECRET}")},
            *([] if keeps else [{"key": "user.email", "value": value(DROPPED)}]),
        ]
    }
    scope = {"name": "com.anthropic.claude_code", "attributes": [{"key": "note", "value": value(f"{mark} {SECRET}")}]}
    always, only = common(), [n for n in CATALOGUE["standard_events_only"] if n not in ("event.name", "event.sequence")]
    events = []
    for number, (full, known) in enumerate(CATALOGUE["events"].items()):
        name = full.removeprefix("claude_code.")
        found = planted([*always, *only, *known["attrs"]], "claude_event", name, keeps=keeps) + more(keeps)
        found += [{"key": "event.name", "value": value(name)}, {"key": "event.sequence", "value": {"intValue": number}}]
        events.append({"timeUnixNano": str(NOW_NS + number), "body": value(full), "attributes": found})
    yield "logs", _body("resourceLogs", "scopeLogs", "logRecords", resource, scope, events)
    points = []
    for full, known in CATALOGUE["metrics"].items():
        found = planted([*always, *known["attrs"]], "metric_point", "", keeps=keeps) + more(keeps)
        point: dict[str, Any] = {"timeUnixNano": str(NOW_NS), "asDouble": 1.5, "attributes": found}
        point["exemplars"] = [{"timeUnixNano": str(NOW_NS), "asDouble": 1.5, "filteredAttributes": more(keeps)}]
        points.append({"name": full, "sum": {"aggregationTemporality": 1, "dataPoints": [point]}})
    yield "metrics", _body("resourceMetrics", "scopeMetrics", "metrics", resource, scope, points)
    spans = []
    for number, (full, known) in enumerate(CATALOGUE["spans"].items(), 1 if keeps else 101):
        found = planted([*always, *known["attrs"]], "claude_span", "", keeps=keeps) + more(keeps)
        content = {"key": "output", "value": value(f"{CONTENT if keeps else DROPPED} {SECRET}")}
        spans.append(
            {
                "traceId": f"{number:032x}",
                "spanId": f"{number:016x}",
                "name": full,
                "startTimeUnixNano": str(NOW_NS),
                "endTimeUnixNano": str(NOW_NS + 1_000_000),
                "attributes": found,
                "status": {"code": 2, "message": f"{mark} {SECRET}"},
                "events": [{"name": "tool.output", "timeUnixNano": str(NOW_NS), "attributes": [content, *more(keeps)]}],
                "links": [{"traceId": f"{9:032x}", "spanId": f"{9:016x}", "attributes": more(keeps)}],
            }
        )
    yield "traces", _body("resourceSpans", "scopeSpans", "spans", resource, scope, spans)


def _body(outer: str, inner: str, leaf: str, resource: Any, scope: Any, records: list[Any]) -> dict[str, Any]:
    return {outer: [{"resource": resource, inner: [{"scope": scope, leaf: records}]}]}


async def new_key(stack: Stack, tenant: str, kind: Kind = "ingest") -> str:
    kafka = {"bootstrap_servers": stack.environment["MILLRACE_BOOTSTRAP"]}
    return await local_keys.create(kafka, stack.environment["MILLRACE_PREFIX"], tenant=tenant, kind=kind, name="")


def send(stack: Stack, key: str, signal: str, body: bytes) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    url = f"http://127.0.0.1:{stack.ports['GATEWAY_HTTP']}/v1/{signal}"
    return httpx.post(url, content=body, headers=headers, trust_env=False, timeout=30)


def send_what_is_rejected(stack: Stack, key: str, mark: str) -> None:
    """A record with an impossible session id, and a body that is none, each with the marks in it."""
    found = [
        {"key": "session.id", "value": value(f"{mark} " * 200)},
        {"key": "prompt", "value": value(f"{mark} {SECRET}")},
    ]
    records = [{"timeUnixNano": str(NOW_NS), "attributes": found}]
    body = _body("resourceLogs", "scopeLogs", "logRecords", {}, {}, records)
    records += [{"timeUnixNano": str(NOW_NS), "attributes": [{"key": "prompt", "value": {"intValue": mark}}]}]
    answer = send(stack, key, "logs", json.dumps(body).encode())
    assert answer.status_code == 200
    assert answer.json()["partialSuccess"]["rejectedLogRecords"] == "2"
    broken = send(stack, key, "logs", json.dumps(body).encode()[:-3])
    assert broken.status_code == 400
    for said in (answer.text, broken.text):
        assert mark not in said
        assert SECRET not in said


async def on_kafka(stack: Stack) -> list[tuple[str, bytes]]:
    """(topic, key, value and headers as one) of every message of every topic of the stack."""
    bootstrap, prefix = stack.environment["MILLRACE_BOOTSTRAP"], stack.environment["MILLRACE_PREFIX"]
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        topics = [topic for topic in await consumer.topics() if prefix in topic]
        _, states = await describe({"bootstrap_servers": bootstrap}, topics)
        places = [TopicPartition(topic, n) for topic in topics for n in range(states[topic].partitions)]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        ends, found = await consumer.end_offsets(places), []
        while any([await consumer.position(place) < ends[place] for place in places]):
            for place, messages in (await consumer.getmany(timeout_ms=500)).items():
                for message in messages:
                    parts = [message.key or b"", message.value or b"", *(b for _, b in message.headers)]
                    found.append((place.topic.removeprefix(f"{prefix}."), b"\0".join(parts)))
        return found
    finally:
        await consumer.stop()


def in_files(data: Path) -> Iterator[tuple[str, bytes]]:
    """What logs, RocksDB and DuckDB wrote, as it stands on the disk, and the lake's files as values."""
    for path in sorted(data.rglob("*")):
        if not path.is_file() or path.is_relative_to(data / "kafka"):
            continue
        name = str(path.relative_to(data))
        if path.suffix == ".parquet":
            table = pyarrow.parquet.read_table(path)
            yield name, json.dumps(table.to_pylist(), default=repr).encode()
        else:
            yield name, path.read_bytes()


def metrics_of(stack: Stack) -> list[tuple[str, bytes]]:
    ports = {name: stack.ports[name] for name in ("GATEWAY_HEALTH", "STREAMS_HEALTH", "SINKS_HEALTH")}
    return [
        (name, httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).content) for name, port in ports.items()
    ]


def marked(places: list[tuple[str, bytes]], *marks: str) -> set[str]:
    """The places where one of the marks stands."""
    return {place for place, text in places if any(mark.encode() in text for mark in marks)}


async def test_what_is_content_or_dropped_or_secret_or_thought_leaks_nowhere(stack: Stack, tenant: str) -> None:
    private = f"{tenant}p"
    policy = ["--class", "person=drop", "--class", "detail=drop", "--class", "content=drop"]
    said = json.loads(stack.command("policy", "set", "--tenant", private, *policy).stdout)
    assert said["version"] == 1
    keys = {True: await new_key(stack, tenant), False: await new_key(stack, private)}
    query_key = await new_key(stack, tenant, "query")
    admin = stack.sql((stack.data / "keys" / "admin").read_text().strip())

    def in_force() -> str | None:
        records = [{"attributes": [SESSION_ID, {"key": "event.name", "value": value("probe")}]}]
        probe = _body("resourceLogs", "scopeLogs", "logRecords", {}, {}, records)
        send(stack, keys[False], "logs", json.dumps(probe).encode())
        return None if admin(f"select 1 as x from events where tenant = '{private}' and policy_version = 1") else "no"

    eventually(in_force, timeout_s=30)
    for keeps, key in keys.items():
        for signal, body in requests(keeps=keeps):
            answer = send(stack, key, signal, json.dumps(body).encode())
            assert (answer.status_code, answer.json()) == (200, {}), answer.text
        send_what_is_rejected(stack, key, CONTENT if keeps else DROPPED)
    expected = {name: len(CATALOGUE[kind]) for name, kind in (("events", "events"), ("metrics", "metrics"))}

    def arrived() -> str | None:
        for one in (tenant, private):
            counts = {t: admin(f"select count(*) as n from {t} where tenant = '{one}'")[0]["n"] for t in TABLES}
            if any(counts[t] < n for t, n in expected.items()) or not counts["spans"] or counts["rejected"] < 3:
                return repr(counts)
        lag = stack.sinks_lag()
        return f"lag {lag}" if lag else None

    eventually(arrived, timeout_s=40)

    topics = await on_kafka(stack)
    tables = [
        (t, json.dumps(admin(f"select * from {t} where tenant in ('{tenant}', '{private}')")).encode()) for t in TABLES
    ]
    files = list(in_files(stack.data))
    metrics = metrics_of(stack)
    everything = [*topics, *tables, *files, *metrics]
    # The search is not blind: it finds what may be found.
    assert marked(topics, CONTENT) == {"content.v1", "rejected.v1"}
    assert marked(topics, DERIVED) == {"content.v1", "events.v1"}
    assert marked(tables, CONTENT) <= {"content", "rejected"}
    assert marked(tables, DERIVED) == {"content", "events"}
    lake = {name.split("/warehouse/")[1].split("/")[1] for name in marked(files, CONTENT) if "/warehouse/" in name}
    assert lake == {"content"}
    elsewhere = {name for name in marked(files, CONTENT) if not name.startswith("lake/")}
    assert all(name.startswith("query/content.duckdb") for name in elsewhere), elsewhere
    # And what may be nowhere it does not find.
    assert marked(everything, DROPPED, SECRET, THOUGHT) == set()
    assert marked(everything, "LEAKsecret") == set()
    assert b"<MASKED:anthropic-" in b"".join(text for _, text in topics)
    assert b"<THINKING:1>" in b"".join(text for _, text in topics)
    assert b"ingest_gateway_masked_total" in metrics[0][1]

    # Who may not read content is not told of it by an error either.
    for text in (
        "select * from content",
        f"select prompt from events where prompt::int = 1 and tenant <> '{CONTENT}x'",
    ):
        answer = stack._sql.post(
            "/sql", json={"sql": text}, headers={"authorization": f"Bearer {stack.key(tenant, 'query')}"}
        )
        assert CONTENT not in answer.text.replace(f"{CONTENT}x", "")
    asked = stack.sql(query_key)
    readable = [
        (t, json.dumps(asked(f"select * from {t}")).encode()) for t in TABLES if t not in ("content", "rejected")
    ]
    assert marked(readable, CONTENT, DROPPED, SECRET, THOUGHT) == set()
