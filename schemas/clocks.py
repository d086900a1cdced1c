"""Which clocks are believed (DESIGN.md, rule 9): one rule for who takes records in and for who counts them."""

from __future__ import annotations

_DAY_US = 86_400_000_000

SUSPECT_OLD_US = 30 * _DAY_US
SUSPECT_AHEAD_US = 10 * 60_000_000
"""A time outside of these bounds around the receipt is flagged."""

# And no clock says what is outside of these: a time before 2000-01-01, or a hundred years ahead.
_POSSIBLE_FROM_US = 946_684_800_000_000
_POSSIBLE_AHEAD_US = 36_525 * _DAY_US


def suspect(time_us: int, received_us: int) -> bool:
    """Whether a clock that says so cannot be right."""
    return not received_us - SUSPECT_OLD_US <= time_us <= received_us + SUSPECT_AHEAD_US


def possible(time_us: int, received_us: int) -> bool:
    """Whether a clock, however wrong, can say so."""
    return _POSSIBLE_FROM_US <= time_us <= received_us + _POSSIBLE_AHEAD_US


def believed(stated_us: int | None, received_us: int) -> tuple[int, bool]:
    """The time to go by, and whether the client's clock is suspect. What cannot be gives way to the gateway's time."""
    if stated_us is None:
        return received_us, True
    if not suspect(stated_us, received_us):
        return stated_us, False
    return stated_us if possible(stated_us, received_us) else received_us, True
