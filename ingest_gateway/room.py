"""The memory that bodies may take: while they come, while they wait for a round, and until Kafka has answered."""

from __future__ import annotations

from ingest_gateway.errors import Busy
from ingest_gateway.metrics import GatewayMetrics


class Room:
    """Whoever takes bytes gives them back, or hands them on to somebody who will.

    Args:    bytes_max, retry_after_s: see GatewaySettings.
    """

    def __init__(self, bytes_max: int, retry_after_s: float, metrics: GatewayMetrics) -> None:
        self._bytes_max = bytes_max
        self._retry_after_s = retry_after_s
        self._metrics = metrics
        self.taken = 0

    def take(self, size: int) -> None:
        """Raises: Busy when there is no room for so many bytes more."""
        if self.taken + size > self._bytes_max:
            raise Busy("the gateway is full; send it again", retry_after_s=self._retry_after_s)
        self.taken += size
        self._metrics.in_flight(self.taken)

    def give(self, size: int) -> None:
        """Give back what was taken."""
        self.taken -= size
        self._metrics.in_flight(self.taken)
