"""Whose log it is, told from leader epochs, without Kafka."""

from __future__ import annotations

import struct

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.lineage import UNKNOWN, Followed, epoch_at, runs_of
from streams.engine.rows import Place, place


def batch(first: int, count: int, epoch: int) -> bytes:
    """As a broker hands it out: with the first offset and its leader's epoch in the header."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1 << 20,
    )
    for number in range(count):
        builder.append(number, 1_000, b"key", b"value", [])
    built = bytearray(builder.build())
    struct.pack_into(">q", built, 0, first)
    struct.pack_into(">i", built, 12, epoch)
    return bytes(built)


LOG = batch(100, 3, 4) + batch(103, 2, 4) + batch(110, 5, 6) + batch(115, 1, 9)


def test_the_epochs_of_a_fetch_are_read_from_its_batches() -> None:
    assert runs_of(LOG) == ((100, 4), (110, 6), (115, 9))
    assert [epoch_at(runs_of(LOG), offset) for offset in (99, 100, 109, 110, 114, 115, 999)] == [-1, 4, 4, 6, 6, 9, 9]
    assert runs_of(b"") == ()


@given(st.integers(0, len(LOG)))
def test_a_fetch_ends_anywhere(end: int) -> None:
    """Kafka cuts an answer at its limit, in the middle of a batch."""
    assert runs_of(LOG)[: len(runs_of(LOG[:end]))] == runs_of(LOG[:end])


def test_a_batch_of_before_epochs_has_none() -> None:
    old = bytearray(batch(7, 1, 5))
    old[16] = 1  # the format before, in which a checksum stands there
    assert runs_of(bytes(old)) == ((7, UNKNOWN),)


def test_only_an_epoch_that_was_not_met_is_news() -> None:
    runs = runs_of(LOG)
    followed = Followed(99, 4)
    assert followed.news(runs, 100, 109) == set()
    assert followed.news(runs, 100, 114) == {6}
    assert followed.news(runs, 100, 115) == {6, 9}
    assert followed.news(runs, 111, 114) == {6}
    followed.seen |= {6}
    assert followed.news(runs, 100, 114) == set()
    assert Followed().news(((0, UNKNOWN),), 0, 10) == set()


def test_records_that_come_again_do_not_take_back_how_far_was_read() -> None:
    followed = Followed()
    followed.read_to(runs_of(LOG), 114)
    followed.read_to(runs_of(LOG), 102)
    assert (followed.offset, followed.epoch) == (114, 6)


RECORD = (b"k", b"row", b"")


def test_a_place_is_the_same_record_or_another_one() -> None:
    here = place(RECORD, 7, 1_000)
    assert Place.unpack(here.pack()) == here
    assert here.holds(place(RECORD, 7, 1_000))
    # Of a changelog that is not on the broker's time, or whose answer was lost and given again.
    assert here.holds(place(RECORD, 7, -1))
    assert place(RECORD, 7, -1).holds(here)
    assert not here.holds(place(RECORD, 7, 1_001))
    assert not here.holds(place(RECORD, 8, 1_000))
    others = [(b"l", b"row", b""), (b"k", b"raw", b""), (b"k", None, b"row"), (b"kr", b"ow", b""), (b"k", None, b"")]
    assert not any(here.holds(place(other, 7, 1_000)) for other in others)
