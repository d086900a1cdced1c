"""Sums of floats that do not depend on the order of the addends.

A sum is kept as its partials: a few floats that do not overlap and whose exact sum is the exact sum of everything
added. Rounding happens once, when the total is asked for. So money is the same number in whatever order the records
came, and ``new - old`` taken away again leaves nothing behind.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

LARGEST = 1e12
"""Addends beyond this (or not finite) are refused by :func:`bounded`: no cost, time or count of a client is that
large."""
LARGEST_WHOLE = 10**10
"""The same of what is counted in whole numbers: tokens, lines, commits. It takes a hundred million of these until
WHOLE_MOST."""
WHOLE_MOST = 1 << 60
"""Where a sum of whole numbers stands still: a few of them fit a `long`, and one that does not would stop a
partition."""


def bounded(value: float | None) -> float | None:
    """The value, or None where it is none, not finite, or too large to be meant."""
    if value is None or not -LARGEST <= value <= LARGEST:  # a NaN fails the comparison
        return None
    return value


def whole(value: float) -> int:
    """The value as an integer within WHOLE_MOST."""
    return min(max(round(value), -WHOLE_MOST), WHOLE_MOST)


def add(partials: list[float], value: float) -> None:
    """Add ``value`` to the sum in place.

    Source: Shewchuk 1997, Adaptive precision floating-point arithmetic, as in the Python documentation's recipe
    ``msum``.
    """
    kept = 0
    for partial in partials:
        if abs(value) < abs(partial):
            value, partial = partial, value
        high = value + partial
        low = partial - (high - value)
        if low:
            partials[kept] = low
            kept += 1
        value = high
    partials[kept:] = [value] if value else []


def total(partials: Iterable[float]) -> float:
    """The sum of the partials of one sum or of several, rounded once."""
    return math.fsum(partials)
