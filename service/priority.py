"""Who reads gives way to what arrives: a lower priority of threads and processes that answer people, on Linux."""

import contextlib
import os
import sys
from pathlib import Path

NICENESS = 10
"""With which something has a tenth of the weight of its like, where both want the same core."""


def give_way() -> None:
    """The calling thread, and what it starts from now on, leave the cores to others; elsewhere than on Linux nothing.

    To the threads of their own process, and where Linux groups processes by session (autogroup) to that alone: there
    it shares the cores among the groups first.
    """
    if sys.platform == "linux":
        os.nice(NICENESS)


def process_gives_way() -> None:
    """The whole process, and the session of which it is the first; called before it starts a thread."""
    give_way()
    if sys.platform != "linux" or os.getsid(0) != os.getpid():
        return
    with contextlib.suppress(OSError):  # there is no autogroup here, or it may not be set
        Path("/proc/self/autogroup").write_text(str(NICENESS))
