"""Gzip as it comes, in pieces of any size, within a bound."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_gateway.body import Inflate
from ingest_gateway.errors import Refused


def inflated(data: bytes, most: int, step: int) -> bytes:
    inflate = Inflate(most)
    out = b"".join(inflate(data[at : at + step]) for at in range(0, len(data), step))
    inflate.finish()
    return out


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.integers(1, 50))
def test_members_in_a_row_and_any_cut_give_the_whole(members: list[bytes], step: int) -> None:
    data = b"".join(map(gzip.compress, members))
    assert inflated(data, 2000, step) == b"".join(members)


@given(st.binary(min_size=1, max_size=300), st.integers(1, 12), st.integers(1, 50))
def test_a_truncated_stream_is_refused(data: bytes, missing: int, step: int) -> None:
    with pytest.raises(Refused, match="truncated"):
        inflated(gzip.compress(data)[:-missing], 2000, step)


def test_the_bound_holds_to_the_byte() -> None:
    data = gzip.compress(b"x" * 1000)
    assert len(inflated(data, 1000, 7)) == 1000
    with pytest.raises(Refused, match="bound"):
        inflated(data, 999, 7)


def test_members_without_end_are_refused() -> None:
    with pytest.raises(Refused, match="members"):
        inflated(gzip.compress(b"") * 1000, 999, 5000)


def test_garbage_is_refused() -> None:
    with pytest.raises(Refused, match="no gzip"):
        inflated(b"no gzip at all", 100, 5)
    with pytest.raises(Refused, match="no gzip"):
        inflated(gzip.compress(b"x") + b"trailing garbage", 100, 5)
