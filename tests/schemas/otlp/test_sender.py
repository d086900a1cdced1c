"""Which key sent a record is said in it, and changes nothing else: a re-send with another key is the same record."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from schemas import codec, otlp
from schemas.policy import Policy
from schemas.topics import CATALOGUE
from tests.schemas.otlp.requests import CONTEXT, as_json, log, logs, metric, span, spans

SAID = {"session.id": "s1", "user.id": "u1"}
POINT = {"timeUnixNano": "1795178530595000000", "asInt": "7"}
REQUESTS: dict[Any, dict[str, Any]] = {
    # The second has no sequence: its id is made of all its attributes.
    "logs": logs(log({"event.name": "user_prompt", "event.sequence": 1, "prompt": "x", **SAID}), log(SAID)),
    "metrics": metric("claude_code.token.usage", {"sum": {"aggregationTemporality": 1, "dataPoints": [POINT]}}),
    "traces": spans(span({**SAID, "user_prompt": "x"})),
}


def sent(signal: Any, key_id: str | None, **context: Any) -> list[tuple[str, bytes, bytes, dict[str, Any]]]:
    """Topic, key, partition key and record of each message of a request that came with this key."""
    by_key = dataclasses.replace(CONTEXT, ingest_key_id=key_id, **context)
    decoded = otlp.transcode(signal, otlp.JSON, as_json(REQUESTS[signal]), by_key)
    return [
        (m.topic, m.key, m.partition_key, codec.decode(CATALOGUE[m.topic].record, m.value))
        for entry in decoded.entries
        for m in entry.messages
    ]


@pytest.mark.parametrize("signal", REQUESTS)
def test_every_record_says_which_key_sent_it_and_content_leaves_that_to_its_event(signal: Any) -> None:
    for key_id in ("k1", None):
        for topic, _, _, row in sent(signal, key_id):
            assert row.get("ingest_key_id", "not a field") == ("not a field" if topic == "content" else key_id)


@pytest.mark.parametrize("signal", REQUESTS)
def test_a_re_send_with_another_key_is_the_same_record_in_the_same_place(signal: Any) -> None:
    def but_for_the_key(key_id: str) -> list[Any]:
        return [(*place, {**row, "ingest_key_id": None}) for *place, row in sent(signal, key_id)]

    assert but_for_the_key("k1") == but_for_the_key("k2")


@pytest.mark.parametrize("signal", REQUESTS)
def test_no_policy_takes_it_away(signal: Any) -> None:
    strict = Policy(classes={"usage": "drop", "content": "drop"})
    assert {row["ingest_key_id"] for *_, row in sent(signal, "k1", policy=strict)} == {"k1"}
