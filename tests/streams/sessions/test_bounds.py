"""What a hostile client can make a session row hold, and what it cannot."""

from __future__ import annotations

import random
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import codec
from streams.sessions import state
from streams.sessions.state import MAP_KEYS, OTHER
from tests.streams.records import START, a_point, an_event
from tests.streams.simulation import World
from tests.streams.test_stages import log


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


@given(time=st.integers(-(2**63), 2**63 - 1), received=st.integers(-(2**63), 2**63 - 1))
@settings(max_examples=50, deadline=None)
def test_no_time_that_a_record_can_carry_stops_a_partition(time: int, received: int) -> None:
    rnd = random.Random(4)
    event = an_event(rnd, "s", 1, START)._replace(event_time=time, received_time=received, event_name="user_prompt")
    point = a_point(rnd, "s", START)._replace(
        event_time=time, start_time=time, received_time=received, temporality="cumulative"
    )
    world = World(log([event]), log([point]), 1).run()
    assert world.sessions["s"]["prompts"] == 1
    codec.encode("session", world.sessions["s"])


def test_names_as_long_as_messages_leave_rows_that_fit_a_message() -> None:
    rnd = random.Random(6)
    events = [
        an_event(rnd, "s", n, START + n)._replace(
            event_name=f"{n}" * 20_000,
            model=f"{n}" * 20_000,
            team="t" * 300_000,
            user_email="e" * 300_000,
            received_time=START,
        )
        for n in range(200)
    ]
    requests = [event._replace(event_name="api_request", event_id=str(uuid.uuid4())) for event in events]
    world = World(log(events + requests), [], 1).run()
    row = world.sessions["s"]
    assert "name_cut" in row["flags"]
    assert sum(row["event_counts"].values()) == 400
    assert sum(row["models"].values()) == pytest.approx(row["cost_usd"])
    assert max(len(payload) for _, payload in world.of_events.rows.values()) < 100_000
    assert len(codec.encode("session", row)) < 100_000
    assert all(len(key) < 2000 for key in world.users.rows)


def test_costs_of_requests_without_a_model_stand_in_the_map_and_name_no_model() -> None:
    rnd = random.Random(6)
    request = an_event(rnd, "s", 1, START)._replace(
        event_name="api_request", model=None, cost_usd=2.0, cost_usd_micros=None, received_time=START
    )
    named = request._replace(model="opus", cost_usd=1.0, event_id=str(uuid.uuid4()), event_sequence=2)
    row = World(log([request, named]), [], 1).run().sessions["s"]
    assert row["models"] == {"unknown": 2.0, "opus": 1.0}
    assert row["model"] == "opus"
