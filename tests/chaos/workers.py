"""The streams processes under test: started, signalled and looked at from outside, each with a folder of its own."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from tests.chaos import clock
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
_STOP_S = 20.0
_TRACEBACK = "Traceback (most recent call last):"
_FRAME = re.compile(r'^ +File "(?:[^"]*/)?([^"/]+)", line (\d+), in (\S+)')
_FRAMES_MAX = 6
_FOLDERS = re.compile(r"(?<!\w)/(?:[^\s/'\"]+/)+")
_TEXT_MAX = 500


def last_error(log: str) -> str:
    """What a process ended of, as its log tells: its last error, the exception, where that was raised.

    One line without folders. A log without an error has its last line for it.
    """
    lines = [line for line in log.replace("\\n", "\n").splitlines() if line.strip()]  # as service.logs writes it
    errors = [number for number, line in enumerate(lines) if re.search(r"^\S+Z (CRITICAL|ERROR) ", line)]
    found = [re.sub(r"^\S+Z \w+ ", "", lines[errors[-1]])] if errors else lines[-1:]
    # The error before the last one may have its traceback: of a stage that failed the last one has only the words.
    since = (errors or [0])[-2:][0]
    traces = [number for number, line in enumerate(lines) if line == _TRACEBACK and number >= since]
    if traces:
        trace = lines[traces[-1] + 1 :]
        frames = [f"{match[1]}:{match[2]} {match[3]}" for match in map(_FRAME.match, trace) if match]
        found += [*[line for line in trace if not line.startswith(" ")][:1], " > ".join(frames[-_FRAMES_MAX:])]
    return without_folders(" | ".join(filter(None, dict.fromkeys(found))))[:_TEXT_MAX] or "it said nothing"


def without_folders(text: str) -> str:
    """Of each path in it the last part alone."""
    return _FOLDERS.sub("", text)


class Worker:
    """One streams process.

    Args:    environment: what all of them have in common.  module: `streams`, with its arguments.
    """

    def __init__(self, number: int, folder: Path, environment: dict[str, str], module: Sequence[str]) -> None:
        self.name = f"worker {number}"
        self.folder = folder / f"w{number}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.environment = environment
        #: Scaled away: nobody starts it again.
        self.retired = False
        self._module = list(module)
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._logging: threading.Thread | None = None
        self._began_at = 0
        self._paused = False

    def start(self) -> None:
        self._port = free_port()
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MILLRACE_")},
            **self.environment,
            "MILLRACE_DATA": str(self.folder),
            "MILLRACE_STREAMS_HEALTH_PORT": str(self._port),
        }
        if self._logging is not None:
            self._logging.join()
        self._began_at = self._log.stat().st_size if self._log.exists() else 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", *self._module],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            bufsize=0,
        )
        # Written by us: what ends a worker that may write no file would not be in its log.
        self._logging = threading.Thread(target=self._keep, args=(self._process.stdout,), daemon=True)
        self._logging.start()
        self._paused = False

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    def _keep(self, said: IO[bytes]) -> None:
        with said, self._log.open("ab", buffering=0) as log:
            shutil.copyfileobj(said, log)

    def last_error(self) -> str:
        """What it ended of, by its own words since its last start; see above. Only of one that has ended."""
        assert self._logging is not None
        self._logging.join()
        with self._log.open("rb") as log:
            log.seek(self._began_at)
            return last_error(log.read().decode(errors="replace"))

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def kill(self) -> None:
        if self._process is not None and self.alive:
            self._process.kill()
            self._process.wait()

    def ask_to_end(self) -> None:
        """SIGTERM."""
        self._signal(signal.SIGTERM)

    def wait(self) -> None:
        if self._process is not None:
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def terminate(self) -> float:
        """SIGTERM; seconds until it had ended."""
        began = time.monotonic()
        self.ask_to_end()
        self.wait()
        return time.monotonic() - began

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        self._signal(signal.SIGCONT)
        self._paused = False

    def _signal(self, number: int) -> None:
        if self._process is not None and self.alive:
            self._process.send_signal(number)

    def wipe(self) -> None:
        """Its state is gone."""
        shutil.rmtree(self.folder / "streams", ignore_errors=True)

    def damage(self, rnd: random.Random) -> None:
        """Half of its files were never written to the disk: some are cut, some are gone."""
        for path in (self.folder / "streams").rglob("*"):
            if path.is_file() and path.name not in ("LOCK", "IDENTITY") and rnd.random() < 0.5:
                if rnd.random() < 0.3:
                    path.unlink()
                else:
                    os.truncate(path, rnd.randrange(path.stat().st_size + 1))

    def step_clock(self, seconds: float) -> None:
        """Its wall clock is so far ahead from now on, also after a start. Only of tests.chaos.clock."""
        clock.step(self.folder, seconds)

    def limit_files(self, size: int | None) -> None:
        """No file of its may grow beyond this many bytes: writing fails as on a full disk. None: no limit."""
        if self._process is not None and self.alive:
            limit = resource.RLIM_INFINITY if size is None else size
            resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    def state(self) -> dict[str, Any]:
        """What its /readyz says."""
        if not self.alive or self._paused:
            return {"ready": False}
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/readyz", timeout=2) as answer:
                found: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as error:
            found = json.load(error)
        except OSError:
            found = {"ready": False}
        return found

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels; 0 when it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=2) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return 0.0
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))

    def databases(self, table: str) -> list[Path]:
        return sorted((self.folder / "streams").glob(f"**/tables/{table}-*.db"))

    def tail(self, lines: int = 8) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:]) if self._log.exists() else ""
