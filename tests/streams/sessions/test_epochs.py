"""What a new epoch finds published and has no row for."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.topics import make_key
from streams.receipt import AHEAD_US
from streams.rows import Stored
from streams.sessions.logic import Published, unknown_sessions
from streams.sessions.state import session_key
from tests.streams.records import START


def test_a_session_without_a_row_is_taken_back_where_all_of_its_time_was_read_again() -> None:
    of_events, of_points, unknown, pseudo = (make_key("t", name) for name in ("a", "b", "c", "~u~20000"))

    def events(keys: Sequence[bytes]) -> list[Stored | None]:
        return [(7, b"") if key == session_key(of_events) else None for key in keys]

    def points(keys: Sequence[bytes]) -> list[Stored | None]:
        return [(7, b"") if key == session_key(of_points) else None for key in keys]

    messages = {key: Published(START, key == pseudo) for key in (of_events, of_points, unknown, pseudo)}
    for since, gone in ((0, True), (START - AHEAD_US, True), (START - AHEAD_US + 1, False)):
        assert unknown_sessions(messages, (events, points), since) == [unknown] * gone
