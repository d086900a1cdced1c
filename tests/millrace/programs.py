"""Programs for a supervisor: real processes, each a few lines of Python."""

from pathlib import Path

from millrace.supervisor import PythonProgram
from tests.ports import free_port

ROOT = Path(__file__).parents[2]

# A process that is ready at once, says its pid, notes an error when given one, and ends on SIGTERM
# (after a pause when it has one).
SERVER = """
import asyncio, os, signal, sys
from service.health import Health

async def main():
    health = Health("example")
    await health.serve("127.0.0.1", int(sys.argv[1]))
    health.set_ready(True)
    if sys.argv[3]:
        health.failed(sys.argv[3])
    print("pid", os.getpid(), flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    await asyncio.sleep(float(sys.argv[2]))
    print("ended", flush=True)

asyncio.run(main())
"""


def server(folder: Path, name: str, *, stop_s: float = 0.0, error: str = "", pool: str | None = None) -> PythonProgram:
    port = free_port()
    return PythonProgram(
        name=name,
        arguments=["-c", SERVER, str(port), str(stop_s), error],
        environment={"PYTHONPATH": str(ROOT)},
        health_url=f"http://127.0.0.1:{port}/readyz",
        log=folder / f"{name}.log",
        pool=pool,
    )


def failing(folder: Path, code: str, name: str = "failing") -> PythonProgram:
    return PythonProgram(name, ["-c", code], {}, "http://127.0.0.1:1/readyz", folder / f"{name}.log")
