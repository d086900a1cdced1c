"""CloudEvents 1.0 in the Kafka binding's binary mode: headers beside an unchanged Avro value.

Only what the gateway writes is an event, something that happened once. Sessions, hours and windows are rows of state
that are replaced and taken back, which CloudEvents has no words for.

ce_id        the record's own id: a re-send has the same one, as CloudEvents wants it
ce_source    /millrace/<prefix>/<tenant>
ce_type      millrace.<record>.<event or metric>, without the last where it has no name
ce_subject   the session, where there is one
ce_time      when it happened; of a rejected record when it came
content-type application/avro, which every message of ours has anyway
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from schemas import codec
from schemas.otlp import Message
from schemas.topics import CATALOGUE


class _Names(NamedTuple):
    """The fields of a record that say what CloudEvents asks."""

    time: str
    identity: tuple[str, ...]
    subject: str | None = "session_id"


_NAMES = {
    "events": _Names("event_time", ("event_id",)),
    "metrics": _Names("event_time", ("point_id",)),
    "spans": _Names("start_time", ("trace_id", "span_id")),
    "content": _Names("event_time", ("event_id", "trace_id", "span_id", "field")),
    "rejected": _Names("received_at", ("sha256", "received_at"), None),
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What a CloudEvents String may not have; lone surrogates cannot be in a record.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f]")

TOPICS = tuple(_NAMES)


def with_headers(messages: Sequence[Message], prefix: str) -> list[Message]:
    """The same messages with the headers of CloudEvents.  prefix: of the topics' names."""
    return [m._replace(headers=(*m.headers, *_headers(m, prefix))) for m in messages]


def _headers(message: Message, prefix: str) -> list[tuple[str, bytes]]:
    have, names = dict(message.headers), _NAMES[message.topic]
    fields, read = _reader(message.topic)
    said = dict(zip(fields, read((message.value,))[0], strict=True))
    kind, name = f"millrace.{CATALOGUE[message.topic].record}", have["event_name"].decode()
    found = {
        "ce_specversion": "1.0",
        "ce_id": "/".join(str(said[field]) for field in names.identity if said[field] is not None),
        "ce_source": f"/millrace/{prefix}/{have['tenant'].decode()}",
        "ce_type": f"{kind}.{name}" if name and message.topic != "rejected" else kind,
        "ce_time": (_EPOCH + timedelta(microseconds=said[names.time])).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
    if names.subject and said[names.subject]:
        found["ce_subject"] = said[names.subject]
    return [(key, _FORBIDDEN.sub("\ufffd", value).encode()) for key, value in found.items()]


@functools.cache
def _reader(topic: str) -> tuple[tuple[str, ...], codec.Reader]:
    """The fields above, each once, and what reads them."""
    names = _NAMES[topic]
    fields = tuple(dict.fromkeys((names.time, *names.identity, *([names.subject] if names.subject else []))))
    return fields, codec.reader(CATALOGUE[topic].record, fields)
