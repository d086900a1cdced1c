"""Logging of a process: one line per record on stderr, in UTC, nothing on stdout."""

import logging
import sys
import time

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


def setup(process: str, level: LogLevel = "INFO") -> None:
    """Send every record of this process to stderr as one line: time (UTC), level, process, logger, message."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine(process))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    if level != "DEBUG":
        for name in _NOISY:
            logging.getLogger(name).setLevel(logging.WARNING)


class _OneLine(logging.Formatter):
    def __init__(self, process: str) -> None:
        self.converter = time.gmtime
        super().__init__(
            f"%(asctime)s.%(msecs)03dZ %(levelname)s {process} %(name)s: %(message)s", datefmt="%Y-%m-%dT%H:%M:%S"
        )

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\r", "\\r").replace("\n", "\\n")
