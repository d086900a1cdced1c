"""Keys of rows say again what they were built from."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.topics import make_key
from streams.sessions import state
from streams.sessions.fold import place
from streams.users import logic as users
from tests.streams.records import an_event

NAMES = st.text(st.characters(exclude_characters="\x1f", exclude_categories=["Cs"]), min_size=1, max_size=40)
USERS = st.one_of(st.just(""), st.binary(min_size=16, max_size=16).map(bytes.hex))
NUMBERS = st.integers(0, 2**32 - 1)
DAYS = st.integers(0, 3)
ID = "00000000-0000-0000-0000-000000000001"


@given(NAMES, NAMES, USERS, NUMBERS, st.integers(0, 3))
def test_session_keys_are_parsed_as_they_were_built(tenant: str, name: str, user: str, number: int, level: int) -> None:
    whose, session = {"tenant": tenant, "session_id": name}, make_key(tenant, name)
    hour = {"hour": number, "level": level, "user_key": user}
    series = {"series": "0f" * 16, "since": number}
    assert state.key_parts(state.session_key(session)) == {"kind": "session", **whose}
    assert state.key_parts(state.hour_key(session, number, level, user)) == {"kind": "hour", **whose, **hour}
    assert state.key_parts(state.beats_key(session, number)) == {"kind": "beats", **whose, "slot": number}
    assert state.key_parts(state.ids_key(session, number)) == {"kind": "ids", **whose, "slot": number}
    assert state.key_parts(state.series_key(session, "0f" * 16, number)) == {"kind": "series", **whose, **series}


@given(NAMES, USERS, st.integers(0, 100_000))
def test_a_pseudo_session_is_named_as_it_is_published(tenant: str, user: str, day: int) -> None:
    session, name = state.pseudo_session(make_key(tenant, user), day)
    assert name == f"~{user}~{day}"
    assert state.session_parts(session) == (tenant, name)


@given(
    st.lists(
        st.one_of(
            st.tuples(NAMES, st.just("")),
            st.tuples(st.builds("~{}~{}".format, st.one_of(USERS, NAMES), DAYS), st.just("")),
            st.tuples(st.none(), USERS),
        ),
        min_size=2,
        max_size=2,
    ),
    st.lists(DAYS, min_size=2, max_size=2),
)
def test_what_lies_in_different_rows_is_published_under_different_names(
    records: list[tuple[str | None, str]], days: list[int]
) -> None:
    event = an_event(random.Random(1), "s", 1, 0)
    places = [
        place(make_key("t", name or user), event._replace(session_id=name, event_time=day * state.DAY_US), ID, 1)
        for (name, user), day in zip(records, days, strict=True)
    ]
    assert (places[0].session == places[1].session) == (places[0].session_id == places[1].session_id)
    assert all(at.pseudo == at.session_id.startswith("~") for at in places)


@given(NAMES, USERS, NAMES, st.sampled_from(["hour", "day"]), NUMBERS, st.tuples(st.just(""), NAMES))
def test_user_keys_are_parsed_as_they_were_built(
    tenant: str, user: str, session: str, grain: str, hour: int, group: users.Group
) -> None:
    whose = {"tenant": tenant, "user_key": user}
    assert users.key_parts(users.window_key(grain, hour, tenant, user, group)) == {
        "kind": "window",
        **whose,
        "team": group[0],
        "cost_center": group[1],
        "grain": grain,
        "hour": hour,
    }
    assert users.key_parts(users.counted_key(tenant, user, session, hour)) == {
        "kind": "counted",
        **whose,
        "session_id": session,
        "day": hour // 24,
    }


@pytest.mark.parametrize("parse", [state.key_parts, users.key_parts])
@pytest.mark.parametrize("key", [b"", b"e\x00\x01", b"h\x00", b"c\x00", b"w"])
def test_a_key_that_is_none_of_ours_is_refused(parse, key: bytes) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"kind|short"):
        parse(key)
