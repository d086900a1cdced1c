"""Where mutation starts: every recorded request, in both encodings, and the records that come of them."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf import json_format

from schemas import codec, otlp, records
from schemas.topics import CATALOGUE
from tests.fuzz.case import Case
from tests.schemas.otlp.requests import CONTEXT, KINDS, as_json, as_protobuf, captured, content_type_of, signal_of, span
from tests.schemas.otlp.requests import spans as spans_of

_LARGEST = 20_000
_SPAN = spans_of(
    span(
        {"session.id": "s", "tool_name": "Bash", "duration_ms": 5, "novel": [1, {"a": b"b"}]},
        events=[{"name": "tool.output", "timeUnixNano": "1", "attributes": []}],
        links=[{"traceId": "26cfcfdf49ccb1c13048a9c205eeeed1", "spanId": "5a1e2b3c4d5e6f70"}],
        status={"code": 2, "message": "m"},
    ),
    resource={"service.name": "claude-code"},
)


def seeds() -> list[Case]:
    """One small request of each shape, and one record of each topic."""
    documents: list[tuple[Any, dict[str, Any]]] = [("traces", _SPAN)]
    for path in captured():
        signal = signal_of(path)
        if content_type_of(path) == otlp.JSON:
            documents.append((signal, json.loads(path.read_text())))
        else:
            message = KINDS[signal].FromString(path.read_bytes())
            documents.append((signal, json_format.MessageToDict(message, use_integers_for_enums=True)))
    found = []
    for signal, document in documents:
        small = cut(document)
        found += [Case("json", signal, as_json(small)), Case("protobuf", signal, as_protobuf(signal, small))]
        for entry in otlp.transcode(signal, otlp.JSON, as_json(small), CONTEXT).entries:
            found += [Case("codec", CATALOGUE[m.topic].record, m.value) for m in entry.messages]
    for name in records.NAMES:
        for example in sorted((records.FOLDER / name / "examples").glob("*.json")):
            if name != "rejected":  # Its bytes are no JSON.
                found.append(Case("codec", name, codec.encode(name, json.loads(example.read_text()))))
    return sorted({case for case in found if len(case.body) < _LARGEST})


def cut(value: Any) -> Any:
    """The document with at most three of each list of records, so that a mutation hits something that counts."""
    if isinstance(value, list):
        most = 3 if value and isinstance(value[0], dict) and "key" not in value[0] else len(value)
        return [cut(item) for item in value[:most]]
    return {key: cut(item) for key, item in value.items()} if isinstance(value, dict) else value
