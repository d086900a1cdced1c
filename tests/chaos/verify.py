"""The judge: what Kafka and the workers' databases hold, against what was acknowledged. Reads Avro by fastavro alone.

Four readings must agree: the published rows with the truth; the last copy of each row in a changelog with the copy of
the highest version; and the databases of the last owners with both.
"""

from __future__ import annotations

import asyncio
import functools
import json
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import fastavro
from rocksdict import AccessType, Options, Rdict

from streams.sessions.events import Event
from streams.sessions.points import Point
from tests.log import whole_topic
from tests.streams import model

TABLES = ("session-events", "session-points", "user-windows")
_VERSION_BYTES = 12  # of a stored row: epoch and offset, big endian
_OWN = b"\x01"  # keys below are the engine's
_FRAME_BYTES = 10  # of Avro's single-object encoding
_SCHEMAS = Path(__file__).parents[2] / "schemas"
_SUMS = ("sessions", "cost_usd", "metric_cost_usd", *model.EVENT_SUMS)


class Folder(Protocol):
    """What a worker keeps."""

    def databases(self, table: str) -> list[Path]: ...


@functools.cache
def _schema(record: str) -> Any:
    return fastavro.parse_schema(json.loads((_SCHEMAS / record / "v1.avsc").read_text()))


def _decode(record: str, value: bytes) -> dict[str, Any]:
    row = fastavro.schemaless_reader(BytesIO(value[_FRAME_BYTES:]), _schema(record), None)
    assert isinstance(row, dict)
    return {name: _micros(value) for name, value in row.items()}


def _micros(value: Any) -> Any:
    return round(value.timestamp() * 1_000_000) if hasattr(value, "timestamp") else value


async def published(bootstrap: str, topic: str, record: str) -> dict[bytes, dict[str, Any]]:
    """Of each key the row of the highest (epoch, version)."""
    best: dict[bytes, dict[str, Any]] = {}
    for message in await whole_topic(bootstrap, topic):
        key = message.key
        if message.value is None:
            best.pop(key, None)
            continue
        row = _decode(record, message.value)
        if key not in best or (row["epoch"], row["version"]) >= (best[key]["epoch"], best[key]["version"]):
            best[key] = row
    return best


async def differences(
    bootstrap: str, prefix: str, records: Iterable[Event | Point], workers: Iterable[Folder], *, epoch: int = 1
) -> tuple[dict[str, list[str]], int]:
    """By reading: what is wrong, in words (all lists are empty when everything is exact); how many records of the
    changelogs compaction has taken.

    Args:    records: the acknowledged ones, each once.  workers: stopped, so that their databases can be opened.
             epoch: the one whose changelogs and databases are read.
    """
    compacted = 0
    events = [record for record in records if isinstance(record, Event)]
    points = [record for record in records if isinstance(record, Point)]
    sessions, windows = model.expected(events, points)
    hours = await published(bootstrap, f"{prefix}.session-hours.v1", "session_hour")
    out = {
        "sessions": _sessions(await published(bootstrap, f"{prefix}.sessions.v1", "session"), sessions),
        "session hours": _windows(_summed(hours.values()), windows),
        "user windows": _windows(await published(bootstrap, f"{prefix}.user-windows.v1", "user_window"), windows),
    }
    group = f"{prefix}-streams" if epoch == 1 else f"{prefix}-streams-e{epoch}"
    for table in TABLES:
        log = await whole_topic(bootstrap, f"{group}-{table}-changelog")
        last = {record.partition: record.offset for record in log}
        compacted += sum(offset + 1 for offset in last.values()) - len(log)
        out[f"changelog of {table}"], best = _changelog(log)
        out[f"databases of {table}"] = _databases(
            best, [path for worker in workers for path in worker.databases(table) if group in path.parts]
        )
    return out, compacted


async def repaired(bootstrap: str, prefix: str, seconds: float) -> None:
    """Until no changelog ends with an old copy of a row, or it has taken too long: audits come round now and then."""
    deadline = time.monotonic() + seconds
    for table in TABLES:
        topic = f"{prefix}-streams-{table}-changelog"
        while _changelog(await whole_topic(bootstrap, topic))[0] and time.monotonic() < deadline:
            await asyncio.sleep(1)


def _sessions(got: dict[bytes, dict[str, Any]], want: dict[str, Any]) -> list[str]:
    rows = {row["session_id"]: row for row in got.values() if not row["pseudo"]}
    out = [f"session {name} is missing" for name in want.keys() - rows.keys()]
    out += [f"session {name} was never sent" for name in rows.keys() - want.keys()]
    for name in want.keys() & rows.keys():
        wrong = {k: (rows[name][k], v) for k, v in want[name].items() if not model.same(rows[name][k], v)}
        if wrong:
            out.append(f"session {name}: " + ", ".join(f"{k} {a} instead of {b}" for k, (a, b) in wrong.items()))
    return out


def _windows(got: Mapping[Any, dict[str, Any]], want: dict[Any, Any]) -> list[str]:
    rows = {
        (row["user_key"], row["team"], row["grain"], row["start"]): {name: float(row[name]) for name in _SUMS}
        for row in got.values()
    }
    nothing = dict.fromkeys(_SUMS, 0.0)
    out = []
    for key in sorted(rows.keys() | want.keys(), key=str):
        have, wanted = rows.get(key, nothing), want.get(key, nothing)
        wrong = [
            f"{name} {have[name]} instead of {wanted[name]}" for name in _SUMS if _differ(have[name], wanted[name])
        ]
        if wrong:
            out.append(f"window {key}: {', '.join(wrong)}")
    return out


def _differ(one: float, other: float) -> bool:
    return not math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-6)


def _summed(hours: Iterable[dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    """The windows that follow from the last snapshot of every hour of every session."""
    out: dict[Any, dict[str, Any]] = {}
    active: dict[Any, set[str]] = defaultdict(set)
    for row in hours:
        for grain, size in (("hour", model.HOUR), ("day", model.DAY)):
            start = row["start"] // size * size
            key = (row["user_key"], row["team"], grain, start)
            names = {"user_key": key[0], "team": key[1], "grain": grain, "start": start}
            window = out.setdefault(key, {**dict.fromkeys(_SUMS, 0.0), **names})
            for name in _SUMS[1:]:
                window[name] += row[name]
            if row["active"]:
                active[key].add(row["session_id"])
            window["sessions"] = len(active[key])
    return out


def _changelog(log: Iterable[Any]) -> tuple[list[str], dict[int, dict[bytes, bytes]]]:
    """Where the last copy is not the best one; and the best ones by partition."""
    last: dict[tuple[int, bytes], bytes] = {}
    best: dict[tuple[int, bytes], bytes] = {}
    for record in log:
        partition, key, value = record.partition, record.key, record.value
        if key < _OWN:
            continue
        if value is None:  # expired: every older copy is dead
            last.pop((partition, key), None)
            best.pop((partition, key), None)
            continue
        last[partition, key] = value
        have = best.get((partition, key))
        if have is None or value[:_VERSION_BYTES] >= have[:_VERSION_BYTES]:
            best[partition, key] = value
    wrong = [
        f"partition {p}, row {key!r}: an old copy is the last one" for p, key in best if last[p, key] != best[p, key]
    ]
    rows: dict[int, dict[bytes, bytes]] = defaultdict(dict)
    for (partition, key), value in best.items():
        rows[partition][key] = value
    return wrong, rows


def _databases(want: dict[int, dict[bytes, bytes]], paths: Iterable[Path]) -> list[str]:
    """Every partition's newest database holds exactly the rows of the changelog."""
    newest: dict[int, tuple[int, Path]] = {}
    for path in paths:
        partition = int(path.stem.rpartition("-")[2])
        offset = _offset(path)
        if partition not in newest or offset > newest[partition][0]:
            newest[partition] = (offset, path)
    out = []
    for partition, rows in want.items():
        if partition not in newest:
            out.append(f"partition {partition}: no database")
            continue
        held = {key: value for key, value in _items(newest[partition][1]).items() if key >= _OWN}
        wrong = [key for key in held.keys() | rows.keys() if held.get(key) != rows.get(key)]
        out += [f"partition {partition}, row {key!r}: not as in the changelog" for key in wrong]
    return out


def _items(path: Path) -> dict[bytes, bytes]:
    database = Rdict(str(path), Options(raw_mode=True), access_type=AccessType.read_only())
    try:
        return {key: value for key, value in database.items() if isinstance(key, bytes) and isinstance(value, bytes)}
    finally:
        database.close()


def _offset(path: Path) -> int:
    try:
        return int(_items(path).get(b"\x00changelog-offset", b"-1"))
    except Exception:  # a folder that was damaged and never opened again
        return -1
