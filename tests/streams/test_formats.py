"""Rows of an older format are read as if they were new, rows of a newer one are refused."""

from __future__ import annotations

import pytest

from streams.engine import WrongRow
from streams.formats import Formats
from streams.rows import Rows
from streams.sessions import state
from streams.users import logic as users

FORMATS = Formats(3, {1: lambda kind, body: body + b" of " + kind, 2: lambda kind, body: body.upper()})


def test_what_is_written_is_read_back() -> None:
    assert FORMATS.body(b"s", FORMATS.payload(b"a row")) == b"a row"


@pytest.mark.parametrize(("written", "body"), [(3, b"a row"), (2, b"A ROW"), (1, b"A ROW OF S")])
def test_a_row_goes_through_every_migration_since_its_format(written: int, body: bytes) -> None:
    assert FORMATS.body(b"s", bytes((written,)) + b"a row") == body


@pytest.mark.parametrize("payload", [b"\x04a row", b"\x00a row", b""])
def test_an_unknown_format_is_refused(payload: bytes) -> None:
    with pytest.raises(WrongRow, match="this release reads up to 3; start the release that wrote it"):
        FORMATS.body(b"s", payload)


@pytest.mark.parametrize("kind", [b"s", b"h", b"t", b"c", b"i", b"e"])
def test_the_sessions_stage_refuses_rows_of_a_newer_release(kind: bytes) -> None:
    newer = Formats(state.FORMATS.newest + 1).payload(b"")
    with pytest.raises(WrongRow, match=f"a row of kind {kind.decode()} has format 2, this release reads up to 1"):
        Rows(lambda keys: [(0, newer) for _ in keys], state.LAYOUT).get(kind + b"key")


def test_the_users_stage_refuses_rows_of_a_newer_release() -> None:
    key = users.window_key("hour", 1, "t", "u", ("", ""))
    newer = Formats(users.FORMATS.newest + 1).payload(b"")
    with pytest.raises(WrongRow, match="a row of kind w has format 3, this release reads up to 2"):
        users.windows([(key, (0, newer))], epoch=1)


def test_a_series_of_before_it_knew_when_it_was_received_has_no_such_time() -> None:
    """A field with a default at the end of a row needs no new format."""
    old = state.FORMATS.payload(b"\x92\x91\x93\x07\x08\xcb\x3f\xf0\0\0\0\0\0\0\xc2")  # [[[7, 8, 1.0]], false]
    assert state.unpack(b"c", old) == state.Series([(7, 8, 1.0)], False, 0)


def test_a_window_of_one_department_is_read_as_one_that_an_hour_names() -> None:
    key = users.window_key("hour", 1, "t", "u", ("", ""))
    old = Formats(1).payload(b"\x95\xa5sales\x01\x90\x90\x07")  # ["sales", 1, [], [], 7]
    assert users.unpack(key, old) == users.Window({"sales": 1}, 1, [], [], 7)


def test_what_was_counted_without_a_department_named_none() -> None:
    key = users.counted_key("t", "u", "s", 1)
    old = Formats(1).payload(b"\x92\x81\x01\x95\x07\x92\xa1a\xa1b\xc3\x90\x90\x91\x92\xa1a\xa1b")
    hour = users.CountedHour(7, ("a", "b"), True, (), (), "")  # [{1: [7, ["a", "b"], true, [], []]}, [["a", "b"]]]
    assert users.unpack(key, old) == users.Counted({1: hour}, [("a", "b")])
