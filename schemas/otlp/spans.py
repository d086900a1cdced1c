"""Spans to ClaudeSpan and ClaudeContent."""

from __future__ import annotations

from typing import Any

from schemas.codec import encoder
from schemas.otlp import attributes as attrs
from schemas.otlp.bindings import bindings
from schemas.otlp.events import content_messages
from schemas.otlp.message import Context, Entry, Keys, Message, headers, suspect
from schemas.otlp.model import BadRecord, Group, Span, SpanEvent, is_hex
from schemas.otlp.values import canonical

RECORD = "claude_span"


class Spans:
    """Turns the spans of one request into entries."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._keys = Keys(context)
        self._bindings = bindings(RECORD, context.attribute_names)
        self._encoder = encoder(RECORD)

    def shared(self, group: Group) -> attrs.Shared:
        """What the spans of the group have in common."""
        common = {"tenant": self._context.tenant, "received_time": self._context.received_us}
        return attrs.Shared(self._encoder, self._bindings, group, common)

    def entry(self, span: Span, group: Group, shared: attrs.Shared) -> Entry:
        """One span as its record and content rows. Raises: CodecError, BadRecord for ids that are none."""
        context, inherited = self._context, shared.fields
        if not is_hex(span.trace_id, 32) or not is_hex(span.span_id, 16):
            raise BadRecord(f"trace id {span.trace_id!r} or span id {span.span_id!r} is none")
        filled = attrs.fill(self._bindings.default, span.attributes, inherited)
        values = filled.values
        attrs.derive(filled, span.attributes, self._bindings.parsed, self._bindings.derived)
        start = values["start_time"] = span.start // 1000 if span.start else context.received_us
        if not span.start or suspect(start, context.received_us):
            values["clock_suspect"] = True
        user = values["user_key"] = self._keys.user(
            values.get("user_account_uuid", inherited.get("user_account_uuid")),
            values.get("user_email", inherited.get("user_email")),
            values.get("user_id", inherited.get("user_id")),
        )
        session = values.get("session_id", inherited.get("session_id"))
        values |= {"trace_id": span.trace_id, "span_id": span.span_id, "name": span.name}
        self._envelope(span, filled)
        data = self._encoder.encode(filled.finish(span.over_limit + group.over_limit), shared.base)
        key = self._keys.key(session, user, group.resource)
        heads = headers(span.name, context.tenant, span.trace_id, span.span_id, span.flags)
        message = Message("spans", key, data, heads, key)
        if not filled.content:
            return Entry((message,))
        common = {
            "trace_id": span.trace_id,
            "span_id": span.span_id,
            "tenant": context.tenant,
            "event_name": span.name,
            "event_time": start,
            "received_time": context.received_us,
            "session_id": session,
            "user_key": user,
            "team": values.get("team", inherited.get("team")),
        }
        rows = [{"field": f, "text": t, "length": len(t or "")} for f, t in filled.content]
        return Entry((message, *content_messages(common, rows, key, heads)))

    def _envelope(self, span: Span, filled: attrs.Filled) -> None:
        """The span's own parts, beside its attributes."""
        values = filled.values
        values["kind"] = span.kind
        values["status_code"] = span.status_code
        if span.end:
            values["end_time"] = span.end // 1000
            if span.start:
                values["duration_us"] = span.end // 1000 - span.start // 1000
        for name, value in (
            ("parent_span_id", span.parent_span_id),
            ("status_message", span.status_message),
            ("trace_state", span.trace_state),
            ("trace_flags", span.flags),
            ("dropped_attributes_count", span.dropped),
            ("dropped_events_count", span.dropped_events),
            ("dropped_links_count", span.dropped_links),
        ):
            if value:
                values[name] = value
        if span.events:
            values["events_json"] = canonical([self._event(event, filled) for event in span.events])
        if span.links:
            values["links_json"] = canonical(
                [{"trace_id": i.trace_id, "span_id": i.span_id, "attributes": i.attributes} for i in span.links]
            )

    def _event(self, event: SpanEvent, filled: attrs.Filled) -> dict[str, Any]:
        """An event of a span. Its texts are bodies of tools unless a field says otherwise: they leave a mark."""
        kept: dict[str, Any] = {}
        for key, value in event.attributes.items():
            binding = self._bindings.default.get(key)
            known = binding is not None and not binding.content
            if isinstance(value, (str, list, dict, bytes)) and value and value != attrs.REDACTED:
                text = value if isinstance(value, str) else canonical(value)
                if not known or len(text) > attrs.LONG_TEXT:
                    filled.content.append((f"{event.name}.{key}", text))
                    value = attrs.CONTENT_MARK
            kept[key] = value
        found = {"name": event.name, "time_unix_nano": event.time, "attributes": kept}
        return found | ({"dropped_attributes_count": event.dropped} if event.dropped else {})
