"""Reading a database that is not ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import rocksdict

from streams.engine import rows
from streams.inspect.databases import Here, find, opened
from streams.inspect.decoding import decoded
from streams.inspect.errors import DatabaseUnreadable, UnknownFormat
from streams.sessions import state

GROUP = "claude-streams"


def a_database(data: Path, stored: dict[bytes, bytes], *, worker: str = "streams", offset: int = 7) -> Path:
    """Partition 0 of session-events with these rows, all in a table file."""
    path = data / worker / GROUP / "v1" / "tables" / "session-events-0.db"
    path.parent.mkdir(parents=True)
    database = rocksdict.Rdict(str(path), rocksdict.Options(raw_mode=True))
    for key, row in {**stored, rows.OFFSET_KEY: b"%d" % offset}.items():
        database.put(key, row)
    database.flush()
    database.close()
    return path


def test_damage_in_the_middle_is_an_error_and_no_short_answer(tmp_path: Path) -> None:
    path = a_database(tmp_path, {b"x%05d" % n: rows.pack(1, n, os.urandom(200)) for n in range(5000)})
    (file,) = path.glob("*.sst")
    with file.open("r+b") as table:
        table.seek(file.stat().st_size // 2)
        table.write(b"\xff" * 5000)
    with opened(find(tmp_path)[0]) as snapshot, pytest.raises(DatabaseUnreadable, match="checksum"):
        list(snapshot.scan())
    with opened(find(tmp_path)[0]) as snapshot, pytest.raises(DatabaseUnreadable, match="checksum"):
        snapshot.kinds()


def test_a_folder_that_goes_away_is_an_error_and_is_not_made_again(tmp_path: Path) -> None:
    path = a_database(tmp_path, {})
    (database,) = find(tmp_path)
    for file in path.iterdir():
        file.unlink()
    path.rmdir()
    with pytest.raises(DatabaseUnreadable), opened(database):
        pass
    assert not path.exists()


def test_reading_leaves_the_folder_as_it_is(tmp_path: Path) -> None:
    path = a_database(tmp_path, {b"x": rows.pack(1, 2, b"row")})
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    with opened(find(tmp_path)[0]) as snapshot:
        assert list(snapshot.scan()) == [(b"x", rows.Row(1, 2, b"row"))]
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before


def test_of_two_workers_copies_the_newer_one_counts(tmp_path: Path) -> None:
    a_database(tmp_path, {}, worker="streams", offset=9)
    newer = a_database(tmp_path, {}, worker="streams-1", offset=10)
    assert len(find(tmp_path)) == 2
    assert Here(tmp_path, GROUP).partition("session-events", 0).path == newer


def test_rows_of_unknown_kinds_are_raw_and_of_unknown_formats_an_error() -> None:
    row = rows.Row(1, 2, b"\x02later")
    shown = decoded(state.BY_EVENTS, 0, b"z\x00", row)
    assert (shown["kind"], shown["key"], shown["value"]) == ("7a", "7a00", row.payload.hex())
    with pytest.raises(UnknownFormat, match="a row of kind s has format 2"):
        decoded(state.BY_EVENTS, 0, state.session_key(b"t\x1fs"), row)
