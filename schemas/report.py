"""What becomes of OTLP requests: how many records, how much of them typed, and what has no field."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from schemas import codec, otlp, records
from schemas.otlp.message import Context, Decoded, Signal
from schemas.topics import CATALOGUE

_CARRIERS = {"logs": "claude_event", "metrics": "metric_point", "traces": "claude_span"}
_LEFT = ("attributes", "attributes_json")


@dataclass(slots=True)
class Report:
    """Sums over the records of requests.

    typed: values in fields that come from attributes.  left: names of those that stayed in `attributes` and
    `attributes_json`, with counts.  errors: names in `coercion_errors`, with counts.  content: content rows.
    """

    records: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    typed: int = 0
    left: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    content: int = 0

    def add(self, signal: Signal, decoded: Decoded) -> None:
        """Count the records of one request."""
        name = _CARRIERS[signal]
        from_attributes = [f.name for f in records.record(name).fields if f.otel or f.derive]
        self.rejected.update(rejection.error for rejection in decoded.rejections)
        self.records += len(decoded.entries) + len(decoded.rejections)
        for entry in decoded.entries:
            row = codec.decode(CATALOGUE[entry.messages[0].topic].record, entry.messages[0].value)
            self.content += len(entry.messages) - 1
            self.typed += sum(1 for field_ in from_attributes if row[field_] not in (None, "", []))
            self.errors.update(row["coercion_errors"])
            for place in _LEFT:
                self.left.update(row[place].keys())


def report(requests: list[tuple[Signal, str, bytes]], context: Context) -> Report:
    """The report on requests of (signal, content type, body). Raises: OtlpError as `otlp.transcode` does."""
    found = Report()
    for signal, content_type, body in requests:
        found.add(signal, otlp.transcode(signal, content_type, body, context))
    return found
