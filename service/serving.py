"""What the processes that answer HTTP by uvicorn have in common."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from service.http_protocol import bounded_protocol


@dataclass(frozen=True)
class Bounds:
    """What clients may take.

    connections: open at once, idle ones too; who comes beyond is told to come again.  header_bytes, header_timeout_s,
    body_timeout_s: as of bounded_protocol, so that an idle connection, or one that trickles, keeps nobody out for
    longer.
    """

    connections: int = 1000
    header_bytes: int = 32 * 1024
    header_timeout_s: float = 10.0
    body_timeout_s: float = 30.0


class Server(uvicorn.Server):
    """Without uvicorn's own handling of signals: a process has one place for that."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


def server(app: Any, bounds: Bounds, *, stop_timeout_s: float, trusted_proxies: str = "") -> Server:
    """A server of an ASGI application, to be run on what `listen` gives.

    Args: stop_timeout_s: that running answers may take at the end.  trusted_proxies: addresses whose X-Forwarded-For
          names the client, by commas.
    """
    return Server(
        uvicorn.Config(
            app,
            http=bounded_protocol(bounds.header_bytes, bounds.header_timeout_s, bounds.body_timeout_s),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(trusted_proxies),
            forwarded_allow_ips=trusted_proxies or None,
            timeout_graceful_shutdown=int(stop_timeout_s),
            limit_concurrency=bounds.connections,
        )
    )


def listen(host: str, port: int, *, stall_s: float = 120.0) -> socket.socket:
    """A listening socket.

    Args:   port: 0 takes a free one.  stall_s: a client that takes nothing of its answer for so long is hung up on, by
            the system; where it cannot, never.
    Raises: OSError: the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, or asyncio does not set TCP_NODELAY on what it accepts: 40 ms for each answer.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; every connection that is accepted has it from here
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(stall_s * 1000))
        listening.bind((host, port))
        listening.listen(128)
    except BaseException:
        listening.close()
        raise
    return listening
