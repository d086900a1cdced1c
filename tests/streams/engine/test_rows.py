"""Layout and versions of rows, and the merge of a changelog that several writers wrote."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.engine import Row, WrongRow, rows

epochs = st.integers(1, (1 << 32) - 1)
offsets = st.integers(0, (1 << 63) - 1)
versions = st.tuples(epochs, offsets)


def version(epoch: int, offset: int) -> bytes:
    return rows.pack(epoch, offset, b"")[: rows.VERSION_BYTES]


@given(epochs, offsets, st.binary())
def test_a_packed_row_unpacks_to_itself(epoch: int, offset: int, payload: bytes) -> None:
    assert rows.unpack(rows.pack(epoch, offset, payload)) == Row(epoch, offset, payload)


@given(versions, versions, st.binary(), st.binary())
def test_versions_compare_as_bytes_by_epoch_then_offset(
    one: tuple[int, int], other: tuple[int, int], payload: bytes, payload_of_other: bytes
) -> None:
    first, second = rows.pack(*one, payload), rows.pack(*other, payload_of_other)
    assert (first[: rows.VERSION_BYTES] < second[: rows.VERSION_BYTES]) == (one < other)


def test_unpack_all_keeps_unknown_keys_as_none() -> None:
    assert rows.unpack_all([None, rows.pack(1, 2, b"x"), None]) == [None, Row(1, 2, b"x"), None]


@pytest.mark.parametrize("stored", [b"", b"too short"])
def test_a_row_without_a_version_is_an_error(stored: bytes) -> None:
    with pytest.raises(WrongRow):
        rows.unpack(stored)


def test_a_row_of_a_newer_release_is_refused_and_it_is_said_how_to_go_on() -> None:
    newer = rows.pack_prefix(1, 2, rows.FORMAT + 1) + b"payload"
    with pytest.raises(
        WrongRow, match="a row has format 2, this release reads up to 1; start the release that wrote it"
    ):
        rows.unpack(newer)
    with pytest.raises(WrongRow, match="or rebuild with a higher MILLRACE_STREAMS_EPOCH"):
        rows.unpack(newer)


def test_a_tombstone_carries_its_version_in_a_header() -> None:
    assert rows.tombstone_version(rows.tombstone_headers(3, 77)) == version(3, 77)


def test_a_tombstone_of_a_foreign_hand_is_above_every_version() -> None:
    assert rows.tombstone_version(()) > version((1 << 32) - 1, (1 << 63) - 1)


# -- merge ----------------------------------------------------------------------------
A1, A2, A3 = (rows.pack(1, offset, b"a") for offset in (1, 2, 3))


def put(key: bytes, row: bytes) -> tuple[bytes, bytes | None, bytes]:
    return key, row, b""


def delete(key: bytes, offset: int) -> tuple[bytes, bytes | None, bytes]:
    return key, None, version(1, offset)


def merge(
    *records: tuple[bytes, bytes | None, bytes], stored: dict[bytes, bytes], complete_to: bytes = b""
) -> rows.Merge:
    return rows.merge(records, lambda keys: [stored.get(key) for key in keys], complete_to=complete_to)


def test_the_highest_version_wins_over_the_last_copy() -> None:
    assert merge(put(b"k", A2), put(b"k", A1), stored={}) == rows.Merge({b"k": A2}, [], {b"k"})


def test_a_copy_older_than_the_stored_row_is_stale() -> None:
    assert merge(put(b"k", A1), stored={b"k": A3}) == rows.Merge({}, [], {b"k"})


def test_a_copy_that_was_repaired_later_in_the_log_is_not_stale() -> None:
    assert merge(put(b"k", A2), put(b"k", A1), put(b"k", A2), stored={b"k": A1}) == rows.Merge({b"k": A2}, [], set())


def test_a_higher_epoch_wins_over_a_higher_offset() -> None:
    rebuilt = rows.pack(2, 1, b"new logic")
    assert merge(put(b"k", rebuilt), put(b"k", A3), stored={b"k": A2}).puts == {b"k": rebuilt}


def test_a_tombstone_removes_older_rows_and_no_newer_one() -> None:
    assert merge(put(b"k", A1), delete(b"k", 2), stored={}) == rows.Merge({}, [b"k"], set())
    assert merge(delete(b"k", 2), stored={b"k": A3}) == rows.Merge({}, [], {b"k"})


def test_a_zombies_copy_of_a_deleted_row_does_not_bring_it_back() -> None:
    """Only where the rows are known to be complete: while they are recovered, any row may still be missing."""
    assert merge(put(b"k", A1), stored={}, complete_to=version(1, 2)) == rows.Merge({}, [], {b"k"})
    assert merge(put(b"k", A3), stored={}, complete_to=version(1, 2)).puts == {b"k": A3}
    assert merge(put(b"k", A1), stored={}).puts == {b"k": A1}


@given(
    st.lists(st.tuples(st.sampled_from([b"a", b"b"]), st.integers(0, 5)), max_size=12),
    st.lists(st.integers(0, 12), max_size=3),
)
def test_any_cut_of_a_changelog_merges_to_the_highest_versions(
    copies: list[tuple[bytes, int]], cuts: list[int]
) -> None:
    """And stale are exactly the keys whose last copy in the log is not their highest."""
    stored: dict[bytes, bytes] = {}
    stale: set[bytes] = set()
    borders = [0, *sorted(cuts), len(copies)]
    for start, stop in itertools.pairwise(borders):
        records = [put(key, rows.pack(1, offset, b"%d" % offset)) for key, offset in copies[start:stop]]
        merged = merge(*records, stored=stored)
        stored.update(merged.puts)
        stale = (stale - merged.puts.keys()) | merged.stale
    highest = {key: max(offset for k, offset in copies if k == key) for key, _ in copies}
    last = dict(copies)
    assert {key: rows.unpack(row).offset for key, row in stored.items()} == highest
    assert stale == {key for key in highest if last[key] < highest[key]}
