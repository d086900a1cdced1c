"""`python -m tests.chaos.clock`: the streams process with a wall clock that somebody else sets, also while it runs."""

from __future__ import annotations

import asyncio
import mmap
import os
import struct
import sys
import time
from pathlib import Path

_SHIFT = struct.Struct("=d")
FILE = "clock"
"""In the process's data folder: how many seconds its clock is ahead."""


def step(folder: Path, seconds: float) -> None:
    """Set the clock of the process with this data folder so far ahead (or, negative, behind), at once."""
    path = folder / FILE
    path.touch()
    with path.open("r+b") as file:
        file.write(_SHIFT.pack(seconds))


def follow(folder: Path) -> None:
    """Let this process's clock be what the file says. Before anything is imported that keeps `time.time`."""
    if not (folder / FILE).exists():
        step(folder, 0.0)
    with (folder / FILE).open("rb") as file:
        shift = mmap.mmap(file.fileno(), _SHIFT.size, prot=mmap.PROT_READ)
    seconds, nanoseconds = time.time, time.time_ns
    time.time = lambda: seconds() + _SHIFT.unpack_from(shift)[0]
    time.time_ns = lambda: nanoseconds() + int(_SHIFT.unpack_from(shift)[0] * 1e9)


if __name__ == "__main__":
    follow(Path(os.environ["MILLRACE_DATA"]))
    from streams import __main__ as process

    sys.exit(asyncio.run(process.main()))
