"""`millrace policy`: set it, see it, and see what it does before it is set."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer
from click.testing import CliRunner, Result

from millrace.cli import cli
from millrace.kafka import Broker
from schemas import codec
from schemas.topics import CATALOGUE, full_name
from service.cluster import ensure_topics

CAPTURE = Path(__file__).parents[1] / "captures" / "http-json-basic" / "000-http-logs.json"


def run(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli, ["policy", *arguments], env=env)


def test_a_file_shows_what_a_policy_would_make_of_it(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text('{"classes": {"person": "hash", "detail": "drop"}}')
    done = run("test", str(CAPTURE), "--policy", str(path), "--format", "json")
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    fields = {row["field"]: row for row in rows}
    assert fields["user_id"]["stored"].startswith("h:identity:")
    dropped = {row["stored"] for name, row in fields.items() if name.startswith("resource_attributes.")}
    assert dropped == {None}
    assert "session_id" not in fields


def test_nonsense_is_one_line_on_stderr(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text('{"fields": {"tenant": "drop"}}')
    done = run("test", str(CAPTURE), "--policy", str(path))
    assert (done.exit_code, done.stdout) == (1, "")
    assert "millrace: policy of *: fields: tenant cannot be changed" in done.stderr
    assert run("set", "--class", "person").stderr.startswith("millrace: 'person' is not NAME=VALUE")


async def audited(kafka: Broker, prefix: str) -> list[dict[str, Any]]:
    consumer = AIOKafkaConsumer(
        full_name(prefix, "audit"), bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        found: list[dict[str, Any]] = []
        while len(found) < 3:
            for messages in (await consumer.getmany(timeout_ms=1000)).values():
                found += [codec.decode("audit", message.value or b"") for message in messages]
        return sorted(found, key=lambda entry: entry["occurred_at"])
    finally:
        await consumer.stop()


def test_a_change_is_in_force_and_says_who_made_it_of_what(kafka: Broker, prefix: str) -> None:
    asyncio.run(ensure_topics(kafka.kwargs, [CATALOGUE["control"], CATALOGUE["audit"]], prefix, "local"))
    env = {"MILLRACE_BOOTSTRAP": kafka.bootstrap, "MILLRACE_PREFIX": prefix, "LOGNAME": "ada"}
    assert json.loads(run("show", "--tenant", "acme", env=env).stdout)["version"] == 0
    first = run("set", "--tenant", "acme", "--class", "person=hash", "--field", "url=drop", env=env)
    assert first.exit_code == 0, first.output
    run("set", "--tenant", "acme", "--field", "url=none", "--mask", "content=off", env=env)
    shown = json.loads(run("show", "--tenant", "acme", env=env).stdout)
    mask = {"detail": True, "content": False}
    assert shown == {
        "tenant": "acme",
        "version": 2,
        "classes": {"person": "hash"},
        "fields": {},
        "mask": mask,
        "hash_key": "identity",
    }
    run("set", "--tenant", "acme", "--delete", env=env)
    assert json.loads(run("show", "--tenant", "acme", env=env).stdout)["tenant"] == "*"
    entries = asyncio.run(audited(kafka, prefix))
    told = [json.loads(entry["detail"]) for entry in entries]
    assert {(e["action"], e["actor"], e["actor_kind"], e["tenant"]) for e in entries} == {
        ("policy.change", "ada", "person", "acme")
    }
    assert [(one["old"] and one["old"]["version"], one["new"] and one["new"]["version"]) for one in told] == [
        (None, 1),
        (1, 2),
        (2, None),
    ]
    assert told[1]["new"]["mask"] == mask
