"""When a record was received: the gateway's word, as far as Kafka's clock bears it out.

Expiry, the horizon of re-sends and the hours of records whose clock is wrong go by the received time. One gateway whose
own clock is wrong (before its first NTP) would have a partition forget what it needs. So a received time counts as at
most five minutes away from the moment at which the broker wrote the record into its log. That moment is in the log: a
replay decides the same. (A topic with CreateTime has the gateway's clock in its place, and no such protection.)
"""

from __future__ import annotations

from typing import Any

APART_US = 300 * 1_000_000
AHEAD_US = 1_200_000_000
"""A record counts at no time so long after its receipt: 10 minutes by DESIGN.md, rule 9, and as much again for clocks
that differ."""
FIELD = "received_time"

Values = tuple[Any, ...]


def borne_out(values: Values, at: int, appended_ms: int) -> Values:
    """A record's values with its received time (µs, at this index) no farther from the broker's than it may be."""
    appended = appended_ms * 1000
    said = values[at]
    if abs(said - appended) <= APART_US:
        return values
    nearest = min(max(said, appended - APART_US), appended + APART_US)
    return (*values[:at], nearest, *values[at + 1 :])
