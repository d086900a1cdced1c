"""What a stage does with a message that no codec can read."""

from __future__ import annotations

from schemas import codec, topics
from streams.engine import Chunk, Record
from streams.sessions import events
from streams.stage import Inlet, Stage
from tests.streams.simulation import EVENTS, PREFIX, Worker, World

EVENT = {"event_id": "e", "tenant": "t", "event_name": "n", "event_time": 1, "received_time": 2}
REJECTED = topics.full_name(PREFIX, "rejected")


def refused(worker: Worker) -> list[int]:
    """Offsets of what was refused, as the messages tell."""
    sent = [value for (topic, _), messages in worker.unsent.items() if topic == REJECTED for _, value in messages]
    return sorted(codec.decode("rejected", value)["source_offset"] for value in sent)


async def test_an_unreadable_record_is_refused_once_in_however_many_parts_its_chunk_is_folded() -> None:
    worker = Worker(World([], [], 0))
    inlet = Inlet(worker, Stage(prefix=PREFIX, partitions={"rejected": 1}, epoch=1), "claude_event", events.FIELDS)  # type: ignore[arg-type]
    good = codec.encode("claude_event", EVENT)
    records = [Record(n, 0, b"k", value) for n, value in enumerate([b"?", good, good, b"??"], 5)]
    chunk = Chunk(EVENTS, 0, records, follows=4, seek=0)
    assert [offset for offset, _, _ in await inlet.read(chunk)] == [6, 7]
    _, left = chunk.split(7)
    assert left is not None
    assert [offset for offset, _, _ in await inlet.read(left)] == [7]
    assert refused(worker) == [5, 8]
    await inlet.read(Chunk(EVENTS, 1, records[:1], follows=4, seek=0))
    assert refused(worker) == [5, 5, 8], "of another partition"
