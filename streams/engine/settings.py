"""What the engine is told: its name in the cluster, where it keeps rows, how patient it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Cluster:
    """Which Kafka this is and which topics, as Kafka itself names them.

    A topic that was deleted and made again has the same name and another id; its offsets start again, so every record
    would look like one already counted. cluster_id: the cluster's id. topic_ids: full topic name -> id (UUID text).
    ids_of: asks Kafka for the ids of more topics: those that the engine makes.
    """

    cluster_id: str
    topic_ids: Mapping[str, str]
    ids_of: Callable[[Sequence[str]], Awaitable[Mapping[str, str]]]


def group_of(app_id: str, epoch: int) -> str:
    """Consumer group of an epoch, first part of its changelogs' names, and folder of its tables."""
    return app_id if epoch == 1 else f"{app_id}-e{epoch}"


@dataclass(frozen=True)
class EngineSettings:
    """Settings of one worker. Times in seconds, sizes in bytes.

    app_id: consumer group, and first part of every changelog topic's name; an epoch above 1 is added to it, so that a
        rebuild starts from the topics' beginning beside the old state.
    epoch: >= 1; grows with a change of logic, of partitions, or of a source topic's identity. First part of a version.
    shadow: rebuild a higher epoch beside the published one without sending anything to topics that others read.
    kafka: aiokafka's security arguments (security_protocol, ssl_context, sasl_*), as every client takes them.
    datadir: folder of the tables of this worker; no other worker may use it at the same time.
    partitions: of every changelog; the default where a source does not say.
    replication: of the changelogs; 1 survives kill -9 but not the loss of a disk.
    instance_id: static membership: a restart within the session timeout moves no partition. Unique in the group.
    fencing: stop producing when the group may have given our partitions away. Off only in tests of what is behind it.
    """

    app_id: str
    bootstrap: str
    datadir: Path
    partitions: int
    epoch: int = 1
    shadow: bool = False
    replication: int = 1
    kafka: Mapping[str, Any] = field(default_factory=dict)
    instance_id: str | None = None
    standby_replicas: int = 0
    fencing: bool = True

    chunk_records: int = 2000
    # What waits between Kafka and a stage is at most this many chunks a source, besides one fetch (below) a partition.
    queued_chunks: int = 4
    fetch_bytes: int = 512 * 1024
    # A fetch that finds less than the bytes waits so long at the broker: else every record of a trickle is a chunk, and
    # that costs what a hundred records cost.
    fetch_min_bytes: int = 256 * 1024
    fetch_wait_s: float = 0.1

    commit_interval_s: float = 1.0
    audit_interval_s: float = 10.0
    # Pauses longer than the session timeout cost a rebalance; a dead worker's partitions stand still for as long.
    session_timeout_s: float = 10.0
    heartbeat_interval_s: float = 0.5
    # At least twice the longest chunk: within it a worker must finish its chunk, flush and commit.
    rebalance_timeout_s: float = 30.0
    request_timeout_s: float = 30.0
    # Of internal topics. What their stage has not read by then is lost to it, as with any source.
    internal_retention_ms: int = 30 * 86_400_000

    # One request; must not exceed the broker's message.max.bytes (1 MiB by default), nor a row this.
    batch_bytes: int = 512 * 1024
    # aiokafka packs lz4 at level 9 (2.7 ms for 150 KB of rows); snappy takes 0.2 ms for nearly the same size, zstd 0.7.
    compression: Literal["gzip", "snappy", "lz4", "zstd"] | None = "snappy"
    # On the disk a zombie's older copy must not be the only one left before its owner has noticed.
    compaction_lag_ms: int = 3_600_000
    # A crash takes what is not in files; the changelog is read on from there as long as compaction leaves that record.
    flush_interval_s: float = 900.0
    # Rows written last, without a read from RocksDB; each partition of each table has its share.
    row_cache_bytes: int = 96 * 1024 * 1024
    # Of all tables and partitions together; what is written and not yet on disk counts against the write buffers.
    block_cache_bytes: int = 32 * 1024 * 1024
    write_buffers_bytes: int = 64 * 1024 * 1024

    @property
    def group(self) -> str:
        """As group_of."""
        return group_of(self.app_id, self.epoch)

    def internal_topic(self, name: str) -> str:
        """Full name of a topic between two stages of this epoch."""
        return f"{self.group}-{name}"

    def __post_init__(self) -> None:
        faults = []
        if not 1 <= self.epoch < 1 << 32:
            faults.append(f"epoch must be 1 to 2^32-1, not {self.epoch}")
        if self.shadow and self.epoch == 1:
            faults.append("shadow needs an epoch above 1: it rebuilds beside a lower one")
        counts = ("partitions", "replication", "chunk_records", "queued_chunks", "fetch_bytes", "batch_bytes")
        faults += [f"{n} must be at least 1, not {getattr(self, n)}" for n in counts if getattr(self, n) < 1]
        if self.session_timeout_s < 3 * self.heartbeat_interval_s:
            faults.append("session_timeout_s must be at least three heartbeat intervals")
        if self.request_timeout_s < self.session_timeout_s:
            faults.append("request_timeout_s must not be below session_timeout_s")
        if faults:
            raise ValueError("; ".join(faults))
