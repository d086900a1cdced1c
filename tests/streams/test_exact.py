"""Sums of floats in any order."""

from __future__ import annotations

import math
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from streams import exact

ADDENDS = st.lists(st.floats(-exact.LARGEST, exact.LARGEST, allow_nan=False), max_size=60)


def summed(values: list[float]) -> list[float]:
    partials: list[float] = []
    for value in values:
        exact.add(partials, value)
    return partials


@given(ADDENDS)
def test_a_total_is_the_exact_sum_rounded_once(values: list[float]) -> None:
    assert exact.total(summed(values)) == float(sum(map(Fraction, values), Fraction(0)))


@given(ADDENDS, st.randoms())
def test_the_order_of_the_addends_does_not_matter(values: list[float], random: object) -> None:
    shuffled = values[:]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert exact.total(summed(values)) == exact.total(summed(shuffled))


@given(ADDENDS)
def test_what_was_added_can_be_taken_away_again(values: list[float]) -> None:
    assert exact.total(summed(values + [-value for value in values])) == 0


def test_values_that_cannot_be_meant_are_refused() -> None:
    assert [exact.bounded(v) for v in (None, math.nan, math.inf, -math.inf, 2e12, 1.5)] == [None] * 5 + [1.5]
