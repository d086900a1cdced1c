"""Ranges to rows: days, Kafka's places, versions, what cannot be read."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from schemas import records
from sinks.lake.rows import Rows, rows
from sinks.lake.seen import Seen
from sinks.lake.tables import DAY, OFFSET, PARTITION, TABLES, columns, days
from sinks.protocol import Batch, SinkRecord
from tests.sinks.records import HOUR, batch, content, event, events, session, span

SPECS = {spec.topic: spec for spec in TABLES}
RECEIVED = datetime(2026, 9, 21, 14, 13, 20, tzinfo=UTC)


def found(topic: str, *batches: Batch, seen: Seen | None = None) -> tuple[Rows, list[str]]:
    reasons: list[str] = []
    seen = seen or Seen(horizon_us=HOUR, ids_max=1_000_000)
    return rows(SPECS[topic], batches, seen, lambda reason, count: reasons.extend([reason] * count)), reasons


@pytest.mark.parametrize(
    ("time", "day"),
    [
        (RECEIVED, date(2026, 9, 21)),
        (RECEIVED - timedelta(days=20), date(2026, 9, 1)),
        (RECEIVED - timedelta(days=45), date(2026, 8, 7)),
        (RECEIVED - timedelta(days=45, microseconds=1), date(2026, 9, 21)),
        (RECEIVED + timedelta(days=1), date(2026, 9, 22)),
        (RECEIVED + timedelta(days=1, microseconds=1), date(2026, 9, 21)),
        (datetime(1970, 1, 1, tzinfo=UTC), date(2026, 9, 21)),
        (datetime(2051, 1, 1, tzinfo=UTC), date(2026, 9, 21)),
        (datetime(2026, 9, 21, 23, 59, 59, 999_999, tzinfo=UTC), date(2026, 9, 21)),
        (datetime(2026, 9, 22, 0, 0, tzinfo=UTC), date(2026, 9, 22)),
        (None, date(2026, 9, 21)),
    ],
)
def test_the_day_is_the_events_unless_that_is_far_from_receipt(time: datetime | None, day: date) -> None:
    kind = pa.timestamp("us", tz="UTC")
    assert days(pa.array([time], kind), pa.array([RECEIVED], kind)).to_pylist() == [day]


@pytest.mark.parametrize("wild", [2**63 - 1, -(2**63), 253_402_300_800_000_000])
def test_a_clock_out_of_every_calendar_counts_on_the_day_of_receipt(wild: int) -> None:
    kind = pa.timestamp("us", tz="UTC")
    assert days(pa.array([wild], pa.int64()).cast(kind), pa.array([RECEIVED], kind)).to_pylist() == [date(2026, 9, 21)]


@pytest.mark.parametrize("spec", TABLES, ids=lambda spec: spec.name)
def test_columns_are_the_records_with_their_docs_and_ours(spec: Any) -> None:
    schema = columns(spec)
    fields = records.record(spec.record).fields
    assert schema.names == [*(field.name for field in fields), DAY, PARTITION, OFFSET]
    assert [schema.field(f.name).metadata[b"doc"].decode() for f in fields] == [f.doc for f in fields]


def test_rows_say_where_they_came_from() -> None:
    got, _ = found("events", events([5, 6], first_offset=40, partition=3), events([7], first_offset=9, partition=1))
    assert list(zip(*(got.table[c].to_pylist() for c in ("event_id", PARTITION, OFFSET)), strict=True)) == [
        ("event-7", 1, 9),
        ("event-5", 3, 40),
        ("event-6", 3, 41),
    ]
    assert got.table.schema == columns(SPECS["events"])


def test_of_a_session_a_commit_keeps_the_newest_version() -> None:
    values = [session(1, 3), session(2, 1), session(1, 9), session(1, 4), session(3, 5), session(3, 2, epoch=2)]
    got, _ = found("sessions", batch("sessions", values))
    assert list(zip(*(got.table[c].to_pylist() for c in ("session_id", "epoch", "version")), strict=True)) == [
        ("session-2", 1, 1),
        ("session-1", 1, 9),
        ("session-3", 2, 2),
    ]
    assert (got.records, got.superseded) == (6, 3)


def test_the_same_version_published_twice_is_one_row() -> None:
    got, _ = found("sessions", batch("sessions", [session(1, 3), session(1, 3)]))
    assert got.table[OFFSET].to_pylist() == [1]


def test_tombstones_add_nothing() -> None:
    got, reasons = found("sessions", Batch("sessions", 0, 0, 1, [SinkRecord(0, b"k", None), SinkRecord(1, b"k", None)]))
    assert (got.table.num_rows, got.records, reasons) == (0, 0, [])


def test_bad_bytes_are_left_out_and_counted_wherever_they_stand() -> None:
    good = events(range(10))
    held = [*good.records]
    for offset in (0, 4, 5, 9):
        held[offset] = SinkRecord(offset, b"k", b"bad")
    got, reasons = found("events", Batch("events", 0, 0, 9, held))
    assert got.table[OFFSET].to_pylist() == [1, 2, 3, 6, 7, 8]
    assert got.table["event_id"].to_pylist() == [f"event-{n}" for n in (1, 2, 3, 6, 7, 8)]
    assert reasons == ["malformed_record"] * 4


def test_one_event_has_a_row_of_content_per_field() -> None:
    values = [content(1, "prompt"), content(1, "response"), content(1, "prompt"), content(2, "prompt")]
    got, _ = found("content", batch("content", values))
    assert got.table[OFFSET].to_pylist() == [0, 1, 3]
    assert got.resends == 1


def test_two_tenants_may_use_the_same_span_ids() -> None:
    got, _ = found("spans", batch("spans", [span(1), span(1, tenant="other"), span(1)]))
    assert got.table["tenant"].to_pylist() == ["acme", "other"]


def test_the_newest_received_time_is_told_per_partition() -> None:
    got, _ = found("events", batch("events", [event(1, received_time=50), event(2, received_time=10)], partition=2))
    assert [(mark.partition, mark.first_us, mark.last_us) for mark in got.marks] == [(2, 10, 50)]


def test_the_lake_keeps_what_was_archived_and_nothing_of_what_was_dropped() -> None:
    routes = (None, "archive", "hot", "drop")
    values = [event(number, route=route) for number, route in enumerate(routes)]
    rows_, _ = found("events", batch("events", values))
    assert rows_.table[OFFSET].to_pylist() == [0, 1, 2]
    assert rows_.table["route"].to_pylist() == [None, "archive", "hot"]
    assert (rows_.records, rows_.dropped, len(rows_.marks[0].ids)) == (4, 1, 3)


def test_an_event_that_was_dropped_is_no_earlier_copy_of_itself() -> None:
    both = [event(1, route="drop"), event(1, route="hot")]
    rows_, _ = found("events", batch("events", both))
    assert (rows_.table[OFFSET].to_pylist(), rows_.resends) == ([1], 0)
