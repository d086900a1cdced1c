"""`python -m tests.streams.dying`: the streams process, killed while it publishes what was made in shadow."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

from streams import __main__ as process
from streams.engine import publication

_SLICES = 9
"""More than the table of points needs, where a slice has few rows; so it dies somewhere in the middle."""


def die_after_some_slices() -> None:
    publication._SLICE = 3
    flows, left = publication.Publication._flows, _SLICES

    def counted(self: publication.Publication, *arguments: Any) -> bool:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return flows(self, *arguments)

    publication.Publication._flows = counted  # type: ignore[method-assign]


if __name__ == "__main__":
    die_after_some_slices()
    sys.exit(asyncio.run(process.main()))
