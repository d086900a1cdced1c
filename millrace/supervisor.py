"""Keeps processes running: starts them in order, restarts a dead one with back-off, stops all in reverse of need.

On request it restarts the workers of a pool one by one, each when all others are ready.

Knows nothing of what the processes do. One thread, no event loop: it polls a few times a second. What befell a process
is told at once, and noted for `millrace status` (millrace.notes).
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import httpx

from millrace import notes
from millrace.child import bound
from millrace.errors import ProcessFault
from millrace.kafka import Broker
from millrace.notes import Note

_POLL_S = 0.1
_HEALTH_EVERY_S = 1.0
_BACKOFF_FIRST_S = 0.5
_BACKOFF_MAX_S = 30.0
_STABLE_S = 60.0
# A process that dies so often before it was ever ready will not come up by itself.
_DEATHS_BEFORE_READY_MAX = 3
_EXIT_BAD_SETTINGS = 2
_STOP_RESERVE_S = 1.5
# What a worker of a pool takes for "end, you will be started again at once"; it has so long to do it.
RESTART_SIGNAL = signal.SIGUSR1
_RESTART_STOP_S = 10.0
_RESTART_READY_S = 100.0
_LOGS_EVERY_S = 30.0
_LOG_BYTES_MAX = 32 * 1024 * 1024

KAFKA, FEEDER = "kafka", "demo"
# Lower stops earlier; equal ranks stop in the order of their starts.
_STOP_RANK = {FEEDER: -1, KAFKA: 1}
Say = Callable[[str], None]


class Program(Protocol):
    """What the supervisor needs of anything that it runs."""

    name: str
    pool: str | None

    @property
    def log(self) -> Path:
        """Where its output goes."""

    def launch(self) -> subprocess.Popen[bytes]:
        """Start it, in a session of its own, without waiting."""

    def health(self) -> dict[str, Any]:
        """At least "ready" (bool), "why" (str), "lag" (dict), "last_error"; never raises."""

    def last_words(self) -> str:
        """The last line of its log."""


@dataclass
class PythonProgram:
    """One of our processes: `python -m module`.  health_url: its /readyz.  log: appended to; bounded.

    pool: of the workers that share one job: they stop together, and are restarted one by one on request.
    """

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    health_url: str | None
    log: Path
    pool: str | None = None

    def launch(self) -> subprocess.Popen[bytes]:
        """Start it; its output goes to the log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            return subprocess.Popen(
                bound(sys.executable, *self.arguments),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment},
                start_new_session=True,  # Ctrl-C at the terminal is the supervisor's to pass on, in order
            )

    def health(self) -> dict[str, Any]:
        """What its /readyz says; a process without one is ready when it runs."""
        return {"ready": True, "why": ""} if self.health_url is None else ask_health(self.health_url)

    def last_words(self) -> str:
        """The last line of its log."""
        return last_line(self.log)


@dataclass
class KafkaProgram:
    """Our own Kafka."""

    broker: Broker
    name: str = KAFKA
    pool: str | None = None

    @property
    def log(self) -> Path:
        """Kafka's own log."""
        return self.broker.log

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the broker."""
        self.broker.launch()
        assert self.broker.process is not None
        return self.broker.process

    def health(self) -> dict[str, Any]:
        """Ready when it serves."""
        up = self.broker.answers()
        return {"ready": up, "why": "" if up else f"no answer on {self.broker.bootstrap}"}

    def last_words(self) -> str:
        """What its log says of the end."""
        return self.broker.last_words()


@dataclass
class _Running:
    program: Program
    process: subprocess.Popen[bytes]
    started: float
    was_ready: bool = False
    #: It ends because we asked it to: no death, and nothing to note.
    asked: bool = False
    deaths: int = 0
    backoff_s: float = _BACKOFF_FIRST_S
    restart_at: float | None = None
    next_health: float = 0.0
    exit_codes: list[int] = field(default_factory=list)
    restarts: int = 0
    note: Note | None = None


class Supervisor:
    """Runs programs until it is told to stop.

    Args: say: told, in one line each, of deaths, restarts and recoveries.  data: the folder that keeps the notes.
    """

    def __init__(self, say: Say, data: Path) -> None:
        self._say = say
        self._data = data
        self._running: list[_Running] = []
        self._stop_asked = 0
        self._restart_asked = False
        self._next_logs = 0.0

    def ask_stop(self, *_: object) -> None:
        """Ask it to stop; usable as a signal handler. A second time: kill -9 at once."""
        self._stop_asked += 1

    def ask_restart(self, *_: object) -> None:
        """Ask it to restart the workers of its pools, one by one; usable as a signal handler."""
        self._restart_asked = True

    def stopping(self) -> bool:
        """Whether somebody asked it to stop."""
        return self._stop_asked > 0

    def busy(self) -> bool:
        """Whether there is anything to stop."""
        return bool(self._running)

    def start(self, program: Program) -> None:
        """Start one program, without waiting.

        Raises: ProcessFault when there is no place for its files; Fault when it knows better what is wrong.
        """
        try:
            process = program.launch()
        except OSError as error:
            cure = f"see to it that {self._data} can be written and has room"
            raise ProcessFault(f"{program.name} cannot be started ({error})", cure) from error
        self._running.append(_Running(program, process, time.monotonic()))

    def wait_ready(self, *, timeout_s: float) -> None:
        """Wait until all that were started are ready; returns early when asked to stop.

        Raises: ProcessFault for one that is not ready in time, or that will not come up by itself.
        """
        deadline = time.monotonic() + timeout_s
        while not self.stopping() and not all(running.was_ready for running in self._running):
            self.tend()
            for running in self._running:
                self._check_startable(running)
                if time.monotonic() > deadline and not running.was_ready:
                    why = running.program.health().get("why") or running.program.last_words()
                    raise ProcessFault(
                        f"{running.program.name} is not ready after {timeout_s:.0f} s ({why})",
                        f"see {running.program.log}",
                    )
            time.sleep(_POLL_S)

    def run(self) -> None:
        """Keep all running until asked to stop."""
        while not self.stopping():
            self.tend()
            if self._restart_asked:
                self._restart_asked = False
                self.restart()
            time.sleep(_POLL_S)

    def restart(self, *, ready_timeout_s: float = _RESTART_READY_S) -> None:
        """Restart every worker of a pool, each when all others of it are ready; all programs are tended meanwhile.

        One that is not ready in time ends it, so that the others go on working.
        """
        workers = [running for running in self._running if running.program.pool is not None]
        all(self._restart_worker(running, ready_timeout_s) for running in workers)

    def _restart_worker(self, running: _Running, ready_timeout_s: float) -> bool:
        """Whether it is ready again."""
        name = running.program.name
        if not self._others_ready(running, ready_timeout_s):
            return False
        self._say(f"{name} restarts")
        running.asked = True
        process = running.process  # only now: it may have died and been started again while the others got ready
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(RESTART_SIGNAL)
        ended = self._tend_until(lambda: process.poll() is not None, _RESTART_STOP_S)
        running.asked = False
        if self.stopping():
            return False
        if not ended:
            self._say(f"{name} did not end in time: kill -9 (nothing acknowledged is lost)")
            kill_session(process)
        running.was_ready = False
        self._launch_again(running)
        ready = self._tend_until(lambda: running.was_ready, ready_timeout_s)
        if not ready and not self.stopping():
            self._say(f"{name} is not ready again, see {running.program.log}; no further worker is restarted")
        return ready

    def _others_ready(self, running: _Running, timeout_s: float) -> bool:
        """Whether the rest of its pool is up, so that there is somebody to work while it is away."""
        pool = running.program.pool
        others = [other for other in self._running if other.program.pool == pool and other is not running]
        ready = self._tend_until(lambda: all(_is_ready(other) for other in others), timeout_s)
        if not ready and not self.stopping():
            for other in others:
                if not _is_ready(other):
                    self._say(
                        f"{running.program.name} is not restarted: {other.program.name} is not ready, "
                        f"see {other.program.log}"
                    )
        return ready

    def _tend_until(self, holds: Callable[[], bool], timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while not (held := holds()) and not self.stopping() and time.monotonic() < deadline:
            self.tend()
            time.sleep(_POLL_S)
        return held

    def tend(self) -> None:
        """One look at every program: note deaths, restart what is due, note readiness, keep logs bounded."""
        for running in self._running:
            self._tend(running)
        if time.monotonic() >= self._next_logs:
            self._next_logs = time.monotonic() + _LOGS_EVERY_S
            for running in self._running:
                if isinstance(running.program, PythonProgram):  # Kafka turns its own logs
                    turn_log(running.program.log)

    def stop(self, timeout_s: float) -> None:
        """Stop all in the direction of the flow: who feeds, the gateway, streams, sinks; Kafka, which all need, last.

        Each, or each pool, gets SIGTERM and what is left of the time, less a second and a half for each that follows;
        then kill -9, which loses nothing that was acknowledged.
        """
        deadline = time.monotonic() + timeout_s
        order = sorted(self._running, key=lambda running: _STOP_RANK.get(running.program.name, 0))
        steps = [list(step) for _, step in groupby(order, lambda running: running.program.pool or running.program.name)]
        for followers, step in zip(range(len(steps) - 1, -1, -1), steps, strict=True):
            self._stop_together(step, deadline - time.monotonic() - followers * _STOP_RESERVE_S)
        self._running.clear()

    def _stop_together(self, step: Sequence[_Running], timeout_s: float) -> None:
        left = [running for running in step if running.process.poll() is None]
        for running in left:
            with contextlib.suppress(ProcessLookupError):
                running.process.terminate()
        deadline = time.monotonic() + max(timeout_s, 0.5)
        while left := [running for running in left if running.process.poll() is None]:
            if time.monotonic() > deadline or self._stop_asked > 1:
                for running in left:
                    self._say(f"{running.program.name} did not stop in time: kill -9 (nothing acknowledged is lost)")
                    kill_session(running.process)
            time.sleep(0.02)

    def _tend(self, running: _Running) -> None:
        now = time.monotonic()
        if running.asked:
            return
        if running.restart_at is not None:
            if now >= running.restart_at:
                self._restart(running)
            return
        code = running.process.poll()
        if code is not None:
            self._note_death(running, code, now)
        elif now >= running.next_health:
            running.next_health = now + (_HEALTH_EVERY_S if running.was_ready else _POLL_S)
            ready = bool(running.program.health().get("ready"))
            if ready and running.note is not None and running.note.ready_again_at is None:
                self._say(f"{running.program.name} is ready again")
                self._note(running, replace(running.note, ready_again_at=notes.now()))
            running.was_ready = running.was_ready or ready
            if ready and now - running.started > _STABLE_S:
                running.backoff_s, running.deaths = _BACKOFF_FIRST_S, 0

    def _note_death(self, running: _Running, code: int, now: float) -> None:
        running.deaths += 1
        running.exit_codes.append(code)
        del running.exit_codes[:-10]
        running.restart_at = now + running.backoff_s
        if not self.stopping():
            how = f"was ended by signal {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            words = running.program.last_words()
            self._say(f"{running.program.name} {how}; starts again in {running.backoff_s:g} s. Its last words: {words}")
            self._note(running, Note(running.restarts, how, words, notes.now()))
        running.backoff_s = min(running.backoff_s * 2, _BACKOFF_MAX_S)

    def _restart(self, running: _Running) -> None:
        if self._launch_again(running):
            running.restarts += 1
            if running.note is not None:
                self._note(running, replace(running.note, restarts=running.restarts))

    def _launch_again(self, running: _Running) -> bool:
        """Whether it runs; if not, it is tried again later."""
        running.restart_at = None
        running.next_health = 0.0
        running.started = time.monotonic()
        try:
            running.process = running.program.launch()
        except Exception as error:  # a taken port, a full disk: said, and tried again later
            self._say(f"{running.program.name} cannot be started: {error}")
            self._note(running, Note(running.restarts, f"cannot be started: {error}", "", notes.now()))
            running.restart_at = running.started + running.backoff_s
            running.backoff_s = min(running.backoff_s * 2, _BACKOFF_MAX_S)
            return False
        return True

    def _note(self, running: _Running, note: Note) -> None:
        running.note = note
        notes.write(self._data, running.program.name, note)

    def _check_startable(self, running: _Running) -> None:
        if running.was_ready or not running.exit_codes:
            return
        if running.exit_codes[-1] == _EXIT_BAD_SETTINGS or running.deaths >= _DEATHS_BEFORE_READY_MAX:
            raise ProcessFault(
                f"{running.program.name} does not start ({running.program.last_words()})", f"see {running.program.log}"
            )


def _is_ready(running: _Running) -> bool:
    """Whether it runs and says, now, that it is ready."""
    return running.process.poll() is None and bool(running.program.health().get("ready"))


def kill_session(process: subprocess.Popen[bytes]) -> None:
    """kill -9 a process and whatever it started in its session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def turn_log(path: Path, bytes_max: int = _LOG_BYTES_MAX) -> None:
    """Move what a log holds aside when it has grown too long; its writer, which appends, goes on in the empty file."""
    with contextlib.suppress(OSError):  # a full disk: the log is the least of it
        if path.stat().st_size > bytes_max:
            shutil.copyfile(path, path.with_name(path.name + ".1"))
            os.truncate(path, 0)


def ask_health(url: str, timeout_s: float = 2.0) -> dict[str, Any]:
    """The answer of a /readyz; not ready, with the reason, when there is none."""
    try:
        body = _client().get(url, timeout=timeout_s).json()
    except (httpx.HTTPError, ValueError) as error:
        why = "does not run" if isinstance(error, httpx.ConnectError) else f"does not answer ({type(error).__name__})"
        return {"ready": False, "why": why}
    return body if isinstance(body, dict) else {"ready": False, "why": "answers nonsense"}


@cache
def _client() -> httpx.Client:
    """One for all: a new one reads the certificates of all authorities first, 20 CPU ms for a question over loopback.

    It keeps no connection, so that each answer is of the process that listens now.
    """
    return httpx.Client(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))


def last_line(path: Path, bytes_max: int = 8192) -> str:
    """The last line of a log that is not empty; its first 300 characters."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - bytes_max))
            lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    return (lines[-1] if lines else "none")[:300]
