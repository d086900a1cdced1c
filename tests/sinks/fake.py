"""A sink in memory, for tests of what drives sinks. It passes the contract as the real ones do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas import codec
from schemas.topics import CATALOGUE
from sinks.protocol import Batch, Identity, Offset, uncovered


@dataclass
class FakeStore:
    """What survives the sink.  events: event_id → row.  sessions: session_id → newest row."""

    offsets: dict[tuple[str, int], Offset] = field(default_factory=dict)
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    sessions: dict[str, dict[str, Any]] = field(default_factory=dict)


class FakeSink:
    """failures: errors that the next calls of `write` and `open` raise, in order, before they do anything.

    written: the ranges of each successful write, for tests of batching.
    """

    name = "fake"
    topics: tuple[str, ...] = ("events", "sessions")

    def __init__(self, store: FakeStore | None = None) -> None:
        self.store = FakeStore() if store is None else store
        self.write_failures: list[Exception] = []
        self.open_failures: list[Exception] = []
        self.written: list[list[Batch]] = []
        self.closed = 0
        self._identity: Identity | None = None

    async def open(self, identity: Identity) -> None:
        if self.open_failures:
            raise self.open_failures.pop(0)
        for (topic, partition), offset in self.store.offsets.items():
            identity.check(self.name, topic, partition, offset)
        self._identity = identity

    async def covered(self, topic: str, partition: int) -> Offset | None:
        return self.store.offsets.get((topic, partition))

    async def write(self, batches: Sequence[Batch]) -> None:
        if self.write_failures:
            raise self.write_failures.pop(0)
        assert self._identity is not None, "open comes first"
        missing = []
        for batch in batches:
            stored = self.store.offsets.get((batch.topic, batch.partition))
            rest = uncovered(self.name, batch, None if stored is None else stored.next_offset)
            if rest is not None:
                missing.append(rest)
        for batch in missing:
            for record in batch.records:
                self._apply(batch.topic, record.value)
            self.store.offsets[batch.topic, batch.partition] = self._identity.offset(batch.topic, batch.next_offset)
        self.written.append(list(batches))

    async def close(self) -> None:
        self.closed += 1

    def _apply(self, topic: str, value: bytes | None) -> None:
        if value is None:
            return
        try:
            row = codec.decode(CATALOGUE[topic].record, value)
        except codec.CodecError:
            return
        if topic == "events":
            self.store.events.setdefault(row["event_id"], row)
        else:
            known = self.store.sessions.get(row["session_id"])
            if known is None or (known["epoch"], known["version"]) < (row["epoch"], row["version"]):
                self.store.sessions[row["session_id"]] = row
