"""kill -9 in the middle of writes: rows and offsets agree, what was acknowledged is there, nothing is twice."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sinks.query.database import Database
from sinks.query.store import QueryStore
from tests.sinks.query.conftest import RESOURCES, rows
from tests.sinks.query.samples import IDENTITY
from tests.sinks.query.writer import EVENTS, SESSIONS

KILLS = 6


def write_and_kill(folder: Path, writes: int, pause_s: float) -> int:
    """Run the writer, kill it a little after so many acknowledged writes; returns the last acknowledged offset."""
    command = [sys.executable, "-m", "tests.sinks.query.writer", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    acknowledged = 0
    for _ in range(writes):
        acknowledged = int(process.stdout.readline())
    time.sleep(pause_s)
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split("\n")[:-1]
    process.stdout.close()
    process.wait()
    return int(rest[-1]) if rest else acknowledged


@pytest.mark.slow
async def test_after_each_kill_rows_and_offsets_agree(tmp_path: Path) -> None:
    chance = random.Random(11)
    for _ in range(KILLS):
        acknowledged = write_and_kill(tmp_path / "q", chance.randint(1, 12), chance.uniform(0, 0.1))
        database = Database(tmp_path / "q", RESOURCES)
        store = QueryStore(database)
        await store.open(IDENTITY)
        stored = {topic: await store.covered(topic, 0) for topic in ("events", "content", "sessions")}
        ends = {topic: offset.next_offset for topic, offset in stored.items() if offset is not None}
        found = {
            topic: rows(database, f"select count(*), count(distinct event_id) from raw.{topic}")
            for topic in ("events", "content")
        }
        versions = rows(database, "select count(*), min(version), max(version) from raw.sessions")
        again = rows(database, "select count(*), sum(resends), max(resends) from raw.events where resends > 0")
        people = rows(database, "select count(*), count(distinct user_key) from raw.people")
        await store.close()

        assert ends["events"] >= acknowledged
        # The content file commits first: it is at most the one write ahead that was under way.
        assert ends["content"] - ends["events"] in (0, EVENTS)
        assert found == {topic: [(ends[topic], ends[topic])] for topic in found}
        number = ends["events"] // EVENTS
        assert ends["sessions"] == number * SESSIONS
        assert versions == [(SESSIONS, number, number)]
        assert people == [(3, 3)]
        # All but the events of the last write came once more.
        twice = ends["events"] - EVENTS
        assert again == [(twice, twice or None, 1 if twice else None)]
