"""kill -9 of writers in the middle of their commits."""

import asyncio
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sinks.lake.appender import PARTITIONS, at
from tests.sinks.lake.stores import lake_sink, rows, table
from tests.sinks.records import IDENTITY

ROOT = Path(__file__).parents[3]
KILLS = 4


def start(folder: Path) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.sinks.lake.appender", str(folder)], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"open\n"
    return process


def end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    with process:
        pass


@pytest.mark.slow
async def test_two_writers_of_one_table_killed_again_and_again_store_each_record_once(tmp_path: Path) -> None:
    sink = lake_sink(tmp_path)  # makes the tables
    await sink.open(IDENTITY)
    await sink.close()
    dice = random.Random(7)
    writers = [start(tmp_path), start(tmp_path)]
    for kill in range(KILLS):
        await asyncio.sleep(dice.uniform(0.3, 1.5))
        end(writers[kill % 2])
        writers[kill % 2] = start(tmp_path)
    await asyncio.sleep(1)
    for writer in writers:
        end(writer)

    with table(tmp_path, "events") as found:
        stored = {p: json.loads(found.properties[f"millrace.offset.events.{p}"])["next"] for p in range(PARTITIONS)}
    ids = [row[0] for row in rows(tmp_path, "events", "event_id")]
    expected = sorted({at(offset, p)["event_id"] for p, next_ in stored.items() for offset in range(next_)})
    assert min(stored.values()) > 0
    assert ids == expected
