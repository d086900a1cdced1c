"""What may be nowhere is nowhere: marks are planted in a whole stack, and everything it wrote is searched for them."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pyarrow.parquet
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from millrace.kafka import Broker
from schemas.keys import Kind
from schemas.policy import Policy, control_value
from schemas.roles import Grant, Role
from schemas.roles import control_value as role_value
from service import keyring
from service.changes import Who, audited
from service.cluster import describe
from sinks.query.catalogue import NAMES
from streams.inspect import databases
from tests.e2e.stack import Stack, eventually
from tests.e2e.test_catalogue import CATALOGUE, SESSION_ID, a_value, fields_of, names_of

WHO = Who("test")
PERSON = "LEAKpersonLEAK"  # of class person, where it is kept
DETAIL = "LEAKdetailLEAK"  # of class detail, where it is kept
CONTENT = "LEAKcontentLEAK"  # text of content of a tenant that keeps it: only where content stands
DERIVED = "LEAKderivedLEAK"  # a command, in content and in the fields derived from it
DROPPED = "LEAKdroppedLEAK"  # whatever the policy of its tenant drops or hashes: nowhere
SECRET = "sk-ant-api03-LEAKsecretLEAKaaaaaaaaaaaa"  # in texts of all of them: nowhere
THOUGHT = "LEAKthoughtLEAK"  # what a model thought: nowhere
NOW_NS = time.time_ns()
CLASSES = ("person", "detail", "content")


@dataclass(frozen=True)
class Marks:
    """What stands in values of each class of one tenant."""

    person: str = PERSON
    detail: str = DETAIL
    content: str = CONTENT

    @property
    def free(self) -> str:
        """A text that is content by its look, in a place of class detail."""
        return DROPPED if DROPPED in (self.detail, self.content) else self.content


# Tenants by their policies: (class, action), and the marks of what is sent.
TENANTS: dict[str, tuple[list[str], Marks]] = {
    "": ([], Marks()),
    "p": (["person"], Marks(person=DROPPED)),
    "d": (["detail"], Marks(detail=DROPPED)),
    "all": (list(CLASSES), Marks(DROPPED, DROPPED, DROPPED)),
    "hash": (list(CLASSES), Marks(DROPPED, DROPPED, DROPPED)),
}


@pytest.fixture
def stack(kafka: Broker, tmp_path: Path) -> Iterator[Stack]:
    """A stack of its own: what it wrote is read when it has stopped."""
    one = Stack(kafka.bootstrap, f"e{uuid.uuid4().hex[:8]}", tmp_path)
    try:
        yield one.start()
    finally:
        one.kill_everything()


def value(text: str) -> dict[str, Any]:
    return {"stringValue": text}


def attribute(key: str, text: str) -> dict[str, Any]:
    return {"key": key, "value": value(text)}


def planted(names: Iterable[str], record: str, event: str, marks: Marks) -> list[dict[str, Any]]:
    """An attribute of each name, with the marks that its class asks for."""
    fields, out = fields_of(record), []
    for name in names:
        particular = fields.get(f"{event}:{name}")
        field = particular or fields[name]
        content = field.cls == "content" or (name in field.content and particular is None)
        given, _ = a_value(field, name)
        if content:
            thought = {"type": "thinking", "thinking": THOUGHT, "signature": THOUGHT}
            # The command stands in fields of class detail too: with those, all of the text may be nowhere.
            command = {"full_command": f"{DERIVED if marks.free != DROPPED else 'x'} --token {SECRET}"}
            given = value(json.dumps({**command, "more": [thought, marks.content, SECRET]}))
        elif field.cls in CLASSES:
            text = marks.person if field.cls == "person" else f"{marks.detail} {SECRET}"
            given = {"arrayValue": {"values": [value(text)]}} if field.type == "array_string" else value(text)
        out.append({"key": name, "value": given})
    return [*out, SESSION_ID]


def more(marks: Marks) -> list[dict[str, Any]]:
    """What no catalogue knows."""
    thoughts = {"arrayValue": {"values": [value(THOUGHT)]}}
    tree = [
        attribute("user.email", marks.person),
        attribute("user_email", marks.person),
        attribute("note", f"{marks.detail} {SECRET}"),
        {"key": "thinking", "value": thoughts},
    ]
    return [
        attribute("novel.text", f"{marks.detail} {SECRET}"),
        attribute("novel.long", marks.free + f" {SECRET} " * 9),
        attribute("novel.thinking", THOUGHT),
        attribute("novel.repr", f"[ThinkingBlock(signature='s', thinking='{THOUGHT}')]"),
        attribute(f"novel {SECRET}", "x"),
        {"key": "thinking", "value": thoughts},
        {"key": "novel.tree", "value": {"kvlistValue": {"values": tree}}},
    ]


def requests(marks: Marks, first: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """(signal, body) with every event, metric and span of the catalogue. first: number of the first trace."""
    resource = {
        "attributes": [
            attribute("service.name", "claude-code"),
            attribute("vcs.repository.url.full", f"https://u:{SECRET}@{marks.detail}/x"),
            attribute("host.owner", f"{marks.detail} {SECRET}"),
            attribute("user.email", marks.person),
        ]
    }
    known = [attribute("user.email", marks.person), attribute("user_id", marks.person)]
    known += [attribute("prompt", f"{marks.content} {SECRET}"), attribute("file_path", marks.detail)]
    scope = {"name": f"com.anthropic.claude_code {SECRET}", "attributes": [*known, *more(marks)]}
    events: list[dict[str, Any]] = []
    for number, (full, item) in enumerate(CATALOGUE.items["events"].items()):
        found = planted(names_of("events", item), "claude_event", item.short, marks) + more(marks)
        found += [attribute("event.name", item.short), {"key": "event.sequence", "value": {"intValue": number}}]
        events.append({"timeUnixNano": str(NOW_NS + number), "body": value(full), "attributes": found})
    # A body and a severity that are texts: the one without a name is content, as far as details are kept.
    events += [
        {**events[0], "timeUnixNano": str(NOW_NS + 1000), "body": value(f"{marks.detail} {SECRET}")},
        {"timeUnixNano": str(NOW_NS + 1001), "severityText": f"{marks.free} {SECRET}", "attributes": [SESSION_ID]},
        {"timeUnixNano": str(NOW_NS + 1002), "body": value(f"{marks.free} {SECRET} " * 9), "attributes": [SESSION_ID]},
    ]
    yield "logs", _body("resourceLogs", "scopeLogs", "logRecords", resource, scope, events)
    points = []
    for full, item in CATALOGUE.items["metrics"].items():
        found = planted(names_of("metrics", item), "metric_point", "", marks) + more(marks)
        point: dict[str, Any] = {"timeUnixNano": str(NOW_NS), "asDouble": 1.5, "attributes": found}
        point["exemplars"] = [{"timeUnixNano": str(NOW_NS), "asDouble": 1.5, "filteredAttributes": more(marks)}]
        points.append({"name": full, "sum": {"aggregationTemporality": 1, "dataPoints": [point]}})
    yield "metrics", _body("resourceMetrics", "scopeMetrics", "metrics", resource, scope, points)
    spans = []
    for number, (full, item) in enumerate(CATALOGUE.items["spans"].items(), first):
        found = planted(names_of("spans", item), "claude_span", "", marks) + more(marks)
        output = attribute("output", f"{marks.free} {SECRET}")
        spans.append(
            {
                "traceId": f"{number:032x}",
                "spanId": f"{number:016x}",
                "name": full,
                "startTimeUnixNano": str(NOW_NS),
                "endTimeUnixNano": str(NOW_NS + 1_000_000),
                "attributes": found,
                "status": {"code": 2, "message": f"{marks.detail} {SECRET}"},
                "events": [{"name": "tool.output", "timeUnixNano": str(NOW_NS), "attributes": [output, *more(marks)]}],
                "links": [{"traceId": f"{9:032x}", "spanId": f"{9:016x}", "attributes": more(marks)}],
            }
        )
    yield "traces", _body("resourceSpans", "scopeSpans", "spans", resource, scope, spans)


def _body(outer: str, inner: str, leaf: str, resource: Any, scope: Any, records: list[Any]) -> dict[str, Any]:
    return {outer: [{"resource": resource, inner: [{"scope": scope, leaf: records}]}]}


async def new_key(stack: Stack, tenant: str, kind: Kind = "ingest", *roles: str) -> str:
    kafka = {"bootstrap_servers": stack.environment["MILLRACE_BOOTSTRAP"]}
    return await keyring.create(
        kafka, stack.environment["MILLRACE_PREFIX"], WHO, tenant=tenant, kind=kind, name="", roles_=roles
    )


async def set_up(stack: Stack, tenant: str) -> None:
    """The policies of the tenants, and a role of our own."""
    where = ({"bootstrap_servers": stack.environment["MILLRACE_BOOTSTRAP"]}, stack.environment["MILLRACE_PREFIX"])
    said = {"updated_at": time.time_ns() // 1000, "updated_by": "test"}
    for name, (classes, _) in TENANTS.items():
        if classes:
            chosen = Policy(1, classes=dict.fromkeys(classes, "hash" if name == "hash" else "drop"))  # type: ignore[arg-type]
            record = control_value(chosen, tenant + name, **said)  # type: ignore[arg-type]
            await audited(*where, record, "policy.change", tenant + name, {}, WHO)
    reader = Role("reader", (Grant("usage"), Grant("detail")), 1)
    await audited(*where, role_value(reader, **said), "role.grant", "reader", {}, WHO)  # type: ignore[arg-type]


def send(stack: Stack, key: str, signal: str, body: bytes) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    url = f"http://127.0.0.1:{stack.ports['GATEWAY_HTTP']}/v1/{signal}"
    return httpx.post(url, content=body, headers=headers, trust_env=False, timeout=30)


def send_what_is_rejected(stack: Stack, key: str, mark: str) -> None:
    """Records that cannot be, one of them with a thought, and a body that is none, each with the marks in it."""
    found = [attribute("session.id", f"{mark} " * 200), attribute("prompt", f"{mark} {SECRET}")]
    records = [{"timeUnixNano": str(NOW_NS), "attributes": found}]
    body = _body("resourceLogs", "scopeLogs", "logRecords", {}, {}, records)
    broken = send(stack, key, "logs", json.dumps(body).encode()[:-3])
    assert broken.status_code == 400
    records += [
        {"timeUnixNano": str(NOW_NS), "attributes": [{"key": "prompt", "value": {"intValue": mark}}]},
        {"timeUnixNano": str(NOW_NS), "attributes": [*found, attribute("thinking", THOUGHT)]},
    ]
    answer = send(stack, key, "logs", json.dumps(body).encode())
    assert answer.status_code == 200
    assert answer.json()["partialSuccess"]["rejectedLogRecords"] == "3"
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
    """What a stopped stack left on the disk: of databases and the lake their values, as files are compressed."""
    inside = {database.path: database for database in databases.find(data)}
    for path, database in inside.items():
        with databases.opened(database) as snapshot:
            yield f"state/{path.stem}", b"\0".join(key + b"\0" + row.payload for key, row in snapshot.scan())
    for path in sorted(data.rglob("*")):
        name = str(path.relative_to(data))
        if not path.is_file() or path.parent in inside:
            continue
        if path.suffix == ".parquet":
            table = pyarrow.parquet.read_table(path)
            yield name, json.dumps(table.to_pylist(), default=repr).encode()
        elif path.suffix == ".duckdb":
            yield from in_duckdb(path, name)
        else:
            yield name, path.read_bytes()


def in_duckdb(path: Path, name: str) -> Iterator[tuple[str, bytes]]:
    """Every column of every table."""
    with duckdb.connect(str(path), read_only=True) as connection:
        columns = connection.execute("select table_schema, table_name, column_name from information_schema.columns")
        for schema, table, column in columns.fetchall():
            values = connection.execute(f'select "{column}"::varchar from "{schema}"."{table}"').fetchall()
            yield f"{name}/{schema}.{table}.{column}", json.dumps(values).encode()


def metrics_of(stack: Stack) -> list[tuple[str, bytes]]:
    ports = {name: stack.ports[name] for name in ("GATEWAY_HEALTH", "STREAMS_HEALTH", "SINKS_HEALTH")}
    return [
        (name, httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).content) for name, port in ports.items()
    ]


def marked(places: list[tuple[str, bytes]], *marks: str) -> set[str]:
    """The places where one of the marks stands."""
    return {place for place, text in places if any(mark.encode() in text for mark in marks)}


async def test_what_is_content_or_dropped_or_secret_or_thought_leaks_nowhere(stack: Stack, tenant: str) -> None:
    await set_up(stack, tenant)
    keys = {name: await new_key(stack, tenant + name) for name in TENANTS}
    roles = {role: await new_key(stack, tenant, "query", role) for role in ("viewer", "reader", "analyst")}
    admin = stack.sql((stack.data / "keys" / "admin").read_text().strip())
    private = [tenant + name for name, (classes, _) in TENANTS.items() if classes]

    def in_force() -> str | None:
        records = [{"attributes": [SESSION_ID, attribute("event.name", "probe")]}]
        probe = _body("resourceLogs", "scopeLogs", "logRecords", {}, {}, records)
        for name in TENANTS:
            send(stack, keys[name], "logs", json.dumps(probe).encode())
        found = admin("select distinct tenant from events where policy_version = 1")
        return None if {row["tenant"] for row in found} == set(private) else repr(found)

    eventually(in_force, timeout_s=30)
    for number, (name, (_, marks)) in enumerate(TENANTS.items()):
        for signal, body in requests(marks, 1 + 100 * number):
            answer = send(stack, keys[name], signal, json.dumps(body).encode())
            assert (answer.status_code, answer.json()) == (200, {}), answer.text
        send_what_is_rejected(stack, keys[name], DROPPED if name else CONTENT)
    expected = {kind: len(CATALOGUE.items[kind]) for kind in ("events", "metrics", "spans")} | {"rejected": 4}

    def arrived() -> str | None:
        for table, least in expected.items():
            found = {row["tenant"]: row["n"] for row in admin(f"select tenant, count(*) n from {table} group by 1")}
            if any(found.get(tenant + name, 0) < least for name in TENANTS):
                return f"{table}: {found}"
        lag = stack.sinks_lag()
        return f"lag {lag}" if lag else None

    eventually(arrived, timeout_s=40)

    topics = await on_kafka(stack)
    tables = [(name, json.dumps(admin(f"select * from {name}"), default=repr).encode()) for name in NAMES]
    tables.append(("rejected", json.dumps(admin("select original::varchar as shown from rejected")).encode()))
    metrics = metrics_of(stack)
    readable = {}
    for role, key in roles.items():
        asked = stack.sql(key)
        open_to_all = [name for name in NAMES if name not in ("content", "rejected", "audit")]
        readable[role] = [(name, json.dumps(asked(f"select * from {name}")).encode()) for name in open_to_all]
    # Who may not read content is not told of it by an error either.
    analyst = {"authorization": f"Bearer {roles['analyst']}"}
    for text in ("select * from content", "select prompt from events where prompt::int = 1"):
        answer = stack._sql.post("/sql", json={"sql": text}, headers=analyst)
        assert CONTENT not in answer.text
    stack.stop()
    files = list(in_files(stack.data))
    everything = [*topics, *tables, *files, *metrics]

    # The search is not blind: it finds what may be found.
    assert marked(topics, CONTENT) == {"content.v1", "rejected.v1"}
    assert marked(topics, DERIVED) == {"content.v1", "events.v1"}
    assert marked(tables, CONTENT) == {"content", "rejected"}
    assert marked(tables, DERIVED) >= {"content", "events", "events_ecs"}
    assert marked(tables, "policy.change") == {"audit"}
    lake = {name.split("/warehouse/")[1].split("/")[1] for name in marked(files, CONTENT) if "/warehouse/" in name}
    assert lake >= {"content"}
    elsewhere = {name for name in marked(files, CONTENT) if not name.startswith("lake/")}
    assert elsewhere
    assert all(name.startswith("query/content.duckdb/") for name in elsewhere), elsewhere
    assert any(name.startswith("query/events.duckdb/") for name in marked(files, DETAIL))
    assert any(name.startswith("state/") for name in marked(files, PERSON))
    assert marked(readable["analyst"], PERSON)
    assert marked(readable["analyst"], DETAIL)
    assert marked(readable["reader"], DETAIL)
    # And what may be nowhere it does not find.
    assert marked(everything, DROPPED, SECRET, THOUGHT) == set()
    assert marked(everything, "LEAKsecret") == set()
    assert marked(readable["viewer"], PERSON, DETAIL, DERIVED, CONTENT) == set()
    # (What nobody has a field for is of class detail as a whole, whatever of a person it says.)
    assert marked(readable["reader"], CONTENT) == set()
    assert marked(readable["analyst"], CONTENT) == set()
    assert b"<MASKED:anthropic-" in b"".join(text for _, text in topics)
    assert b"<THINKING:1>" in b"".join(text for _, text in topics)
    assert b"ingest_gateway_masked_total" in metrics[0][1]
