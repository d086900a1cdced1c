"""The two stages against the obvious computation: any order, any cut, any re-send, any crash."""

from __future__ import annotations

import random
from typing import Any

import pytest

from streams.sessions.events import Event
from streams.sessions.points import Point
from tests.streams import model
from tests.streams.records import START, an_event, records
from tests.streams.simulation import Log, World


def log(records: list[Any]) -> Log:
    return [(f"t\x1f{record.session_id}".encode(), record) for record in records]


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


@pytest.mark.parametrize("seed", range(60))
def test_any_order_cut_resend_and_crash_gives_the_rows_of_the_obvious_computation(seed: int) -> None:
    events, points = records(seed)
    rnd = random.Random(seed)
    sent_events = events + rnd.choices(events, k=len(events) // 3) if events else []
    sent_points = points + rnd.choices(points, k=len(points) // 3) if points else []
    if seed % 3:
        rnd.shuffle(sent_events)
        rnd.shuffle(sent_points)
    # A client re-sends soon: every copy is received within the horizon.
    now = START + 100 * model.HOUR
    sent_events = [e._replace(received_time=now + i * 1000) for i, e in enumerate(sent_events)]
    sent_points = [p._replace(received_time=now + i * 1000) for i, p in enumerate(sent_points)]
    world = World(log(sent_events), log(sent_points), seed).run(crashes=seed % 4 * 5)
    # The first copy counts, and with a clock that is years off its receipt is what counts.
    check(world, firsts(sent_events), firsts(sent_points))
    assert sum(row["resends"] for row in world.sessions.values()) == len(sent_events + sent_points) - len(
        events + points
    )


def test_a_resend_after_the_horizon_is_a_new_record() -> None:
    event = an_event(random.Random(1), "s", 1, START)
    late = event._replace(received_time=event.received_time + 3 * model.HOUR)
    world = World(log([event, late]), [], 1).run()
    assert world.sessions["s"]["event_counts"] == {event.event_name: 2}
    assert world.sessions["s"]["resends"] == 0
