"""The streams process around the engine: exit codes and metrics."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from aiokafka.errors import KafkaConnectionError
from prometheus_client import CollectorRegistry

from schemas.errors import MillraceError
from streams.engine import EpochSuperseded, LogicChanged, RowTooLarge, StageFailed, StateMismatch, Status, WorkerFenced
from streams.engine.engine import SourceStatus, TableStatus
from streams.engine.recovery import Standby
from streams.errors import SourcesDiffer, exit_code
from streams.metrics import StreamsMetrics


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (WorkerFenced("expelled"), 75),
        (StateMismatch("here", "another topic", 1), 2),
        (LogicChanged("here", 1, 2, 1), 2),
        (EpochSuperseded(1, 2), 2),
        (SourcesDiffer(("a", 4), ("b", 8)), 2),
        (StageFailed("t", 0, 1, 2, "ValueError"), 70),
        (RowTooLarge("t", key_bytes=1, row_bytes=2, limit=1), 70),
        (MillraceError("unnamed"), 70),
        (RuntimeError("a bug"), 70),
        (KafkaConnectionError("gone"), 75),
    ],
)
def test_the_exit_code_says_whether_a_new_start_helps(error: BaseException, code: int) -> None:
    assert exit_code(error) == code


def status(records: int, lag: int | None, lag_s: float | None, standbys: Mapping[int, Standby] | None = None) -> Status:
    source = SourceStatus(
        partitions=(0, 1),
        lag=lag,
        lag_s=lag_s,
        event_age_s=lag_s,
        records=records,
        chunks=2,
        duplicates=1,
        late=4,
        lost=0,
    )
    table = TableStatus(
        rows_written=5,
        foreign_rows=0,
        repaired_rows=0,
        unread=7,
        unpublished=2,
        rows=40,
        bytes=4096,
        standbys=standbys or {},
    )
    return Status(
        ready=True,
        why="",
        failure=None,
        recovery_s=0.5,
        rebalances=1,
        commit_age_s=0.75,
        messages_sent=9,
        sources={"t": source},
        tables={"rows": table},
    )


def test_metrics_follow_the_counts_of_the_engine() -> None:
    metrics = StreamsMetrics(CollectorRegistry())
    metrics.record(status(records=10, lag=None, lag_s=None))
    metrics.record(status(records=25, lag=3, lag_s=1.5))
    metrics.chunk("t", 25, 0.125)
    metrics.fenced(2)
    assert metrics.value("streams_records_total", topic="t") == 25
    assert metrics.value("streams_chunks_total", topic="t") == 2
    assert metrics.value("streams_lag_records", topic="t") == 3
    assert metrics.value("streams_lag_seconds", topic="t") == 1.5
    assert metrics.value("streams_event_age_seconds", topic="t") == 1.5
    assert metrics.value("streams_late_total", topic="t") == 4
    assert metrics.value("streams_chunk_records_sum", topic="t") == 25
    assert metrics.value("streams_chunk_seconds_sum", topic="t") == 0.125
    assert metrics.value("streams_commit_age_seconds") == 0.75
    assert metrics.value("streams_state_rows", table="rows") == 40
    assert metrics.value("streams_state_bytes", table="rows") == 4096
    assert metrics.value("streams_fenced_total") == 2
    assert metrics.value("streams_rows_written_total", table="rows") == 5
    assert metrics.value("streams_messages_sent_total") == 9
    assert metrics.value("streams_recovery_records", table="rows") == 7
    assert metrics.value("streams_unpublished_partitions", table="rows") == 2
    assert metrics.value("streams_ready") == 1


def test_metrics_tell_of_standbys_as_long_as_they_are_here() -> None:
    metrics = StreamsMetrics(CollectorRegistry())
    metrics.record(status(1, None, None, {2: Standby(17, False), 3: Standby(0, True)}))
    asked = [
        (name, {"table": "rows", "partition": n})
        for n in "23"
        for name in ("streams_standby_records", "streams_standby_ready")
    ]
    assert [metrics.registry.get_sample_value(*one) for one in asked] == [17, 0, 0, 1]
    metrics.record(status(1, None, None, {3: Standby(5, True)}))
    assert [metrics.registry.get_sample_value(*one) for one in asked] == [None, None, 5, 1]
