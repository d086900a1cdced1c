"""The two stages against the obvious computation: any order, any cut, any re-send, any crash."""

from __future__ import annotations

import itertools
import random
import uuid
from typing import Any

import pytest

from streams.sessions.events import Event
from streams.sessions.points import Point
from tests.streams import model
from tests.streams.records import START, a_point, an_event, identity, records, with_drops
from tests.streams.simulation import Log, World


def log(records: list[Any]) -> Log:
    return [(f"t\x1f{record.session_id or model.holder(record)}".encode(), record) for record in records]


def kept(events: list[Event]) -> list[Event]:
    """Those that routing did not drop."""
    return [event for event in events if event.route != "drop"]


def firsts(sent: list[Any]) -> list[Any]:
    """The first copy of each record."""
    return list(
        {
            record.event_id if isinstance(record, Event) else record.point_id: record for record in reversed(sent)
        }.values()
    )


def check(world: World, events: list[Event], points: list[Point]) -> None:
    sessions, windows = model.expected(events, points)
    assert world.sessions.keys() == sessions.keys()
    for session, want in sessions.items():
        got = world.sessions[session]
        for name, value in want.items():
            assert model.same(got[name], value), (session, name, got[name], value)
    names = ("sessions", "cost_usd", "metric_cost_usd", *model.EVENT_SUMS)
    got_windows = {
        (user, team, grain, start): {name: float(row[name]) for name in names}
        for (_, user, team, _, grain, start), row in world.windows.items()
    }
    got_windows = {key: row for key, row in got_windows.items() if any(abs(v) > 1e-12 for v in row.values())}
    assert got_windows.keys() == windows.keys()
    for key, want in windows.items():
        assert model.same(got_windows[key], want), (key, got_windows[key], want)


@pytest.mark.parametrize(("seed", "without"), [*((n, 0.0) for n in range(40)), *((n, 0.5) for n in range(40, 70))])
def test_any_order_cut_resend_and_crash_gives_the_rows_of_the_obvious_computation(seed: int, without: float) -> None:
    """without: the share of records that name no session."""
    events, points = records(seed)
    rnd = random.Random(seed)
    events = [e._replace(session_id=None) if e.route != "drop" and rnd.random() < without else e for e in events]
    points = [p._replace(session_id=None) if rnd.random() < without else p for p in points]
    sent_events = events + rnd.choices(events, k=len(events) // 3) if events else []
    sent_points = points + rnd.choices(points, k=len(points) // 3) if points else []
    if seed % 3:
        rnd.shuffle(sent_events)
        rnd.shuffle(sent_points)
    # A client re-sends soon: every copy is received within the horizon.
    now = START + 100 * model.HOUR
    sent_events = [e._replace(received_time=now + i * 1000) for i, e in enumerate(sent_events)]
    sent_points = [p._replace(received_time=now + i * 1000) for i, p in enumerate(sent_points)]
    partitions, workers = rnd.randint(1, 4), rnd.randint(1, 3)
    world = World(log(sent_events), log(sent_points), seed, partitions=partitions, workers=workers)
    world.run(crashes=seed % 4 * 5)
    # The first copy counts, and with a clock that is years off its receipt is what counts.
    check(world, firsts(sent_events), firsts(sent_points))
    again = len(kept(sent_events) + sent_points) - len(kept(events) + points)
    assert sum(row["resends"] for row in world.sessions.values()) == again


def test_a_stage_that_emits_nothing_for_redelivered_records_is_found_out() -> None:
    """Control: the engine cannot see it, as any stage may emit nothing. If this is exact, the test above is blind."""
    missed = 0
    for seed in range(8):
        events, points = records(seed)
        world = World(log(events), log(points), seed, emits_again=False).run(crashes=10)
        try:
            check(world, firsts(events), firsts(points))
        except AssertionError:
            missed += 1
    assert missed


def test_a_resend_after_the_horizon_is_a_new_record() -> None:
    event = an_event(random.Random(1), "s", 1, START)
    late = event._replace(received_time=event.received_time + 3 * model.HOUR)
    world = World(log([event, late]), [], 1).run()
    assert world.sessions["s"]["event_counts"] == {event.event_name: 2}
    assert world.sessions["s"]["resends"] == 0


def a_session(*sequences: int) -> list[Event]:
    rnd = random.Random(1)
    return [an_event(rnd, "s", n, START + n * 1_000_000)._replace(event_name="user_prompt") for n in sequences]


def dropped(event: Event) -> Event:
    return with_drops(random.Random(1), [event], 1.0)[0]


def test_what_routing_dropped_is_no_gap_and_counts_nowhere() -> None:
    #   0 1 . . 4 . 6 . .      . dropped, but 5 is missing
    events = a_session(0, 1, 2, 3, 4, 6, 7, 8)
    sent = [dropped(event) if event.event_sequence in (2, 3, 7, 8) else event for event in events]
    row = World(log([*sent, *sent]), [], 1).run().sessions["s"]
    assert (row["sequence_gaps"], row["prompts"], row["resends"]) == (1, 4, 4)
    assert (row["duration_s"], row["run_s"]) == (6.0, 6.0)


def test_a_session_of_which_everything_was_dropped_is_none() -> None:
    assert World(log([dropped(event) for event in a_session(0, 1, 2)]), [], 1).run().sessions == {}


def test_a_session_whose_prompts_were_dropped_is_a_ghost() -> None:
    hook, prompt = a_session(0, 1)
    world = World(log([hook._replace(event_name="hook_registered"), dropped(prompt)]), [], 1).run()
    assert (world.sessions["s"]["ghost"], world.sessions["s"]["prompts"]) == (True, 0)


def test_an_event_that_was_dropped_counts_when_it_is_sent_again_and_the_rule_is_gone() -> None:
    events = a_session(0, 1, 2)
    before = [dropped(event) for event in events]
    row = World(log([*before, *events]), [], 1).run().sessions["s"]
    assert (row["prompts"], row["resends"], row["sequence_gaps"]) == (3, 0, 0)
    row = World(log([*events, *before]), [], 1).run().sessions["s"]
    assert (row["prompts"], row["resends"], row["sequence_gaps"]) == (3, 0, 0)


@pytest.mark.parametrize("start_time", [None, START])
@pytest.mark.parametrize("crashes", [0, 8])
def test_a_cumulative_series_without_a_session_adds_what_it_grew_by_on_each_day(
    start_time: int | None, crashes: int
) -> None:
    midnight = (START // model.DAY + 1) * model.DAY
    first = a_point(random.Random(1), "", START)._replace(
        session_id=None, metric="claude_code.cost.usage", type=None, temporality="cumulative", start_time=start_time
    )
    grew = [(-9, 1.0), (-1, 10.0), (1, 15.0), (5, 18.0), (30, 20.0)]
    points = [
        first._replace(point_id=str(uuid.UUID(int=n << 64)), value=value, event_time=midnight + hours * model.HOUR)
        for n, (hours, value) in enumerate(grew)
    ]
    for order in (points, points[::-1], [*points[1:], points[0]]):
        sent = [point._replace(received_time=midnight + 31 * model.HOUR + n) for n, point in enumerate(order)]
        world = World([], log(sent), 1).run(largest_chunk=2, crashes=crashes)
        days = {row["start"]: row["metric_cost_usd"] for row in world.windows.values() if row["grain"] == "day"}
        assert days == {midnight - model.DAY: 10.0, midnight: 8.0, midnight + model.DAY: 2.0}
        hours = [row["metric_cost_usd"] for row in world.windows.values() if row["grain"] == "hour"]
        assert sorted(hours) == [1.0, 2.0, 3.0, 5.0, 9.0]


def test_a_series_of_two_users_has_the_same_sums_in_any_order_and_in_order_each_has_what_it_grew_by_under_them() -> (
    None
):
    """Late points may divide an hour otherwise: see streams/sessions/points.py."""
    first = a_point(random.Random(1), "s", START)._replace(
        metric="claude_code.cost.usage", type=None, temporality="cumulative", start_time=START, team=None
    )
    said = [(0.1, 1.0, "anna"), (1.1, 10.0, "bert"), (1.2, 15.0, "anna"), (2.1, 22.0, "bert")]
    points = [
        first._replace(
            point_id=str(uuid.UUID(int=n << 64)),
            value=value,
            event_time=START // model.HOUR * model.HOUR + round(hours * model.HOUR),
            received_time=START + 3 * model.HOUR,
            **identity(who),
        )
        for n, (hours, value, who) in enumerate(said)
    ]
    for order in itertools.permutations(points):
        world = World([], log(list(order)), 1).run()
        used: dict[int, dict[str, float]] = {}
        for row in world.windows.values():
            if row["grain"] == "hour" and row["metric_cost_usd"]:
                hour = (row["start"] - START // model.HOUR * model.HOUR) // model.HOUR
                used.setdefault(hour, {})[row["user_key"]] = row["metric_cost_usd"]
        assert [sum(used[hour].values()) for hour in (0, 1, 2)] == [1.0, 14.0, 7.0]
        if list(order) == points:
            anna, bert = "0c" * 16, "0d" * 16
            assert used == {0: {anna: 1.0}, 1: {anna: 5.0, bert: 9.0}, 2: {bert: 7.0}}
