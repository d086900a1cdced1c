"""What routing does to the records of a request."""

from __future__ import annotations

import dataclasses
from typing import Any

from schemas import codec, otlp, routing
from schemas.otlp import Routed
from schemas.topics import CATALOGUE
from tests.schemas.otlp.requests import (
    CONTEXT,
    RECEIVED_US,
    TIME_NS,
    TIME_US,
    as_json,
    captured,
    content_type_of,
    log,
    logs,
    metric,
    signal_of,
    span,
    spans,
)

SAID = {"session.id": "s1", "user.id": "u1", "team.id": "platform"}


def context(*rules: dict[str, Any]) -> otlp.Context:
    named = [{"name": f"r{number}", **rule} for number, rule in enumerate(rules)]
    return dataclasses.replace(CONTEXT, routing=routing.parse({"rules": named}))


def stored(decoded: otlp.Decoded) -> list[tuple[str, dict[str, Any]]]:
    """(topic, what stands in it) of every message, without the fields that are as by default."""
    out = []
    for entry in decoded.entries:
        for message in entry.messages:
            name = CATALOGUE[message.topic].record
            row = codec.decode(name, message.value)
            out.append((message.topic, {k: v for k, v in row.items() if v not in (None, {}, [], False)}))
    return out


def routed(decoded: otlp.Decoded) -> list[Routed]:
    return [one for entry in decoded.entries for one in entry.routed]


def transcoded(signal: Any, body: Any, *rules: dict[str, Any]) -> otlp.Decoded:
    return otlp.transcode(signal, otlp.JSON, as_json(body), context(*rules))


def prompt(sequence: int, **more: Any) -> dict[str, Any]:
    return log({"event.name": "user_prompt", "event.sequence": sequence, "prompt": "a secret", **SAID, **more})


def test_what_no_rule_takes_is_hot() -> None:
    decoded = transcoded("logs", logs(prompt(1)), {"when": {"event": "hook_*"}, "route": "drop"})
    assert [(topic, row["route"], row.get("routing_rule")) for topic, row in stored(decoded)] == [
        ("events", "hot", None),
        ("content", "hot", None),
    ]
    assert routed(decoded) == []


def test_an_archived_event_says_so_and_by_which_rule() -> None:
    decoded = transcoded("logs", logs(prompt(1)), {"when": {"team": "plat*"}, "route": "archive"})
    assert [(topic, row["route"], row.get("routing_rule")) for topic, row in stored(decoded)] == [
        ("events", "archive", "r0"),
        ("content", "archive", None),
    ]
    assert routed(decoded) == [Routed("r0", "archive", "logs", 1), Routed("r0", "archive", "content", 1)]


def test_a_dropped_event_of_a_session_leaves_its_place_in_the_sequence_and_nothing_else() -> None:
    decoded = transcoded("logs", logs(prompt(7)), {"when": {"event": "user_prompt"}, "route": "drop"})
    (whole,) = stored(transcoded("logs", logs(prompt(7))))[:1]
    assert stored(decoded) == [
        (
            "events",
            {
                "event_id": whole[1]["event_id"],
                "tenant": "acme",
                "event_name": "user_prompt",
                "event_time": TIME_US,
                "received_time": RECEIVED_US,
                "session_id": "s1",
                "event_sequence": 7,
                "route": "drop",
                "routing_rule": "r0",
            },
        )
    ]
    (entry,) = decoded.entries
    assert entry.dropped
    assert b"u1" not in entry.messages[0].value
    assert b"platform" not in entry.messages[0].value
    assert dict(entry.messages[0].headers).keys() == {"event_name", "tenant", "content-type"}
    assert routed(decoded) == [Routed("r0", "drop", "logs", 1)]


def test_what_is_left_of_a_dropped_event_says_which_key_sent_it() -> None:
    by_key = dataclasses.replace(context({"route": "drop"}), ingest_key_id="k1")
    (place,) = stored(otlp.transcode("logs", otlp.JSON, as_json(logs(prompt(7))), by_key))
    assert place[1]["ingest_key_id"] == "k1"


def test_a_dropped_event_keeps_the_key_and_the_doubt_about_its_clock() -> None:
    old = {"timeUnixNano": str(TIME_NS - 40 * 86_400 * 10**9)}
    body = logs(prompt(7) | old)
    (dropped,) = transcoded("logs", body, {"route": "drop"}).entries[0].messages
    whole = transcoded("logs", body).entries[0].messages[0]
    assert (dropped.key, dropped.partition_key) == (whole.key, whole.partition_key)
    assert codec.decode("claude_event", dropped.value)["clock_suspect"]


def test_other_dropped_records_leave_nothing() -> None:
    nameless = [log({"event.name": "x", "event.sequence": 1}), log({"event.name": "x", "session.id": "s1"})]
    decoded = transcoded("logs", logs(*nameless), {"route": "drop"})
    assert [entry.messages for entry in decoded.entries] == [(), ()]
    point = metric("claude_code.cost.usage", {"sum": {"dataPoints": [{"asDouble": 1.5, "timeUnixNano": str(TIME_NS)}]}})
    for signal, body, name in (("metrics", point, "cost.usage"), ("traces", spans(span({"tool": "x"})), "tool")):
        decoded = transcoded(signal, body, {"when": {"event": name}, "route": "drop"})
        assert [entry.messages for entry in decoded.entries] == [()]
        assert routed(decoded) == [Routed("r0", "drop", signal, 1)]


def test_content_can_be_dropped_apart_from_its_event() -> None:
    decoded = transcoded("logs", logs(prompt(1)), {"when": {"class": "content"}, "route": "drop"})
    ((topic, event),) = stored(decoded)
    assert (topic, event["route"], event["prompt"]) == ("events", "hot", "<content>")
    assert b"a secret" not in decoded.entries[0].messages[0].value
    assert routed(decoded) == [Routed("r0", "drop", "content", 1)]


def test_the_text_of_a_resource_goes_with_the_first_record_that_is_kept() -> None:
    body = logs(log({"event.name": "hook_x"}), prompt(2), prompt(3), resource={"note": "long " * 100})
    decoded = transcoded("logs", body, {"when": {"event": "hook_*"}, "route": "drop"})
    rows = [(row["field"], row["event_name"]) for topic, row in stored(decoded) if topic == "content"]
    assert rows == [("resource.note", "user_prompt"), ("prompt", "user_prompt"), ("prompt", "user_prompt")]


def test_a_record_whose_ids_are_none_is_rejected_whatever_the_rules_say() -> None:
    decoded = transcoded("logs", logs(prompt(1, **{"session.id": "s" * 1025})), {"route": "drop"})
    assert [rejection.reason for rejection in decoded.rejections] == ["invalid_id"]


def test_rules_ask_what_the_record_says_before_what_its_resource_says() -> None:
    rule = {"when": {"version": ">=2.1", "service": "claude-code"}, "route": "archive"}
    resource = {"service.name": "claude-code", "service.version": "1.0.9"}
    records = [log({"event.name": "x"}), log({"event.name": "x", "app.version": "2.1.3"})]
    found = stored(transcoded("logs", logs(*records, resource=resource), rule))
    assert [row["route"] for _, row in found] == ["hot", "archive"]


def test_every_record_of_the_captures_is_stored_or_counted() -> None:
    """Each signal is dropped, archived or left alone in turn; messages and counts together are what was sent."""
    for path in captured():
        signal, kind, body = signal_of(path), content_type_of(path), path.read_bytes()
        plain = otlp.transcode(signal, kind, body, CONTEXT)
        for route in routing.ROUTES:
            rules = context({"when": {"signal": signal}, "route": route})
            decoded = otlp.transcode(signal, kind, body, rules)
            counted = [one for one in routed(decoded) if one.what == signal]
            assert sum(one.records for one in counted) == len(decoded.entries) == len(plain.entries)
            kept = [len(entry.messages) for entry in decoded.entries if not entry.dropped]
            assert kept == ([] if route == "drop" else [len(entry.messages) for entry in plain.entries])
