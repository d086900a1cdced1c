"""Events and spans to map: every recorded one, and one of each action with every field set."""

from __future__ import annotations

from typing import Any

from schemas import otlp, records
from schemas.mapping import actions
from tests.schemas.otlp.requests import CONTEXT, RECEIVED_US, TIME_US, captured, content_type_of, records_of, signal_of

VALUES: dict[str, Any] = {
    "string": "x",
    "long": 7,
    "int": 9,
    "double": 0.25,
    "boolean": True,
    "timestamp": TIME_US,
    "map_string": {"a": "b"},
    "array_string": ["a", "b"],
}
# Fields whose words mean something to a mapping.
WORDS = {
    "file_path": "C:\\work/a folder\\b.py",
    "command_line": "git status",
    "url": "https://example.com/a?b",
    "os_type": "darwin",
    "pipeline_error": None,
}


def recorded(signal: str, record: str) -> list[dict[str, Any]]:
    """Every captured record of a signal, as the gateway makes it."""
    found = []
    for path in captured():
        if signal_of(path) == signal:
            decoded = otlp.transcode(signal_of(path), content_type_of(path), path.read_bytes(), CONTEXT)
            found += [records_of(entry)[0] for entry in decoded.entries]
    assert found, record
    return found


def full(record: str, **fields: Any) -> dict[str, Any]:
    """A record with every field set."""
    values = {f.name: "<content>" if f.cls == "content" else VALUES[f.type] for f in records.record(record).fields}
    values["tenant"] = "acme"
    return values | WORDS | fields if record == "claude_event" else values | fields


def bare(**fields: Any) -> dict[str, Any]:
    """An event with no more than every event has."""
    least = {"event_id": "e", "tenant": "acme", "event_time": TIME_US, "received_time": RECEIVED_US}
    return least | {"clock_suspect": False} | fields


def of_every_action() -> list[dict[str, Any]]:
    """A full and a bare event for each action."""
    found = []
    for number, action in enumerate(actions.ACTIONS):
        name, _, word = action.partition(".")
        event = actions.EVENTS[name]
        case = next(case for case in (event.usual, *event.cases.values()) if case.word == word)
        said = {"event_name": name, "event_action": action, "event_category": case.category}
        decision = {"decision": word or None} if name == "tool_decision" else {}
        found.append(full("claude_event", event_id=f"full-{number}", event_outcome="success", **said, **decision))
        found.append(bare(event_id=f"bare-{number}", **said))
    return found
