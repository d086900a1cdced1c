"""Sign-ins that ended before their time: a copy of their cookie opens nothing, not after a restart either."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

_KEPT_MAX = 100_000


@dataclass(frozen=True)
class _End:
    """Seconds since the epoch: sign-ins that began at or before `before` are over; `until`: they all are anyway."""

    before: float
    until: float


class Ended:
    """Whose sign-ins are over, in a file of one line each: what was ended as a hash, before, until.

    An end is on disk before `end` returns, and is forgotten when no cookie from before it could still be good. The file
    is read at the start, so it is of one console. Beyond the bound those go first that would be over soonest.
    """

    def __init__(
        self, path: Path | None, lasts_s: float, grants: str = "", clock: Callable[[], float] = time.time
    ) -> None:
        """Read the file, and write it anew without what is over.

        Args:   path: None: in memory only.  lasts_s: after which every sign-in is over.  grants: the settings by which
                people have their roles; whoever signed in under others signs in again.
        Raises: OSError: it cannot be read or written.
        """
        self._path = path
        self._lasts_s = lasts_s
        self._clock = clock
        self._grants = _hash(grants)
        self._ends: dict[str, _End] = {}
        self._stale = False
        self._writing = asyncio.Lock()
        if path is not None:
            self._read(path)
            _replace(path, self._whole())
            self._stale = False

    async def end(self, what: str) -> None:
        """What has begun of this until now is over: the id of a sign-in, or of a person. Use it from one event loop."""
        now = self._clock()
        name, end = _hash(what), _End(now, now + self._lasts_s)
        self._ends[name] = end
        if len(self._ends) > _KEPT_MAX:
            self._forget()
        if self._path is not None:
            async with self._writing:
                await self._write(self._path, _line(name, end))

    def has(self, since: float, *what: str) -> bool:
        """Whether what began then is over, by any of these names."""
        ends = (self._ends.get(_hash(one)) for one in (*what, ""))
        return any(end is not None and since <= end.before for end in ends)

    def _read(self, path: Path) -> None:
        if not path.exists():
            return
        first, *lines = path.read_text("ascii", "replace").splitlines() or [self._grants]
        for line in lines:
            try:
                name, before, until = line.split(" ")
                self._ends[name] = _End(float(before), float(until))
            except ValueError:
                logger.warning("a line of %s is none: a write was cut off", path)
        self._forget()
        if first != self._grants:
            now = self._clock()
            self._ends[_hash("")] = _End(now, now + self._lasts_s)

    def _forget(self) -> None:
        """Keep the latest that are not over, half of the bound at most: so it is seldom done."""
        now = self._clock()
        latest = sorted(self._ends.items(), key=lambda one: one[1].until)[-_KEPT_MAX // 2 :]
        self._ends = {name: end for name, end in latest if end.until > now}
        self._stale = True

    async def _write(self, path: Path, line: str) -> None:
        """Keep a line, or all of them; on a thread, as a disk may take its time. Call it one at a time."""
        # What is forgotten while all lines are written makes the file stale again.
        whole, self._stale = self._whole() if self._stale else None, False
        work = asyncio.to_thread(_append, path, line) if whole is None else asyncio.to_thread(_replace, path, whole)
        try:
            await work
        except OSError as error:
            # It holds here until the next start. The line may be half there, so the next one comes with all of them.
            self._stale = True
            logger.error("the end of a sign-in is only in memory: %s", error)

    def _whole(self) -> str:
        return f"{self._grants}\n" + "".join(_line(name, end) for name, end in self._ends.items())


def _line(name: str, end: _End) -> str:
    return f"{name} {end.before!r} {end.until!r}\n"


def _replace(path: Path, text: str) -> None:
    """The file is this text, or as it was."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    _append(new, text)
    new.replace(path)


def _append(path: Path, text: str) -> None:
    """Returns when it is on disk."""
    with open(path, "a", encoding="ascii", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
