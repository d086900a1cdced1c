"""The topics as an AsyncAPI 3.0 document: channels, keys, headers and Avro payloads, for who reads them without us.

    python -m schemas.asyncapi          prints it
    python -m schemas.asyncapi write    writes docs/asyncapi.json
    python -m schemas.asyncapi check    exits with 1 if docs/asyncapi.json is not what would be written

All of it comes from the topic catalogue and the .avsc files.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from schemas import cloudevents, framing, records, topics
from schemas.records import Record
from schemas.topics import Topic

FILE = Path(__file__).parents[1] / "docs" / "asyncapi.json"
_AVRO = "application/vnd.apache.avro;version=1.9.0"
_BINDING = "0.5.0"
# What a topic's sizing says is of a cluster; one machine has fewer.
_PROFILE: topics.Profile = "cluster"

_DESCRIPTION = """\
What Millrace writes to Kafka. A value is Avro of the newest version of its record, in one of two frames: without a
schema registry a single object (C3 01, 8 bytes CRC-64-AVRO fingerprint of the writer's schema, little endian, body);
with one Confluent's (00, 4 bytes schema id, big endian, body), under the subject <topic>-value. All versions of a
record are FULL_TRANSITIVE. A value of null is a tombstone: it takes back what the key had."""


def document(prefix: str = "claude") -> dict[str, Any]:
    """The document as plain JSON values.  prefix: of the topics' names."""
    catalogue = topics.CATALOGUE
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Millrace", "version": "1.0.0", "description": _DESCRIPTION},
        "defaultContentType": framing.CONTENT_TYPE.decode(),
        "channels": {name: _channel(topic, prefix) for name, topic in catalogue.items()},
        "operations": {f"send-{name}": _operation(name) for name in catalogue},
        "components": {
            "messages": {topic.record: _message(topic) for topic in catalogue.values()},
            "messageTraits": {"cloudevents": _cloudevents()},
        },
    }


def text(prefix: str = "claude") -> str:
    """The document as JSON, one field of a record a line, as in the .avsc files."""
    fields: list[str] = []

    def aside(value: Any) -> Any:
        """The same value with a mark, which is the place in `fields`, for everything that is to be one line."""
        if isinstance(value, list):
            return [aside(item) for item in value]
        if isinstance(value, dict) and value.keys() >= {"name", "type", "doc"} and "fields" not in value:
            fields.append(json.dumps(value, ensure_ascii=False))
            return f"@{len(fields) - 1}@"
        return {key: aside(item) for key, item in value.items()} if isinstance(value, dict) else value

    whole = json.dumps(aside(document(prefix)), indent=2, ensure_ascii=False) + "\n"
    return re.sub(r'"@(\d+)@"', lambda mark: fields[int(mark[1])], whole)


def _channel(topic: Topic, prefix: str) -> dict[str, Any]:
    sizing, config = topic.sizing(_PROFILE), topic.kafka_config(_PROFILE)
    return {
        "address": topics.full_name(prefix, topic.name),
        "description": _newest(topic).schema["doc"],
        "messages": {topic.record: {"$ref": f"#/components/messages/{topic.record}"}},
        "bindings": {
            "kafka": {
                "topic": topics.full_name(prefix, topic.name),
                "partitions": sizing.partitions,
                "replicas": sizing.replication,
                "topicConfiguration": {
                    "cleanup.policy": config["cleanup.policy"].split(","),
                    "retention.ms": int(config["retention.ms"]),
                    **{key: int(config[key]) for key in ("delete.retention.ms", "max.message.bytes") if key in config},
                },
                "bindingVersion": _BINDING,
            }
        },
    }


def _operation(name: str) -> dict[str, Any]:
    record = topics.CATALOGUE[name].record
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{name}"},
        "messages": [{"$ref": f"#/channels/{name}/messages/{record}"}],
    }


def _message(topic: Topic) -> dict[str, Any]:
    newest = _newest(topic)
    kafka: dict[str, Any] = {
        "schemaIdLocation": "payload",
        "schemaIdPayloadEncoding": "confluent",
        "schemaLookupStrategy": "TopicNameStrategy",
        "bindingVersion": _BINDING,
    }
    if topic.key_parts:
        kafka["key"] = {"type": "string", "description": _key(topic)}
    message = {
        "name": newest.schema["name"],
        "title": f"{newest.schema['name']} v{newest.version}",
        "contentType": framing.CONTENT_TYPE.decode(),
        "headers": _headers(topic),
        "payload": {"schemaFormat": _AVRO, "schema": _payload(newest)},
        "bindings": {"kafka": kafka},
    }
    if topic.name in cloudevents.TOPICS:
        message["traits"] = [{"$ref": "#/components/messageTraits/cloudevents"}]
    return message


def _payload(record: Record) -> dict[str, Any]:
    """The .avsc without what only concerns where Millrace takes a field from."""
    told = ("name", "type", "default", "doc", "class", "unit")
    return {**record.schema, "fields": [{key: f[key] for key in told if key in f} for f in record.schema["fields"]]}


def _key(topic: Topic) -> str:
    parts = ", ".join(topic.key_parts)
    deciding = ", ".join(topic.key_parts[: topic.partition_parts])
    note = (
        "; where a record has no session, its user or a hash of its resource" if "session_id" in topic.key_parts else ""
    )
    return f"{parts}, in UTF-8, joined by 0x1F{note}. Kafka's murmur2 of {deciding} picks the partition."


def _headers(topic: Topic) -> dict[str, Any]:
    string = {"type": "string"}
    said: dict[str, Any] = {}
    if topic.name in cloudevents.TOPICS:
        said["event_name"] = {**string, "description": "Event, metric or span, at most 128 characters."}
        said["traceparent"] = {**string, "description": "W3C trace context, where the record belongs to a span."}
    if topic.name not in ("control", "audit"):
        said["tenant"] = {**string, "description": "Tenant of the record."}
        said["content-type"] = {"const": framing.CONTENT_TYPE.decode(), "description": "Not on a tombstone."}
    return {"type": "object", "properties": said}


def _cloudevents() -> dict[str, Any]:
    string = {"type": "string"}
    return {
        "description": "CloudEvents 1.0 in binary mode; only where MILLRACE_CLOUDEVENTS is true.",
        "headers": {
            "type": "object",
            "properties": {
                "ce_specversion": {"const": "1.0"},
                "ce_id": {**string, "description": "Id of the record; a re-send has the same."},
                "ce_source": {**string, "description": "/millrace/<prefix>/<tenant>"},
                "ce_type": {**string, "description": "millrace.<record>.<event, metric or span>"},
                "ce_subject": {**string, "description": "Session, where there is one."},
                "ce_time": {**string, "format": "date-time", "description": "When it happened."},
            },
        },
    }


def _newest(topic: Topic) -> Record:
    return records.record(topic.record)


def main(arguments: Sequence[str] = (), *, file: Path = FILE) -> int:
    """Print the document; `write` it, or `check` that the file is it."""
    if list(arguments) == ["write"]:
        file.write_text(text(), encoding="utf-8")
    elif list(arguments) != ["check"]:
        print(text(), end="")
    elif not file.exists() or file.read_text(encoding="utf-8") != text():
        print(f"{file.parent.name}/{file.name} is behind the schemas or the topics: python -m schemas.asyncapi write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
