"""Spans to ClaudeSpan and ClaudeContent."""

from __future__ import annotations

from typing import Any

from schemas.clocks import believed, possible
from schemas.codec import encoder
from schemas.otlp import attributes as attrs
from schemas.otlp import content, routes
from schemas.otlp.bindings import bindings
from schemas.otlp.events import content_messages
from schemas.otlp.guard import Guard
from schemas.otlp.message import Context, Entry, Keys, Message, headers
from schemas.otlp.model import BadRecord, Group, Span, SpanEvent, SpanLink, is_hex
from schemas.otlp.values import canonical
from schemas.routing import DROP

RECORD = "claude_span"
_OUTCOMES = {"ok": "success", "error": "failure"}


def _outcome(success: bool | None, status: str) -> str | None:
    """What the client says of its operation, else what the span's status does."""
    if success is None:
        return _OUTCOMES.get(status)
    return "success" if success else "failure"


class Spans:
    """Turns the spans of one request into entries."""

    RECORD = RECORD

    def __init__(self, context: Context) -> None:
        self._context = context
        self._keys = Keys(context)
        self._bindings = bindings(RECORD, context.attribute_names)
        self.guard = Guard(context.policy, context.hash_key, RECORD, context.attribute_names)
        self._encoder = encoder(RECORD)

    def shared(self, group: Group) -> attrs.Shared:
        """What the spans of the group have in common."""
        return attrs.Shared(self._encoder, self._bindings, group, routes.common(self._context), self.guard)

    def entry(self, span: Span, group: Group, shared: attrs.Shared) -> Entry:
        """One span as its record and content rows. Raises: CodecError, BadRecord for ids that are none."""
        context, inherited = self._context, shared.fields
        if not is_hex(span.trace_id, 32) or not is_hex(span.span_id, 16):
            raise BadRecord(f"trace id of {len(span.trace_id)} or span id of {len(span.span_id)} characters is none")
        filled = attrs.fill(self._bindings.default, span.attributes, shared)
        values = filled.values
        attrs.derive(filled, span.attributes, self._bindings.parsed, self._bindings.derived)
        attrs.derive_tool(values)
        if (outcome := _outcome(values.get("success"), span.status_code)) is not None:
            values["event_outcome"] = outcome
        start = self._times(span, values)
        user = values["user_key"] = self._keys.user(
            values.get("user_account_uuid", inherited.get("user_account_uuid")),
            values.get("user_email", inherited.get("user_email")),
            values.get("user_id", inherited.get("user_id")),
        )
        session = values.get("session_id", inherited.get("session_id"))
        shared.tell_client(values, span.name)
        name = filled.name("name", span.name)
        values |= {"trace_id": span.trace_id, "span_id": span.span_id, "name": name}
        key = self._keys.key(session, user, group.resource)
        decision = routes.decide(context, "traces", name, values, inherited)
        if decision.route == DROP:
            return routes.dropped(decision, "traces")
        self._envelope(span, filled)
        if span.renamed:
            values["renamed"] = span.renamed
        rows = filled.rows()
        data = self._encoder.encode(filled.finish(span.over_limit + group.over_limit), shared.base)
        heads = headers(name, context.tenant, span.trace_id, span.span_id, span.flags)
        message = Message("spans", key, data, heads, key)
        if not rows or not routes.content_kept(decision):
            return routes.entry(decision, "traces", message, [], len(rows))
        common = {
            "trace_id": span.trace_id,
            "span_id": span.span_id,
            "tenant": context.tenant,
            "event_name": name,
            "event_time": start,
            "received_time": context.received_us,
            "session_id": session,
            "user_key": user,
            "team": values.get("team", inherited.get("team")),
            "route": decision.content_route,
            "organization_id": values.get("organization_id", inherited.get("organization_id")),
        }
        return routes.entry(
            decision, "traces", message, content_messages(common, rows, key, heads, self.guard), len(rows)
        )

    def _times(self, span: Span, values: dict[str, Any]) -> int:
        """Start, end and duration. Returns the start; a clock that went back in between measured nothing."""
        received = self._context.received_us
        stated, end = span.start // 1000 if span.start else None, span.end // 1000
        start, suspect = believed(stated, received)
        values["start_time"] = start
        if span.end and not possible(end, received):
            suspect = True
        elif span.end:
            values["end_time"] = end
            if start == stated and start <= end:
                values["duration_us"] = end - start
            else:
                suspect = True
        if suspect:
            values["clock_suspect"] = True
        return start

    def _envelope(self, span: Span, filled: attrs.Filled) -> None:
        """The span's own parts, beside its attributes."""
        values, texts = filled.values, filled.content
        values["kind"] = span.kind
        values["status_code"] = span.status_code
        if span.unread:
            filled.keep_unread(span.unread)
        for name, value in (
            ("trace_flags", span.flags),
            ("dropped_attributes_count", span.dropped),
            ("dropped_events_count", span.dropped_events),
            ("dropped_links_count", span.dropped_links),
        ):
            if value:
                values[name] = value
        if span.parent_span_id:
            values["parent_span_id"] = filled.name("parent_span_id", span.parent_span_id)
        if span.status_message:
            filled.hold_part("status_message", span.status_message)
            shown = content.name("status.message", span.status_message, texts, content.LONG_TEXT)
            values["status_message"] = filled.clean(shown)
        if span.trace_state:
            values["trace_state"] = filled.name("trace_state", span.trace_state)
        if span.events:
            found = canonical([self._event(i, event, filled) for i, event in enumerate(span.events)])
            values["events_json"] = filled.clean(found)
        if span.links:
            found = canonical([self._link(f"links.{i}.", link, filled) for i, link in enumerate(span.links)])
            values["links_json"] = filled.clean(found)

    def _event(self, number: int, event: SpanEvent, filled: attrs.Filled) -> dict[str, Any]:
        """An event of a span. Its texts are bodies of tools unless a field says otherwise: they leave a mark.

        An attribute with a field has that field's type here, too.
        """
        texts = filled.content
        name = content.name(f"events.{number}.name", event.name, texts)
        kept: dict[str, Any] = {}
        for key, value in self.guard.attributes(event.attributes).items():
            binding = self._bindings.default.get(key)
            coerced = binding.coerce(value) if binding is not None and not binding.content else None
            most = content.LONG_TEXT if binding is not None else 0
            fits = coerced is not None and coerced != ""
            filled.hold_part(f"{name}.{key}", value)
            shown_key, shown = content.member(f"{name}.", key, coerced if fits else value, texts, most)
            kept[shown_key] = shown
        found = {"name": name, "time_unix_nano": event.time, "attributes": kept}
        return found | ({"dropped_attributes_count": event.dropped} if event.dropped else {})

    def _link(self, place: str, link: SpanLink, filled: attrs.Filled) -> dict[str, Any]:
        """A link without the content of its attributes."""
        texts = filled.content
        kept = self.guard.attributes(link.attributes)
        for key, value in kept.items():
            filled.hold_part(place + key, value)
        own = {
            "trace_state": filled.name(f"{place}trace_state", link.trace_state),
            "flags": link.flags,
            "dropped_attributes_count": link.dropped,
        }
        return {name: value for name, value in own.items() if value} | {
            "trace_id": content.name(f"{place}trace_id", link.trace_id, texts),
            "span_id": content.name(f"{place}span_id", link.span_id, texts),
            "attributes": content.attributes(place, kept, texts),
        }
