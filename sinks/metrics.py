"""Metrics of the sinks process."""

from service.metrics import Metric, MetricSet

# A write into the lake takes seconds, one into the query tables milliseconds.
_WRITE_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class SinkMetrics(MetricSet):
    """Labels: sink is the sink's name; topic a short topic name; reason a fixed word."""

    SPECS = (
        Metric(
            "sinks_records_total", "counter", "records", ("sink", "topic"), "Records read whose offsets are durable."
        ),
        Metric("sinks_resends_total", "counter", "records", ("sink", "topic"), "Clients' re-sends that were left out."),
        Metric(
            "sinks_left_out_total",
            "counter",
            "records",
            ("sink", "topic", "route"),
            "Records that routing keeps out of this store.",
        ),
        Metric(
            "sinks_unreadable_total",
            "counter",
            "records",
            ("sink", "topic", "reason"),
            "Records that could not be read and were left out.",
        ),
        Metric(
            "sinks_expired_total",
            "counter",
            "records",
            ("sink", "topic"),
            "Records that Kafka deleted before they were stored; only with MILLRACE_SINKS_ALLOW_GAPS.",
        ),
        Metric(
            "sinks_retries_total", "counter", "attempts", ("sink", "reason"), "Attempts that failed and are made again."
        ),
        Metric("sinks_lag_records", "gauge", "records", ("sink", "topic"), "Records in Kafka that are not stored yet."),
        Metric("sinks_write_seconds", "histogram", "seconds", ("sink",), "Time of one durable write.", _WRITE_S),
        Metric("sinks_orphans_removed_total", "counter", "files", ("table",), "Unused lake files that were deleted."),
        Metric("sinks_dedup_ids", "gauge", "ids", ("topic",), "Ids that the lake remembers to find re-sends."),
        Metric("sinks_snapshots", "gauge", "snapshots", ("table",), "Snapshots kept of a lake table."),
        Metric("sinks_commit_conflicts_total", "counter", "commits", ("table",), "Commits lost to another writer."),
    )

    def stored(self, sink: str, topic: str, records: int) -> None:
        """Records whose offsets are durable now, with those that were left out for a reason."""
        self.add("sinks_records_total", records, sink=sink, topic=topic)

    def resent(self, sink: str, topic: str, records: int) -> None:
        """Re-sends of a client that were recognised and left out."""
        self.add("sinks_resends_total", records, sink=sink, topic=topic)

    def left_out(self, sink: str, topic: str, route: str, records: int) -> None:
        """Records that the routing rules keep out of this store."""
        if records:
            self.add("sinks_left_out_total", records, sink=sink, topic=topic, route=route)

    def unreadable(self, sink: str, topic: str, reason: str, records: int = 1) -> None:
        """Records left out because their bytes are no record of ours."""
        self.add("sinks_unreadable_total", records, sink=sink, topic=topic, reason=reason)

    def expired(self, sink: str, topic: str, records: int) -> None:
        """Records that were gone from Kafka before they were stored."""
        self.add("sinks_expired_total", records, sink=sink, topic=topic)

    def retried(self, sink: str, reason: str) -> None:
        """One failed attempt that will come again."""
        self.add("sinks_retries_total", sink=sink, reason=reason)

    def lag(self, sink: str, topic: str, records: int) -> None:
        """Records of a topic that this sink has not stored yet."""
        self.set("sinks_lag_records", records, sink=sink, topic=topic)

    def wrote(self, sink: str, seconds: float) -> None:
        """How long one durable write took."""
        self.observe("sinks_write_seconds", seconds, sink=sink)

    def orphans_removed(self, table: str, files: int) -> None:
        """Data files of the lake that no snapshot used, deleted now."""
        self.add("sinks_orphans_removed_total", files, table=table)

    def snapshots(self, table: str, kept: int) -> None:
        """Snapshots that a lake table keeps now."""
        self.set("sinks_snapshots", kept, table=table)

    def dedup_ids(self, topic: str, ids: int) -> None:
        """Ids of a topic that the lake remembers now."""
        self.set("sinks_dedup_ids", ids, topic=topic)

    def conflict(self, table: str) -> None:
        """One commit lost to another writer."""
        self.add("sinks_commit_conflicts_total", table=table)
