"""Commits: races with another writer, lost answers, bounds on what is kept, newer and foreign schemas."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.exceptions import CommitStateUnknownException
from pyiceberg.table import Table, Transaction
from pyiceberg.types import LongType, StringType

from sinks.errors import CommitLost, StoreUnavailable, TableMismatch
from sinks.lake import LakeSink, Limits, store
from sinks.metrics import SinkMetrics
from tests.sinks.lake.stores import lake_sink, rows, scan, table
from tests.sinks.records import DAY, HOUR, IDENTITY, SECOND, T0, batch, event, events, ids


async def opened(folder: Path, limits: Limits | None = None, metrics: SinkMetrics | None = None) -> LakeSink:
    sink = lake_sink(folder, limits, metrics)
    await sink.open(IDENTITY)
    return sink


def event_ids(folder: Path) -> list[str]:
    return [row[0] for row in rows(folder, "events", "event_id")]


async def test_offsets_are_properties_of_the_commit_that_brought_the_rows(tmp_path: Path) -> None:
    sink = await opened(tmp_path)
    await sink.write([events([1, 2], partition=3)])
    await sink.close()
    with table(tmp_path, "events") as found:
        assert len(found.metadata.snapshots) == 1
        assert json.loads(found.properties["millrace.offset.events.3"]) == {
            "next": 2,
            "cluster_id": "cluster-1",
            "topic_id": "id-of-events",
            "received_us": T0 + 2 * SECOND + 1500,
        }
        assert found.format_version == 2
        assert [field.name for field in found.spec().fields] == ["day"]
        assert found.schema().find_field("event_id").doc is not None


async def test_offsets_move_on_over_a_range_of_which_everything_was_dropped(tmp_path: Path) -> None:
    metrics = SinkMetrics()
    sink = await opened(tmp_path, metrics=metrics)
    await sink.write([batch("events", [event(number, route="drop") for number in range(3)])])
    await sink.write([batch("events", [event(3)], first_offset=3)])
    covered = await sink.covered("events", 0)
    await sink.close()
    assert covered is not None
    assert covered.next_offset == 4
    assert event_ids(tmp_path) == ids([3])
    assert metrics.value("sinks_left_out_total", sink="lake", topic="events", route="drop") == 3


async def test_rows_lie_in_the_partition_of_their_day(tmp_path: Path) -> None:
    sink = await opened(tmp_path)
    values = [
        event(1),
        event(2, event_time=T0 - 3 * DAY),
        event(3, event_time=0),
        event(4, event_time=T0 + 3650 * DAY),
    ]
    await sink.write([batch("events", values)])
    await sink.close()
    assert rows(tmp_path, "events", "event_id", "day") == [
        ("event-1", date(2026, 9, 21)),
        ("event-2", date(2026, 9, 18)),
        ("event-3", date(2026, 9, 21)),
        ("event-4", date(2026, 9, 21)),
    ]
    folders = (tmp_path / "lake" / "warehouse" / "millrace" / "events" / "data").iterdir()
    assert sorted(folder.name for folder in folders) == ["day=2026-09-18", "day=2026-09-21"]


async def test_of_two_writers_of_the_same_range_one_wins(tmp_path: Path) -> None:
    metrics = SinkMetrics()
    first, second = await opened(tmp_path), await opened(tmp_path, metrics=metrics)
    await first.write([events([1, 2, 3])])
    await second.write([events([1, 2, 3, 4])])  # knows nothing of the first until its commit fails
    assert event_ids(tmp_path) == ids([1, 2, 3, 4])
    assert metrics.value("sinks_commit_conflicts_total", table="events") == 1
    await first.write([events([4, 5], first_offset=3)])
    assert event_ids(tmp_path) == ids([1, 2, 3, 4, 5])
    assert [row[1] for row in rows(tmp_path, "events", "event_id", "kafka_offset")] == [0, 1, 2, 3, 4]
    await first.close()
    await second.close()


async def test_the_loser_of_a_race_learns_the_winners_ids(tmp_path: Path) -> None:
    first, second = await opened(tmp_path), await opened(tmp_path)
    await first.write([events([1, 2])])
    # The re-send of event 1 stands behind what the winner stored, in the loser's own part.
    await second.write([events([1, 2, 1, 3])])
    assert event_ids(tmp_path) == ids([1, 2, 3])
    await first.close()
    await second.close()


async def test_a_range_of_re_sends_alone_loses_its_race_too(tmp_path: Path) -> None:
    # Without rows a commit could overtake nobody, and would set the winner's offset back.
    first = await opened(tmp_path)
    await first.write([events([1, 2])])
    second = await opened(tmp_path)
    await first.write([events([3, 4], first_offset=2)])
    await second.write([events([1], first_offset=2)])
    covered = await second.covered("events", 0)
    assert covered is not None
    assert covered.next_offset == 4
    assert event_ids(tmp_path) == ids([1, 2, 3, 4])
    await first.close()
    await second.close()


async def test_writers_of_different_partitions_keep_each_others_offsets(tmp_path: Path) -> None:
    first, second = await opened(tmp_path), await opened(tmp_path)
    for turn in range(4):
        await first.write([events([10 + turn], first_offset=turn, partition=0)])
        await second.write([events([20 + turn], first_offset=turn, partition=1)])
    assert event_ids(tmp_path) == ids([*range(10, 14), *range(20, 24)])
    third = await opened(tmp_path)
    assert [(await third.covered("events", p)).next_offset for p in (0, 1)] == [4, 4]  # type: ignore[union-attr]
    for sink in (first, second, third):
        await sink.close()


async def test_a_foreign_commit_without_our_offsets_does_no_harm(tmp_path: Path) -> None:
    sink = await opened(tmp_path)
    await sink.write([events([1, 2])])
    with table(tmp_path, "events") as foreign:
        foreign.delete("event_id == 'event-1'")  # a person is erased, or an engine compacts
    await sink.write([events([3], first_offset=2)])
    await sink.write([events([1], first_offset=3)])  # still recognised: erased rows must not come back
    await sink.close()
    assert event_ids(tmp_path) == ids([2, 3])


async def test_a_commit_whose_answer_was_lost_is_not_made_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = await opened(tmp_path)
    commit = Transaction.commit_transaction

    def lost(transaction: Transaction) -> Table:
        commit(transaction)
        raise CommitStateUnknownException("the catalog did not answer")

    monkeypatch.setattr(Transaction, "commit_transaction", lost)
    with pytest.raises(StoreUnavailable, match="the catalog did not answer"):
        await sink.write([events([1, 2])])
    monkeypatch.undo()
    await sink.write([events([1, 2])])
    await sink.write([events([2, 3], first_offset=2)])
    await sink.close()
    assert event_ids(tmp_path) == ids([1, 2, 3])


async def test_a_full_disk_stores_nothing_and_may_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = await opened(tmp_path)

    def full(_: Transaction) -> Table:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Transaction, "commit_transaction", full)
    with pytest.raises(StoreUnavailable, match="No space left"):
        await sink.write([events([1, 2])])
    assert event_ids(tmp_path) == []
    monkeypatch.undo()
    await sink.write([events([1, 2])])
    await sink.close()
    assert event_ids(tmp_path) == ids([1, 2])


async def test_a_writer_that_loses_every_race_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = await opened(tmp_path), await opened(tmp_path)
    reload = store.LakeTable._reload

    def overtaken(lake_table: store.LakeTable) -> None:
        reload(lake_table)
        with table(tmp_path, "events") as other:
            other.append(scan(tmp_path, "events").slice(0, 0))

    monkeypatch.setattr(store, "_RACES_MAX", 3)
    monkeypatch.setattr(store.LakeTable, "_reload", overtaken)
    await first.write([events([1])])
    with pytest.raises(CommitLost):
        await second.write([events([2], partition=1)])
    monkeypatch.undo()
    await second.write([events([2], partition=1)])
    assert event_ids(tmp_path) == ids([1, 2])
    await first.close()
    await second.close()


async def test_snapshots_and_metadata_files_stay_bounded(tmp_path: Path) -> None:
    metrics = SinkMetrics()
    sink = await opened(tmp_path, Limits(snapshots_max=10), metrics)
    for number in range(26):
        await sink.write([events([number], first_offset=number)])
        assert metrics.value("sinks_snapshots", table="events") <= 10
    await sink.close()
    assert event_ids(tmp_path) == ids(range(26))
    metadata = tmp_path / "lake" / "warehouse" / "millrace" / "events" / "metadata"
    assert len(list(metadata.glob("*.metadata.json"))) <= 21


async def test_a_thousand_foreign_snapshots_go_little_by_little(tmp_path: Path) -> None:
    sink = await opened(tmp_path, Limits(snapshots_max=1000))
    for number in range(24):
        await sink.write([events([number], first_offset=number)])
    await sink.close()
    sink = await opened(tmp_path, Limits(snapshots_max=5))
    counts = []
    for number in range(24, 27):
        await sink.write([events([number], first_offset=number)])
        with table(tmp_path, "events") as found:
            counts.append(len(found.metadata.snapshots))
    await sink.close()
    assert counts == [15, 6, 5]
    assert event_ids(tmp_path) == ids(range(27))


async def test_tags_of_other_people_are_not_expired(tmp_path: Path) -> None:
    sink = await opened(tmp_path, Limits(snapshots_max=3))
    await sink.write([events([0])])
    with table(tmp_path, "events") as foreign:
        snapshot = foreign.current_snapshot()
        assert snapshot is not None
        foreign.manage_snapshots().create_tag(snapshot.snapshot_id, "audit").commit()
    for number in range(1, 8):
        await sink.write([events([number], first_offset=number)])
    await sink.close()
    with table(tmp_path, "events") as found:
        assert found.snapshot_by_name("audit") is not None
        assert len(found.metadata.snapshots) <= 4


async def test_re_sends_are_found_within_the_horizon_after_a_restart(tmp_path: Path) -> None:
    limits = Limits(dedup_horizon_us=HOUR)
    sink = await opened(tmp_path, limits)
    minute = 60 * SECOND
    values = [event(n, received_time=T0 + n * 30 * minute) for n in range(4)]  # received at 0:00, 0:30, 1:00, 1:30
    await sink.write([batch("events", values)])
    await sink.write([batch("events", [event(8)], partition=1)])
    await sink.close()
    metrics = SinkMetrics()
    sink = await opened(tmp_path, limits, metrics)
    # 0:30, 1:00 and 1:30 are within an hour of the newest; the other partition has a clock of its own.
    assert metrics.value("sinks_dedup_ids", topic="events") == 4
    again = [event(n, received_time=T0 + 95 * minute) for n in range(4)]
    await sink.write([batch("events", again, first_offset=4)])
    await sink.close()
    assert event_ids(tmp_path) == ["event-0", "event-0", "event-1", "event-2", "event-3", "event-8"]


async def test_a_new_field_becomes_a_column(tmp_path: Path) -> None:
    sink = await opened(tmp_path)
    await sink.write([events([1])])
    await sink.close()
    with table(tmp_path, "events") as old, old.update_schema(allow_incompatible_changes=True) as update:
        update.delete_column("model")  # as a table was before the field came
    sink = await opened(tmp_path)
    await sink.write([batch("events", [event(2, model="opus")], first_offset=1)])
    await sink.close()
    assert scan(tmp_path, "events", ["event_id", "model"]).sort_by("event_id").to_pylist() == [
        {"event_id": "event-1", "model": None},
        {"event_id": "event-2", "model": "opus"},
    ]


async def test_a_column_of_somebody_else_is_left_null(tmp_path: Path) -> None:
    await (await opened(tmp_path)).close()
    with table(tmp_path, "events") as foreign, foreign.update_schema() as update:
        update.add_column("reviewed_by", StringType())
    sink = await opened(tmp_path)
    await sink.write([events([1])])
    await sink.close()
    assert scan(tmp_path, "events", ["reviewed_by"]).to_pylist() == [{"reviewed_by": None}]


async def test_a_column_of_another_type_is_refused(tmp_path: Path) -> None:
    await (await opened(tmp_path)).close()
    with table(tmp_path, "events") as foreign, foreign.update_schema(allow_incompatible_changes=True) as update:
        update.delete_column("model")
    with table(tmp_path, "events") as foreign, foreign.update_schema() as update:
        update.add_column("model", LongType())
    sink = lake_sink(tmp_path)
    with pytest.raises(TableMismatch, match="column model is int64"):
        await sink.open(IDENTITY)
    await sink.close()


async def test_orphans_go_and_what_is_named_stays(tmp_path: Path) -> None:
    first, second = await opened(tmp_path, Limits(snapshots_max=3)), await opened(tmp_path)
    for number in range(6):
        await first.write([events([number], first_offset=number)])
    await second.write([events([0])])  # loses; its data file stays behind
    folder = tmp_path / "lake" / "warehouse" / "millrace" / "events"
    before = len(list((folder / "data").rglob("*.parquet")))
    assert await first.remove_orphans(age_s=3600) == 0
    assert await first.remove_orphans(age_s=-1) > 0
    assert before - len(list((folder / "data").rglob("*.parquet"))) == 1
    assert await first.remove_orphans(age_s=-1) == 0
    assert event_ids(tmp_path) == ids(range(6))
    with table(tmp_path, "events") as found:
        for snapshot in found.metadata.snapshots:
            assert found.scan(snapshot_id=snapshot.snapshot_id).to_arrow().num_rows > 0
    await first.write([events([6], first_offset=6)])
    assert event_ids(tmp_path) == ids(range(7))
    await first.close()
    await second.close()


async def test_other_readers_need_nothing_of_ours(tmp_path: Path) -> None:
    sink = await opened(tmp_path)
    await sink.write([events([1, 2])])
    await sink.close()
    data = tmp_path / "lake" / "warehouse" / "millrace" / "events" / "data"
    found = pa.concat_tables(pq.read_table(path) for path in data.rglob("*.parquet"))
    assert sorted(found["event_id"].to_pylist()) == ids([1, 2])
    assert found["event_time"].to_pylist()[0] == datetime(2026, 9, 21, 14, 13, 21, tzinfo=UTC)
    assert found["event_time"].to_pylist()[1] - found["event_time"].to_pylist()[0] == timedelta(seconds=1)
