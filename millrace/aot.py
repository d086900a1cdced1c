"""What Java keeps of a start of Kafka, so that the next ones take half the time and CPU (JEP 483, 514).

    python -m millrace.aot DIRECTORY

Made once for these jars and this Java, beside the jars: 15 CPU seconds, so not while somebody waits for the first
start, but after it and behind everything else. Java itself checks that it fits, and starts without it where it does
not.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

from millrace.child import bound
from millrace.kafka import Broker, cache_of

_NICE = 19
_START_TIMEOUT_S, _STOP_TIMEOUT_S = 180.0, 180.0


def make(directory: Path) -> None:
    """Make it, unless it is there or somebody else is about it.

    Args:   directory: the jars (millrace.jars.ensure).
    Raises: KafkaFault: Kafka does not start.
    """
    cache = cache_of(directory)
    with cache.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if cache.exists():
            return
        # By one name, so that what a kill left of an earlier attempt goes.
        folder = cache.with_suffix(".making")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            made = folder / cache.name
            options = (f"-XX:AOTCacheOutput={made}",)
            broker = Broker(directory, folder / "kafka", log=folder / "kafka.log", port=0, java_options=options)
            broker.start(_START_TIMEOUT_S)
            broker.stop(_STOP_TIMEOUT_S)
            if made.exists():
                made.replace(cache)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def make_apart(directory: Path) -> None:
    """Make it in a process of its own that gives way to all others, and ends with this one."""
    if cache_of(directory).exists():
        return
    subprocess.Popen(
        bound(sys.executable, "-m", "millrace.aot", str(directory)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


if __name__ == "__main__":
    os.nice(_NICE)
    make(Path(sys.argv[1]))
