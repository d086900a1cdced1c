"""What is checked before anything starts: the data folder, the disk, the ports. One clear line for each fault."""

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from millrace.errors import FolderFault, PortTaken
from millrace.kafka import port_is_free

_LOCK = ".lock"
# After a kill -9 of an earlier stack its children are still ending.
_PORT_PATIENCE_S = 3.0


@contextmanager
def data_folder(folder: Path, *, free_min_mb: int) -> Iterator[Path]:
    """The data folder, writable, with enough room, and locked for this stack as long as the context lasts.

    Raises: FolderFault.
    """
    elsewhere = "set MILLRACE_DATA to a folder that can be written"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _full(folder, 0, free_min_mb) from None
        raise FolderFault(folder, f"cannot be written ({error.strerror})", elsewhere) from None
    try:
        _lock(lock, folder)
        free_mb = shutil.disk_usage(folder).free // 2**20
        if free_mb < free_min_mb:
            raise _full(folder, free_mb, free_min_mb)
        try:
            probe = folder / f".probe-{os.getpid()}"
            probe.write_bytes(b"x")
            probe.unlink()
        except OSError as error:
            raise FolderFault(folder, f"cannot be written ({error.strerror})", elsewhere) from None
        yield folder
    finally:
        os.close(lock)


def ports(wanted: Sequence[tuple[str, int, str]]) -> None:
    """Check that the ports are free.

    Args:   wanted: (what listens there, port, the variable that changes it).
    Raises: PortTaken for the first that is not.
    """
    deadline = time.monotonic() + _PORT_PATIENCE_S
    for what, port, variable in wanted:
        while not port_is_free(port):
            if time.monotonic() > deadline:
                raise PortTaken(what, port, variable)
            time.sleep(0.1)


def _lock(lock: int, folder: Path) -> None:
    deadline = time.monotonic() + _PORT_PATIENCE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "?"
                raise FolderFault(
                    folder,
                    f"is in use by another stack (process {holder})",
                    "stop that one, or set MILLRACE_DATA to another folder",
                ) from None
            time.sleep(0.1)
        except OSError as error:
            raise FolderFault(
                folder, f"cannot be locked ({error.strerror})", "set MILLRACE_DATA to a folder on a local disk"
            ) from None
        else:
            break
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise _full(folder, 0, 1) from None


def _full(folder: Path, free_mb: int, free_min_mb: int) -> FolderFault:
    return FolderFault(
        folder,
        f"is on a full disk ({free_mb} MiB free, {free_min_mb} MiB needed)",
        "free space, set MILLRACE_DATA to a folder on another disk, or lower MILLRACE_DISK_FREE_MIN_MB",
    )
