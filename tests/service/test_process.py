"""How a process that listens begins and ends, seen at the console's, which needs nothing else to be there."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.ports import free_ports


def console(port: int, data: Path) -> subprocess.Popen[str]:
    settings = {
        "MILLRACE_DATA": str(data),
        "MILLRACE_BOOTSTRAP": "127.0.0.1:1",
        "MILLRACE_CONSOLE_KEY": "none",
        "MILLRACE_CONSOLE_SECRET": "a secret of the tests, long enough",
        "MILLRACE_CONSOLE_PORT": str(port),
        "MILLRACE_CONSOLE_HEALTH_PORT": str(free_ports(1)[0]),
    }
    others = {name: value for name, value in os.environ.items() if not name.startswith("MILLRACE_")}
    command = [sys.executable, "-m", "console"]
    return subprocess.Popen(command, env={**others, **settings}, text=True, stderr=subprocess.PIPE)


def test_where_the_port_is_taken_it_says_so_and_exits_with_75(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, console(taken.getsockname()[1], tmp_path) as process:
        _, said = process.communicate(timeout=120)
    assert process.returncode == 75
    assert "in use" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(tmp_path: Path, number: signal.Signals) -> None:
    (port,) = free_ports(1)
    with console(port, tmp_path) as process:
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            try:
                httpx.get(f"http://127.0.0.1:{port}/signin", trust_env=False)
                break
            except httpx.TransportError:
                time.sleep(0.1)
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "Traceback" not in said
