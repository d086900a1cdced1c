"""Metrics of the streams process."""

from __future__ import annotations

from typing import ClassVar

from prometheus_client import CollectorRegistry

from service.metrics import Metric, MetricSet
from streams.engine import Status


class StreamsMetrics(MetricSet):
    """Filled from the engine's status, a few times a second."""

    SPECS: ClassVar[tuple[Metric, ...]] = (
        Metric("streams_records_total", "counter", "records", ("topic",), "Source records folded, re-reads included."),
        Metric("streams_chunks_total", "counter", "chunks", ("topic",), "Chunks folded."),
        Metric(
            "streams_chunk_records",
            "histogram",
            "records",
            ("topic",),
            "Records of a folded chunk.",
            buckets=(1, 10, 100, 500, 1000, 2000, 5000, 10_000),
        ),
        Metric("streams_chunk_seconds", "histogram", "seconds", ("topic",), "Time from a chunk's fold to its rows."),
        Metric("streams_duplicates_total", "counter", "records", ("topic",), "Records read again and already counted."),
        Metric("streams_late_total", "counter", "records", ("topic",), "Records behind the grace, re-reads included."),
        Metric("streams_lost_total", "counter", "records", ("topic",), "Records deleted by retention before a read."),
        Metric("streams_lag_records", "gauge", "records", ("topic",), "Records of our partitions not yet folded."),
        Metric(
            "streams_lag_seconds", "gauge", "seconds", ("topic",), "How long records wait, by Kafka's time of them."
        ),
        Metric(
            "streams_event_age_seconds",
            "gauge",
            "seconds",
            ("topic",),
            "How long ago the newest event folded here happened; grows while nobody sends.",
        ),
        Metric("streams_commit_age_seconds", "gauge", "seconds", (), "Age of the oldest chunk not yet committed."),
        Metric("streams_partitions", "gauge", "partitions", ("topic",), "Partitions that this worker owns."),
        Metric("streams_rows_written_total", "counter", "rows", ("table",), "Rows written by stages."),
        Metric("streams_rows_foreign_total", "counter", "rows", ("table",), "Changelog rows from a foreign writer."),
        Metric("streams_rows_repaired_total", "counter", "rows", ("table",), "Rows written again to mend a changelog."),
        Metric("streams_state_rows", "gauge", "rows", ("table",), "Rows in RocksDB here, as it estimates them."),
        Metric("streams_state_bytes", "gauge", "bytes", ("table",), "Bytes of RocksDB here, on disk and in memory."),
        Metric("streams_messages_sent_total", "counter", "messages", (), "Messages acknowledged by Kafka."),
        Metric("streams_rebalances_total", "counter", "rebalances", (), "Rebalances of the consumer group seen."),
        Metric(
            "streams_fenced_total", "counter", "times", (), "Times this worker was fenced, since its folder was made."
        ),
        Metric("streams_recovery_records", "gauge", "records", ("table",), "Changelog records still to be read back."),
        Metric(
            "streams_unpublished_partitions",
            "gauge",
            "partitions",
            ("table",),
            "Partitions made in shadow, not yet published.",
        ),
        Metric(
            "streams_standby_records",
            "gauge",
            "records",
            ("table", "partition"),
            "Changelog records that a standby here has still to read.",
        ),
        Metric(
            "streams_standby_ready",
            "gauge",
            "bool",
            ("table", "partition"),
            "1 when a standby here has reached its changelog's end once.",
        ),
        Metric("streams_recovery_seconds", "gauge", "seconds", (), "How long the last recovery of the tables took."),
        Metric("streams_ready", "gauge", "bool", (), "1 when tables are recovered and chunks flow."),
    )

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        super().__init__(registry)
        self._seen: dict[tuple[str, str], int] = {}
        self._standbys: set[tuple[str, int]] = set()

    def chunk(self, topic: str, records: int, seconds: float) -> None:
        """One chunk was folded."""
        self.observe("streams_chunk_records", records, topic=topic)
        self.observe("streams_chunk_seconds", seconds, topic=topic)

    def chunk_s(self, topic: str) -> float | None:
        """Seconds that a chunk of this source took on average, None before the first."""
        total, count = (
            self.registry.get_sample_value(f"streams_chunk_seconds_{what}", {"topic": topic})
            for what in ("sum", "count")
        )
        return total / count if total is not None and count else None

    def fenced(self, times: int) -> None:
        """How often it was fenced before this start: a fenced process ends, so only the next one can say it."""
        self._grow("streams_fenced_total", times)

    def record(self, status: Status) -> None:
        """Take over the engine's counts, which only grow within one process."""
        for topic, source in status.sources.items():
            self._grow("streams_records_total", source.records, topic=topic)
            self._grow("streams_chunks_total", source.chunks, topic=topic)
            self._grow("streams_duplicates_total", source.duplicates, topic=topic)
            self._grow("streams_late_total", source.late, topic=topic)
            self._grow("streams_lost_total", source.lost, topic=topic)
            self.set("streams_partitions", len(source.partitions), topic=topic)
            if source.lag is not None:
                self.set("streams_lag_records", source.lag, topic=topic)
            if source.lag_s is not None:
                self.set("streams_lag_seconds", source.lag_s, topic=topic)
            if source.event_age_s is not None:
                self.set("streams_event_age_seconds", source.event_age_s, topic=topic)
        for name, table in status.tables.items():
            self._grow("streams_rows_written_total", table.rows_written, table=name)
            self._grow("streams_rows_foreign_total", table.foreign_rows, table=name)
            self._grow("streams_rows_repaired_total", table.repaired_rows, table=name)
            self.set("streams_state_rows", table.rows, table=name)
            self.set("streams_state_bytes", table.bytes, table=name)
            self.set("streams_recovery_records", table.unread, table=name)
            self.set("streams_unpublished_partitions", table.unpublished, table=name)
        self._record_standbys(status)
        self._grow("streams_messages_sent_total", status.messages_sent)
        self._grow("streams_rebalances_total", status.rebalances)
        self.set("streams_commit_age_seconds", status.commit_age_s)
        self.set("streams_recovery_seconds", status.recovery_s)
        self.set("streams_ready", status.ready)

    def _record_standbys(self, status: Status) -> None:
        found = {(name, n): kept for name, table in status.tables.items() for n, kept in table.standbys.items()}
        for name, partition in self._standbys - found.keys():
            for metric in ("streams_standby_records", "streams_standby_ready"):
                self.forget(metric, table=name, partition=str(partition))
        self._standbys = set(found)
        for (name, partition), standby in found.items():
            labels = {"table": name, "partition": str(partition)}
            self.set("streams_standby_ready", standby.ready, **labels)
            if standby.unread is not None:
                self.set("streams_standby_records", standby.unread, **labels)

    def _grow(self, name: str, count: int, **labels: str) -> None:
        key = (name, next(iter(labels.values()), ""))
        self.add(name, count - self._seen.get(key, 0), **labels)
        self._seen[key] = count
