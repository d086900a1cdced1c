"""Random events and metric points of sessions, as the stages fold them."""

from __future__ import annotations

import random
import uuid
from typing import Any

from streams.sessions.events import Event
from streams.sessions.points import Point
from tests.streams import model

START = 1_795_000_000_000_000
HOUR = model.HOUR
PEOPLE: dict[str, tuple[tuple[str | None, str | None, str | None], str]] = {
    "anna by id": ((None, None, "machine-1"), "0a" * 16),
    "anna by mail": ((None, "anna@example.com", "machine-1"), "0b" * 16),
    "anna": (("anna", "anna@example.com", "machine-1"), "0c" * 16),
    "bert": (("bert", "bert@example.com", "machine-2"), "0d" * 16),
    "nobody": ((None, None, None), ""),
}
YEAR = 365 * 24 * HOUR
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


def with_clocks(rnd: random.Random, records: list[Any], share: float = 0.05) -> list[Any]:
    """Some of them from clocks that are years off."""
    return [
        r._replace(event_time=r.event_time + rnd.choice([-9, 10]) * YEAR, clock_suspect=True)
        if rnd.random() < share
        else r
        for r in records
    ]


def with_drops(rnd: random.Random, events: list[Event], share: float = 0.15) -> list[Event]:
    """Some of them dropped by routing: what is left is their place in the sequence."""

    def left(event: Event) -> Event:
        names = ("tenant", "session_id", "event_id", "event_name", "event_time", "received_time", "event_sequence")
        kept = {name: getattr(event, name) for name in (*names, "clock_suspect")}
        return Event(**BLANK_EVENT | kept | {"route": "drop"})

    return [left(event) if rnd.random() < share else event for event in events]


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
    return with_drops(rnd, with_clocks(rnd, events), rnd.choice([0, 0.15, 0.8])), with_clocks(rnd, points)
