"""What every sink must do. A test class per sink inherits `SinkContract` and says how to make and to read its store."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from sinks.errors import IdentityMismatch, RangeGap
from sinks.protocol import Batch, Offset, Sink, SinkRecord
from tests.sinks.records import IDENTITY, batch, event, events, ids, session, versions


@dataclass(frozen=True)
class Bench:
    """One store.  sink: another sink on it, not yet open.  read: rows of "events" or "sessions", of an open sink;
    of sessions the newest version of each."""

    sink: Callable[[], Sink]
    read: Callable[[Any, str], Awaitable[list[dict[str, Any]]]]

    async def opened(self) -> Sink:
        sink = self.sink()
        await sink.open(IDENTITY)
        return sink

    async def event_ids(self, sink: Sink) -> list[str]:
        return sorted(row["event_id"] for row in await self.read(sink, "events"))


class SinkContract:
    """Subclasses give the fixture `bench`."""

    async def test_nothing_is_covered_at_first(self, bench: Bench) -> None:
        sink = await bench.opened()
        assert {(t, p): await sink.covered(t, p) for t in sink.topics for p in range(4)} == {
            (t, p): None for t in sink.topics for p in range(4)
        }
        await sink.close()

    async def test_a_write_covers_its_range_and_stores_its_rows(self, bench: Bench) -> None:
        sink = await bench.opened()
        await sink.write([events([1, 2, 3])])
        assert await sink.covered("events", 0) == Offset("cluster-1", "id-of-events", 3)
        assert await sink.covered("events", 1) is None
        assert await bench.event_ids(sink) == ids([1, 2, 3])
        await sink.close()

    async def test_the_first_range_may_begin_anywhere(self, bench: Bench) -> None:
        sink = await bench.opened()
        await sink.write([events([1, 2], first_offset=500)])
        covered = await sink.covered("events", 0)
        assert covered is not None
        assert covered.next_offset == 502
        await sink.close()

    async def test_rows_and_offsets_survive_the_sink(self, bench: Bench) -> None:
        first = await bench.opened()
        await first.write([events([1, 2]), events([7], partition=3)])
        await first.close()
        second = await bench.opened()
        assert await second.covered("events", 0) == Offset("cluster-1", "id-of-events", 2)
        assert await second.covered("events", 3) == Offset("cluster-1", "id-of-events", 1)
        assert await bench.event_ids(second) == ids([1, 2, 7])
        await second.close()

    async def test_a_range_that_comes_again_changes_nothing(self, bench: Bench) -> None:
        sink = await bench.opened()
        await sink.write([events([1, 2, 3])])
        await sink.write([events([1, 2, 3])])
        await sink.write([events([2], first_offset=1)])
        assert await sink.covered("events", 0) == Offset("cluster-1", "id-of-events", 3)
        assert await bench.event_ids(sink) == ids([1, 2, 3])
        await sink.close()

    async def test_of_an_overlapping_range_only_the_rest_is_stored(self, bench: Bench) -> None:
        # stored  0 1 2
        # given     1 2 3 4
        sink = await bench.opened()
        await sink.write([events([1, 2, 3])])
        await sink.write([events([2, 3, 4, 5], first_offset=1)])
        assert await bench.event_ids(sink) == ids([1, 2, 3, 4, 5])
        covered = await sink.covered("events", 0)
        assert covered is not None
        assert covered.next_offset == 5
        await sink.close()

    async def test_a_range_after_a_gap_is_refused(self, bench: Bench) -> None:
        sink = await bench.opened()
        await sink.write([events([1, 2, 3])])
        with pytest.raises(RangeGap) as caught:
            await sink.write([events([5], first_offset=4)])
        assert (caught.value.expected, caught.value.found) == (3, 4)
        assert await bench.event_ids(sink) == ids([1, 2, 3])
        await sink.close()

    async def test_partitions_and_topics_go_together_in_one_write(self, bench: Bench) -> None:
        sink = await bench.opened()
        sessions = batch("sessions", [session(1, 1), session(2, 1)], partition=2)
        await sink.write([events([1]), events([2], partition=1), sessions])
        await sink.write([events([3], 1), events([4], 1, partition=1)])
        assert await bench.event_ids(sink) == ids([1, 2, 3, 4])
        assert versions(await bench.read(sink, "sessions")) == {"session-1": 1, "session-2": 1}
        assert await sink.covered("sessions", 2) == Offset("cluster-1", "id-of-sessions", 2)
        await sink.close()

    async def test_an_event_sent_again_is_stored_once(self, bench: Bench) -> None:
        sink = await bench.opened()
        await sink.write([events([1, 2, 2, 3, 1])])
        await sink.write([events([2, 4, 3], first_offset=5)])
        assert await bench.event_ids(sink) == ids([1, 2, 3, 4])
        assert await sink.covered("events", 0) == Offset("cluster-1", "id-of-events", 8)
        await sink.close()

    async def test_an_event_sent_again_after_a_restart_is_stored_once(self, bench: Bench) -> None:
        first = await bench.opened()
        await first.write([events([1, 2, 3])])
        await first.close()
        second = await bench.opened()
        await second.write([events([3, 4, 1], first_offset=3)])
        assert await bench.event_ids(second) == ids([1, 2, 3, 4])
        await second.close()

    async def test_a_range_of_re_sends_alone_moves_the_offset(self, bench: Bench) -> None:
        sink = await bench.opened()
        await sink.write([events([1, 2])])
        await sink.write([events([2, 1], first_offset=2)])
        await sink.close()
        again = await bench.opened()
        assert await again.covered("events", 0) == Offset("cluster-1", "id-of-events", 4)
        assert await bench.event_ids(again) == ids([1, 2])
        await again.close()

    async def test_holes_in_a_range_are_no_gap(self, bench: Bench) -> None:
        # Compaction and transaction markers leave them: offsets 0 and 5 of 0..7.
        sink = await bench.opened()
        held = events([1]).records[0], events([2]).records[0]._replace(offset=5)
        await sink.write([Batch("events", 0, 0, 7, held)])
        await sink.write([events([3], first_offset=8)])
        assert await bench.event_ids(sink) == ids([1, 2, 3])
        await sink.close()

    async def test_the_newest_version_of_a_session_wins_in_any_order(self, bench: Bench) -> None:
        sink = await bench.opened()
        await sink.write([batch("sessions", [session(1, 2), session(1, 5), session(1, 3), session(2, 1)])])
        await sink.write([batch("sessions", [session(1, 4), session(2, 7)], first_offset=4)])
        assert versions(await bench.read(sink, "sessions")) == {"session-1": 5, "session-2": 7}
        await sink.close()

    async def test_a_higher_epoch_wins_over_a_higher_version(self, bench: Bench) -> None:
        sink = await bench.opened()
        await sink.write([batch("sessions", [session(1, 900), session(1, 2, epoch=2)])])
        await sink.write([batch("sessions", [session(1, 901)], first_offset=2)])
        assert versions(await bench.read(sink, "sessions")) == {"session-1": 2}
        await sink.close()

    async def test_an_unreadable_record_is_left_out_and_passed(self, bench: Bench) -> None:
        sink = await bench.opened()
        good = events([1, 2, 3, 4])
        records = [*good.records]
        records[0] = SinkRecord(0, b"key", b"no record at all")
        records[2] = SinkRecord(2, b"key", records[2].value[:-3] if records[2].value else None)
        await sink.write([replace(good, records=records)])
        assert await bench.event_ids(sink) == ids([2, 4])
        assert await sink.covered("events", 0) == Offset("cluster-1", "id-of-events", 4)
        await sink.close()

    async def test_a_range_without_one_readable_record_moves_the_offset(self, bench: Bench) -> None:
        sink = await bench.opened()
        await sink.write([Batch("events", 0, 0, 1, [SinkRecord(0, None, b""), SinkRecord(1, None, b"\xc3\x01")])])
        assert await sink.covered("events", 0) == Offset("cluster-1", "id-of-events", 2)
        await sink.close()

    async def test_a_wild_clock_is_stored_as_it_is(self, bench: Bench) -> None:
        sink = await bench.opened()
        wild = [event(1, event_time=253_402_300_800_000_000 * 2), event(2, event_time=-62_135_596_800_000_000)]
        await sink.write([batch("events", wild)])
        assert await bench.event_ids(sink) == ids([1, 2])
        await sink.close()

    async def test_another_cluster_is_refused(self, bench: Bench) -> None:
        first = await bench.opened()
        await first.write([events([1])])
        await first.close()
        second = bench.sink()
        with pytest.raises(IdentityMismatch, match="another cluster"):
            await second.open(replace(IDENTITY, cluster_id="cluster-2"))
        await second.close()

    async def test_a_topic_made_anew_is_refused(self, bench: Bench) -> None:
        first = await bench.opened()
        await first.write([events([1])])
        await first.close()
        second = bench.sink()
        with pytest.raises(IdentityMismatch, match="another topic"):
            await second.open(replace(IDENTITY, topic_ids={**IDENTITY.topic_ids, "events": "another"}))
        await second.close()

    async def test_close_may_come_without_open_and_twice(self, bench: Bench) -> None:
        sink = bench.sink()
        await sink.close()
        await sink.open(IDENTITY)
        await sink.close()
        await sink.close()
