"""What tables the store has, each derived from its record's .avsc: a column per field, and a few hidden ones.

Two files, so that no mistake in a view can show text of class content: everything that can hold it (`content`, and the
first bytes of refused originals in `rejected`) is in one file, all the rest in the other.
"""

from dataclasses import dataclass
from typing import Literal

from schemas import records
from schemas.records import Field, FieldType
from schemas.stored import RESENDS, STORED

File = Literal["events", "content"]

# Names of the attached databases. The underscore keeps them apart from the SQL names: `events.x` must mean the table.
CATALOGS: dict[File, str] = {"events": "_events", "content": "_content"}
SCHEMA = "raw"

# Kafka's key, the identity of a row that is replaced by a newer version of itself and deleted by a tombstone.
KEY_COLUMN = "kafka_key"
# True where every total is zero: a user whose usage has moved to a better identity. Computed once, when it is written,
# so that a query need not read all totals to leave such rows out.
EMPTY_COLUMN = "is_empty"

# Avro's type → DuckDB's.
DUCKDB: dict[FieldType, str] = {
    "string": "VARCHAR",
    "long": "BIGINT",
    "int": "INTEGER",
    "double": "DOUBLE",
    "boolean": "BOOLEAN",
    "bytes": "BLOB",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
    "map_string": "MAP(VARCHAR, VARCHAR)",
    "map_double": "MAP(VARCHAR, DOUBLE)",
    "map_long": "MAP(VARCHAR, BIGINT)",
    "array_string": "VARCHAR[]",
}


@dataclass(frozen=True)
class Table:
    """One table fed from one topic.

    key: columns that, with `time`, tell a record from every other; empty where records have no identity.  time: when it
    happened, as the client said, never corrected.  grain: the rows of the topic that belong here (None: all).
    versioned: a row replaces the older version of itself; else rows are only added.
    """

    name: str
    topic: str
    record: str
    file: File
    key: tuple[str, ...] = ()
    time: str = ""
    received: str = "received_time"
    grain: str | None = None
    versioned: bool = False

    @property
    def path(self) -> str:
        """The full name, for SQL of ours."""
        return f"{CATALOGS[self.file]}.{SCHEMA}.{self.name}"

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields that are columns here: all of the newest version, but what `grain` has made constant."""
        fields = records.record(self.record).fields
        return tuple(f for f in fields if self.grain is None or f.name != "grain")

    @property
    def stored(self) -> tuple[Field, ...]:
        """Columns that only this store knows, for people as well."""
        return STORED.get(self.record, ())

    @property
    def counts_resends(self) -> bool:
        """Whether a row says how often its record came again."""
        return RESENDS in self.stored

    @property
    def sums(self) -> tuple[str, ...]:
        """The totals of an aggregated row; empty for other records."""
        return records.record(self.record).sums

    @property
    def marks(self) -> tuple[str, ...]:
        """Fields of class content that may hold a mark but never text here."""
        if self.file == "content":
            return ()
        return tuple(f.name for f in self.fields if f.cls == "content" and f.type == "string")

    @property
    def hides_empty(self) -> bool:
        """Whether rows without any total exist only to say that usage has moved away."""
        return self.record in ("session_hour", "user_window")

    @property
    def columns(self) -> dict[str, str]:
        """Column → DuckDB's type, hidden columns last."""
        columns = {f.name: DUCKDB[f.type] for f in (*self.fields, *self.stored)}
        if self.versioned:
            columns[KEY_COLUMN] = "BLOB"
        if self.hides_empty:
            columns[EMPTY_COLUMN] = "BOOLEAN"
        return columns


TABLES: tuple[Table, ...] = (
    Table("events", "events", "claude_event", "events", ("event_id",), "event_time"),
    Table("metrics", "metrics", "metric_point", "events", ("point_id",), "event_time"),
    Table("spans", "spans", "claude_span", "events", ("tenant", "trace_id", "span_id"), "start_time"),
    Table(
        "content",
        "content",
        "claude_content",
        "content",
        ("tenant", "event_id", "trace_id", "span_id", "field"),
        "event_time",
    ),
    Table("rejected", "rejected", "rejected", "content", received="received_at"),
    Table("audit", "audit", "audit", "events", ("audit_id",), "occurred_at", received="occurred_at"),
    Table("sessions", "sessions", "session", "events", versioned=True),
    Table("session_hours", "session-hours", "session_hour", "events", versioned=True),
    Table("user_hours", "user-windows", "user_window", "events", grain="hour", versioned=True),
    Table("user_days", "user-windows", "user_window", "events", grain="day", versioned=True),
)

TOPICS: tuple[str, ...] = tuple(dict.fromkeys(table.topic for table in TABLES))
BY_TOPIC: dict[str, tuple[Table, ...]] = {
    topic: tuple(table for table in TABLES if table.topic == topic) for topic in TOPICS
}
REJECTED = next(table for table in TABLES if table.name == "rejected")


def file_of(topic: str) -> File:
    """The file that holds a topic's rows, and so its offsets."""
    return BY_TOPIC[topic][0].file


def quoted(name: str) -> str:
    """A name as SQL's quoted identifier."""
    return '"' + name.replace('"', '""') + '"'
