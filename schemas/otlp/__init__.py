"""OTLP requests to framed records: the gateway's half of the codec. Only this package touches protobuf.

    body ─ from_protobuf, from_json ─▶ model ─ spelling ─ events, points, spans ─▶ Entry: Avro messages for Kafka
                                                               guard: the tenant's policy, secrets, thinking

The same record gives the same ids and fields over every transport. What cannot be read or stored becomes a Rejection,
and never stops the records beside it; only a body that cannot be decoded, or is over a limit, is refused as a whole.
"""

from __future__ import annotations

from typing import Any

from schemas.errors import CodecError, OtlpError
from schemas.otlp import from_json, from_protobuf
from schemas.otlp.events import Events
from schemas.otlp.message import Context, Decoded, Entry, Limits, Message, Rejection, Routed, Signal, user_key
from schemas.otlp.model import BadRecord, Malformed
from schemas.otlp.points import Points
from schemas.otlp.rejected import rejected, rejected_message
from schemas.otlp.responses import response, status, status_message
from schemas.otlp.spans import Spans
from schemas.otlp.spelling import spelling

__all__ = [
    "JSON",
    "PROTOBUF",
    "Context",
    "Decoded",
    "Entry",
    "Limits",
    "Message",
    "Rejection",
    "Routed",
    "Signal",
    "rejected",
    "rejected_message",
    "response",
    "status",
    "status_message",
    "transcode",
    "user_key",
]

PROTOBUF = "application/x-protobuf"
JSON = "application/json"

_DECODERS = {PROTOBUF: from_protobuf.decode, JSON: from_json.decode}
_NORMALISERS: dict[Signal, type[Events] | type[Points] | type[Spans]] = {
    "logs": Events,
    "metrics": Points,
    "traces": Spans,
}


def transcode(signal: Signal, content_type: str, body: bytes, context: Context) -> Decoded:
    """The records of one OTLP request.

    Args:    content_type: PROTOBUF or JSON, without parameters.  body: after decompression.
    Returns: an entry or a rejection for every log record, data point or span.
    Raises:  OtlpError: unsupported_content_type, malformed_protobuf, malformed_json, too_deep, too_many_records,
             too_large.
    """
    decode = _DECODERS.get(content_type)
    if decode is None:
        raise OtlpError(f"unsupported content type {content_type[:80]!r}", reason="unsupported_content_type")
    request = decode(signal, body, context.limits)
    normaliser: Any = _NORMALISERS[signal](context)
    names = spelling(normaliser.RECORD, context.attribute_names)
    decoded = Decoded(masked=normaliser.guard.found)
    most, left = context.limits.message_bytes, context.limits.request_bytes
    for sent in request.groups:
        if not sent.records:
            continue
        group = names.group(sent)
        shared = normaliser.shared(group)
        for record in group.records:
            try:
                if record.__class__ is Malformed:
                    raise CodecError(record.error)
                entry = normaliser.entry(record, group, shared)
                for message in entry.messages:
                    if (size := len(message.value) + len(message.key)) > most:
                        error = f"{message.topic} record of {size} bytes, limit {most}"
                        raise CodecError(error, reason="too_large")
                    left -= size
            except CodecError as error:
                reason = "too_large" if error.reason == "too_large" else "malformed_record"
                rejection = Rejection(reason, str(error), request.serialise(record.source), signal, content_type)
                decoded.rejections.append(rejection)
            except BadRecord as error:
                rejection = Rejection("invalid_id", str(error), request.serialise(record.source), signal, content_type)
                decoded.rejections.append(rejection)
            else:
                decoded.entries.append(entry)
                if shared.content and not entry.dropped:
                    shared.content = []
                if left < 0:
                    most = context.limits.request_bytes
                    raise OtlpError(f"the records are larger than {most} bytes together", reason="too_large")
    return decoded
