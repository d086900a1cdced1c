"""The store as a sink: each record once, the newest version of each row, offsets and rows as one."""

import asyncio
import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.errors import PermanentError, RetryableError
from sinks.errors import IdentityMismatch, RangeGap, StoreUnavailable, TableMismatch
from sinks.metrics import SinkMetrics
from sinks.protocol import Batch, Identity, Offset, SinkRecord
from sinks.query.database import Database
from sinks.query.store import QueryStore
from sinks.query.tables import TOPICS
from tests.sinks.query import samples
from tests.sinks.query.conftest import RESOURCES, rows
from tests.sinks.query.samples import IDENTITY, SECOND, T0, batch, key_of, of_records


async def opened(folder: Path, identity: Identity = IDENTITY) -> tuple[QueryStore, Database]:
    database = Database(folder, RESOURCES)
    store = QueryStore(database, clock=lambda: T0)
    await store.open(identity)
    return store, database


def offset(topic: str, next_offset: int) -> Offset:
    return Offset("cluster-1", f"id-of-{topic}", next_offset)


# Events and the like: once


async def test_an_empty_store_covers_nothing(store: QueryStore) -> None:
    assert [await store.covered(topic, 0) for topic in TOPICS] == [None] * len(TOPICS)


async def test_rows_and_offsets_are_there_after_the_write(store: QueryStore, database: Database) -> None:
    await store.write([batch("events", [samples.event(i) for i in range(3)], first_offset=5, last=9)])
    assert await store.covered("events", 0) == offset("events", 10)
    assert rows(database, "select event_id from raw.events order by 1") == [(f"acme-event-{i}",) for i in range(3)]


async def test_what_was_archived_or_dropped_is_in_no_table_and_its_offsets_move_on(
    store: QueryStore, database: Database, metrics: SinkMetrics
) -> None:
    makers = {
        "events": samples.event,
        "metrics": samples.point,
        "spans": samples.span,
        "content": samples.content,
    }
    routes = (None, "archive", "hot", "drop", "archive")
    for topic, make in makers.items():
        await store.write([batch(topic, [make(i, route=route) for i, route in enumerate(routes)])])
        assert await store.covered(topic, 0) == offset(topic, 5)
        await store.write([batch(topic, [make(9, route="archive")], first_offset=5)])
        assert await store.covered(topic, 0) == offset(topic, 6)
        assert rows(database, f"select route, count(*) from raw.{topic} group by 1 order by 1") == [
            ("hot", 1),
            (None, 1),
        ]
        assert metrics.value("sinks_left_out_total", sink="query", topic=topic, route="archive") == 3
        assert metrics.value("sinks_left_out_total", sink="query", topic=topic, route="drop") == 1


async def test_who_was_archived_still_has_a_name_beside_the_aggregates(store: QueryStore, database: Database) -> None:
    who = {"user_key": "k1", "user_email": "ada@example.com"}
    await store.write([batch("events", [samples.event(1, route="archive", **who)])])
    await store.write([batch("events", [samples.event(2, route="drop", user_key="k2")], first_offset=1)])
    assert rows(database, "select user_key, user_email from raw.people") == [("k1", "ada@example.com")]


async def test_an_archived_record_is_stored_when_it_is_sent_again_and_the_rule_is_gone(
    store: QueryStore, database: Database
) -> None:
    for number, route in enumerate(("archive", "hot", "archive", "hot")):
        await store.write([batch("events", [samples.event(1, route=route)], first_offset=number)])
    assert rows(database, "select event_id, route from raw.events") == [("acme-event-1", "hot")]


async def test_a_replayed_range_changes_nothing(store: QueryStore, database: Database) -> None:
    values = [samples.event(i) for i in range(6)]
    for _ in range(2):
        await store.write([batch("events", values)])
    await store.write([batch("events", values[:3])])
    assert await store.covered("events", 0) == offset("events", 6)
    assert rows(database, "select count(*), count(distinct event_id) from raw.events") == [(6, 6)]


async def test_of_an_overlapping_range_only_the_new_part_is_stored(store: QueryStore, database: Database) -> None:
    # The ids of the part that comes again differ, so that the offsets alone must tell.
    await store.write([batch("events", [samples.event(i) for i in range(6)])])
    await store.write([batch("events", [samples.event(100 + i) for i in range(6)], first_offset=3)])
    assert rows(database, "select event_id from raw.events where event_id > 'acme-event-100' order by 1") == [
        ("acme-event-103",),
        ("acme-event-104",),
        ("acme-event-105",),
        ("acme-event-2",),
        ("acme-event-3",),
        ("acme-event-4",),
        ("acme-event-5",),
    ]


async def test_a_range_after_a_hole_is_refused(store: QueryStore) -> None:
    await store.write([batch("events", [samples.event(0)])])
    with pytest.raises(RangeGap):
        await store.write([batch("events", [samples.event(2)], first_offset=2)])
    assert await store.covered("events", 0) == offset("events", 1)


async def test_a_range_without_records_moves_the_offset(store: QueryStore) -> None:
    await store.write([Batch("events", 0, 0, 41, ()), Batch("sessions", 2, 3, 7, ())])
    assert await store.covered("events", 0) == offset("events", 42)
    assert await store.covered("sessions", 2) == offset("sessions", 8)


async def test_what_a_client_sends_again_is_stored_once(
    store: QueryStore, database: Database, metrics: SinkMetrics
) -> None:
    later = {"received_time": T0 + 900 * SECOND}
    kinds: dict[str, Any] = {
        "events": samples.event,
        "metrics": samples.point,
        "spans": samples.span,
        "content": samples.content,
    }
    for topic, make in kinds.items():
        again = later if topic == "content" else {**later, "ingest_key_id": "another"}
        first = [make(i) for i in range(4)]
        await store.write([batch(topic, [*first, {**first[0], **again}])])  # within one batch
        await store.write([batch(topic, [{**value, **again} for value in first], first_offset=5)])  # and later
        await store.write([batch(topic, [{**first[1], **again}, make(9)], partition=3)])  # and elsewhere
        assert rows(database, f"select count(*) from raw.{topic}") == [(5,)]
        assert metrics.value("sinks_resends_total", sink="query", topic=topic) == 6
    # The first to arrive is the one that is kept.
    late = f"select count(*) from raw.events where epoch_us(received_time) = {T0 + 900 * SECOND}"
    assert rows(database, late) == [(0,)]


async def test_an_event_without_a_time_is_recognised_by_its_id_alone(store: QueryStore, database: Database) -> None:
    def timeless(received: int) -> dict[str, Any]:
        return samples.event(1, event_time=received, received_time=received, clock_suspect=True)

    await store.write([batch("events", [timeless(T0), timeless(T0 + 1)])])
    await store.write([batch("events", [timeless(T0 + 500 * SECOND), samples.event(2)], first_offset=2)])
    assert rows(database, "select event_id, epoch_us(event_time) from raw.events order by 1") == [
        ("acme-event-1", T0),
        ("acme-event-2", T0 + 2 * SECOND),
    ]


def came(database: Database, topic: str) -> dict[str, int | None]:
    """Id → how often the record came again, as the store says."""
    id_ = {"events": "event_id", "metrics": "point_id", "spans": "span_id"}[topic]
    return dict(rows(database, f"select {id_}, resends from raw.{topic}"))


MAKERS: dict[str, tuple[Callable[..., dict[str, Any]], str]] = {
    "events": (samples.event, "acme-event-{}"),
    "metrics": (samples.point, "acme-point-{}"),
    "spans": (samples.span, "{:016x}"),
}


@pytest.mark.parametrize("topic", MAKERS)
async def test_a_record_says_how_often_it_came_again(store: QueryStore, database: Database, topic: str) -> None:
    make, id_ = MAKERS[topic]

    def again(number: int, seconds: int = 900) -> dict[str, Any]:
        return make(number, received_time=T0 + seconds * SECOND)

    def expected(*times: int | None) -> dict[str, int | None]:
        return {id_.format(i): count for i, count in enumerate(times)}

    await store.write([batch(topic, [make(0), again(0), make(1), again(0, 901), make(2)])])  # within one batch
    assert came(database, topic) == expected(2, None, None)
    await store.write([batch(topic, [again(0), again(1), again(1, 902), make(3)], first_offset=5)])  # and later
    assert came(database, topic) == expected(3, 2, None, None)
    await store.write([batch(topic, [again(2), again(4), make(4)], partition=3)])  # and elsewhere
    assert came(database, topic) == expected(3, 2, 1, None, 1)
    two = [batch(topic, [again(3)], first_offset=9), batch(topic, [again(3, 903)], first_offset=3, partition=3)]
    await store.write(two)  # of two partitions at once
    await store.write(two)  # an offset that is stored is no re-send
    assert came(database, topic) == expected(3, 2, 1, 2, 1)


async def test_an_event_without_a_time_counts_how_often_it_came_again(store: QueryStore, database: Database) -> None:
    def timeless(number: int, received: int) -> dict[str, Any]:
        return samples.event(number, event_time=received, received_time=received, clock_suspect=True)

    await store.write([batch("events", [timeless(1, T0), timeless(2, T0), timeless(1, T0 + 1)])])
    later = [timeless(1, T0 + 500 * SECOND), samples.event(3), timeless(1, T0 + 501 * SECOND), samples.event(3)]
    await store.write([batch("events", later, first_offset=3)])
    assert came(database, "events") == {"acme-event-1": 3, "acme-event-2": None, "acme-event-3": 1}


async def test_a_copy_that_is_archived_or_dropped_counts_for_none(store: QueryStore, database: Database) -> None:
    log = [samples.event(1, route=route) for route in ("archive", "drop", "hot", "archive", "hot", "drop", None)]
    await store.write([batch("events", log)])
    assert came(database, "events") == {"acme-event-1": 2}
    await store.write([batch("events", log, first_offset=len(log))])
    assert came(database, "events") == {"acme-event-1": 5}


async def test_what_has_no_client_counts_no_resends(store: QueryStore, database: Database) -> None:
    for topic in ("content", "audit"):
        make = getattr(samples, topic)
        await store.write([batch(topic, [make(1), make(1)])])
        columns = {name for (name,) in rows(database, f"select column_name from (describe raw.{topic})")}
        assert "resends" not in columns


@pytest.mark.parametrize("seed", range(3))
async def test_a_rebuilt_store_counts_the_same_however_the_log_is_cut(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    log = [chance.randrange(40) for _ in range(300)]
    values = [samples.event(number, received_time=T0 + 900 * SECOND + at) for at, number in enumerate(log)]
    expected = {f"acme-event-{number}": log.count(number) - 1 or None for number in log}
    for name in ("first", "rebuilt"):
        store, database = await opened(tmp_path / name)
        at = 0
        while at < len(values):
            size = chance.randint(1, 60)
            back = chance.randint(0, at)  # what is stored may be delivered again
            await store.write([batch("events", values[back : at + size], first_offset=back)])
            at += size
        assert came(database, "events") == expected
        await store.close()


async def test_a_store_from_before_it_counted_counts_from_now_on(tmp_path: Path) -> None:
    store, database = await opened(tmp_path / "q")
    await store.write([batch("events", [samples.event(1), samples.event(2)])])
    for topic in MAKERS:
        database.cursor().execute(f"alter table _events.raw.{topic} drop column resends")
    await store.close()
    store, database = await opened(tmp_path / "q")
    await store.write([batch("events", [samples.event(1), samples.event(3)], first_offset=2)])
    assert came(database, "events") == {"acme-event-1": 1, "acme-event-2": None, "acme-event-3": None}
    await store.close()
    store, database = await opened(tmp_path / "q")
    await store.write([batch("events", [samples.event(1)], first_offset=4)])
    assert came(database, "events") == {"acme-event-1": 2, "acme-event-2": None, "acme-event-3": None}
    await store.close()


async def test_a_write_that_failed_has_counted_nothing(store: QueryStore, database: Database) -> None:
    await store.write([batch("events", [samples.event(1)])])
    other = database.cursor()
    other.execute("alter table _events.raw.offsets rename to aside")
    again = [batch("events", [samples.event(1), samples.event(1)], first_offset=1)]
    with pytest.raises(PermanentError, match="offsets does not exist"):
        await store.write(again)
    other.execute("alter table _events.raw.aside rename to offsets")
    other.close()
    assert came(database, "events") == {"acme-event-1": None}
    await store.write(again)
    assert came(database, "events") == {"acme-event-1": 2}


async def test_events_of_one_id_and_two_times_are_two(store: QueryStore, database: Database) -> None:
    values = [samples.event(1), samples.event(1, event_time=T0)]
    await store.write([batch("events", values)])
    assert rows(database, "select count(*) from raw.events") == [(2,)]


async def test_texts_of_one_event_are_told_apart_by_their_field(store: QueryStore, database: Database) -> None:
    of_event = [samples.content(1, field=field) for field in ("prompt", "body", "prompt")]
    span = {"event_id": None, "trace_id": "t", "span_id": "s"}
    of_span = [samples.content(2, field=field, **span) for field in ("tool_input", "tool_input", "body")]
    await store.write([batch("content", of_event + of_span)])
    await store.write([batch("content", of_event + of_span, first_offset=6)])
    found = rows(database, "select coalesce(event_id, span_id), field from raw.content order by 1, 2")
    assert found == [("acme-event-1", "body"), ("acme-event-1", "prompt"), ("s", "body"), ("s", "tool_input")]


async def test_every_field_comes_back_as_it_was(store: QueryStore, database: Database) -> None:
    value = samples.event(
        1,
        cost_usd=0.1,
        input_tokens=2**62,
        success=True,
        observed_time=T0 - 1,
        attributes={"ключ": "значение", "": ""},
        workspace_host_paths=["a", ""],
    )
    await store.write([batch("events", [value])])
    [row] = rows(
        database,
        "select cost_usd, input_tokens, success, epoch_us(observed_time), attributes, workspace_host_paths, model, "
        "attributes_json from raw.events",
    )
    assert row == (0.1, 2**62, True, T0 - 1, {"ключ": "значение", "": ""}, ["a", ""], None, {})


# Aggregated rows: the newest version


async def test_the_newest_version_stays_whatever_the_order(store: QueryStore, database: Database) -> None:
    await store.write([batch("sessions", [samples.session(1, v) for v in (2, 5, 3)])])
    await store.write([batch("sessions", [samples.session(1, v) for v in (4, 1)], first_offset=3)])
    await store.write([batch("sessions", [samples.session(2, 1)], first_offset=5)])
    found = rows(database, "select session_id, version, cost_usd, event_counts from raw.sessions order by 1")
    assert found == [
        ("acme-session-1", 5, 1.25, {"api_request": 5}),
        ("acme-session-2", 1, 0.25, {"api_request": 1}),
    ]


async def test_a_later_epoch_wins_over_any_version(store: QueryStore, database: Database) -> None:
    await store.write([batch("sessions", [samples.session(1, 100), samples.session(1, 3, epoch=2)])])
    await store.write([batch("sessions", [samples.session(1, 101)], first_offset=2)])
    assert rows(database, "select epoch, version from raw.sessions") == [(2, 3)]


async def test_a_version_that_comes_again_changes_nothing(store: QueryStore, database: Database) -> None:
    await store.write([batch("sessions", [samples.session(1, 4)])])
    await store.write([batch("sessions", [samples.session(1, 4, prompts=99)], first_offset=1)])
    assert rows(database, "select prompts from raw.sessions") == [(1,)]


async def test_windows_are_split_by_grain(store: QueryStore, database: Database) -> None:
    values = [samples.user_window(u, v, grain=g) for u in (1, 2) for g in ("hour", "day") for v in (1, 2)]
    await store.write([batch("user-windows", values)])
    for table in ("user_hours", "user_days"):
        assert rows(database, f"select user_key, version, is_empty from raw.{table} order by 1") == [
            ("acme-user-1", 2, False),
            ("acme-user-2", 2, False),
        ]


async def test_windows_of_two_teams_are_two_rows(store: QueryStore, database: Database) -> None:
    values = [samples.user_window(1, team=team) for team in ("core", "infra", None)]
    await store.write([batch("user-windows", values)])
    assert rows(database, "select team from raw.user_hours order by 1") == [("core",), ("infra",), (None,)]


async def test_a_row_whose_usage_moved_away_is_marked_empty(store: QueryStore, database: Database) -> None:
    zero = {"sessions": 0, "prompts": 0, "cost_usd": 0.0}
    await store.write([batch("user-windows", [samples.user_window(1, 1), samples.user_window(1, 2, **zero)])])
    await store.write([batch("user-windows", [samples.user_window(2, 1, **(zero | {"errors": 1}))], first_offset=2)])
    await store.write(
        [
            batch(
                "session-hours",
                [
                    samples.session_hour(1, prompts=0, active=False),
                    samples.session_hour(2, prompts=0, active=True),
                    samples.session_hour(3, active=False),
                ],
            )
        ]
    )
    assert rows(database, "select user_key, is_empty from raw.user_hours order by 1") == [
        ("acme-user-1", True),
        ("acme-user-2", False),
    ]
    assert rows(database, "select session_id, is_empty from raw.session_hours order by 1") == [
        ("acme-session-1", True),
        ("acme-session-2", False),
        ("acme-session-3", False),
    ]


async def test_a_tombstone_deletes_and_what_follows_it_stays(store: QueryStore, database: Database) -> None:
    def gone(number: int, at: int) -> SinkRecord:
        return SinkRecord(at, key_of("sessions", samples.session(number)), None)

    first = samples.records("sessions", [samples.session(n, 9) for n in (1, 2, 3)])
    await store.write([of_records("sessions", first)])
    second = [
        gone(1, 3),  # stored before
        gone(2, 4),
        *samples.records("sessions", [samples.session(2, 1), samples.session(4, 1)], 5),  # comes back, and a new one
        gone(4, 7),  # of this very batch
        gone(7, 8),  # never there
    ]
    await store.write([of_records("sessions", second, first_offset=3)])
    assert rows(database, "select session_id, version from raw.sessions order by 1") == [
        ("acme-session-2", 1),
        ("acme-session-3", 9),
    ]
    window = samples.user_window(1)
    await store.write([batch("user-windows", [window, {**window, "grain": "day"}])])
    tombstone = [SinkRecord(2, key_of("user-windows", window), None)]
    await store.write([of_records("user-windows", tombstone, first_offset=2)])
    assert rows(database, "select (select count(*) from raw.user_hours), (select count(*) from raw.user_days)") == [
        (0, 1)
    ]


# People


async def test_people_hold_the_latest_that_is_known(store: QueryStore, database: Database) -> None:
    def seen(at: int, **who: str) -> dict[str, Any]:
        return samples.event(at, user_key="u", **who)

    await store.write([batch("events", [seen(5, user_email="new@x"), seen(2, user_email="old@x", user_id="7")])])
    await store.write([batch("events", [seen(3, user_email="late@x", organization_id="o")], first_offset=2)])
    await store.write([batch("events", [samples.event(9, user_key=None, user_email="nobody@x")], first_offset=3)])
    await store.write([batch("metrics", [samples.point(8, user_key="u", user_account_uuid="uuid")])])
    found = rows(
        database,
        "select user_key, user_email, user_id, organization_id, user_account_uuid, user_account_id, "
        "epoch_us(first_seen), epoch_us(last_seen) from raw.people",
    )
    assert found == [("u", "new@x", "7", "o", "uuid", None, T0 + 2 * SECOND, T0 + 8 * SECOND)]


async def test_a_wrong_clock_does_not_say_when_a_person_was_seen(store: QueryStore, database: Database) -> None:
    wrong = samples.event(1, user_key="u", event_time=0, received_time=T0, clock_suspect=True)
    await store.write([batch("events", [wrong])])
    assert rows(database, "select epoch_us(first_seen) from raw.people") == [(T0,)]


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(st.randoms(use_true_random=False), st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_any_order_and_cut_of_the_input_gives_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, order: random.Random, cuts: list[int]
) -> None:
    events = [
        samples.event(i, user_key=f"u{i % 2}", user_email=f"mail{i % 3}@x", event_time=T0 + i // 2 * SECOND)
        for i in range(8)
    ]
    versions = [samples.session(i % 2, i) for i in range(8)]

    async def stored(events: list[Any], versions: list[Any], sizes: list[int]) -> list[Any]:
        store, database = await opened(tmp_path_factory.mktemp("order") / "q")
        try:
            for topic, values in (("events", events), ("sessions", versions)):
                start = 0
                for size in itertools.cycle(sizes):
                    if start >= len(values):
                        break
                    await store.write([batch(topic, values[start : start + size], first_offset=start)])
                    start += size
            return [
                rows(database, f"select * from raw.{name} order by {key}")
                for name, key in (("events", "event_id"), ("sessions", "session_id"), ("people", "user_key"))
            ]
        finally:
            await store.close()

    doubled = events + events[:3]
    expected = asyncio.run(stored(doubled, versions, [len(doubled)]))
    order.shuffle(doubled)
    shuffled = versions[:]
    order.shuffle(shuffled)
    assert asyncio.run(stored(doubled, shuffled, cuts)) == expected


# What cannot be read


async def test_an_unreadable_message_is_kept_counted_and_passed_over(
    store: QueryStore, database: Database, metrics: SinkMetrics
) -> None:
    good = samples.records("events", [samples.event(i) for i in range(4)])
    bad = SinkRecord(1, b"k", b"no record " * 10_000, (("tenant", b"acme"), ("event_name", b"x")))
    cut = good[2]._replace(value=(good[2].value or b"")[:-3])
    empty = good[3]._replace(value=None)
    held = [good[0], bad, cut, empty, *samples.records("events", [samples.event(9)], 4)]
    for _ in range(2):
        await store.write([of_records("events", held)])
    assert await store.covered("events", 0) == offset("events", 5)
    assert rows(database, "select event_id from raw.events order by 1") == [("acme-event-0",), ("acme-event-9",)]
    found = rows(
        database,
        "select source_topic, source_partition, source_offset, stage, reason, tenant, length, octet_length(original) "
        "from raw.rejected order by source_offset",
    )
    assert found == [
        ("events", 0, 1, "query", "malformed_record", "acme", 100_000, 65_536),
        ("events", 0, 2, "query", "malformed_record", "", len(cut.value or b""), len(cut.value or b"")),
        ("events", 0, 3, "query", "empty_message", "", 0, 0),
    ]
    assert metrics.value("sinks_unreadable_total", sink="query", topic="events", reason="malformed_record") == 2


async def test_nothing_but_unreadable_messages_moves_the_offset_too(store: QueryStore, database: Database) -> None:
    await store.write([of_records("sessions", [SinkRecord(i, b"k", b"?") for i in range(3)])])
    await store.write([of_records("rejected", [SinkRecord(0, None, b"?")])])
    assert await store.covered("sessions", 0) == offset("sessions", 3)
    assert await store.covered("rejected", 0) == offset("rejected", 1)
    assert rows(database, "select count(*) from raw.rejected") == [(4,)]


# Files


async def test_content_is_never_in_the_events_file(tmp_path: Path) -> None:
    store, _ = await opened(tmp_path / "q")
    word = "extraordinarily-secret-prompt"
    await store.write(
        [
            # Were a producer ever to put text into a field of class content, it would end here.
            batch("events", [samples.event(1, prompt=word), samples.event(2, prompt="<REDACTED>"), samples.event(3)]),
            batch("content", [samples.content(1, text=word)]),
            batch("rejected", [samples.rejected(1, original=word.encode())]),
            of_records("metrics", [SinkRecord(0, None, word.encode())]),
        ]
    )
    cursor = store._cursor
    assert cursor.execute("select prompt from _events.raw.events order by event_id").fetchall() == [
        ("<content>",),
        ("<REDACTED>",),
        (None,),
    ]
    assert cursor.execute("select text from _content.raw.content").fetchall() == [(word,)]
    await store.close()
    held = {path.name: word.encode() in path.read_bytes() for path in (tmp_path / "q").iterdir() if path.is_file()}
    assert held["content.duckdb"]
    assert not held["events.duckdb"]


async def test_what_was_stored_is_there_after_a_restart(tmp_path: Path) -> None:
    store, _ = await opened(tmp_path / "q")
    await store.write([batch("events", [samples.event(1)]), batch("content", [samples.content(1)], partition=2)])
    await store.close()
    store, database = await opened(tmp_path / "q")
    assert await store.covered("events", 0) == offset("events", 1)
    assert await store.covered("content", 2) == offset("content", 1)
    assert rows(database, "select count(*) from raw.content") == [(1,)]
    await store.close()
    await store.close()


@pytest.mark.parametrize(
    ("identity", "says"),
    [
        (Identity("cluster-2", IDENTITY.topic_ids), "another cluster (stored cluster-1, Kafka says cluster-2)"),
        (
            Identity("cluster-1", {**IDENTITY.topic_ids, "events": "made-anew"}),
            "another topic (stored id-of-events, Kafka says made-anew)",
        ),
    ],
)
async def test_another_kafka_is_refused_in_one_line(tmp_path: Path, identity: Identity, says: str) -> None:
    store, _ = await opened(tmp_path / "q")
    await store.write([batch("events", [samples.event(1)])])
    await store.close()
    with pytest.raises(IdentityMismatch) as caught:
        await opened(tmp_path / "q", identity)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    store, _ = await opened(tmp_path / "q")  # and the refusal has let go of the files
    await store.close()


async def test_a_second_owner_is_refused_and_may_come_later(tmp_path: Path) -> None:
    first, _ = await opened(tmp_path / "q")
    second = QueryStore(Database(tmp_path / "q", RESOURCES))
    with pytest.raises(StoreUnavailable, match="in use by another process"):
        await second.open(IDENTITY)
    await first.close()
    await second.open(IDENTITY)
    await second.close()


async def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = QueryStore(Database(tmp_path / "file" / "q", RESOURCES))
    with pytest.raises(StoreUnavailable, match="Not a directory"):
        await store.open(IDENTITY)
    await store.close()


async def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / "events.duckdb").write_bytes(b"x" * 20_000)
    store = QueryStore(Database(tmp_path / "q", RESOURCES))
    with pytest.raises(RetryableError, match="not a valid DuckDB database file"):
        await store.open(IDENTITY)
    await store.close()


async def test_only_the_owner_of_the_process_may_look_into_the_folder(tmp_path: Path) -> None:
    store, _ = await opened(tmp_path / "data" / "q")
    assert (tmp_path / "data" / "q").stat().st_mode & 0o077 == 0
    await store.close()


async def test_a_field_that_is_new_becomes_a_column(tmp_path: Path) -> None:
    store, database = await opened(tmp_path / "q")
    await store.write([batch("events", [samples.event(1, model="opus")])])
    database.cursor().execute("alter table _events.raw.events drop column speed")
    database.cursor().execute("alter table _events.raw.events add column of_a_later_version varchar")
    await store.close()
    store, database = await opened(tmp_path / "q")
    await store.write([batch("events", [samples.event(2, speed="fast")], first_offset=1)])
    assert rows(database, "select event_id, model, speed from raw.events order by 1") == [
        ("acme-event-1", "opus", None),
        ("acme-event-2", None, "fast"),
    ]
    await store.close()


async def test_a_column_of_another_type_is_refused(tmp_path: Path) -> None:
    store, database = await opened(tmp_path / "q")
    database.cursor().execute("alter table _events.raw.events alter column speed type bigint")
    await store.close()
    with pytest.raises(TableMismatch, match="column speed is BIGINT, the schema says VARCHAR"):
        await opened(tmp_path / "q")


async def test_no_table_has_a_key_or_an_index(store: QueryStore, database: Database) -> None:
    assert rows(database, "select * from duckdb_indexes()") == []
    assert rows(database, "select * from duckdb_constraints()") == []


async def test_a_failed_write_leaves_nothing_and_may_come_again(store: QueryStore, database: Database) -> None:
    await store.write([batch("events", [samples.event(1)])])
    # The content file's transaction comes first and stays; the other one fails after its rows are in.
    other = database.cursor()
    other.execute("alter table _events.raw.offsets rename to aside")
    both = [
        of_records("events", [*samples.records("events", [samples.event(2)], 1), SinkRecord(2, b"k", b"?")], 1),
        batch("content", [samples.content(1)]),
    ]
    with pytest.raises(PermanentError, match="offsets does not exist"):
        await store.write(both)
    other.execute("alter table _events.raw.aside rename to offsets")
    other.close()
    assert rows(database, "select count(*) from raw.events") == [(1,)]
    await store.write(both)
    assert rows(database, "select count(*) from raw.events") == [(2,)]
    assert rows(database, "select count(*) from raw.content") == [(1,)]
    assert rows(database, "select source_offset from raw.rejected") == [(2,)]


async def test_readers_keep_their_snapshot_while_rows_are_written(store: QueryStore, database: Database) -> None:
    await store.write([batch("events", [samples.event(1)])])
    reader = database.cursor()
    reader.execute("begin transaction read only")
    assert reader.execute("select count(*) from _events.raw.events").fetchall() == [(1,)]
    await store.write([batch("events", [samples.event(2)], first_offset=1)])
    assert reader.execute("select count(*) from _events.raw.events").fetchall() == [(1,)]
    reader.execute("commit")
    assert reader.execute("select count(*) from _events.raw.events").fetchall() == [(2,)]
    with pytest.raises(duckdb.TransactionException):
        reader.execute("begin transaction read only").execute("delete from _events.raw.events")
    reader.close()


async def test_an_entry_of_the_audit_is_stored_once_however_often_it_comes(
    store: QueryStore, database: Database
) -> None:
    again = samples.batch("audit", [samples.audit(1), samples.audit(2)], first_offset=2)
    await store.write([samples.batch("audit", [samples.audit(1), samples.audit(1)])])
    await store.write([again])
    await store.write([again])
    assert rows(database, "select audit_id from raw.audit order by all") == [("acme-audit-1",), ("acme-audit-2",)]
