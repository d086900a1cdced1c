"""Our events in other people's words: what was done, and the same record as ECS, OCSF and OpenTelemetry gen_ai have it.

    actions.py       event_action, event_category and event_outcome of every event, one table
    tables.py        reads ecs.json, ocsf.json and gen_ai.json; each makes the functions here and views in sinks/query
    expressions.py   what the expressions of those tables mean

The functions take an event or a span as the codec gives it, and give a document; None where the record has no meaning
in those words. A document has what its record has: who may not see a class takes it out of the record first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.mapping.tables import views

__all__ = ["ecs", "gen_ai", "ocsf"]


def _kind(record: Mapping[str, Any]) -> str:
    return "spans" if "span_id" in record and "start_time" in record else "events"


def ecs(record: Mapping[str, Any]) -> dict[str, Any]:
    """An event or a span as a document of the Elastic Common Schema."""
    return views()[f"{_kind(record)}_ecs"].document(record) or {}


def ocsf(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event as an event of the Open Cybersecurity Schema Framework.

    Raises:  ValueError: a span. It says the same as the events of its tool call and request, which have classes there.
    """
    if _kind(event) == "spans":
        raise ValueError("a span has no class in OCSF: map the events of its trace, or the span with ecs()")
    return views()["events_ocsf"].document(event) or {}


def gen_ai(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """What an event or a span says as OpenTelemetry's gen_ai conventions name it; None for what is no such operation.

    Returns: attribute → value: OpenTelemetry's attributes are flat.
    """
    return views()[f"{_kind(record)}_gen_ai"].flat(record)
