"""Users beside another epoch: whose snapshots count, and what of an epoch before is taken back."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.topics import make_key
from streams.receipt import AHEAD_US
from streams.users.logic import (
    FLOATS,
    HOUR_US,
    INTEGERS,
    Snapshot,
    Stored,
    Users,
    unknown_hours,
    unknown_windows,
    windows,
)

HOUR = 500_000
START = HOUR * HOUR_US


class Table:
    def __init__(self) -> None:
        self.rows: dict[bytes, Stored] = {}

    def read(self, keys: Sequence[bytes]) -> list[Stored | None]:
        return [self.rows.get(key) for key in keys]


def snapshot(user: str, *, epoch: int, version: int) -> Snapshot:
    sums = (tuple(1 for _ in INTEGERS), tuple(1.0 for _ in FLOATS))
    return Snapshot("t", user, "s", HOUR, epoch, version, True, "core", "", "", START, *sums)


def folded(epoch: int, *snapshots: Snapshot) -> Table:
    table = Table()
    users = Users(table.read, epoch)
    users.fold(list(enumerate(snapshots)), applied=-1)
    table.rows = users.puts()
    return table


def test_snapshots_of_another_epoch_on_the_same_topic_do_not_count() -> None:
    others = [snapshot("ann", epoch=2, version=90), snapshot("bob", epoch=2, version=91)]
    alone = folded(1, snapshot("ann", epoch=1, version=7))
    mixed = folded(1, snapshot("ann", epoch=1, version=7), *others)
    assert mixed.rows == alone.rows


def test_stored_windows_are_published_as_they_were_when_they_changed() -> None:
    table = Table()
    users = Users(table.read, epoch=2)
    users.fold([(4, snapshot("ann", epoch=2, version=7))], applied=-1)
    stored = [(key, row) for key, row in users.puts().items() if key[:1] == b"w"]
    assert windows(stored, epoch=2) == users.published()


def test_what_no_row_stands_for_is_taken_back_where_all_of_its_time_was_read_again() -> None:
    table = folded(2, snapshot("ann", epoch=2, version=7))
    ours = [make_key("t", "ann", "core", "", "hour", str(START)), make_key("t", "ann", "s", str(START))]
    other = [make_key("t", "bob", "core", "", "hour", str(START)), make_key("t", "ann", "s", str(START + HOUR_US))]
    owners = [make_key("t", "bob"), make_key("t", "ann")]
    for since, gone in ((0, True), (START - AHEAD_US, True), (START - AHEAD_US + 1, False)):
        assert unknown_windows([ours[0], other[0]], table.read, since) == [(other[0], owners[0])] * gone
    for since, gone in ((0, True), (START + HOUR_US - AHEAD_US, True), (START + HOUR_US - AHEAD_US + 1, False)):
        assert unknown_hours([ours[1], other[1]], table.read, since) == [(other[1], owners[1])] * gone
