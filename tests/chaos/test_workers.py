"""What chaos tells of a worker that ended by itself."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.chaos.__main__ import MENDED_BY, Chaos, not_refused
from tests.chaos.workers import Worker, last_error

STALLED = """
import asyncio, logging, os, resource
from service import logs

logs.setup("streams")
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))  # a full disk does not silence it
logger = logging.getLogger("streams.engine.app")
logger.error("before that, something small")

def seek_wait():
    raise TimeoutError

try:
    seek_wait()
except TimeoutError as error:
    logger.critical("%s", error, exc_info=error)
    logging.shutdown()
    os._exit(70)
"""
REFUSED = """
import logging, sys
from service import logs

logs.setup("streams")
logging.getLogger("streams").critical("cannot use /tmp/chaos/w0/streams/v1/tables/users-1.db: it is another's")
sys.exit(2)
"""
BROKEN = "import streams.nothing_of_this_name"


@pytest.fixture
def chaos(tmp_path: Path) -> Iterator[Chaos]:
    options = argparse.Namespace(seed=1, standbys=0, static=True, workers=0, without=None, rate=1, sessions=1)
    chaos = Chaos(options, cast(Any, SimpleNamespace(bootstrap="")), tmp_path)
    yield chaos
    for worker in chaos.workers:
        worker.kill()


def ended(chaos: Chaos, source: str, name: str) -> Worker:
    """A worker of this source, which has ended by itself."""
    (chaos.folder / f"{name}.py").write_text(source)
    worker = Worker(0, chaos.folder, {"PYTHONPATH": str(chaos.folder)}, [name])
    chaos.workers.append(worker)
    worker.start()
    deadline = time.monotonic() + 60
    while worker.alive:
        assert time.monotonic() < deadline, worker.tail()
        time.sleep(0.02)
    return worker


def going_on(chaos: Chaos) -> Worker:
    (chaos.folder / "waits.py").write_text("import time; time.sleep(60)")
    worker = Worker(0, chaos.folder, {"PYTHONPATH": str(chaos.folder)}, ["waits"])
    chaos.workers.append(worker)
    worker.start()
    return worker


def test_of_an_error_without_words_its_kind_and_its_place_are_told(
    chaos: Chaos, capsys: pytest.CaptureFixture[str]
) -> None:
    ended(chaos, STALLED, "stalled")
    chaos._revive()
    (error,) = chaos.errors
    assert error.startswith("worker 0, exit code 70: streams streams.engine.app: ")
    assert error.endswith(" | TimeoutError | stalled.py:14 <module> > stalled.py:11 seek_wait")
    assert chaos.counts["exit code 70"] == 1
    assert error in capsys.readouterr().out, "when it happens"


@pytest.mark.parametrize(("code", "mended_by", "right"), [(2, MENDED_BY, True), (70, MENDED_BY, False), (2, "", False)])
def test_a_worker_refuses_a_cut_changelog_when_it_says_what_mends_it(
    chaos: Chaos, code: int, mended_by: str, right: bool
) -> None:
    source = REFUSED.replace("it is another's", f"rows are lost; {mended_by}").replace("exit(2)", f"exit({code})")
    worker = ended(chaos, source, "lost")
    wrong = not_refused(worker)
    assert wrong == "" if right else wrong.startswith(f"worker 0, exit code {code}: ")


def test_a_worker_that_goes_on_over_a_cut_changelog_is_wrong(chaos: Chaos) -> None:
    worker = going_on(chaos)
    assert not_refused(worker) == "worker 0 goes on"


def test_what_is_told_has_no_folders(chaos: Chaos) -> None:
    ended(chaos, REFUSED, "refused")
    chaos._revive()
    assert chaos.errors == ["worker 0, exit code 2: streams streams: cannot use users-1.db: it is another's"]


def test_a_crash_that_no_logger_saw_is_told_too(chaos: Chaos) -> None:
    ended(chaos, BROKEN, "broken")
    chaos._revive()
    (error,) = chaos.errors
    assert "exit code 1: " in error
    assert "ModuleNotFoundError: No module named 'streams.nothing_of_this_name'" in error
    assert "broken.py:1 <module>" in error


@pytest.mark.parametrize("code", [0, 75])
def test_a_worker_that_may_end_so_is_not_told_of(chaos: Chaos, code: int) -> None:
    ended(chaos, f"raise SystemExit({code})", "calm")
    chaos._revive()
    assert chaos.errors == []


def test_a_worker_that_we_kill_is_not_told_of(chaos: Chaos) -> None:
    going_on(chaos).kill()
    chaos._revive()
    assert chaos.errors == []
    assert not chaos.counts


def test_only_the_words_since_the_last_start_count(chaos: Chaos) -> None:
    worker = ended(chaos, REFUSED, "refused")
    (chaos.folder / "refused.py").write_text("raise SystemExit(70)")
    chaos._revive()
    worker.wait()
    assert worker.last_error() == "it said nothing"


def test_of_a_stage_that_failed_the_traceback_stands_one_error_before() -> None:
    log = (
        "2026-11-22T19:41:48.664Z ERROR streams streams.engine.app: Chunk(a[1]) failed\\n"
        "Traceback (most recent call last):\\n"
        '  File "/x/streams/engine/app.py", line 130, in _apply\\n    await fold(chunk)\\n'
        "ValueError: no\\n\n"
        "2026-11-22T19:41:48.665Z CRITICAL streams streams.engine.app: the stage of a[1] failed: ValueError: no\n"
        "2026-11-22T19:41:48.666Z WARNING streams asyncio: later\n"
    )
    assert last_error(log) == (
        "streams streams.engine.app: the stage of a[1] failed: ValueError: no | ValueError: no | app.py:130 _apply"
    )


async def test_no_fault_is_drawn_for_a_worker_that_was_scaled_away(
    chaos: Chaos, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would hit nothing, and count."""
    chaos.workers += [Worker(number, chaos.folder, {}, ["nothing"]) for number in range(3)]
    chaos.workers[2].retired = True
    chaos.options.faults = ["term", "kill", "wipe"]
    of_brokers = ("restart", "freeze", "slow", "kill_most", "freeze_most")
    chaos.brokers = cast(Any, SimpleNamespace(bootstrap="", **dict.fromkeys(of_brokers)))
    said: list[str] = []
    monkeypatch.setattr(chaos, "say", said.append)
    for _ in range(30):
        await chaos._fault()
    assert {text[:8] for text in said} == {"worker 0", "worker 1"}
