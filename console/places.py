"""So many at a time for each person, so that nobody takes all of what is for everybody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from console.errors import AskFault


class Places:
    """Those of all people."""

    def __init__(self, each_max: int, refusal: str) -> None:
        """each_max: of a person.  refusal: what who has none left is told; {most}: how many there are."""
        self._each_max = each_max
        self._refusal = refusal.format(most=each_max)
        self._taken: Counter[str] = Counter()

    @contextmanager
    def taken(self, who: str) -> Iterator[None]:
        """One of somebody's, until the end. Raises: AskFault (busy, 429): they have none left."""
        if self._taken[who] >= self._each_max:
            raise AskFault(self._refusal, reason="busy", status=429)
        self._taken[who] += 1
        try:
            yield
        finally:
            self._taken[who] -= 1
            if not self._taken[who]:
                del self._taken[who]
