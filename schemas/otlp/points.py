"""Data points to MetricPoint: sums and gauges, histograms and summaries, delta and cumulative, one record per point."""

from __future__ import annotations

import math
from typing import Any

from schemas.clocks import believed, possible
from schemas.codec import encoder
from schemas.otlp import attributes as attrs
from schemas.otlp import content, routes
from schemas.otlp.bindings import bindings
from schemas.otlp.events import content_messages
from schemas.otlp.guard import Guard
from schemas.otlp.message import Context, Entry, Keys, Message, digest, headers, uuid_text
from schemas.otlp.model import DataPoint, Group
from schemas.otlp.values import LONG_MAX, canonical, canonical_attributes
from schemas.routing import DROP

RECORD = "metric_point"
METADATA = "metric.metadata."


class Points:
    """Turns the data points of one request into entries."""

    RECORD = RECORD

    def __init__(self, context: Context) -> None:
        self._context = context
        self._keys = Keys(context)
        self._bindings = bindings(RECORD, context.attribute_names)
        self.guard = Guard(context.policy, context.hash_key, RECORD, context.attribute_names)
        self._encoder = encoder(RECORD)

    def shared(self, group: Group) -> attrs.Shared:
        """What the points of the group have in common."""
        return attrs.Shared(self._encoder, self._bindings, group, routes.common(self._context), self.guard)

    def entry(self, point: DataPoint, group: Group, shared: attrs.Shared) -> Entry:
        """One data point as its record and content rows. Raises: CodecError, BadRecord for an id that is none."""
        context, inherited = self._context, shared.fields
        filled = attrs.fill(self._bindings.default, point.attributes, shared)
        values = filled.values
        own = canonical_attributes(point.attributes).decode()
        start, end = (str(t) if t else "" for t in (point.start, point.time))
        values["series"] = digest((context.tenant, point.metric, own))
        point_id = values["point_id"] = uuid_text(digest((context.tenant, point.metric, own, start, end)))
        event_time, suspect = believed(point.time // 1000 if point.time else None, context.received_us)
        values["event_time"] = event_time
        if point.start:
            if possible(point.start // 1000, context.received_us):
                values["start_time"] = point.start // 1000
            else:
                suspect = True
        if suspect:
            values["clock_suspect"] = True
        user = values["user_key"] = self._keys.user(
            values.get("user_account_uuid", inherited.get("user_account_uuid")),
            values.get("user_email", inherited.get("user_email")),
            values.get("user_id", inherited.get("user_id")),
        )
        session = values.get("session_id", inherited.get("session_id"))
        shared.tell_client(values, point.metric)
        metric = values["metric"] = filled.name("metric", point.metric)
        values["kind"] = point.kind
        key = self._keys.key(session, user, group.resource)
        decision = routes.decide(context, "metrics", metric, values, inherited)
        if decision.route == DROP:
            return routes.dropped(decision, "metrics")
        _measure(point, filled)
        if point.renamed:
            values["renamed"] = point.renamed
        rows = filled.rows()
        data = self._encoder.encode(filled.finish(point.over_limit + group.over_limit), shared.base)
        heads = headers(metric, context.tenant, "", "", 0)
        message = Message("metrics", key, data, heads, key)
        if not rows or not routes.content_kept(decision):
            return routes.entry(decision, "metrics", message, [], len(rows))
        common = {
            "event_id": point_id,
            "tenant": context.tenant,
            "event_name": metric,
            "event_time": event_time,
            "received_time": context.received_us,
            "session_id": session,
            "user_key": user,
            "team": values.get("team", inherited.get("team")),
            "route": decision.content_route,
            "organization_id": values.get("organization_id", inherited.get("organization_id")),
        }
        return routes.entry(
            decision, "metrics", message, content_messages(common, rows, key, heads, self.guard), len(rows)
        )


def _measure(point: DataPoint, filled: attrs.Filled) -> None:
    """What was measured, and how. What cannot be added (NaN, a count beyond 63 bits) is kept and flagged."""
    values: dict[str, Any] = filled.values
    value = point.value
    if value.__class__ is int:
        values["value_int"] = value
        value = float(value)
    for name, number in (("value", value), ("sum", point.sum), ("min", point.min), ("max", point.max)):
        if number is not None:
            if math.isfinite(number):
                values[name] = number
            else:
                filled.keep_part(name, number)
    if point.unit:
        values["metric_unit"] = filled.name("metric_unit", point.unit)
    if point.temporality is not None:
        values["temporality"] = point.temporality
    if point.monotonic is not None:
        values["monotonic"] = point.monotonic
    if point.observations is not None:
        if point.observations <= LONG_MAX:
            values["count"] = point.observations
        else:
            filled.keep_part("count", point.observations)
    if point.buckets is not None:
        values["buckets_json"] = canonical(point.buckets)
    if point.exemplars is not None:
        exemplars = [_exemplar(f"exemplars.{i}.", each, filled) for i, each in enumerate(point.exemplars)]
        values["exemplars_json"] = filled.clean(canonical(exemplars))
    if point.flags:
        values["flags"] = point.flags
    for key, held in point.metadata.items():
        filled.keep_beside(METADATA, key, held)
    if point.unread:
        filled.keep_unread(point.unread)


def _exemplar(place: str, exemplar: dict[str, Any], filled: attrs.Filled) -> dict[str, Any]:
    """An exemplar without the content of its attributes."""
    texts = filled.content
    kept = filled.guard.attributes(exemplar["filteredAttributes"])
    for key, value in kept.items():
        filled.hold_part(place + key, value)
    return {
        **exemplar,
        "traceId": content.name(f"{place}traceId", exemplar["traceId"], texts),
        "spanId": content.name(f"{place}spanId", exemplar["spanId"], texts),
        "filteredAttributes": content.attributes(place, kept, texts),
    }
