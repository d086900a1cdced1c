"""The record of what could not be stored."""

from __future__ import annotations

import hashlib

from schemas.codec import encode
from schemas.framing import CONTENT_TYPE
from schemas.otlp.guard import Guard
from schemas.otlp.message import Context, Message, Rejection, Signal

ORIGINAL_BYTES = 65_536


def rejected(
    original: bytes,
    *,
    tenant: str,
    received_us: int,
    stage: str,
    reason: str,
    error: str,
    signal: Signal | None = None,
    content_type: str | None = None,
    ingest_key_id: str | None = None,
    source: tuple[str, int, int] | None = None,
    shown: bytes | None = None,
) -> Message:
    """A message for the topic `rejected`.

    Args:    original: the record as it came; its first 64 KiB are kept.  received_us: the rejecting process's clock.
             stage: gateway, sessions, users or a sink.  reason: short fixed word.
             ingest_key_id: of the key that sent it, where that is known.  source: topic, partition and offset that it
             was read from.  shown: what is kept instead of the original, of which then only length and SHA-256 tell.
    """
    topic, partition, offset = source or (None, None, None)
    value = encode(
        "rejected",
        {
            "tenant": tenant,
            "received_at": received_us,
            "ingest_key_id": ingest_key_id,
            "stage": stage,
            "reason": reason,
            "error": error[:4096],
            "original": (original if shown is None else shown)[:ORIGINAL_BYTES],
            "length": len(original),
            "sha256": hashlib.sha256(original).hexdigest(),
            "signal": signal,
            "content_type": content_type,
            "source_topic": topic,
            "source_partition": partition,
            "source_offset": offset,
        },
    )
    heads = (("event_name", b"rejected"), ("tenant", tenant.encode()), ("content-type", CONTENT_TYPE))
    return Message("rejected", b"", value, heads, tenant.encode())


def rejected_message(rejection: Rejection, context: Context, stage: str) -> Message:
    """The same for what the gateway rejected of a tenant, as the tenant's policy lets it be."""
    shown, without = Guard(context.policy, context.hash_key, "rejected").original(rejection.original, ORIGINAL_BYTES)
    return rejected(
        rejection.original,
        tenant=context.tenant,
        received_us=context.received_us,
        stage=stage,
        reason=rejection.reason,
        error=f"{rejection.error} ({without})" if without else rejection.error,
        signal=rejection.signal,
        content_type=rejection.content_type,
        ingest_key_id=context.ingest_key_id,
        shown=shown,
    )
