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
        Metric("streams_duplicates_total", "counter", "records", ("topic",), "Records read again and already counted."),
        Metric("streams_lost_total", "counter", "records", ("topic",), "Records deleted by retention before a read."),
        Metric("streams_lag_records", "gauge", "records", ("topic",), "Records of our partitions not yet folded."),
        Metric("streams_partitions", "gauge", "partitions", ("topic",), "Partitions that this worker owns."),
        Metric("streams_rows_written_total", "counter", "rows", ("table",), "Rows written by stages."),
        Metric("streams_rows_foreign_total", "counter", "rows", ("table",), "Changelog rows from a foreign writer."),
        Metric("streams_rows_repaired_total", "counter", "rows", ("table",), "Rows written again to mend a changelog."),
        Metric("streams_messages_sent_total", "counter", "messages", (), "Messages acknowledged by Kafka."),
        Metric("streams_rebalances_total", "counter", "rebalances", (), "Rebalances of the consumer group seen."),
        Metric("streams_recovery_records", "gauge", "records", ("table",), "Changelog records still to be read back."),
        Metric("streams_recovery_seconds", "gauge", "seconds", (), "How long the last recovery of the tables took."),
        Metric("streams_ready", "gauge", "bool", (), "1 when tables are recovered and chunks flow."),
    )

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        super().__init__(registry)
        self._seen: dict[tuple[str, str], int] = {}

    def record(self, status: Status) -> None:
        """Take over the engine's counts, which only grow within one process."""
        for topic, source in status.sources.items():
            self._grow("streams_records_total", source.records, topic=topic)
            self._grow("streams_chunks_total", source.chunks, topic=topic)
            self._grow("streams_duplicates_total", source.duplicates, topic=topic)
            self._grow("streams_lost_total", source.lost, topic=topic)
            self.set("streams_partitions", len(source.partitions), topic=topic)
            if source.lag is not None:
                self.set("streams_lag_records", source.lag, topic=topic)
        for name, table in status.tables.items():
            self._grow("streams_rows_written_total", table.rows_written, table=name)
            self._grow("streams_rows_foreign_total", table.foreign_rows, table=name)
            self._grow("streams_rows_repaired_total", table.repaired_rows, table=name)
            self.set("streams_recovery_records", table.unread, table=name)
        self._grow("streams_messages_sent_total", status.messages_sent)
        self._grow("streams_rebalances_total", status.rebalances)
        self.set("streams_recovery_seconds", status.recovery_s)
        self.set("streams_ready", status.ready)

    def _grow(self, name: str, count: int, **labels: str) -> None:
        key = (name, next(iter(labels.values()), ""))
        self.add(name, count - self._seen.get(key, 0), **labels)
        self._seen[key] = count
