"""When a record counts: by its own clock or, where that cannot be right, when it was received (DESIGN.md, rule 9).

The aggregates count by the same rule. Who asked for event_time alone would lose what a client with a wrong clock did,
and anybody can set a clock.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from console.filters import joined
from schemas.clocks import SUSPECT_AHEAD_US, SUSPECT_OLD_US
from service.sql import timestamp

_AHEAD, _BEHIND = timedelta(microseconds=SUSPECT_AHEAD_US), timedelta(microseconds=SUSPECT_OLD_US)


def when(alias: str, own: str = "event_time") -> str:
    """In SQL: the time by which a row of `events` or `metrics` counts.  own: start_time of `spans`."""
    return f"CASE WHEN {alias}.clock_suspect THEN {alias}.received_time ELSE {alias}.{own} END"


def within(alias: str, start: datetime, end: datetime, own: str = "event_time") -> str:
    """Condition: it counts in this time, half open.  own: as of `when`.

    First by its receipt, which is a column that the store can skip blocks by.
    """
    at, received = when(alias, own), f"{alias}.received_time"
    return joined(
        [
            f"{received} >= {timestamp(start - _AHEAD)} AND {received} < {timestamp(end + _BEHIND)}",
            f"{at} >= {timestamp(start)} AND {at} < {timestamp(end)}",
        ]
    )
