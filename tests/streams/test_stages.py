"""The two stages against the obvious computation: any order, any cut, any re-send, any crash."""

from __future__ import annotations

import random
import uuid
from typing import Any

import pytest

from streams.sessions.events import Event
from streams.sessions.points import Point
from tests.streams import model
from tests.streams.simulation import Log, World

START = 1_795_000_000_000_000
HOUR = model.HOUR
PEOPLE: dict[str, tuple[tuple[str | None, str | None, str | None], str]] = {
    "anna by id": ((None, None, "machine-1"), "0a" * 16),
    "anna by mail": ((None, "anna@example.com", "machine-1"), "0b" * 16),
    "anna": (("anna", "anna@example.com", "machine-1"), "0c" * 16),
    "bert": (("bert", "bert@example.com", "machine-2"), "0d" * 16),
    "nobody": ((None, None, None), ""),
}
BLANK_EVENT = dict.fromkeys(Event._fields)
BLANK_POINT = dict.fromkeys(Point._fields)


def identity(name: str) -> dict[str, Any]:
    (account, email, user_id), key = PEOPLE[name]
    return {"user_account_uuid": account, "user_email": email, "user_id": user_id, "user_key": key}


def an_event(rnd: random.Random, session: str, sequence: int, time: int) -> Event:
    name = rnd.choice(
        ["user_prompt", "api_request", "api_request", "tool_result", "tool_decision", "api_error", "hook_registered"]
    )
    return Event(**BLANK_EVENT | identity(rnd.choice(list(PEOPLE))) | {
        "tenant": "t", "session_id": session, "event_id": str(uuid.UUID(int=rnd.getrandbits(128))), "event_name": name,
        "event_time": time, "received_time": time + 1_000_000, "event_sequence": sequence,
        "team": rnd.choice([None, "core", "web"]), "model": rnd.choice(["opus", "sonnet", None]),
        "cost_usd": rnd.choice([None, rnd.random()]), "cost_usd_micros": rnd.choice([None, rnd.randint(0, 10**6)]),
        "input_tokens": rnd.choice([None, rnd.randint(0, 5000)]), "success": rnd.choice([True, False, None]),
        "decision": rnd.choice(["accept", "reject", None]),
    })  # fmt: skip


def a_point(rnd: random.Random, session: str, time: int) -> Point:
    metric, kind = rnd.choice(
        [("claude_code.cost.usage", None), ("claude_code.active_time.total", "cli"), ("x.y", "z")]
    )
    return Point(**BLANK_POINT | identity(rnd.choice(list(PEOPLE))) | {
        "tenant": "t", "session_id": session, "point_id": str(uuid.UUID(int=rnd.getrandbits(128))), "metric": metric,
        "type": kind, "kind": "sum", "temporality": "delta", "value": rnd.random() * 10 ** rnd.randint(-3, 3),
        "series": "ab" * 16, "start_time": time - 60_000_000, "event_time": time, "received_time": time + 2_000_000,
        "team": rnd.choice([None, "core"]),
    })  # fmt: skip


def a_series(rnd: random.Random, session: str, time: int) -> list[Point]:
    """A cumulative series over a few hours, always under one identity (attributes are part of what a series is)."""
    first = a_point(rnd, session, time)._replace(
        temporality="cumulative", series=f"{rnd.getrandbits(128):032x}", start_time=time
    )
    value, out = 0.0, []
    for _ in range(rnd.randint(1, 8)):
        time += rnd.randint(1, 2 * HOUR)
        value += rnd.random()
        out.append(
            first._replace(
                value=value, event_time=time, received_time=time, point_id=str(uuid.UUID(int=rnd.getrandbits(128)))
            )
        )
    return out


def records(seed: int) -> tuple[list[Event], list[Point]]:
    rnd = random.Random(seed)
    events, points = [], []
    for number in range(rnd.randint(1, 6)):
        session = f"s{number}"
        time = START + rnd.randint(0, 30) * HOUR
        sequence = 0
        for _ in range(rnd.randint(0, 30)):
            time += rnd.choice([0, 1000, 5_000_000, 400_000_000, 2_000_000_000, HOUR])
            sequence = 0 if rnd.random() < 0.1 else sequence + rnd.choice([1, 1, 1, 1, 3])
            events.append(an_event(rnd, session, sequence, time))
        points += [a_point(rnd, session, START + rnd.randint(0, 40 * HOUR)) for _ in range(rnd.randint(0, 8))]
        if rnd.random() < 0.5:
            points += a_series(rnd, session, START + rnd.randint(0, 20 * HOUR))
    return events, points


def log(records: list[Any]) -> Log:
    return [(f"t\x1f{record.session_id}".encode(), record) for record in records]


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
    now = START + 100 * HOUR
    sent_events = [e._replace(received_time=now + i * 1000) for i, e in enumerate(sent_events)]
    sent_points = [p._replace(received_time=now + i * 1000) for i, p in enumerate(sent_points)]
    world = World(log(sent_events), log(sent_points), seed).run(crashes=seed % 4 * 5)
    check(world, events, points)
    assert sum(row["resends"] for row in world.sessions.values()) == len(sent_events + sent_points) - len(
        events + points
    )


def test_a_resend_after_the_horizon_is_a_new_record() -> None:
    event = an_event(random.Random(1), "s", 1, START)
    late = event._replace(received_time=event.received_time + 3 * HOUR)
    world = World(log([event, late]), [], 1).run()
    assert world.sessions["s"]["event_counts"] == {event.event_name: 2}
    assert world.sessions["s"]["resends"] == 0
