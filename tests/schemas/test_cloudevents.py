"""The headers of CloudEvents, as CloudEvents' own SDK reads them, on every kind of message that the gateway writes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat

from schemas import cloudevents, codec, otlp
from schemas.otlp import Message
from schemas.topics import CATALOGUE
from tests.schemas.otlp.requests import (
    CONTEXT,
    RECEIVED_US,
    TIME_US,
    captured,
    content_type_of,
    decoded,
    log,
    logs,
    signal_of,
    span,
    spans,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read(message: Message) -> BaseCloudEvent:
    """What the SDK makes of a message, as a consumer gets it. It raises where CloudEvents' rules are broken."""
    headers = dict(message.headers)
    assert len(headers) == len(message.headers)
    return from_binary(KafkaMessage(headers, None, message.value), JSONFormat())


def sent(signal: otlp.Signal, content_type: str, body: bytes) -> list[Message]:
    found = otlp.transcode(signal, content_type, body, CONTEXT)
    plain = [message for entry in found.entries for message in entry.messages]
    return cloudevents.with_headers(plain, "claude")


def all_recorded() -> list[Message]:
    return [m for path in captured() for m in sent(signal_of(path), content_type_of(path), path.read_bytes())]


def test_every_recorded_message_is_an_event_to_the_sdk() -> None:
    seen = set()
    for message in all_recorded():
        event = read(message)
        record = codec.decode(CATALOGUE[message.topic].record, message.value)
        seen.add(message.topic)
        assert event.get_data() == message.value
        assert event.get_specversion() == "1.0"
        assert event.get_datacontenttype() == "application/avro"
        assert event.get_source() == "/millrace/claude/acme"
        assert event.get_subject() == record["session_id"]
        assert event.get_time() == EPOCH + timedelta(microseconds=record["event_time"])
        name = record["metric"] if message.topic == "metrics" else record["event_name"]
        assert event.get_type() == f"millrace.{CATALOGUE[message.topic].record}.{name}"
    assert seen == {"events", "metrics", "content"}


def test_an_id_is_that_of_the_record_so_a_re_send_has_the_same() -> None:
    first, again = all_recorded(), all_recorded()
    assert [read(m).get_id() for m in first] == [read(m).get_id() for m in again]
    events = [m for m in first if m.topic == "events"]
    assert [read(m).get_id() for m in events] == [codec.decode("claude_event", m.value)["event_id"] for m in events]


def test_different_records_have_different_ids() -> None:
    request = logs(log({"event.name": "tool_result", "tool_input": "{}", "tool_parameters": "{}", "session.id": "s"}))
    (entry,) = decoded("logs", request).entries
    ids = [read(m).get_id() for m in cloudevents.with_headers(entry.messages, "claude")]
    assert len(set(ids)) == len(ids) == 3


def test_a_span_is_named_by_both_of_its_ids() -> None:
    (entry,) = decoded("traces", spans(span({"session.id": "s"}))).entries
    (event,) = [read(m) for m in cloudevents.with_headers(entry.messages, "claude")]
    assert event.get_id() == "26cfcfdf49ccb1c13048a9c205eeeed1/5a1e2b3c4d5e6f70"
    assert event.get_type() == "millrace.claude_span.claude_code.tool"
    assert event.get_time() == EPOCH + timedelta(microseconds=TIME_US)


def test_a_rejected_record_is_an_event_too() -> None:
    message = otlp.rejected(
        b"{", tenant="acme", received_us=RECEIVED_US, stage="gateway", reason="malformed_json", error="no"
    )
    event = read(cloudevents.with_headers([message], "claude")[0])
    assert (event.get_type(), event.get_subject()) == ("millrace.rejected", None)
    assert event.get_time() == EPOCH + timedelta(microseconds=RECEIVED_US)


@pytest.mark.parametrize("text", ["a\nb", "a\x00b", "a\x9fb", "Zoë/ü", "x" * 1000])
def test_whatever_a_client_says_stays_a_cloudevents_string(text: str) -> None:
    (entry,) = decoded("logs", logs(log({"event.name": text, "session.id": text}))).entries
    event = read(cloudevents.with_headers(entry.messages[:1], "claude")[0])
    for said in (event.get_type(), event.get_subject()):
        assert said
        assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in said)


def test_what_cannot_have_an_empty_type_has_none() -> None:
    (entry,) = decoded("logs", logs(log({}))).entries
    event = read(cloudevents.with_headers(entry.messages, "claude")[0])
    assert (event.get_type(), event.get_subject()) == ("millrace.claude_event", None)


def test_the_other_headers_stay_as_they_were() -> None:
    (entry,) = decoded("logs", logs(log({"event.name": "x"}))).entries
    (plain,) = entry.messages
    (marked,) = cloudevents.with_headers([plain], "claude")
    assert marked.headers[: len(plain.headers)] == plain.headers
    assert marked._replace(headers=()) == plain._replace(headers=())
