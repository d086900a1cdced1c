"""Log records to ClaudeEvent and ClaudeContent.

tests/oracle/ledger.py says what name, time and attributes of an event are; this module must agree with it.
"""

from __future__ import annotations

from typing import Any

from schemas.clocks import believed
from schemas.codec import encoder
from schemas.mapping.actions import done
from schemas.otlp import attributes as attrs
from schemas.otlp import content, routes
from schemas.otlp.bindings import bindings
from schemas.otlp.guard import Guard
from schemas.otlp.message import Context, Entry, Keys, Message, digest, headers, uuid_text
from schemas.otlp.model import Attributes, Group, LogRecord, is_hex
from schemas.otlp.values import canonical, canonical_attributes, text
from schemas.routing import DROP, Decision

PREFIX = "claude_code."
RECORD = "claude_event"
CONTENT = "claude_content"
# A severity is a word; what is longer is something else.
_WORD = 32
_PLACE = ("event_id", "event_name", "event_time", "clock_suspect", "route", "routing_rule")


def event_name(record: LogRecord) -> str:
    """Attribute event.name, else the record's own eventName, else its body; without prefix. "" where there is none."""
    name = _stated_name(record)
    if not name and record.body.__class__ is str:
        name = record.body
    return text(name).removeprefix(PREFIX)


def _stated_name(record: LogRecord) -> Any:
    name = record.attributes.get("event.name")
    return record.event_name if not name or content.has_content(name) else name


class Events:
    """Turns the log records of one request into entries."""

    RECORD = RECORD

    def __init__(self, context: Context) -> None:
        self._context = context
        self._keys = Keys(context)
        self._bindings = bindings(RECORD, context.attribute_names)
        self.guard = Guard(context.policy, context.hash_key, RECORD, context.attribute_names)
        self._encoder = encoder(RECORD)

    def shared(self, group: Group) -> attrs.Shared:
        """What the records of the group have in common."""
        return attrs.Shared(self._encoder, self._bindings, group, routes.common(self._context), self.guard)

    def entry(self, record: LogRecord, group: Group, shared: attrs.Shared) -> Entry:
        """One log record as its event and content rows. Raises: CodecError, BadRecord for an id that is none."""
        context, inherited = self._context, shared.fields
        name = event_name(record)
        filled = attrs.fill(self._bindings.by_event.get(name, self._bindings.default), record.attributes, shared)
        values = filled.values
        shown = values["event_name"] = self._name(name, record, filled)
        for attribute in self._bindings.parsed:
            if attribute in record.attributes:
                attrs.derive(filled, record.attributes, self._bindings.parsed, self._bindings.derived)
                break
        if "tool_name" in values or filled.documents:
            attrs.derive_tool(values)
        values["event_action"], values["event_category"], values["event_outcome"] = done(shown, values)
        time = record.time or record.observed
        # A record without time has the client's event.timestamp: unlike the gateway's clock it survives a re-send.
        stated = time // 1000 if time else values.get("event_timestamp")
        event_time, suspect = believed(stated, context.received_us)
        values["event_time"] = event_time
        if suspect:
            values["clock_suspect"] = True
        user = values["user_key"] = self._keys.user(
            values.get("user_account_uuid", inherited.get("user_account_uuid")),
            values.get("user_email", inherited.get("user_email")),
            values.get("user_id", inherited.get("user_id")),
        )
        session = values.get("session_id", inherited.get("session_id"))
        shared.tell_client(values, record.body, record.event_name, record.attributes.get("event.name"))
        sequence = values.get("event_sequence", inherited.get("event_sequence"))
        identity = [
            context.tenant,
            session or "",
            name,
            "" if sequence is None else str(sequence),
            str(time) if time else "",
            values.get("tool_use_id", inherited.get("tool_use_id")) or "",
            values.get("request_id", inherited.get("request_id")) or "",
        ]
        if sequence is None:
            identity.append(canonical_attributes(_named(record.attributes, name)).decode())
        event_id = values["event_id"] = uuid_text(digest(identity))
        key = self._keys.key(session, user, group.resource)
        decision = routes.decide(context, "logs", shown, values, inherited)
        if decision.route == DROP:
            return self._dropped(decision, values, session, sequence, key)
        if record.observed:
            values["observed_time"] = record.observed // 1000
        trace_id, span_id = self._envelope(record, filled)
        rows = self._content_rows(filled, inherited)
        if record.renamed:
            values["renamed"] = record.renamed
        data = self._encoder.encode(filled.finish(record.over_limit + group.over_limit), shared.base)
        heads = headers(shown, context.tenant, trace_id, span_id, record.flags)
        event = Message("events", key, data, heads, key)
        if not rows or not routes.content_kept(decision):
            return routes.entry(decision, "logs", event, [], len(rows))
        common = {
            "event_id": event_id,
            "trace_id": trace_id or None,
            "tenant": context.tenant,
            "event_name": shown,
            "event_time": event_time,
            "received_time": context.received_us,
            "session_id": session,
            "user_key": user,
            "team": values.get("team", inherited.get("team")),
            "route": decision.content_route,
            "organization_id": values.get("organization_id", inherited.get("organization_id")),
        }
        return routes.entry(decision, "logs", event, content_messages(common, rows, key, heads, self.guard), len(rows))

    def _dropped(
        self, decision: Decision, values: dict[str, Any], session: str | None, sequence: int | None, key: bytes
    ) -> Entry:
        """What is left of an event that routing drops: its place in the sequence of its session, else nothing."""
        if session is None or sequence is None:
            return routes.dropped(decision, "logs")
        left = {name: values[name] for name in _PLACE if name in values}
        left |= {"session_id": session, "event_sequence": sequence, **routes.came(self._context)}
        self.guard.apply(left)
        data = self._encoder.encode(left)
        heads = headers(values["event_name"], self._context.tenant, "", "", 0)
        return routes.dropped(decision, "logs", Message("events", key, data, heads, key))

    def _name(self, name: str, record: LogRecord, filled: attrs.Filled) -> str:
        """The event's name; the mark of one that does not look like a name, or has a secret in it."""
        stated = bool(_stated_name(record))
        if not name or (content.is_name(name, stated=stated) and filled.guard.repeated_name(name) == name):
            return name
        # A long body has a row of its own already.
        if stated or len(record.body) <= content.LONG_TEXT:
            filled.content.append(("event_name", name))
        return content.CONTENT_MARK

    def _envelope(self, record: LogRecord, filled: attrs.Filled) -> tuple[str, str]:
        """The log record's own parts, beside its attributes. Returns trace id and span id, "" where they are none."""
        values, body = filled.values, record.body
        if body is not None:
            # Its name is what the body of nearly every event is.
            if body.__class__ is not str or body.removeprefix(PREFIX) != values["event_name"]:
                filled.hold_part("log_body", body)
                body = filled.guard.attribute("log_body", body)
                _, body = content.attribute("", "log_body", body, filled.content)
                body = filled.clean(body if body.__class__ is str else canonical(body))
            values["log_body"] = body
        if record.severity_number:
            values["severity_number"] = record.severity_number
        if record.severity_text:
            text = record.severity_text
            filled.hold_part("severity_text", text)
            shown = content.name("severity_text", text, filled.content, len(text) if content.is_name(text) else 0)
            values["severity_text"] = filled.name("severity_text", shown)
        if record.unread:
            filled.keep_unread(record.unread)
            word = record.unread["severity_number"]
            if not record.severity_text and len(word) <= _WORD and word.isalnum():
                values["severity_text"] = filled.clean_name(word)
        if record.flags:
            values["trace_flags"] = record.flags
        stated = record.event_name.removeprefix(PREFIX)
        if stated and stated != values["event_name"] and stated != event_name(record):
            filled.keep_beside("record.", "event_name", record.event_name)
        if record.dropped:
            values["dropped_attributes_count"] = record.dropped
        if not record.trace_id and not record.span_id:
            return "", ""
        ids = []
        for field, found, size in (("trace_id", record.trace_id, 32), ("span_id", record.span_id, 16)):
            valid = is_hex(found, size)
            if valid:
                values[field] = found
            elif found:
                filled.keep_part(field, found)
            ids.append(found if valid else "")
        return ids[0], ids[1]

    def _content_rows(self, filled: attrs.Filled, inherited: dict[str, Any]) -> list[dict[str, Any]]:
        """field, text, length, body_ref and truncated of every content row."""
        rows = filled.rows()
        values = filled.values
        reference = values.get("body_ref", inherited.get("body_ref"))
        if reference or values.get("body_truncated"):
            body = next((row for row in rows if row["field"] == "body"), None)
            if body is None and reference:
                body = {"field": "body", "text": None, "length": max(values.get("body_length") or 0, 0)}
                rows.append(body)
            if body is not None:
                body["body_ref"] = reference
                body["truncated"] = bool(values.get("body_truncated"))
        return rows


def _named(attributes: Attributes, name: str) -> Attributes:
    """The attributes with the event's name in one spelling, wherever it stood."""
    sent = attributes.get("event.name")
    return {**attributes, "event.name": name} if sent is None or sent.__class__ is str else attributes


def content_messages(
    common: dict[str, Any],
    rows: list[dict[str, Any]],
    key: bytes,
    heads: tuple[tuple[str, bytes], ...],
    guard: Guard,
) -> list[Message]:
    """The content rows of one event or span, which have `common` in common."""
    encode = encoder(CONTENT)
    common["policy_version"] = guard.version
    guard.apply(common, CONTENT)
    base = encode.base(common)
    for row in rows:
        guard.apply(row, CONTENT)
    return [Message("content", key, encode.encode(row, base), heads, key) for row in rows]
