"""A client that says something hostile wherever a client can say anything: in every text of every name it may send."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from schemas.catalogue import RECORDS, Kind, catalogue
from schemas.records import record
from tests.e2e.requests import NESTING, Recorded

# What nobody may get to run: in an element, in an attribute, in a script, behind a link, by htmx, in a template; and a
# word without an end. 256 characters, and what stands around it, are the most that is no content by its length alone.
HOSTILE = (
    """<script>alert('x');hurt=1</script>"'>&</script><img src=x onerror=alert(1)>"""
    """<a href="javascript:alert(2)" hx-get="/hurt" hx-trigger="load" hx-on:load="alert(3)">{{7*7}}</a>"""
).ljust(240, "W")
# In what is content anyway, which has no such bound.
LONG = HOSTILE + "W" * 3000
CONTENT = ("prompt", "prompt_text", "body")
SIGNALS: dict[str, Kind] = {"logs": "events", "metrics": "metrics", "traces": "spans"}
VALUES: dict[str, Any] = {
    "string": HOSTILE,
    "array_string": {"arrayValue": {"values": [{"stringValue": HOSTILE}]}},
    "long": {"intValue": "7"},
    "int": {"intValue": "7"},
    "double": {"doubleValue": 7.0},
    "boolean": {"boolValue": False},
}
RESOURCE = ("service.version", "team.id", "department", "cost_center", "an.unknown.one")


def requests() -> Iterator[Recorded]:
    """One request a signal, of one session."""
    now = time.time_ns()
    for signal, kind in SIGNALS.items():
        records = list(_MAKERS[signal](kind, now))
        outer, inner, leaf = NESTING[signal]
        scope = {"scope": {"name": HOSTILE, "version": HOSTILE}, "schemaUrl": HOSTILE, leaf: records}
        resource = _attributes({"service.name": "claude-code", **dict.fromkeys(RESOURCE, HOSTILE)})
        body = {outer: [{"resource": {"attributes": resource}, "schemaUrl": HOSTILE, inner: [scope]}]}
        yield Recorded("http", signal, "json", json.dumps(body).encode())


def _attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"key": key, "value": value if isinstance(value, dict) else {"stringValue": value}}
        for key, value in values.items()
    ]


def _values(kind: Kind, short: str) -> dict[str, Any]:
    """Attribute → value for all that there is a column for, and one that there is none for."""
    fields = record(RECORDS[kind]).fields
    found: dict[str, Any] = {"an.unknown.name": HOSTILE}
    for field in fields:
        for wire in field.otel:
            event, _, name = wire.rpartition(":")
            if event in ("", short) and field.type in VALUES:
                found[name] = VALUES[field.type]
    found |= {name: LONG for name in CONTENT if found.get(name) == HOSTILE}
    for name in ("tool_parameters", "tool_input"):  # JSON, out of which more columns are taken
        inside = {path.partition(".")[2] for field in fields for path in field.derive if path.startswith(name)}
        found[name] = json.dumps({one: f"sudo {HOSTILE}" if "command" in one else HOSTILE for one in inside})
    return found


def _events(kind: Kind, now: int) -> Iterator[dict[str, Any]]:
    names = [item.short for item in catalogue().items[kind].values()]
    for number, name in enumerate(names):
        values = _values(kind, name) | {"event.name": name, "event.sequence": {"intValue": number}}
        said = {"severityText": HOSTILE, "body": {"stringValue": HOSTILE}, "attributes": _attributes(values)}
        yield {"timeUnixNano": str(now + number), **said}
    # A command that ran; an event that nobody knows; one whose JSON is none and whose number is no number.
    ran = _values(kind, "tool_result") | {"event.name": "tool_result", "tool_name": "Bash"}
    unknown = {"event.name": HOSTILE, "session.id": HOSTILE}
    broken = {**ran, "tool_parameters": f"{{{HOSTILE}", "duration_ms": HOSTILE}
    for number, values in enumerate((ran, unknown, broken), len(names)):
        own = {**values, "event.sequence": {"intValue": number}}
        yield {"timeUnixNano": str(now + number), "attributes": _attributes(own)}


def _points(kind: Kind, now: int) -> Iterator[dict[str, Any]]:
    names = {full: item.unit for full, item in catalogue().items[kind].items()} | {HOSTILE: HOSTILE}
    for name, unit in names.items():
        times = {"startTimeUnixNano": str(now), "timeUnixNano": str(now + 1)}
        point = {**times, "asDouble": 2.0, "attributes": _attributes(_values(kind, name))}
        yield {"name": name, "unit": unit, "sum": {"aggregationTemporality": 1, "dataPoints": [point]}}


def _spans(kind: Kind, now: int) -> Iterator[dict[str, Any]]:
    for number, name in enumerate([*catalogue().items[kind], HOSTILE], 1):
        yield {
            "traceId": f"{now:032x}",
            "spanId": f"{number:016x}",
            "traceState": HOSTILE,
            "name": name,
            "startTimeUnixNano": str(now),
            "endTimeUnixNano": str(now + 1_000_000),
            "status": {"code": 2, "message": HOSTILE},
            "events": [{"timeUnixNano": str(now), "name": HOSTILE, "attributes": _attributes({"a": HOSTILE})}],
            "attributes": _attributes(_values(kind, name)),
        }


_MAKERS: dict[str, Callable[[Kind, int], Iterator[dict[str, Any]]]] = {
    "logs": _events,
    "metrics": _points,
    "traces": _spans,
}
