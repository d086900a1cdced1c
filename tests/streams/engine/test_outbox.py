"""Sending: partitions, limits, and what a failed send does. Against a producer that does what the test says."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from streams.engine import Output, RowTooLarge
from streams.engine.errors import SendFailed
from streams.engine.outbox import NO_HEADERS, Outbox

BATCH_BYTES = 4_096


class FakeProducer:
    """Keeps batches; acknowledges them when told."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int, Any, asyncio.Future[Any]]] = []

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(BATCH_BYTES, 0)

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.sent.append((topic, partition, batch, future))
        return future

    def acknowledge(self) -> None:
        for number, (_, _, _, future) in enumerate(self.sent):
            if not future.done():
                future.set_result(SimpleNamespace(offset=number))


class Worker:
    def __init__(self) -> None:
        self.producer = FakeProducer()
        self.failures: list[BaseException] = []
        self.outbox = Outbox(lambda: self.producer, self.failures.append, BATCH_BYTES)


@given(st.binary(min_size=1, max_size=64), st.integers(1, 64))
def test_keys_go_where_kafkas_partitioner_puts_them(key: bytes, partitions: int) -> None:
    worker, every = Worker(), list(range(partitions))
    asyncio.run(worker.outbox.emit("t", partitions, [(b"", b"", key)], ()))
    ((_, partition, _, _),) = worker.producer.sent
    assert partition == DefaultPartitioner()(key, every, every)


async def test_emit_sends_one_batch_a_partition_by_the_partition_key() -> None:
    worker = Worker()
    keys = [b"k%d" % number for number in range(20)]
    await worker.outbox.emit("t", 4, [(b"row of " + key, b"v", key) for key in keys], ())
    assert {partition: batch.record_count() for _, partition, batch, _ in worker.producer.sent} == {
        partition: sum(DefaultPartitioner()(key, [0, 1, 2, 3], []) == partition for key in keys)
        for partition in range(4)
    }


async def test_emit_takes_plain_tuples_and_messages_with_headers_of_their_own() -> None:
    worker = Worker()
    await worker.outbox.emit("t", 1, [Output(b"k", None, b"p", [("a", b"1")]), (b"k", b"v", b"p")], [("b", b"2")])
    assert worker.producer.sent[0][2].record_count() == 2


async def test_a_full_batch_is_sent_and_the_next_begun() -> None:
    worker = Worker()
    sent = await worker.outbox.send("t", 0, [(b"k%d" % n, b"x" * 1_000, NO_HEADERS) for n in range(10)], name="t")
    assert [batch.records for batch in sent] == [3, 3, 3, 1]


@pytest.mark.parametrize("before", [0, 1])
async def test_a_message_that_fits_into_no_batch_is_named(before: int) -> None:
    worker = Worker()
    messages = [(b"small", b"row", NO_HEADERS)] * before + [(b"key", b"x" * 5_000, NO_HEADERS)]
    with pytest.raises(RowTooLarge, match=r"^sessions: a row of 5000 bytes with a key of 3 bytes exceeds 3996 bytes"):
        await worker.outbox.send("t", 0, messages, name="sessions")


async def test_settle_waits_for_what_was_sent_before_it_and_for_nothing_else() -> None:
    worker = Worker()
    await worker.outbox.send("t", 0, [(b"k", b"v", NO_HEADERS)], name="t")
    settling = asyncio.ensure_future(worker.outbox.settle())
    await asyncio.sleep(0)
    assert not settling.done()
    await worker.outbox.send("t", 1, [(b"k", b"v", NO_HEADERS)], name="t")
    worker.producer.sent[0][3].set_result(SimpleNamespace(offset=0))
    await settling
    assert (worker.outbox.sent, worker.failures) == (1, [])


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_batch_that_is_not_acknowledged_ends_the_worker(cancelled: bool) -> None:
    worker = Worker()
    (sent,) = await worker.outbox.send("t", 3, [(b"k", b"v", NO_HEADERS)], name="t")
    if cancelled:
        sent.acknowledged.cancel()
    else:
        sent.acknowledged.set_exception(TimeoutError("30 s"))
    await worker.outbox.settle()
    (failure,) = worker.failures
    assert isinstance(failure, SendFailed)
    assert (failure.topic, failure.partition) == ("t", 3)
