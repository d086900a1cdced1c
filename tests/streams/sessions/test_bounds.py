"""What a hostile client can make a session row hold, and what it cannot."""

from __future__ import annotations

import random
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import codec
from streams import exact
from streams.sessions import join, logic, state
from streams.sessions.fold import FoldSettings
from streams.sessions.state import MAP_KEYS, OTHER
from streams.users import logic as users
from tests.streams.records import HOUR, START, a_point, an_event, identity, records
from tests.streams.simulation import EVENTS, HOURS, POINTS, SESSIONS, World
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


def test_lines_that_nobody_wrote_are_flagged_and_a_sum_that_is_full_stops_no_partition() -> None:
    lines = a_point(random.Random(3), "s", START)._replace(
        metric="claude_code.lines_of_code.count", type="added", kind="sum", temporality="delta", value_int=None
    )
    said = [lines._replace(value=value, point_id=str(uuid.uuid4())) for value in (7.0, 1e11, 1e10)]
    world = World([], log(said), 1).run()
    row = world.sessions["s"]
    assert (row["lines_added"], row["flags"]) == (10**10 + 7, ["value_refused"])
    rows = world.of_points.partitions[0]
    for key in [key for key in rows if key[:1] in b"sh"]:
        full = state.unpack(key, rows[key][1])
        full.money[3] = [2.0**70]
        rows[key] = (rows[key][0], state.pack(full))
    world.sources[POINTS][0].log += log([lines._replace(value=1.0, point_id=str(uuid.uuid4()))])
    assert world.run().sessions["s"]["lines_added"] == exact.WHOLE_MOST
    assert {row["lines_added"] for row in world.windows.values()} == {exact.WHOLE_MOST}


def test_counts_that_are_full_stop_no_partition() -> None:
    events = [
        an_event(random.Random(n), "s", n, START)._replace(
            **identity("anna"), event_name="api_request", input_tokens=1, team=None, received_time=START
        )
        for n in (1, 2)
    ]
    world = World(log(events[:1]), [], 1).run()
    for table, kinds, fields in ((world.of_events, b"sh", "counts"), (world.users, b"w", "integers")):
        rows = table.partitions[0]
        of = state if fields == "counts" else users
        for key in [key for key in rows if key[:1] in kinds]:
            full = of.unpack(key, rows[key][1])
            setattr(full, fields, [2**64 - 1 for _ in getattr(full, fields)])
            rows[key] = (rows[key][0], (state.pack if of is state else users.LAYOUT.encode)(full))
    world.sources[EVENTS][0].log += log(events[1:])
    assert world.run().sessions["s"]["input_tokens"] == exact.WHOLE_MOST
    assert {row["input_tokens"] for row in world.windows.values()} == {exact.WHOLE_MOST}


def test_a_chunk_whose_sessions_pass_on_every_hour_they_had_is_folded_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """One record that names another team has all hours of its session passed on: 720 of them, for each identity."""
    rnd, passed_on, published = random.Random(3), [], join.published
    said = {**identity("anna"), "event_name": "user_prompt", "received_time": START}
    hours = [
        an_event(rnd, f"s{number}", hour, START + hour * HOUR)._replace(**said)
        for number in range(12)
        for hour in range(10)
    ]
    moves = [an_event(rnd, f"s{number}", 11, START + 9 * HOUR)._replace(**said, team="another") for number in range(12)]

    def counted(*args: Any, **kwargs: Any) -> Any:
        found = published(*args, **kwargs)
        passed_on.append(len(found[1]))
        return found

    monkeypatch.setattr(join, "published", counted)
    whole, parts = (World(log(hours + moves), [], 1) for _ in range(2))
    outputs = []
    for world, most in ((whole, 10**6), (parts, 25)):
        world.step(EVENTS, len(hours))
        world.settle()
        monkeypatch.setattr(logic, "SNAPSHOTS_MOST", most)
        passed_on.clear()
        world.step(EVENTS, len(moves))
        outputs.append((world.output(SESSIONS), world.output(HOURS), list(passed_on)))
    assert outputs[0][:2] == outputs[1][:2]
    assert (outputs[0][2], outputs[1][2]) == ([120], [10] * 12)


def test_what_is_made_in_shadow_is_published_a_session_at_a_time_where_it_is_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(*map(log, records(5)), 1).run()
    reads = [
        lambda keys, rows=table.partitions[0]: list(map(rows.get, keys)) for table in (world.of_events, world.of_points)
    ]
    keys = sorted({key for table in (world.of_events, world.of_points) for key in table.rows if key[:1] == b"s"})

    def published() -> list[tuple[Any, Any]]:
        return list(logic.whole(keys, (reads[0], reads[1]), epoch=1, settings=FoldSettings()))

    (whole,) = published()
    monkeypatch.setattr(logic, "SNAPSHOTS_MOST", 1)
    parts = published()
    assert [len(sessions) for sessions, _ in parts] == [1] * len(whole[0])
    assert len(parts) > 1
    assert tuple([row for part in parts for row in part[at]] for at in (0, 1)) == whole


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


@pytest.mark.parametrize("largest_chunk", [1, 40])
def test_a_session_named_like_a_pseudo_session_takes_no_records_place(largest_chunk: int) -> None:
    """No gateway lets such a name pass; whatever stands in the log, each record counts for its user."""
    rnd, user, day = random.Random(5), "ab" * 16, START // state.DAY_US
    who = {"user_account_uuid": "a", "user_key": user, "team": None}
    events, points = [], []
    for n in range(9):
        name = (None, f"~{user}~{day}", "~")[n % 3]
        key = f"t\x1f{name or user}".encode()
        event = an_event(rnd, "", n, START + n * 1_000_000)._replace(session_id=name, event_name="user_prompt", **who)
        events.append((key, event))
        point = a_point(rnd, "", START + n * 1_000_000)._replace(session_id=name, **who)
        points.append((key, point._replace(metric="claude_code.cost.usage", type=None, value=1.0)))
    world = World(events, points, 1).run(largest_chunk=largest_chunk)
    for grain in ("hour", "day"):
        (row,) = (row for row in world.windows.values() if row["grain"] == grain)
        assert (row["prompts"], row["metric_cost_usd"], row["sessions"]) == (9, 9.0, 0)
    names = {f"~{user}~{day}", f"~~{user}~{day}~{day}", f"~~~{day}"}
    assert {name: (row["prompts"], row["pseudo"]) for name, row in world.sessions.items()} == dict.fromkeys(
        names, (3, True)
    )


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
