"""What SQL shows of a record beside its own fields: only the query tables know it, and no topic and no lake has it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from schemas.records import Field

RESENDS = Field(
    name="resends",
    type="long",
    nullable=True,
    required=False,
    default=None,
    doc="How often this very record came again, and was left out, after it was stored here; null where it never did. "
    "A copy that routing archived or dropped is not stored, so it counts for none.",
    otel=(),
    cls="usage",
    unit="records",
    derive=(),
    content=(),
    aggregate=None,
)

# Record → its columns of this kind.
STORED: Mapping[str, tuple[Field, ...]] = MappingProxyType(
    dict.fromkeys(("claude_event", "metric_point", "claude_span"), (RESENDS,))
)
