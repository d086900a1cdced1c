"""What is checked before anything starts: the data folder, the disk, the ports. One clear line for each fault."""

import errno
import fcntl
import os
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from millrace.errors import FolderFault, PortTaken, PortTwice
from millrace.kafka import port_is_free

_LOCK = ".lock"
# After a kill -9 of an earlier stack its children are still ending.
_PORT_PATIENCE_S = 3.0


@contextmanager
def data_folder(folder: Path, *, free_min_mb: int) -> Iterator[Path]:
    """The data folder, writable, with enough room, and locked for this stack as long as the context lasts.

    A new one belongs to its owner alone: it holds keys and content.

    Raises: FolderFault.
    """
    elsewhere = "set MILLRACE_DATA to a folder that can be written"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
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


def exposure(folder: Path) -> str | None:
    """One line of warning when others than its owner may enter the data folder; its rights are not ours to change."""
    mode = stat.S_IMODE(folder.stat().st_mode)
    if not mode & 0o077:
        return None
    return (
        f"data folder {folder} holds keys and content and is open to other users (mode {mode:04o}): chmod 700 {folder}"
    )


def stack_runs(folder: Path) -> bool | None:
    """Whether a stack has locked this data folder now; None where none ever did, or where we may not look."""
    try:
        lock = os.open(folder / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    else:
        return False
    finally:
        os.close(lock)


def holder(folder: Path) -> int | None:
    """The process that has locked this data folder now; None where there is none."""
    if not stack_runs(folder):
        return None
    try:
        return int((folder / _LOCK).read_text())
    except (OSError, ValueError):
        return None


def ports(wanted: Sequence[tuple[str, int, str]]) -> None:
    """Check that the ports differ and are free.

    Args:   wanted: (what listens there, port, the variable that changes it).
    Raises: PortTwice, PortTaken; for the first that is at fault.
    """
    seen: dict[int, tuple[str, str]] = {}
    for what, port, variable in wanted:
        if port in seen:
            raise PortTwice(port, seen[port], (what, variable))
        seen[port] = (what, variable)
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
