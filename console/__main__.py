"""`python -m console`: the pages on their port, ready when the control plane is read, until SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import sys

from aiokafka.errors import KafkaError

from console.app import application
from console.ask import Ask
from console.ended import Ended
from console.people import Cookies
from console.settings import ConsoleSettings
from console.static import Static
from console.web import Console
from schemas.errors import MillraceError
from service import process
from service.audit import AuditLog
from service.control import ControlView
from service.health import Health
from service.links import Links
from service.priority import process_gives_way
from service.serving import Bounds, listen, server
from service.settings import kafka_kwargs, load

logger = logging.getLogger("console")

_RETRY_S = 1.0


class Process:
    """What runs here, built from the settings; `run` once."""

    def __init__(self, settings: ConsoleSettings, bounds: Bounds | None = None) -> None:
        self._settings = settings
        self._bounds = bounds or Bounds()
        self._kafka = kafka_kwargs(settings)
        self.health = Health(settings.process)
        secret = settings.secret.get_secret_value()
        self.console = Console(
            settings,
            Ask(
                settings.sql_url,
                settings.key.get_secret_value(),
                timeout_s=settings.sql_timeout_s,
                kept_s=settings.answers_kept_s,
            ),
            Cookies(
                secret,
                secure=settings.base_url.startswith("https:"),
                idle_s=settings.idle_s,
                absolute_s=settings.absolute_s,
                ended=Ended(settings.data / "console" / "ended", settings.absolute_s, settings.grants),
            ),
            Links(secret),
            Static(),
            ControlView(on_error=self.health.failed),
            AuditLog(self._kafka, settings.prefix),
            self._kafka,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`. Raises: OSError: a port is taken."""
        settings = self._settings
        await self.health.serve(settings.health_host, settings.health_port)
        listening = listen(settings.host, settings.port)
        pages = server(
            application(self.console),
            self._bounds,
            stop_timeout_s=settings.stop_timeout_s,
            trusted_proxies=settings.trusted_proxies,
        )
        serving = asyncio.create_task(pages.serve(sockets=[listening]))
        operating, stopping = asyncio.create_task(self._operate()), asyncio.create_task(stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        self.health.set_ready(False, "stopping")
        pages.should_exit = True
        operating.cancel()
        stopping.cancel()
        await asyncio.gather(operating, return_exceptions=True)
        await serving
        await self.console.control.stop()
        await self.console.audit.close()
        await self.console.ask.close()
        await self.health.close()

    async def _operate(self) -> None:
        """Read the control plane, however long Kafka takes; the pages are there before."""
        while True:
            try:
                await self.console.control.start(self._kafka, self._settings.prefix)
                break
            except (MillraceError, KafkaError, OSError) as error:
                self.health.failed(error)
                self.health.set_ready(False, str(error))
                await asyncio.sleep(_RETRY_S)
        self.health.set_ready(True)
        logger.info("the pages are on %s", self._settings.base_url)


async def main() -> int:
    """Settings from the system, then the process."""
    process_gives_way()
    settings = load(ConsoleSettings)
    return await process.run(settings, lambda stop: Process(settings).run(stop))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
