"""`millrace state` beside a real worker on a real Kafka: what it lists, shows, explains and exports."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import rocksdict
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from click.testing import CliRunner, Result

from millrace.kafka import Broker
from schemas import codec, topics
from service.cluster import ensure_topics
from streams.engine import rows
from streams.inspect.__main__ import cli
from streams.sessions import events, state
from tests.chaos.workers import Worker
from tests.log import topics_of_the_past

TENANT = "acme"
START = 1_795_000_000_000_000  # 2026-11-18T11:06:40Z
HOUR = 3_600_000_000
PARTITIONS = topics.CATALOGUE["events"].local.partitions


def session_in(partition: int) -> str:
    """A session id whose records go to this partition."""
    ids = (f"session-{number}" for number in range(1000))
    return next(s for s in ids if topics.partition_for(topics.make_key(TENANT, s), PARTITIONS) == partition)


SESSION, CUT = session_in(0), session_in(1)
# Their records without a session go to partition 2.
USER = next(
    user
    for user in (f"{number:032x}" for number in range(1000))
    if topics.partition_for(topics.make_key(TENANT, user), PARTITIONS) == 2
)
PSEUDO = f"~{USER}~{START // (24 * HOUR)}"


def common(session: str | None, time: int) -> dict[str, Any]:
    return {
        "tenant": TENANT, "session_id": session, "user_key": USER, "user_account_uuid": "anna", "event_time": time,
        "received_time": time + 1_000_000,
    }  # fmt: skip


def event(session: str | None, number: int, name: str, **values: Any) -> dict[str, Any]:
    return {
        **common(session, START + number * HOUR // 4), "event_id": str(uuid.UUID(int=number << 96)), "event_name": name,
        "event_sequence": number, **values,
    }  # fmt: skip


def point(number: int, metric: str, kind: str, value: float, temporality: str | None) -> dict[str, Any]:
    return {
        **common(SESSION, START + number * HOUR // 4), "point_id": str(uuid.UUID(int=number << 96)), "metric": metric,
        "kind": kind, "temporality": temporality, "value": value, "series": "ab" * 16, "start_time": START,
    }  # fmt: skip


PROMPT = event(SESSION, 1, "user_prompt")
EVENTS = [
    PROMPT,
    event(SESSION, 2, "api_request", model="opus", cost_usd=0.25, input_tokens=100),
    event(SESSION, 9, "api_request", model="opus", cost_usd=0.5, input_tokens=50),
    PROMPT,
    event(SESSION, 3, "api_request", cost_usd=9e99),
    event(SESSION, 4, "hook_registered"),
    event(SESSION, 10, "user_prompt", route="drop", routing_rule="quiet"),
    event(CUT, 1, "user_prompt"),
    event(CUT, 2, "api_request", cost_usd=1.0),
    event(None, 5, "user_prompt"),
]
POINTS = [
    point(1, "claude_code.cost.usage", "sum", 0.5, "cumulative"),
    point(2, "claude_code.cost.usage", "sum", 0.75, "cumulative"),
    point(3, "memory", "gauge", 7.0, None),
]


@dataclass
class Product:
    """One worker that has folded the records above, and the command beside it."""

    bootstrap: str
    prefix: str
    worker: Worker
    published: dict[Any, dict[str, Any]] = field(default_factory=dict)
    windows: dict[Any, dict[str, Any]] = field(default_factory=dict)

    def topic(self, name: str) -> str:
        return topics.full_name(self.prefix, name)

    def environment(self, data: Path | None = None) -> dict[str, str]:
        return {
            "MILLRACE_BOOTSTRAP": self.bootstrap,
            "MILLRACE_PREFIX": self.prefix,
            "MILLRACE_DATA": str(data or self.worker.folder),
        }

    def state(self, *arguments: str, data: Path | None = None) -> Result:
        """The command in this process: it costs a second less than its own."""
        return CliRunner(env=self.environment(data)).invoke(cli, arguments, catch_exceptions=False)

    def asked(self, *arguments: str) -> Any:
        """Its answer as JSON."""
        done = self.state(*arguments)
        assert (done.exit_code, done.stderr) == (0, ""), done.stdout
        return json.loads(done.stdout)

    def refused(self, *arguments: str, data: Path | None = None) -> str:
        """The one line that it says on stderr."""
        done = self.state(*arguments, data=data)
        assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
        return done.stderr

    async def send(self) -> None:
        await ensure_topics({"bootstrap_servers": self.bootstrap}, topics_of_the_past(), self.prefix, "local")
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap)
        await producer.start()
        for name, record, values in (("events", "claude_event", EVENTS), ("metrics", "metric_point", POINTS)):
            for row in values:
                key = topics.make_key(TENANT, row["session_id"] or row["user_key"])
                partition = topics.partition_for(key, PARTITIONS)
                value, at_ms = codec.encode(record, row), row["received_time"] // 1000
                where = {"key": key, "partition": partition, "timestamp_ms": at_ms}
                await producer.send_and_wait(self.topic(name), value, **where)
        await producer.stop()

    async def read_published(self) -> None:
        """The newest session rows and windows, once the last records are in them."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, auto_offset_reset="earliest")
        names = [self.topic(name) for name in ("sessions", "user-windows")]
        deadline = time.monotonic() + 60
        try:
            await consumer.start()
            consumer.assign([TopicPartition(name, partition) for name in names for partition in range(PARTITIONS)])
            while not self._complete():
                assert time.monotonic() < deadline, f"{self.published}\n{self.windows}\n{self.worker.tail(30)}"
                for messages in (await consumer.getmany(timeout_ms=200)).values():
                    for message in messages:
                        self._keep(message)
        finally:
            await consumer.stop()

    def _keep(self, message: Any) -> None:
        """A session or a window, if it is newer than what we have."""
        if message.topic == self.topic("sessions"):
            row = codec.decode("session", message.value)
            kept, key = self.published, row["session_id"]
        else:
            row = codec.decode("user_window", message.value)
            kept, key = self.windows, (row["grain"], row["start"])
        if key not in kept or row["version"] > kept[key]["version"]:
            kept[key] = row

    def _complete(self) -> bool:
        # A half's version is one above its last offset in the partition.
        versions = {session: row["version"] for session, row in self.published.items()}
        day = self.windows.get(("day", START // (24 * HOUR) * 24 * HOUR), {})
        folded = (day.get("api_requests"), day.get("prompts"))
        return versions == {SESSION: 7 + 3, CUT: 2, PSEUDO: 1} and folded == (4, 3)


@pytest.fixture(scope="module")
def product(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    prefix = f"t{uuid.uuid4().hex[:12]}"
    environment = {"MILLRACE_BOOTSTRAP": kafka.bootstrap, "MILLRACE_PREFIX": prefix}
    product = Product(kafka.bootstrap, prefix, Worker(1, tmp_path_factory.mktemp("state"), environment, ["streams"]))
    try:
        asyncio.run(product.send())
        product.worker.start()
        asyncio.run(product.read_published())
        yield product
        assert product.worker.alive, product.worker.tail(30)
    finally:
        product.worker.kill()


def test_list_shows_every_partition_and_how_far_it_is_while_the_worker_runs(product: Product) -> None:
    lines = product.asked("list", "--format", "json")
    assert Counter(line["table"] for line in lines) == dict.fromkeys(
        ("session-events", "session-points", "user-windows"), PARTITIONS
    )
    of_events = {line["partition"]: line for line in lines if line["table"] == "session-events"}
    assert [of_events[p]["applied"] for p in range(PARTITIONS)] == [6, 1, 0, -1]
    assert of_events[0]["kinds"] == {"hour": 3, "ids": 6, "session": 1, "beats": 6, "expiry": 1}
    assert (of_events[0]["source"], of_events[0]["epoch"], of_events[0]["worker"]) == (
        f"{product.topic('events')}[0]",
        1,
        "streams",
    )
    assert all(line["fault"] is None and line["bytes"] > 0 for line in lines)


def test_millrace_state_is_the_same_command(product: Product) -> None:
    environment = {**os.environ, **product.environment()}
    command = [sys.executable, "-m", "millrace", "state", "list", "--format", "json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    def without_size(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        # The worker runs on between the two: what its files take changes whenever RocksDB writes one.
        return [{name: value for name, value in line.items() if name != "bytes"} for line in lines]

    assert without_size(json.loads(done.stdout)) == without_size(product.asked("list", "--format", "json"))
    assert product.state("list").stdout.count("\n") == 1 + 3 * PARTITIONS


def test_show_gives_the_published_row_and_the_rows_behind_it(product: Product) -> None:
    shown = product.asked("show", "session", TENANT, SESSION)
    published = product.published[SESSION]
    for name in ("cost_usd", "prompts", "metric_cost_usd", "models", "resends", "flags", "version"):
        assert shown["published"][name] == published[name], name
    kinds = {table: Counter(row["kind"] for row in of["rows"]) for table, of in shown["tables"].items()}
    assert kinds == {
        "session-events": {"session": 1, "hour": 3, "beats": 6, "ids": 6},
        "session-points": {"session": 1, "hour": 1, "series": 1, "ids": 3},
    }
    of_user = product.asked("show", "user", TENANT, USER)["tables"]["user-windows"]["rows"]
    windows = {(row["grain"], row["start"]): row["value"]["cost_usd"] for row in of_user if row["kind"] == "window"}
    assert windows["day", "2026-11-18T00:00:00.000000Z"] == 1.75


def test_explain_names_every_record_and_comes_to_the_published_total(product: Product) -> None:
    fields = [part for name in ("cost_usd", "metric_cost_usd", "prompts", "models") for part in ("--field", name)]
    told = product.asked("explain", "session", TENANT, SESSION, *fields, "--format", "json")
    published = product.published[SESSION]
    assert told["equal"]
    assert told["missing"] == []
    assert told["explained"] == {
        "cost_usd": published["cost_usd"],
        "metric_cost_usd": published["metric_cost_usd"],
        "prompts": 1,
        **{f"models.{model}": cost for model, cost in published["models"].items()},
    }
    changed = [{name: v["after"] for name, v in step["changes"].items()} or step["why"] for step in told["steps"]]
    assert changed == [
        {"prompts": 1},
        {"cost_usd": 0.25, "models.opus": 0.25},
        {"cost_usd": 0.75, "models.opus": 0.75},
        "re-send of offset 0",
        "value refused: no amount that can be meant",
        "no change of these fields",
        "dropped by routing: it only takes its place in the sequence",
        {"metric_cost_usd": 0.5},
        {"metric_cost_usd": 0.75},
        "a gauge is stored and not added up",
    ]


def test_explain_says_in_text_which_offset_changed_what(product: Product) -> None:
    lines = product.state("explain", "session", TENANT, SESSION, "--field", "cost_usd").stdout.splitlines()
    source = f"{product.topic('events')}[0]"
    assert lines[2].startswith(f"{source}@1  2026-11-18T11:36:40.000000Z  api_request  ")
    assert lines[2].endswith("  cost_usd +0.25")
    assert lines[4].endswith("  (re-send of offset 0)")
    assert lines[5].endswith("  (value refused: no amount that can be meant)")
    assert lines[-2:] == ["cost_usd: 0.75", "equal to the stored row"]


def test_explain_of_a_day_names_the_hours_of_sessions_that_made_it(product: Product) -> None:
    told = product.asked("explain", "user", TENANT, USER, "--start", "2026-11-18", "--format", "json")
    window = product.windows["day", START // (24 * HOUR) * 24 * HOUR]
    assert told["equal"]
    assert told["explained"] == {name: window[name] for name in told["explained"]}
    assert (told["explained"]["cost_usd"], told["explained"]["sessions"]) == (1.75, 2)
    assert {step["what"] for step in told["steps"]} == {f"session {session}" for session in (SESSION, CUT, PSEUDO)}


def test_what_a_user_did_without_a_session_is_explained_by_day(product: Product) -> None:
    lines = product.state("explain", "session", TENANT, PSEUDO).stdout.splitlines()
    assert lines[1].startswith(f"{product.topic('events')}[2]@0  2026-11-18T12:21:40.000000Z  user_prompt  ")
    assert lines[1].endswith("  prompts +1")
    assert lines[-1] == "equal to the stored row"


def test_a_row_that_is_not_what_its_records_make_is_found(product: Product, tmp_path: Path) -> None:
    shutil.copytree(product.worker.folder / "streams", tmp_path / "streams")
    (path,) = tmp_path.glob("**/session-events-0.db")
    key = state.session_key(topics.make_key(TENANT, SESSION))
    database = rocksdict.Rdict(str(path), rocksdict.Options(raw_mode=True))
    row = rows.unpack(database[key])
    half = state.unpack(key, row.payload)
    half.counts[events.AT["prompts"]] += 1
    database[key] = rows.pack(row.epoch, row.offset, state.pack(half))
    database.close()
    done = product.state("explain", "session", TENANT, SESSION, "--field", "prompts", data=tmp_path)
    assert done.exit_code == 1
    assert done.stdout.splitlines()[-2:] == ["prompts: 1, but stored is 2", "DIFFERENT from the stored row"]


def test_export_has_every_row_once(product: Product, tmp_path: Path) -> None:
    listed = {(line["table"], line["partition"]): line["rows"] for line in product.asked("list", "--format", "json")}
    out = tmp_path / "rows.jsonl"
    assert product.state("export", "--out", str(out)).exit_code == 0
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert len({(row["table"], row["partition"], row["key"]) for row in found}) == len(found)
    assert Counter((row["table"], row["partition"]) for row in found) == {at: n for at, n in listed.items() if n}
    (half,) = (r for r in found if r["table"] == "session-events" and r["kind"] == "session" and r["partition"] == 0)
    assert (half["session_id"], half["epoch"], half["offset"], half["value"]["cost_usd"]) == (SESSION, 1, 6, 0.75)


def test_an_export_that_fails_leaves_nothing_behind(product: Product, tmp_path: Path) -> None:
    shutil.copytree(product.worker.folder / "streams", tmp_path / "streams")
    damaged = next(tmp_path.glob("**/session-points-2.db"))
    manifest = next(damaged.glob("MANIFEST-*"))
    os.truncate(manifest, manifest.stat().st_size // 2)
    folder = tmp_path / "out"
    folder.mkdir()
    out = folder / "rows.jsonl"
    out.write_text("of yesterday\n")
    assert "cannot be read" in product.refused("export", "--out", str(out), data=tmp_path)
    assert [path.name for path in folder.iterdir()] == ["rows.jsonl"]
    assert out.read_text() == "of yesterday\n"


def test_what_is_not_here_is_one_clear_line(product: Product, tmp_path: Path) -> None:
    tables = tmp_path / "streams" / f"{product.prefix}-streams" / "v1" / "tables"
    tables.mkdir(parents=True)
    for database in product.worker.databases("session-events"):
        if database.name != "session-events-0.db":
            (tables / database.name).symlink_to(database)
    elsewhere = product.refused("show", "session", TENANT, SESSION, data=tmp_path)
    assert "partition 0 of table session-events" in elsewhere
    assert "partitions 1, 2, 3 are in" in elsewhere
    assert "no session nobody of tenant acme" in product.refused("explain", "session", TENANT, "nobody").lower()
    assert "no field cost" in product.refused("explain", "session", TENANT, SESSION, "--field", "cost")
    away = product.refused("--bootstrap", "127.0.0.1:1", "explain", "session", TENANT, SESSION)
    assert "Kafka at 127.0.0.1:1 does not answer" in away


def test_a_damaged_database_is_listed_as_such_beside_the_others(product: Product, tmp_path: Path) -> None:
    shutil.copytree(product.worker.folder / "streams", tmp_path / "streams")
    damaged = next(tmp_path.glob("**/session-points-2.db"))
    manifest = next(damaged.glob("MANIFEST-*"))
    os.truncate(manifest, manifest.stat().st_size // 2)
    done = product.state("list", data=tmp_path)
    assert done.exit_code == 1
    (line,) = (line for line in done.stdout.splitlines() if "UNREADABLE" in line)
    assert line.split()[1:3] == ["session-points", "2"]
    assert done.stdout.count("\n") == 1 + 3 * PARTITIONS
    assert "cannot be read" in product.refused("export", "--table", "session-points", "--partition", "2", data=tmp_path)


def test_an_explanation_without_what_retention_took_says_so(product: Product) -> None:
    async def delete() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=product.bootstrap)
        await admin.start()
        await admin.delete_records({TopicPartition(product.topic("events"), 1): RecordsToDelete(before_offset=1)})
        await admin.close()

    asyncio.run(delete())
    told = product.asked("explain", "session", TENANT, CUT, "--format", "json")
    assert told["missing"] == [f"{product.topic('events')}[1] begins at offset 1; 0 to 0 are gone"]
    assert told["verdict"].startswith("PARTIAL")
    assert (told["explained"]["prompts"], told["stored"]["prompts"]) == (0, 1)


def test_it_starts_without_faust() -> None:
    code = "import sys, streams.inspect.__main__; sys.exit('faust' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
