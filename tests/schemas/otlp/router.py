"""A router's files as OTLP: a small adapter for recordings of others, which lie beside a clone or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.schemas.otlp.requests import attributes

FILES = Path(__file__).parents[4] / "shared" / "third_party" / "cribl-cc-edge-claude-code-otel" / "data" / "samples"
_SIGNALS = {"resource_logs": "logs", "resource_metrics": "metrics"}


def requests(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """(signal, OTLP/JSON document) of every event of the file; none in a transcript, which is no telemetry."""
    return [
        (signal, {outer: [_otlp(group)]})
        for group in (json.loads(event["_raw"]) for event in json.loads(path.read_text()))
        for outer, signal in _SIGNALS.items()
        if outer.replace("resource", "scope") in group
    ]


def _otlp(value: Any) -> Any:
    """The router's tree in OTLP/JSON: attributes as a list of pairs, points under the kind of their metric."""
    if isinstance(value, list):
        return [_otlp(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {k: _pairs(v) if k == "attributes" else _otlp(v) for k, v in value.items()}
    data = found.get("data", {})
    if "data_points" in data:
        points = [{("as_double" if k == "value" else k): v for k, v in point.items()} for point in data["data_points"]]
        found["sum"] = {**found.pop("data"), "data_points": points}
    return found


def _pairs(held: dict[str, Any]) -> list[dict[str, Any]]:
    """The router's map, whose values are AnyValues or plain."""
    return [
        {"key": key, "value": value} if isinstance(value, dict) else attributes({key: value})[0]
        for key, value in held.items()
    ]
