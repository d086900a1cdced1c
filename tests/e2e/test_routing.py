"""Routing rules on the running stack: archived records count and are in the lake only, dropped ones nowhere."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from millrace import local_keys
from schemas import codec, topics
from tests.e2e import lake
from tests.e2e.requests import NESTING, Recorded, Sender
from tests.e2e.stack import Stack, eventually
from tests.e2e.test_main_job import captures, everything
from tests.e2e.truth import SUMS, close, truth
from tests.oracle import ledger

__all__ = ["captures"]
COST = "claude_code.cost.usage"


def set_rules(stack: Stack, folder: Path, *rules: dict[str, Any]) -> int:
    """Put rules in force, and wait until the gateway has them. Returns their version."""
    file = folder / "rules.json"
    file.write_text(json.dumps({"rules": rules}))
    version = int(stack.command("routing", "set", str(file)).stderr.split()[1])  # "version 3 is in force: 2 rules"
    health = f"http://127.0.0.1:{stack.ports['GATEWAY_HEALTH']}/readyz"
    eventually(
        lambda: (now := httpx.get(health, trust_env=False).json()["details"]["routing_version"]) != version and now,
        timeout_s=20,
    )
    return version


@pytest.fixture
def no_rules_after(stack: Stack, tmp_path: Path) -> Iterator[None]:
    yield
    set_rules(stack, tmp_path)


def names(requests: list[Recorded]) -> Counter[str]:
    """Names of all events and metrics as often as they were sent."""
    out: Counter[str] = Counter()
    for request in requests:
        outer, inner, leaf = NESTING[request.signal]
        for resource in request.as_json().get(outer, []):
            for scope in resource.get(inner, []):
                for record in scope.get(leaf, []):
                    if request.signal == "logs":
                        out[ledger.attributes(record)["event.name"]] += 1
                    else:
                        out[record["name"]] += sum(len(kind.get("dataPoints", [])) for kind in record.values() if
                                                   isinstance(kind, dict))  # fmt: skip
    return out


def counted(stack: Stack, rule: str) -> dict[tuple[str, str], float]:
    """(route, signal) → records that the gateway says a rule took."""
    text = httpx.get(f"http://127.0.0.1:{stack.ports['GATEWAY_HEALTH']}/metrics", trust_env=False).text
    out = {}
    for line in text.splitlines():
        if line.startswith("ingest_gateway_routed_total{") and f'rule="{rule}"' in line:
            labels = dict(part.split("=") for part in line[line.index("{") + 1 : line.index("}")].split(","))
            out[labels["route"].strip('"'), labels["signal"].strip('"')] = float(line.rpartition(" ")[2])
    return out


def test_archived_records_count_and_dropped_ones_are_nowhere(
    stack: Stack, tenant: str, captures: list[Path], tmp_path: Path, no_rules_after: None
) -> None:
    set_rules(
        stack,
        tmp_path,
        {"name": f"{tenant}-hooks", "when": {"tenant": tenant, "event": "hook_*"}, "route": "drop"},
        {
            "name": f"{tenant}-text",
            "when": {"tenant": tenant, "class": "content", "event": "tool_result"},
            "route": "drop",
        },
        {
            "name": f"{tenant}-costs",
            "when": {"tenant": tenant, "signal": "metrics", "event": "cost.usage", "team": "platform"},
            "route": "archive",
        },
    )
    requests, want = everything(captures), truth(captures)
    with Sender(stack.ports["GATEWAY_GRPC"], stack.ports["GATEWAY_HTTP"], stack.key(tenant)) as sender:
        for request in requests:
            sender.send(request)
    sent = names(requests)
    hooks = sum(count for name, count in sent.items() if name.startswith("hook_"))
    assert min(hooks, sent[COST]) > 10
    sql = stack.sql(stack.key(tenant, "query"))

    def wrong() -> list[Any]:
        rows = {row["session_id"]: row for row in sql("select * from sessions")}
        out: list[Any] = []
        for session, expected in want["sessions"].items():
            left = {name: n for name, n in expected["event_counts"].items() if not name.startswith("hook_")}
            if not left and not expected["metric_totals"]:
                out += [session] if session in rows else []
                continue
            row = rows.get(session)
            if row is None or row["event_counts"] != left or row["sequence_gaps"]:
                out.append((session, row and (row["event_counts"], row["sequence_gaps"]), left))
                continue
            out += [(session, name) for name in SUMS if not close(row[name], expected[name])]
            out += [
                (session, name)
                for name, value in expected["metric_totals"].items()
                if not close(row["metric_totals"].get(name), value)
            ]
        return out

    eventually(wrong)
    eventually(lambda: stack.sinks_lag())
    events = Counter(
        {row["event_name"]: row["n"] for row in sql("select event_name, count(*) n from events group by 1")}
    )
    points = Counter({row["metric"]: row["n"] for row in sql("select metric, count(*) n from metrics group by 1")})
    assert not [name for name in events if name.startswith("hook_")]
    assert COST not in points
    assert counted(stack, f"{tenant}-hooks") == {("drop", "logs"): hooks}
    assert counted(stack, f"{tenant}-costs") == {("archive", "metrics"): sent[COST]}
    # Every record that was sent is stored or was counted.
    assert events.total() + hooks == want["unique"]["events"]
    assert points.total() + sent[COST] == want["unique"]["points"]
    stored = lake.rows(stack.data, "events", tenant, ("event_name", "route")).to_pylist()
    assert Counter(row["event_name"] for row in stored) == events
    archived = lake.rows(stack.data, "metrics", tenant, ("metric", "route")).to_pylist()
    assert Counter((row["metric"], row["route"]) for row in archived) == {
        (COST, "archive"): sent[COST],
        **{(metric, "hot"): count for metric, count in points.items()},
    }
    admin = stack.sql(local_keys.read_key(stack.data, "admin"))
    texts = admin(f"select distinct event_name from content where tenant = '{tenant}'")
    assert texts
    assert "tool_result" not in [row["event_name"] for row in texts]
    assert "tool_result" not in lake.rows(stack.data, "content", tenant, ("event_name",))["event_name"].to_pylist()
    assert counted(stack, f"{tenant}-text")["drop", "content"] > 0
    said = stack.command("status").stdout
    assert f"gateway: rule {tenant}-hooks dropped {hooks} logs\n" in said


async def test_a_change_of_the_rules_is_audited_and_made_from_the_ones_in_force(
    stack: Stack, tenant: str, tmp_path: Path, no_rules_after: None
) -> None:
    version = set_rules(stack, tmp_path, {"name": tenant, "when": {"tenant": tenant}, "route": "drop"})
    (entry,) = [entry for entry in await audited(stack) if tenant in (entry["detail"] or "")]
    assert (entry["action"], entry["actor_kind"], entry["outcome"]) == ("routing.change", "person", "done")
    assert entry["target"] == f"version {version}"
    shown = stack.command("routing", "show").stdout
    file = tmp_path / "edited.json"
    file.write_text(shown)
    assert f"version {version + 1} is in force" in stack.command("routing", "set", str(file)).stderr
    late = stack.command("routing", "set", str(file), check=False)
    assert late.returncode == 1
    assert f"made from version {version}, but version {version + 1} is in force" in late.stderr


async def audited(stack: Stack) -> list[dict[str, Any]]:
    """Everything on the audit topic."""
    name = topics.full_name(stack.environment["MILLRACE_PREFIX"], "audit")
    consumer = AIOKafkaConsumer(
        bootstrap_servers=stack.environment["MILLRACE_BOOTSTRAP"], group_id=None, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        places = [TopicPartition(name, number) for number in range(topics.CATALOGUE["audit"].local.partitions)]
        consumer.assign(places)
        out: list[dict[str, Any]] = []
        ends = await consumer.end_offsets(places)
        for place in places:
            while await consumer.position(place) < ends[place]:
                for messages in (await consumer.getmany(place, timeout_ms=200)).values():
                    out += [codec.decode("audit", message.value) for message in messages if message.value]
        return out
    finally:
        await consumer.stop()
