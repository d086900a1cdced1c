"""Candidate: Kafka Streams with the same small aggregate, where a built peer is at hand.

PEERS_JAVA_CP is the class path of a program `peers.Sessions` that prints one line of JSON every 200 ms ({"what":
"tick", "seen": records, "cpu_s": ..., "rss_mb": ...}) and one at its end ("closed"). It reads Avro by the schema
`/event.avsc` on its class path: ours is put in front, so that it reads our events, up to the last field it needs, as
our own reader does. Exactly once (v2), one thread, its other settings as they come.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas import records, topics
from tests.bench.streams.meter import Measured

GIVEN = "PEERS_JAVA_CP"
_LAST_FIELD = "cache_creation_tokens"


def writer_schema() -> dict[str, Any]:
    """A claude_event message up to the last field that is needed, by the names the peer knows."""
    plain = records.record("claude_event").plain
    names = [field["name"] for field in plain["fields"]]
    fields = [{**field} for field in plain["fields"][: names.index(_LAST_FIELD) + 1]]
    for field in fields:
        field.pop("default", None)
        if field["name"] == "event_time":
            field["name"] = "time_unix_nano"
    frame = {"name": "frame", "type": {"type": "fixed", "name": "Frame", "size": 10}}
    return {"type": "record", "name": "Event", "namespace": "peers", "fields": [frame, *fields]}


def run(arguments: Mapping[str, Any]) -> Measured | None:
    """Run the peer as a candidate is run; None where there is none."""
    class_path = os.environ.get(GIVEN)
    if not class_path:
        return None
    folder = Path(arguments["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "event.avsc").write_text(json.dumps(writer_schema()))
    environment = {
        **os.environ,
        "BROKER": arguments["bootstrap"],
        "INPUT": topics.full_name(arguments["prefix"], "events"),
        "OUTPUT": topics.full_name(arguments["prefix"], "sessions"),
        "APP": arguments["app"],
        "STATE": str(folder / "state"),
        "TOTAL": str(arguments["events"]),
        "GUARANTEE": "exactly_once_v2",
    }
    command = ["java", "-Xmx512m", "-cp", f"{folder}:{class_path}", "peers.Sessions"]
    ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    said = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith(b"{")]
    start = next(one for one in said if one["what"] == "tick" and one["seen"] >= arguments["skip"])
    end = next(one for one in said if one["what"] == "closed")
    memory = max(one.get("rss_mb", 0) for one in said)
    return Measured(end["seen"] - start["seen"], end["cpu_s"] - start["cpu_s"], memory)
