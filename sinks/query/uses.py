"""Which keys are used: the audit is told of each once a day, so that one knows what nobody needs any more.

It tells of no read of content: no query waits for it, or is refused without it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from schemas.errors import MillraceError
from schemas.keys import KeyRecord
from schemas.roles import actor_of
from service.audit import KEY_USE, entry

logger = logging.getLogger(__name__)

# As service.audit.AuditLog.write.
WriteAudit = Callable[[Sequence[Mapping[str, Any]]], Awaitable[None]]

_RETRY_S = 30.0


class KeyUses:
    """Tells the audit of a key's first use on each day (UTC), and since the start. Use it from one event loop."""

    def __init__(
        self,
        audit: WriteAudit,
        *,
        today: Callable[[], date] = lambda: datetime.now(UTC).date(),
        retry_s: float = _RETRY_S,
    ) -> None:
        """retry_s: what the audit did not take is told again after it."""
        self._audit = audit
        self._today = today
        self._retry_s = retry_s
        self._day: date | None = None
        # Ids of keys used on that day; and what the audit has not taken yet, one entry a key.
        self._used: set[str] = set()
        self._untold: dict[str, dict[str, Any]] = {}
        self._telling: asyncio.Task[None] | None = None

    def used(self, key: KeyRecord, client_address: str | None) -> None:
        """Somebody came in with this key. An ingest key brings nobody in here."""
        today = self._today()
        if today != self._day:
            self._day, self._used = today, set()
        if key.kind == "ingest" or key.id in self._used:
            return
        self._used.add(key.id)
        actor = actor_of(key)
        self._untold[key.id] = entry(
            KEY_USE,
            actor=actor.id,
            actor_kind=actor.kind,
            tenant=actor.tenant,
            target=actor.id,
            client_address=client_address,
        )
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell(), name="key-uses")

    async def close(self) -> None:
        """End telling; what is untold is told at the key's next use after a start."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)

    async def _tell(self) -> None:
        while self._untold:
            id_, one = next(iter(self._untold.items()))
            try:
                await self._audit([one])
            except MillraceError as error:
                logger.warning("that %d keys are used is still to be told to the audit: %s", len(self._untold), error)
                await asyncio.sleep(self._retry_s)
            else:
                if self._untold[id_] is one:  # else it was used on the next day, too, meanwhile
                    del self._untold[id_]
