"""What the stages make depends on what stands in each partition: not on cuts, kills, owners, or which partition is read
when; and what they publish not even on how many partitions there are."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.rows import Stored
from streams.sessions import logic as sessions
from streams.users import logic
from tests.streams.records import HOUR, records
from tests.streams.simulation import HOURS, SESSIONS, USER_WINDOWS, Log, World

CUT = {"version", "received_time"}
"""What of windows and hours may depend on how the input was cut."""
ALL = 10**9


def sent(seed: int) -> tuple[Log, Log]:
    """Events and points of a few sessions and of records without one, as they come in; some are soon sent again."""
    rnd = random.Random(seed)

    def log(some: list[Any]) -> Log:
        some = [record._replace(session_id=None) if rnd.random() < 0.2 else record for record in some]
        again = rnd.choices(some, k=len(some) // 4) if some else []
        again = [record._replace(received_time=record.received_time + rnd.randrange(HOUR)) for record in again]
        come = sorted(some + again, key=lambda record: record.received_time)
        return [(f"t\x1f{record.session_id or record.user_key or ''}".encode(), record) for record in come]

    events, points = records(seed)
    return log(events), log(points)


def halves(world: World) -> list[dict[bytes, Stored]]:
    """The rows of the sessions stage, by table and partition, without ids: they go when somebody looks."""
    parts = world.of_events.partitions + world.of_points.partitions
    return [{key: row for key, row in rows.items() if key[:1] != b"i"} for rows in parts]


def counts(row: dict[str, Any]) -> bool:
    return any(row[name] for name in (*logic.INTEGERS, *logic.FLOATS)) or bool(row.get("sessions"))


def output(world: World) -> dict[str, Any]:
    """What is published in the end, without hours and windows that count nothing: of those who were left meanwhile."""
    out: dict[str, Any] = {SESSIONS: world.output(SESSIONS)}
    for topic in (HOURS, USER_WINDOWS):
        rows = {key: row for key, row in world.output(topic).items() if counts(row)}
        out[topic] = {key: {name: row[name] for name in row.keys() - CUT} for key, row in rows.items()}
    return out


def counted(world: World) -> list[dict[Any, Any]]:
    """What the users stage holds of each hour of a session, by partition."""
    parts = []
    for rows in world.users.partitions:
        of = {key: logic.unpack(key, payload) for key, (_, payload) in rows.items() if key[:1] == b"c"}
        hours = {(key, hour): kept for key, row in of.items() for hour, kept in row.hours.items()}
        parts.append({at: kept._replace(version=0) for at, kept in hours.items() if any(kept.integers + kept.floats)})
    return parts


@given(
    seed=st.integers(0, 10**6),
    partitions=st.integers(1, 4),
    workers=st.integers(1, 3),
    largest_chunk=st.integers(1, 40),
    crashes=st.integers(0, 10),
    much=st.sampled_from([1, 5, 20_000]),
)
@settings(max_examples=60, deadline=None)
def test_any_cut_kill_owner_and_interleaving_gives_the_rows_and_the_output_of_one_chunk_a_partition(
    seed: int, partitions: int, workers: int, largest_chunk: int, crashes: int, much: int
) -> None:
    """much: beyond so many snapshots or windows a stage folds its chunk in parts."""
    logs = sent(seed)
    whole = World(*logs, seed, partitions=partitions).in_turn(ALL)
    world = World(*logs, seed, partitions=partitions, workers=workers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sessions, "SNAPSHOTS_MOST", much)
        patch.setattr(logic, "WINDOWS_MOST", much)
        patch.setattr(logic, "GROUPS_ADDED", much)
        world.run(crashes=crashes, largest_chunk=largest_chunk)
    assert halves(world) == halves(whole)
    assert counted(world) == counted(whole)
    assert output(world) == output(whole)


@given(seed=st.integers(0, 10**6), partitions=st.integers(2, 5))
@settings(max_examples=15, deadline=None)
def test_any_number_of_partitions_gives_the_same_output(seed: int, partitions: int) -> None:
    logs = sent(seed)
    one, more = (output(World(*logs, seed, partitions=count).in_turn(ALL)) for count in (1, partitions))
    for out in (one, more):
        for row in out[SESSIONS].values():
            del row["version"]  # of offsets in a partition
    assert more == one
