"""When a record was received: the gateway's word, as far as Kafka's clock bears it out.

Expiry, the horizon of re-sends and the hours of records whose clock is wrong go by the received time. One gateway whose
own clock is wrong (before its first NTP) would have a partition forget what it needs. So a received time counts as at
most five minutes away from the moment at which the broker wrote the record into its log. That moment is in the log: a
replay decides the same. (A topic with CreateTime has the gateway's clock in its place, and no such protection.)

A gateway whose clock is wrong cannot tell either whether the client's is: on one host both are wrong alike. Where its
word does not count, the client's is asked again, by the same rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas.clocks import suspect

APART_US = 300 * 1_000_000
AHEAD_US = 1_200_000_000
"""A record counts at no time so long after its receipt: 10 minutes by DESIGN.md, rule 9, and as much again for clocks
that differ."""

Values = tuple[Any, ...]


class Receipt:
    """Of records that a gateway took in.

    Args: fields: of their values, in this order; event_time, received_time and clock_suspect among them.
    """

    def __init__(self, fields: Sequence[str]) -> None:
        names = ("event_time", "received_time", "clock_suspect")
        self._time, self._received, self._suspect = map(list(fields).index, names)

    def borne_out(self, values: Values, appended_ms: int) -> Values:
        """A record's values with its received time (µs) no farther from the broker's than it may be.

        Its event's time is suspect where it is so beside that one; what was suspect stays so: the gateway had reasons
        that are not in the record (it said no time at all).
        """
        appended = appended_ms * 1000
        said = values[self._received]
        if abs(said - appended) <= APART_US:
            return values
        received = min(max(said, appended - APART_US), appended + APART_US)
        out = list(values)
        out[self._received] = received
        out[self._suspect] = bool(values[self._suspect]) or suspect(values[self._time], received)
        return tuple(out)
