"""`millrace restart`: asks the supervisor of a data folder for a rolling restart, and watches it."""

import os
import time
from collections.abc import Iterator

from millrace import preflight, status
from millrace.errors import ProcessFault
from millrace.settings import StackSettings
from millrace.supervisor import RESTART_SIGNAL, ask_health

_POLL_S = 0.2


def restart(settings: StackSettings) -> Iterator[str]:
    """Names of the streams workers, each when it is ready again.

    Raises: ProcessFault: no supervisor runs here, or a worker was not ready again in time.
    """
    supervisor = preflight.holder(settings.data)
    if supervisor is None:
        raise ProcessFault(
            f"no stack runs in {settings.data}", "start it (make run), or set MILLRACE_DATA to its folder"
        )
    ports = status.streams_ports(settings, stack_runs=True)
    urls = {name: f"http://{settings.health_host}:{port}/readyz" for name, port in ports.items()}
    before = {name: ask_health(url).get("pid") for name, url in urls.items()}
    os.kill(supervisor, RESTART_SIGNAL)
    for name, url in urls.items():
        deadline = time.monotonic() + settings.ready_timeout_s
        while not (health := ask_health(url))["ready"] or health.get("pid") == before[name]:
            if time.monotonic() > deadline:
                if health.get("pid") == before[name] and health["ready"]:
                    raise ProcessFault(f"{name} was not restarted", "see what the supervisor says of the others")
                log = settings.data / "logs" / f"{name}.log"
                raise ProcessFault(f"{name} is not ready again ({health['why']})", f"see {log}")
            time.sleep(_POLL_S)
        yield name
