"""Run a program so that it dies with its parent: `python child.py PARENT_PID PROGRAM ARG…`.

Started by path, with -IS, by the supervisor; stands alone so that it costs only the interpreter's start (15 ms).
If the supervisor is killed with -9, nobody is left to stop its children; the kernel does it (Linux only: elsewhere
they live on, and the next start says which port they hold). What they lose by it is nothing that was acknowledged.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def bound(*command: str) -> list[str]:
    """The command that runs this one so that it dies with us."""
    return [sys.executable, "-IS", __file__, str(os.getpid()), *command]


def main(parent: int, command: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
