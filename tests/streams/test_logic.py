"""Rows of two versions of a stage's logic must not be mixed: who changes what rows say must say so in LOGIC."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pytest

from streams.rows import Stored
from streams.sessions import logic as sessions
from streams.sessions import state
from streams.users import logic as users
from tests.streams.records import records
from tests.streams.simulation import World
from tests.streams.test_stages import log

PINNED = {
    "sessions": (2, 1, "c3dc72ee6bdae2e1"),
    "users": (2, 2, "4c3d57a858e0a155"),
}
"""Stage -> its LOGIC, the newest format of its rows, and the digest of the rows that they make of the input here."""


def digest(*tables: Mapping[bytes, Stored]) -> str:
    """Of keys, offsets and payloads, in the order of the keys."""
    whole = hashlib.sha256()
    for table in tables:
        for key, (offset, payload) in sorted(table.items()):
            whole.update(f"{key.hex()} {offset} {payload.hex()}\n".encode())
    return whole.hexdigest()[:16]


@pytest.fixture(scope="module")
def world() -> World:
    """Twenty sets of records of a few sessions each, in a fixed order; every fifth record is sent again."""
    sets = [records(seed) for seed in range(20)]
    events = [
        event._replace(session_id=f"{n} {event.session_id}") for n, (some, _) in enumerate(sets) for event in some
    ]
    points = [
        point._replace(session_id=f"{n} {point.session_id}") for n, (_, some) in enumerate(sets) for point in some
    ]
    return World(log(events + events[::5]), log(points + points[::5]), 1).in_turn(25)


@pytest.mark.parametrize("stage", PINNED)
def test_rows_change_with_their_logic_only(world: World, stage: str) -> None:
    made = {
        "sessions": (sessions.LOGIC, state.FORMATS.newest, digest(world.of_events.rows, world.of_points.rows)),
        "users": (users.LOGIC, users.FORMATS.newest, digest(world.users.rows)),
    }[stage]
    assert made == PINNED[stage], (
        f"the {stage} stage makes other rows of the same records: raise LOGIC in streams/{stage}/logic.py if rows say "
        f"something else, or the format if they say the same in another layout, and note {made} here"
    )
