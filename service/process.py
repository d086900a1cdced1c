"""How a process that listens begins and ends: its log, its signals, and what it exits with."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable

from service import logs
from service.settings import ProcessSettings

logger = logging.getLogger(__name__)

EXIT_CANNOT_LISTEN = 75


async def run(settings: ProcessSettings, serve: Callable[[asyncio.Event], Awaitable[None]]) -> int:
    """Serve until SIGTERM or SIGINT.

    Args:    serve: builds the process and returns when the event is set, or before with an error. OSError: a port is
             taken, or a file of its own cannot be used.
    Returns: what to exit with.
    """
    logs.setup(settings.process, settings.log_level)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await serve(stop)
    except OSError as error:
        logger.critical("%s", error)
        return EXIT_CANNOT_LISTEN
    return 0
