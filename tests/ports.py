"""Ports for the processes under test."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

from millrace.kafka import port_is_free

# Below what systems hand out by themselves, to sockets without a port and to connections.
_FIRST, _MANY = 20_000, 12_000


def free_port() -> int:
    """See `free_ports`."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """On loopback; nobody listens there, and no other test of this user is soon given the same.

    A process takes seconds until it listens, and others look for ports meanwhile: each is told the next ones.
    """
    notes = Path(tempfile.gettempdir()) / f"millrace-test-ports-{os.getuid()}"
    with notes.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        at = int(file.read() or 0)
        found: list[int] = []
        while len(found) < count:
            port = _FIRST + at % _MANY
            at += 1
            if port_is_free(port):
                found.append(port)
        file.truncate(0)
        file.write(str(at))
    return found
