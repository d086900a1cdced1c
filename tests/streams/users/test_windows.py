"""What a user's windows say depends on what happened, not on how it was cut into chunks, nor on who came first."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.sessions.events import Event
from streams.users import logic
from tests.streams.records import HOUR, START, an_event, identity
from tests.streams.simulation import EVENTS, HOURS, Crash, World
from tests.streams.test_stages import log

ALL = 10**9
CUT = ("version", "received_time")
"""What may depend on how the input was cut."""


def a_prompt(session: str, at_s: int, **said: Any) -> Event:
    event = an_event(random.Random(f"{session} {at_s}"), session, at_s, START + at_s * 1_000_000)
    blank = {"team": None, "department": None, "cost_center": None, "received_time": START}
    return event._replace(**identity("anna"), event_name="user_prompt", **{**blank, **said})


def prompts(world: World) -> dict[Any, dict[str, Any]]:
    """The windows that count something."""
    return {
        key: {name: value for name, value in row.items() if name not in CUT}
        for key, row in world.windows.items()
        if row["prompts"]
    }


@given(teams=st.integers(1, 60), seed=st.integers(), chunk=st.integers(1, 30), crashes=st.integers(0, 12))
@settings(max_examples=50, deadline=None)
def test_a_session_counts_under_its_last_team_however_many_it_named(
    teams: int, seed: int, chunk: int, crashes: int
) -> None:
    """Published windows of the teams before hold nothing, whatever a crash kept from being written or emitted."""
    events = [a_prompt("s", n, team=f"team {n}") for n in range(teams)]
    world = World(log(events), [], seed).run(crashes=crashes, largest_chunk=chunk)
    world.settle()
    assert {(row["team"], row["grain"]): row["prompts"] for row in prompts(world).values()} == {
        (f"team {teams - 1}", "hour"): teams,
        (f"team {teams - 1}", "day"): teams,
    }
    assert sum(row["sessions"] for row in world.windows.values() if row["grain"] == "day") == 1


def test_a_counted_row_forgets_teams_that_were_left() -> None:
    world = World(log([a_prompt("s", n, team=f"team {n}") for n in range(100)]), [], 1)
    for _ in range(100):
        world.step(EVENTS, 1)
        world.settle()
        world.step(HOURS, 1)
    counted = [logic.unpack(key, row[1]) for key, row in world.users.rows.items() if key[:1] == b"c"]
    assert all(isinstance(row, logic.Counted) and len(row.groups) <= logic.GROUPS + 1 for row in counted)


def test_a_chunk_of_a_session_that_names_a_team_an_event_leaves_rows_that_fit_a_message() -> None:
    """Every snapshot of it comes in one chunk, as after a worker was away."""
    long = "\N{GRINNING FACE}" * 195
    prompts = [a_prompt("s", n, team=f"{long}{n:05}", cost_center=f"{long}{n:05}") for n in range(300)]
    world = World(log(prompts), [], 1)
    for _ in prompts:
        world.step(EVENTS, 1)
    world.settle()
    world.step(HOURS, ALL)
    assert max(len(key) + len(payload) for key, (_, payload) in world.users.rows.items()) < 300_000
    world.settle()
    counted = {
        row["team"]: row["prompts"] for row in world.windows.values() if row["grain"] == "day" and row["prompts"]
    }
    assert counted == {prompts[-1].team: len(prompts)}


def test_what_a_counted_row_forgot_was_published_before() -> None:
    """The last two moves are lost by a crash, and come again when the row no longer knows where the first came from."""
    teams = logic.GROUPS + 2
    for seed in range(20):
        world = World(log([a_prompt("s", n, team=f"team {n}") for n in range(teams)]), [], seed)
        for _ in range(teams):
            world.step(EVENTS, 1)
            world.settle()
        for _ in range(teams - 2):
            world.step(HOURS, 1)
        world.commit()
        world.step(HOURS, 1)
        world.step(HOURS, 1)
        world.crash()
        world.run().settle()
        assert {row["team"] for row in prompts(world).values()} == {f"team {teams - 1}"}


def test_a_move_that_a_crash_left_half_written_is_counted_once() -> None:
    """Another session's snapshot stands between those of one that moves, in a window that is written before."""
    moved = [a_prompt("s", 0, team="web"), a_prompt("other", 1, team="web"), a_prompt("s", 2, team="core")]
    for seed in range(40):
        for again in (1, 2, 3):
            world = World(log(moved), [], seed)
            for _ in moved:
                world.step(EVENTS, 1)
                world.settle()
            world.owners[0].lives = 0
            with pytest.raises(Crash):
                world.step(HOURS, ALL)
            world.crash()
            world.in_turn(again)
            counts = {(row["team"], row["grain"]): row["prompts"] for row in prompts(world).values()}
            assert counts == {("web", "hour"): 1, ("web", "day"): 1, ("core", "hour"): 2, ("core", "day"): 2}


DEPARTMENTS = st.sampled_from([None, "design", "research", "sales"])


@given(
    said=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 9), DEPARTMENTS, st.sampled_from([None, "core", "web"]))),
    seed=st.integers(),
    crashes=st.integers(0, 5),
)
@settings(max_examples=50, deadline=None)
def test_windows_are_the_same_in_whatever_order_sessions_came(
    said: list[tuple[int, int, str | None, str | None]], seed: int, crashes: int
) -> None:
    events = [
        a_prompt(f"s{session}", hour * HOUR // 1_000_000 + n, department=department, team=team)
        for n, (session, hour, department, team) in enumerate(said)
    ]
    in_order = World(log(events), [], 1).run(largest_chunk=1)
    random.Random(seed).shuffle(events)
    otherwise = World(log(events), [], seed).run(crashes=crashes)
    for world in (in_order, otherwise):
        world.settle()
    assert prompts(otherwise) == prompts(in_order)


def test_a_windows_department_is_the_one_that_most_hours_of_sessions_name_ties_by_name() -> None:
    hour_s = HOUR // 1_000_000
    events = [a_prompt("a", 0, department="sales"), a_prompt("b", 1, department="design")]
    world = World(log(events), [], 1).run()
    world.settle()
    assert {row["department"] for row in world.windows.values()} == {"design"}
    more = World(log([*events, a_prompt("a", hour_s, department="sales")]), [], 1).run()
    more.settle()
    found = {(row["grain"], row["start"] // HOUR): row["department"] for row in more.windows.values()}
    assert [found[key] for key in sorted(found)] == ["sales", "design", "sales"]  # the day; its hours


def test_of_more_departments_than_a_window_tells_apart_it_names_one_that_it_knows() -> None:
    sessions = [a_prompt(f"s{n}", n, department=f"department {n}") for n in range(logic.DEPARTMENTS + 20)]
    world = World(log(sessions), [], 1).run()
    world.settle()
    assert {row["department"] for row in world.windows.values()} <= {f"department {n}" for n in range(84)}
    left = [a_prompt(f"s{n}", 1000 + n, department="moved") for n in range(len(sessions))]
    world = World(log(sessions + left), [], 1).run(largest_chunk=5)
    world.settle()
    assert {row["department"] for row in world.windows.values()} == {"moved"}
