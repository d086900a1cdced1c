"""Where the routing rules send a record and its content: what the event, point and span normalisers share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.otlp.message import Context, Entry, Message, Routed, Signal
from schemas.routing import CONTENT, DROP, HOT, UNROUTED, Decision, Facts


def decide(
    context: Context, signal: Signal, name: str, values: dict[str, Any], inherited: Mapping[str, Any]
) -> Decision:
    """Where a record goes; `values` get its route and rule where they are not those of `shared`.

    Args:    name: of the event, metric or span.  values, inherited: fields of the record, and of its resource.
    """
    routing = context.routing
    if routing is None:
        return UNROUTED

    def said(field: str) -> str | None:
        found: str | None = values.get(field, inherited.get(field))
        return found

    version = said("app_version") or said("service_version")
    decision = routing.decide(Facts(context.tenant, signal, name, said("team"), said("service_name"), version))
    if decision.rule is not None:
        values["route"], values["routing_rule"] = decision.route, decision.rule
    return decision


def common(context: Context) -> dict[str, Any]:
    """Fields that all records of a request have in common; the route until a rule says otherwise."""
    return came(context) | {"route": HOT}


def came(context: Context) -> dict[str, Any]:
    """How the records of a request came: all that is also said of one that is dropped."""
    return {
        "tenant": context.tenant,
        "received_time": context.received_us,
        "ingest_key_id": context.ingest_key_id,
    }


def content_kept(decision: Decision) -> bool:
    """Whether the content rows of a record that is kept are wanted at all."""
    return decision.content_route != DROP


def entry(decision: Decision, signal: Signal, record: Message, content: list[Message], rows: int) -> Entry:
    """A record that is kept. content: its rows on the content topic.  rows: how many it has, dropped or not."""
    if decision is UNROUTED:
        return Entry((record, *content))
    return Entry((record, *content), _routed(decision, signal, rows))


def dropped(decision: Decision, signal: Signal, place: Message | None = None) -> Entry:
    """A record that is stored nowhere. place: what stands for it in the sequence of its session."""
    return Entry((place,) if place else (), _routed(decision, signal, 0), dropped=True)


def _routed(decision: Decision, signal: Signal, rows: int) -> tuple[Routed, ...]:
    out = []
    if decision.rule is not None:
        out.append(Routed(decision.rule, decision.route, signal, 1))
    if decision.content_rule is not None and rows:
        out.append(Routed(decision.content_rule, decision.content_route, CONTENT, rows))
    return tuple(out)
