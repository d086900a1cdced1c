"""The lake's tables: which topic fills which, their columns, and the day a row belongs to.

Every column but three comes from the newest .avsc of its record. Ours are:
    day              the partition (see `days`)
    kafka_partition, kafka_offset    where the row came from: for audits, and to rebuild what `seen.py` remembers
"""

from dataclasses import dataclass
from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc

from schemas import codec

DAY = "day"
PARTITION = "kafka_partition"
OFFSET = "kafka_offset"
RECEIVED = "received_time"

# A clock that is off by years must not open a partition per year; so late an event counts on the day of its receipt.
DAYS_BEFORE = 45
DAYS_AFTER = 1

NEWEST = ("epoch", RECEIVED, "version", OFFSET)
"""What makes a version the newer one, from the first on.

A higher version was never received earlier, so the time received decides nothing among versions of one session, and all
when a session comes back after it expired: versions count from the rows that are there, and these begin anew.
"""

_OURS = (
    pa.field(DAY, pa.date32(), False, {"doc": "Day (UTC) of the row's time, or of its receipt when that is far off."}),
    pa.field(PARTITION, pa.int32(), False, {"doc": "Kafka partition that the row came from."}),
    pa.field(OFFSET, pa.int64(), False, {"doc": "Kafka offset that the row came from."}),
)


@dataclass(frozen=True)
class TableSpec:
    """One table.

    name: its name in the catalog.  topic: short name.  record: its schema.  time: column that says the day.
    identity: columns that are equal for a record and its re-sends; empty: the producer never re-sends.
    version_of: columns that name what the row is a version of; a commit keeps only the newest of each.
    received: column that says when it came to us.
    """

    name: str
    topic: str
    record: str
    time: str
    identity: tuple[str, ...] = ()
    version_of: tuple[str, ...] = ()
    received: str = RECEIVED


# Ids of events and points are hashes over the tenant too; those of spans are the client's own, so the tenant joins in.
_CONTENT_ID = ("tenant", "event_id", "trace_id", "span_id", "field")

TABLES: tuple[TableSpec, ...] = (
    TableSpec("events", "events", "claude_event", "event_time", identity=("event_id",)),
    TableSpec("content", "content", "claude_content", "event_time", identity=_CONTENT_ID),
    TableSpec("metrics", "metrics", "metric_point", "event_time", identity=("point_id",)),
    TableSpec("spans", "spans", "claude_span", "start_time", identity=("tenant", "trace_id", "span_id")),
    TableSpec("session_versions", "sessions", "session", "start_time", version_of=("tenant", "session_id")),
    TableSpec("audit", "audit", "audit", "occurred_at", identity=("audit_id",), received="occurred_at"),
)


def columns(spec: TableSpec) -> pa.Schema:
    """Every column of a table with its doc, in the order in which a new table gets them."""
    return pa.schema([*codec.arrow_schema(spec.record), *_OURS])


def days(time: pa.Array, received: pa.Array) -> pa.Array:
    """The day (date32, UTC) of each row: its time's if that lies within -45 to +1 days of receipt, else of receipt.

    Args: time, received: timestamp("us", "UTC"), equally long; a null time takes the day of receipt.
    """
    earliest = _shifted(received, -DAYS_BEFORE)
    latest = _shifted(received, DAYS_AFTER)
    plausible = pc.and_(pc.greater_equal(time, earliest), pc.less_equal(time, latest))
    moment = pc.if_else(pc.fill_null(plausible, False), time, received)
    return moment.cast(pa.timestamp("us")).cast(pa.date32(), safe=False)


def _shifted(times: pa.Array, by_days: int) -> pa.Array:
    # On ints, unchecked: a garbage clock at either end of the range must wrap, not raise.
    shift = pa.scalar(timedelta(days=by_days) // timedelta(microseconds=1), pa.int64())
    return pc.add(times.cast(pa.int64()), shift).cast(times.type)
