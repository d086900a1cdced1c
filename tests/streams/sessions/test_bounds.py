"""What a hostile client can make a session row hold, and what it cannot."""

from __future__ import annotations

import random
import uuid

from streams.sessions import state
from streams.sessions.state import MAP_KEYS, OTHER
from tests.streams.simulation import World
from tests.streams.test_stages import START, an_event, log


def test_maps_keep_the_smallest_names_and_count_the_rest_as_other_in_any_order() -> None:
    rnd = random.Random(7)
    events = [
        an_event(rnd, "s", n, START + n)._replace(event_name=f"made_up_{n % 200:03}", received_time=START)
        for n in range(1000)
    ]
    rows = []
    for seed in range(3):
        random.Random(seed).shuffle(events)
        rows.append(World(log(events), [], seed).run().sessions["s"]["event_counts"])
    assert rows[0] == rows[1] == rows[2]
    assert rows[0] == {f"made_up_{n:03}": 5 for n in range(MAP_KEYS)} | {OTHER: (200 - MAP_KEYS) * 5}


def test_identities_are_bounded_and_flagged_and_nothing_is_lost() -> None:
    rnd = random.Random(3)
    events = [
        an_event(rnd, "s", n, START + n)._replace(
            event_name="user_prompt", user_account_uuid=f"a{n}", user_key=f"{n:032x}", received_time=START, team=None
        )
        for n in range(100)
    ]
    world = World(log(events), [], 1).run()
    assert world.sessions["s"]["flags"] == ["identities_capped"]
    assert world.sessions["s"]["prompts"] == 100
    assert sum(row["prompts"] for row in world.windows.values() if row["grain"] == "day") == 100
    assert len({row["user_key"] for row in world.windows.values()}) <= state.IDENTITIES


def test_values_that_cannot_be_meant_are_flagged_and_not_added() -> None:
    event = an_event(random.Random(3), "s", 1, START)._replace(
        event_name="api_request", cost_usd=float("inf"), cost_usd_micros=None, input_tokens=2**62, model=None
    )
    row = World(log([event]), [], 1).run().sessions["s"]
    assert (row["cost_usd"], row["input_tokens"], row["api_requests"]) == (0.0, 0, 1)
    assert row["flags"] == ["value_refused"]


def test_records_without_a_session_count_for_their_user_under_a_pseudo_session_a_day() -> None:
    rnd = random.Random(5)
    events = [
        an_event(rnd, "", n, START + n * state.HOUR_US * 12)._replace(
            session_id=None,
            event_name="user_prompt",
            user_account_uuid="a",
            user_key="ab" * 16,
            event_id=str(uuid.UUID(int=n)),
        )
        for n in range(4)
    ]
    world = World([(b"t\x1f" + b"ab" * 16, event) for event in events], [], 1).run()
    assert all(row["pseudo"] and row["ghost"] for row in world.sessions.values())
    days = [row for row in world.windows.values() if row["grain"] == "day"]
    assert sum(row["prompts"] for row in days) == 4
    assert {row["sessions"] for row in days} == {0}
    assert len(days) == len(world.sessions) > 1
