"""Every kind of request, good and bad, and the OTLP answer it gets."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from google.rpc import status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from millrace.kafka import Broker
from schemas import keys, topics
from tests.ingest_gateway import otlp
from tests.ingest_gateway.conftest import BODY_MAX
from tests.ingest_gateway.otlp import JSON, PROTOBUF, as_json, as_protobuf, bearer, export, log, logs, refusal
from tests.ingest_gateway.process import Gateway

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
POINT = {"timeUnixNano": otlp.TIME, "startTimeUnixNano": "1795178530000000000", "attributes": []}
METRICS = otlp.metrics(
    {"name": "delta", "sum": {"aggregationTemporality": 1, "dataPoints": [{**POINT, "asInt": "7"}]}},
    {"name": "cumulative", "sum": {"aggregationTemporality": 2, "dataPoints": [{**POINT, "asDouble": 1.5}]}},
    {"name": "gauge", "gauge": {"dataPoints": [{**POINT, "asDouble": 2.5}]}},
    {
        "name": "histogram",
        "histogram": {
            "aggregationTemporality": 1,
            "dataPoints": [{**POINT, "count": "3", "sum": 6.0, "bucketCounts": ["1", "2"], "explicitBounds": [2.0]}],
        },
    },
    {
        "name": "exponential",
        "exponentialHistogram": {
            "aggregationTemporality": 1,
            "dataPoints": [{**POINT, "count": 3, "scale": 1, "positive": {"offset": 1, "bucketCounts": ["1", 2]}}],
        },
    },
    {
        "name": "summary",
        "summary": {"dataPoints": [{**POINT, "count": 3, "quantileValues": [{"quantile": 0.5, "value": 2.0}]}]},
    },
)
SPANS = otlp.spans(
    {
        "traceId": TRACE_ID,
        "spanId": SPAN_ID,
        "name": "claude_code.interaction",
        "startTimeUnixNano": otlp.TIME,
        "endTimeUnixNano": otlp.TIME,
    }
)
LOGS = logs(log(prompt="hello", prompt_length="5"), log("api_request", 1, cost_usd_micros=7))
BODIES = {"logs": LOGS, "metrics": METRICS, "traces": SPANS}
STORED = {"logs": ("events", 2), "metrics": ("metrics", 6), "traces": ("spans", 1)}


@pytest.mark.parametrize("signal", BODIES)
@pytest.mark.parametrize("way", ["grpc", "grpc gzip", "protobuf", "protobuf gzip", "json", "json gzip"])
async def test_every_signal_is_taken_over_every_transport(
    gateway: Gateway, http: httpx.Client, channel: grpc.aio.Channel, key: str, tenant: str, signal: str, way: str
) -> None:
    body = BODIES[signal]
    if way.startswith("grpc"):
        compression = grpc.Compression.Gzip if "gzip" in way else grpc.Compression.NoCompression
        assert await export(channel, signal, as_protobuf(signal, body), key, compression=compression) == b""
    else:
        kind, data = (PROTOBUF, as_protobuf(signal, body)) if "protobuf" in way else (JSON, as_json(body))
        headers = bearer(key, kind + "; charset=utf-8" if kind == JSON else kind)
        if "gzip" in way:
            headers["content-encoding"], data = "gzip", gzip.compress(data)
        answer = http.post(f"/v1/{signal}", content=data, headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
        assert answer.content in (b"", b"{}")
    topic, count = STORED[signal]
    rows = await gateway.stored(topic, tenant)
    assert len(rows) == count
    if signal == "traces":
        assert (rows[0]["trace_id"], rows[0]["span_id"]) == (TRACE_ID, SPAN_ID)
    if signal == "metrics":
        kinds = ["delta", "cumulative", "gauge", "histogram", "exponential", "summary"]
        assert sorted(row["metric"] for row in rows) == sorted(kinds)


async def test_content_stands_on_the_content_topic_and_nowhere_else(
    gateway: Gateway, http: httpx.Client, key: str, tenant: str
) -> None:
    secret = "the one and only secret of this test"
    body = logs(
        log(prompt=secret),
        log("assistant_response", 1, response=secret),
        log("api_request_body", 2, body=json.dumps({"system": secret})),
        log("tool_result", 3, tool_name="Bash", tool_input=json.dumps({"x": secret}), tool_parameters="{"),
        log("novelty", 4, unheard_of=secret * 20),
    )
    assert http.post("/v1/logs", content=as_json(body), headers=bearer(key)).status_code == 200
    for message in await gateway.messages("events", tenant):
        assert secret.encode() not in message.value
    content = await gateway.stored("content", tenant)
    fields = sorted((row["event_name"], row["field"]) for row in content)
    assert fields == [
        ("api_request_body", "body"),
        ("assistant_response", "response"),
        ("novelty", "unheard_of"),
        ("tool_result", "tool_input"),
        ("tool_result", "tool_parameters"),
        ("user_prompt", "prompt"),
    ]
    by_name = {row["event_name"]: row for row in await gateway.stored("events", tenant)}
    assert by_name["tool_result"]["pipeline_error"]
    ids = {row["event_id"] for row in by_name.values()}
    assert {row["event_id"] for row in content} <= ids


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
async def test_both_headers_carry_the_key_and_the_tenant_and_key_id_come_from_it(
    gateway: Gateway, http: httpx.Client, channel: grpc.aio.Channel, key: str, tenant: str, header: str
) -> None:
    value = f"Bearer {key}" if header == "authorization" else key
    body = logs(log(tenant="somebody else", tenant__id="somebody else", ingest_key_id="another"))
    answer = http.post("/v1/logs", content=as_json(body), headers={header: value, "content-type": JSON, "tenant": "x"})
    assert answer.status_code == 200
    call = channel.unary_unary(otlp.METHOD["logs"])
    assert await call(as_protobuf("logs", logs(log("api_request", 2))), metadata=[(header, value)]) == b""
    rows = await gateway.stored("events", tenant)
    assert [(row["tenant"], row["ingest_key_id"]) for row in rows] == [(tenant, keys.parse_key(key).id)] * 2


async def test_keys_of_one_tenant_are_told_apart_and_what_both_sent_is_the_same_record(
    gateway: Gateway, http: httpx.Client, channel: grpc.aio.Channel, key: str, tenant: str
) -> None:
    other = await gateway.key(tenant)
    for signal, document in BODIES.items():
        body = as_protobuf(signal, document)
        assert http.post(f"/v1/{signal}", content=body, headers=bearer(key, PROTOBUF)).status_code == 200
        assert await export(channel, signal, body, other) == b""
        topic, count = STORED[signal]
        name = {"events": "event_id", "metrics": "point_id", "spans": "span_id"}[topic]
        sent: dict[str, list[str]] = {}
        for row in await gateway.stored(topic, tenant):
            sent.setdefault(row["ingest_key_id"], []).append(row[name])
        first, again = (sorted(sent[keys.parse_key(one).id]) for one in (key, other))
        assert first == again
        assert len(first) == count


def status_of(answer: httpx.Response) -> tuple[int, str]:
    """google.rpc.Status in the answer's own content type: (code, message)."""
    if answer.headers["content-type"] == JSON:
        return answer.json()["code"], answer.json()["message"]
    status = status_pb2.Status.FromString(answer.content)
    return status.code, status.message


@pytest.mark.parametrize("kind", [JSON, PROTOBUF])
async def test_without_a_right_key_nothing_is_taken(
    gateway: Gateway, http: httpx.Client, channel: grpc.aio.Channel, tenant: str, kind: str
) -> None:
    wrong, _ = keys.new_key("ingest")
    query = await gateway.key(tenant, "query")
    for headers, http_code, code in (
        ({"content-type": kind}, 401, 16),
        (bearer(wrong, kind), 401, 16),
        (bearer("nonsense", kind), 401, 16),
        ({"authorization": "Basic abc", "content-type": kind}, 401, 16),
        (bearer(query, kind), 403, 7),
    ):
        answer = http.post("/v1/logs", content=b"never parsed", headers=headers)
        assert (answer.status_code, status_of(answer)[0]) == (http_code, code)
        assert ("www-authenticate" in answer.headers) == (http_code == 401)
    for key, expected in (
        (None, grpc.StatusCode.UNAUTHENTICATED),
        (wrong, grpc.StatusCode.UNAUTHENTICATED),
        (query, grpc.StatusCode.PERMISSION_DENIED),
    ):
        code, message, status = await refusal(channel, "logs", b"never parsed", key)
        assert code is expected
        assert "key" in message
        assert (status.code, status.message) == (expected.value[0], message)


async def test_a_revoked_key_stops_at_once(gateway: Gateway, http: httpx.Client, key: str, tenant: str) -> None:
    headers = bearer(key)
    assert http.post("/v1/logs", content=as_json(LOGS), headers=headers).status_code == 200
    revoked = keys.KeyRecord(keys.parse_key(key).id, "ingest", tenant, keys.key_hash(key), "test", deleted=True)
    await gateway.publish_key(key, revoked)
    assert http.post("/v1/logs", content=as_json(LOGS), headers=headers).status_code == 401


def nested(depth: int) -> bytes:
    value = '{"stringValue":"x"}'
    for _ in range(depth):
        value = f'{{"arrayValue":{{"values":[{value}]}}}}'
    record = f'{{"timeUnixNano":"{otlp.TIME}","attributes":[{{"key":"deep","value":{value}}}]}}'
    return f'{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{record}]}}]}}]}}'.encode()


def nested_protobuf(depth: int) -> bytes:
    """The same in protobuf, written by hand: its own writer refuses it."""

    def field(number: int, data: bytes) -> bytes:
        size, out = len(data), bytearray([number << 3 | 2])
        while size > 0x7F:
            out.append(size & 0x7F | 0x80)
            size >>= 7
        return bytes(out) + bytes([size]) + data

    value = field(1, b"x")
    for _ in range(depth):
        value = field(5, field(1, value))
    return field(1, field(2, field(2, field(6, field(1, b"deep") + field(2, value)))))


def swollen() -> bytes:
    """A thousand empty records, each of which takes over all that its resource says."""
    resource = {"attributes": otlp.attributes(**{f"a{n}": "x" * 250 for n in range(250)}, error="x" * 300_000)}
    scopes = [{"logRecords": [{} for _ in range(1000)]}]
    return as_json({"resourceLogs": [{"resource": resource, "scopeLogs": scopes}]})


BAD: list[tuple[str, bytes, dict[str, str], int]] = [
    ("garbage JSON", b"{nonsense", {"content-type": JSON}, 400),
    ("JSON that is no request", b"[1, 2]", {"content-type": JSON}, 400),
    ("garbage protobuf", b"\xff\xfe garbage", {"content-type": PROTOBUF}, 400),
    ("100 levels of JSON", nested(100), {"content-type": JSON}, 400),
    ("100,000 levels of JSON", b'{"a":' * 100_000, {"content-type": JSON}, 400),
    ("100 levels of protobuf", nested_protobuf(100), {"content-type": PROTOBUF}, 400),
    (
        "truncated gzip",
        gzip.compress(as_json(LOGS))[:-9],
        {"content-type": JSON, "content-encoding": "gzip"},
        400,
    ),
    ("no gzip at all", as_json(LOGS), {"content-type": JSON, "content-encoding": "gzip"}, 400),
    ("unknown encoding", as_json(LOGS), {"content-type": JSON, "content-encoding": "br"}, 415),
    ("wrong content type", as_json(LOGS), {"content-type": "text/plain"}, 415),
    ("no content type", as_json(LOGS), {}, 415),
    ("too many records", as_json(logs(*[log(sequence=i) for i in range(1001)])), {"content-type": JSON}, 413),
    ("too large", b" " * (BODY_MAX + 1), {"content-type": JSON}, 413),
    ("400 KB that stand for 600 MB", swollen(), {"content-type": JSON}, 413),
    (
        "gzip bomb",
        gzip.compress(b" " * (64 << 20)),
        {"content-type": JSON, "content-encoding": "gzip"},
        413,
    ),
]


@pytest.mark.parametrize(("name", "body", "headers", "expected"), BAD, ids=[name for name, *_ in BAD])
async def test_bad_input_is_refused_for_good_and_the_gateway_lives_on(
    gateway: Gateway,
    http: httpx.Client,
    key: str,
    tenant: str,
    name: str,
    body: bytes,
    headers: dict[str, str],
    expected: int,
) -> None:
    answer = http.post("/v1/logs", content=body, headers={"authorization": f"Bearer {key}"} | headers)
    assert answer.status_code == expected, answer.content
    code, message = status_of(answer)
    assert code == 3
    assert message
    assert "retry-after" not in answer.headers
    assert http.post("/v1/logs", content=as_json(LOGS), headers=bearer(key)).status_code == 200
    assert len(await gateway.stored("events", tenant)) == 2


async def test_a_body_without_a_length_is_bounded_as_well(http: httpx.Client, key: str) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(BODY_MAX // 65_536 + 2):
            yield b" " * 65_536

    try:
        answer = http.post("/v1/logs", content=endless(), headers=bearer(key))
    except httpx.WriteError:  # the gateway hung up on the rest
        return
    assert answer.status_code == 413


async def test_bad_input_over_grpc(gateway: Gateway, channel: grpc.aio.Channel, key: str, tenant: str) -> None:
    for body in (b"\xff\xfe garbage", nested_protobuf(100)):
        code, message, status = await refusal(channel, "logs", body, key)
        assert code is grpc.StatusCode.INVALID_ARGUMENT, message
        assert status.code == 3
        assert otlp.retry_delay_s(status) is None
    code, *_ = await refusal(channel, "logs", b"\0" * (BODY_MAX + 1), key)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    bomb = as_protobuf("logs", logs(log(prompt=" " * (64 << 20))))
    code, *_ = await refusal(channel, "logs", bomb, key, compression=grpc.Compression.Gzip)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    many = as_protobuf("logs", logs(*[log(sequence=n) for n in range(1001)]))
    code, message, status = await refusal(channel, "logs", many, key)
    assert (code, status.code) == (grpc.StatusCode.INVALID_ARGUMENT, 3), message
    nothing = channel.stream_unary(otlp.METHOD["logs"])
    with pytest.raises(grpc.aio.AioRpcError) as empty:
        await nothing(iter(()), metadata=[("authorization", f"Bearer {key}")])
    assert empty.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.aio.AioRpcError) as large:
        await channel.unary_unary(otlp.METHOD["logs"])(b"", metadata=[("x-api-key", "y" * 100_000)])
    assert large.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await channel.unary_unary("/opentelemetry.proto.collector.logs.v1.LogsService/Import")(b"")
    assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert await export(channel, "logs", as_protobuf("logs", LOGS), key) == b""
    assert len(await gateway.stored("events", tenant)) == 2


def test_unknown_paths_and_methods(http: httpx.Client, key: str) -> None:
    for method, path, expected in (
        ("POST", "/v1/profiles", 404),
        ("GET", "/", 404),
        ("GET", "/v1/logs", 405),
        ("PUT", "/v1/logs", 405),
    ):
        answer = http.request(method, path, headers=bearer(key))
        assert (answer.status_code, status_of(answer)[0]) == (expected, 12)


async def test_a_record_over_kafkas_limit_is_rejected_and_the_others_are_stored(
    gateway: Gateway, http: httpx.Client, channel: grpc.aio.Channel, key: str, tenant: str
) -> None:
    body = logs(log(), log("api_request_body", 1, body="x" * 1_200_000), log("api_request", 2))
    answer = http.post("/v1/logs", content=as_json(body), headers=bearer(key))
    partial = answer.json()["partialSuccess"]
    assert (answer.status_code, partial["rejectedLogRecords"]) == (200, "1")
    assert "too_large" in partial["errorMessage"]
    assert await export(channel, "logs", as_protobuf("logs", body), key) != b""
    assert sorted(row["event_name"] for row in await gateway.stored("events", tenant)) == [
        "api_request",
        "api_request",
        "user_prompt",
        "user_prompt",
    ]
    assert await gateway.stored("content", tenant) == []
    for row in await gateway.stored("rejected", tenant):
        assert (row["reason"], row["stage"], len(row["original"])) == ("too_large", "gateway", 65_536)
        assert row["length"] > 1_200_000
        assert len(row["sha256"]) == 64


async def test_an_undecodable_body_of_a_known_sender_is_kept(
    gateway: Gateway, http: httpx.Client, key: str, tenant: str
) -> None:
    assert http.post("/v1/logs", content=b"{nonsense", headers=bearer(key)).status_code == 400
    (row,) = await gateway.stored("rejected", tenant)
    assert (row["original"], row["reason"]) == (b"{nonsense", "malformed_json")
    assert row["ingest_key_id"] == keys.parse_key(key).id
    assert row["sha256"] == hashlib.sha256(b"{nonsense").hexdigest()


async def test_records_without_time_name_or_session_are_stored(
    gateway: Gateway, http: httpx.Client, key: str, tenant: str
) -> None:
    body = logs({}, {"attributes": otlp.attributes(session__id="s")}, {"timeUnixNano": otlp.TIME})
    assert http.post("/v1/logs", content=as_json(body), headers=bearer(key)).json() == {}
    rows = await gateway.stored("events", tenant)
    assert len(rows) == 3
    assert all(row["event_time"] > 0 for row in rows)


async def test_both_spellings_of_integers_and_snake_case_give_the_same_record(
    gateway: Gateway, http: httpx.Client, key: str, tenant: str
) -> None:
    spelled: list[Any] = [5, "5"]
    for value in spelled:
        record = {
            "timeUnixNano": otlp.TIME if value == 5 else int(otlp.TIME),
            "attributes": [
                {"key": "event.name", "value": {"stringValue": "user_prompt"}},
                {"key": "event.sequence", "value": {"intValue": value}},
            ],
        }
        assert http.post("/v1/logs", content=as_json(logs(record)), headers=bearer(key)).status_code == 200
    first, second = await gateway.stored("events", tenant)
    assert first["event_id"] == second["event_id"]
    assert (first["event_sequence"], first["event_time"]) == (second["event_sequence"], second["event_time"])


async def test_records_of_a_session_keep_their_order(
    gateway: Gateway, channel: grpc.aio.Channel, key: str, tenant: str
) -> None:
    body = logs(*[log(sequence=n, session=f"s{n % 3}", filler="x" * 200) for n in range(900)])
    await export(channel, "logs", as_protobuf("logs", body), key)
    by_session: dict[str, list[int]] = {}
    for row in await gateway.stored("events", tenant):
        by_session.setdefault(row["session_id"], []).append(row["event_sequence"])
    assert by_session == {f"s{k}": list(range(k, 900, 3)) for k in range(3)}


async def test_a_record_larger_than_a_batch_is_stored(
    gateway: Gateway, http: httpx.Client, key: str, tenant: str
) -> None:
    body = logs(log(), log("api_request_body", 1, body="x" * 900_000), log("api_request", 2))
    assert http.post("/v1/logs", content=as_json(body), headers=bearer(key)).json() == {}
    (row,) = await gateway.stored("content", tenant)
    assert len(row["text"]) == 900_000


async def test_a_topic_that_takes_less_than_the_catalogue_says_stops_only_what_is_too_large(
    kafka: Broker, tmp_path: Path, tenant: str
) -> None:
    gateway = Gateway(kafka.bootstrap, f"o{tenant[:8]}", tmp_path / "log")
    await gateway.make_topics()
    admin = AIOKafkaAdminClient(**gateway.kafka)
    await admin.start()
    name = topics.full_name(gateway.prefix, "content")
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, {"max.message.bytes": "100000"})])
    await admin.close()
    try:
        gateway.start()
        headers = bearer(await gateway.key(tenant))
        url = f"http://127.0.0.1:{gateway.http_port}/v1/logs"
        noise = "".join(random.Random(1).choices(string.printable, k=300_000))
        async with httpx.AsyncClient(timeout=30) as client:

            async def send(sequence: int, prompt: str) -> httpx.Response:
                body = as_json(logs(log(sequence=sequence, prompt=prompt)))
                return await client.post(url, content=body, headers=headers)

            assert (await send(0, "small")).status_code == 200
            answer = await send(1, noise)
            assert (answer.status_code, answer.json()["code"]) == (413, 3), answer.content
            for sequence in range(2, 6):
                assert (await send(sequence, "small")).status_code == 200
        assert len(await gateway.stored("content", tenant)) == 5
        assert [row["reason"] for row in await gateway.stored("rejected", tenant)] == ["too_large"]
        assert gateway.stop() == 0
    finally:
        gateway.kill()


async def test_grpc_health_tells_that_it_serves(channel: grpc.aio.Channel) -> None:
    for service in ("", "opentelemetry.proto.collector.logs.v1.LogsService"):
        request = health_pb2.HealthCheckRequest(service=service)
        answer = await health_pb2_grpc.HealthStub(channel).Check(request)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
