"""Logging of a process: one line per record on stderr, in UTC, nothing on stdout."""

import logging
import math
import sys
import time
from collections.abc import Callable

from service.settings import LogLevel

# Their INFO is one line per connection, rebalance or request.
_NOISY = (
    "aiokafka",
    "kafka",
    "faust",
    "mode",
    "httpx",
    "httpcore",
    "urllib3",
    "uvicorn.access",
    "pyiceberg",
    "asyncio",
)
_REPEAT_S = 10.0
_KINDS_MAX = 1000


def setup(process: str, level: LogLevel = "INFO") -> None:
    """Send every record of this process to stderr as one line: time (UTC), level, process, logger, message."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine(process))
    if level != "DEBUG":
        handler.addFilter(_Calm())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    if level != "DEBUG":
        for name in _NOISY:
            logging.getLogger(name).setLevel(logging.WARNING)


class _Calm(logging.Filter):
    """Lets a library repeat itself only so often: without Kafka its client says a hundred times a second so."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to let it through; the first after a silence says how many were left out."""
        if not record.name.startswith(_NOISY):
            return True
        key = (record.name, str(record.msg))  # the template: the same trouble with other numbers is the same trouble
        last, left_out = self._said.get(key, (-math.inf, 0))
        now = self._clock()
        if now - last < _REPEAT_S:
            self._said[key] = (last, left_out + 1)
            return False
        if len(self._said) >= _KINDS_MAX:
            self._said.clear()
        self._said[key] = (now, 0)
        if left_out:
            record.msg = f"{record.getMessage()} ({left_out} more like this)"
            record.args = ()
        return True


class _OneLine(logging.Formatter):
    def __init__(self, process: str) -> None:
        self.converter = time.gmtime
        super().__init__(
            f"%(asctime)s.%(msecs)03dZ %(levelname)s {process} %(name)s: %(message)s", datefmt="%Y-%m-%dT%H:%M:%S"
        )

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\r", "\\r").replace("\n", "\\n")
