"""The lease: a worker may only produce while the group coordinator believes in it.

The broker removes a member one session timeout after the last heartbeat it received. The lease runs from the moment
the last ACKNOWLEDGED heartbeat was SENT, which is earlier, so it always ends first. CLOCK_BOOTTIME also counts the time
that a machine was suspended.

The check stands directly before the produce request. A pause between the check and the write to the socket remains. The
versions of rows and messages cover that, for who takes the highest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> float:
    """Seconds on the lease's clock."""
    return time.clock_gettime(_CLOCK)


class Lease:
    """seconds: how long an acknowledged heartbeat is trusted.  enabled: off only in tests of what comes behind it."""

    def __init__(self, seconds: float, *, enabled: bool = True, clock: Callable[[], float] = now) -> None:
        self.seconds = seconds
        self.enabled = enabled
        self._clock = clock
        self._renewed: float | None = None

    def renew(self, sent_at: float) -> None:
        """A heartbeat sent at this moment was acknowledged. Called from the consumer's thread."""
        self._renewed = sent_at

    @property
    def age(self) -> float:
        """Seconds since the last acknowledged heartbeat was sent; 0 before the first."""
        return 0.0 if self._renewed is None else self._clock() - self._renewed

    @property
    def expired(self) -> bool:
        return self.enabled and self.age > self.seconds


def guard_producer(producer: Any, lease: Lease, on_expired: Callable[[], None]) -> None:
    """Let no produce request of an AIOKafkaProducer leave on an expired lease: `on_expired` instead."""
    send = producer.client.send

    async def guarded(node_id: Any, request: Any, **kwargs: Any) -> Any:
        if lease.expired and type(request).__name__.startswith("ProduceRequest"):
            on_expired()
            raise ConnectionError("lease expired")  # reached only where on_expired does not end the process
        return await send(node_id, request, **kwargs)

    producer.client.send = guarded
