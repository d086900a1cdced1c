"""`python -m tests.chaos.unprotected PROTECTION`: the streams process with one protection off. It must be found WRONG.

ids       a client's re-send counts again
versions  the last copy of a row wins, nobody looks for a foreign writer, no lease ends a zombie, and rows that went
          back are not refused
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from streams import __main__ as process
from streams.engine import Table, lease, marks
from streams.sessions import fold
from tests.streams.engine.worker import without_versions


def _no_ids() -> None:
    def unknown(*_: Any) -> bool:
        return False

    fold.known = unknown  # type: ignore[assignment]


def _no_versions() -> None:
    without_versions()
    marks.check_progress = lambda *_, **__: None
    lease.Lease.enabled = property(lambda self: False, lambda self, value: None)  # type: ignore[assignment]
    write = Table._write

    async def slowly(*arguments: Any) -> None:
        await asyncio.sleep(0.1)  # so that a pause falls between the reading and the writing of a row
        await write(*arguments)

    Table._write = slowly  # type: ignore[method-assign, assignment]


OFF = {"ids": _no_ids, "versions": _no_versions}

if __name__ == "__main__":
    OFF[sys.argv[1]]()
    sys.exit(asyncio.run(process.main()))
