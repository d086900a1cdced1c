"""How often somebody may try something: by address and in all, within a window of time."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict, deque
from collections.abc import Callable

_ADDRESSES_MAX = 4096


class Attempts:
    """What was tried in the last moments. In the memory of one process, bounded.

    Args:   by_address, in_all: how often within the window, after which nobody of that address, or nobody, may try.
            in_all: 0: as often as there are addresses.  window_s: seconds.
    """

    def __init__(
        self, *, by_address: int, in_all: int, window_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._window_s = window_s
        self._clock = clock
        self._in_all: deque[float] = deque(maxlen=in_all)
        self._by_address = by_address
        self._of: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, address: str | None) -> float:
        """Seconds until this address may try again; 0: now."""
        return max(self._left(self._in_all), self._left(self._of.get(_network(address))))

    def count(self, address: str | None) -> None:
        """Note a try."""
        now, network = self._clock(), _network(address)
        self._in_all.append(now)
        self._of.setdefault(network, deque(maxlen=self._by_address)).append(now)
        self._of.move_to_end(network)
        while len(self._of) > _ADDRESSES_MAX:
            self._of.popitem(last=False)  # who comes from so many addresses meets the bound of all

    def _left(self, tried: deque[float] | None) -> float:
        if not tried or len(tried) != tried.maxlen:
            return 0.0
        return max(0.0, tried[0] + self._window_s - self._clock())


def _network(address: str | None) -> str:
    """What one client has for itself: an IPv4 address, or the 64 bits of IPv6 that it may choose from."""
    try:
        found = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))
