"""The gateway's routing rules: which are in force, and what is counted of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from ingest_gateway.credentials import Sender
from ingest_gateway.errors import Busy
from ingest_gateway.handler import Handler, Request
from ingest_gateway.metrics import GatewayMetrics
from ingest_gateway.routing import _TOLD_MAX, OTHER, RoutedCounts, RoutingInForce
from millrace.kafka import Broker
from schemas import codec, otlp, routing
from schemas.errors import RoutingError
from schemas.otlp import Routed
from service.control import publish
from tests.ingest_gateway.otlp import as_json, log, logs
from tests.ingest_gateway.process import Gateway

METRIC = "ingest_gateway_routed_total"


class Control:
    """The control topic's last word on the rules."""

    def __init__(self) -> None:
        self.record: dict[str, Any] | None = None

    def __call__(self, kind: str, id_: str) -> dict[str, Any] | None:
        assert (kind, id_) == ("routing", "rules")
        return self.record

    def set(self, *rules: dict[str, Any], version: int = 1) -> None:
        written = routing.parse({"version": version, "rules": list(rules)})
        self.record = routing.control_value(written, updated_at=1, updated_by="tests")


def rule(name: str, route: str, **when: Any) -> dict[str, Any]:
    return {"name": name, "when": when, "route": route}


def test_the_last_word_is_in_force_at_once_and_only_where_it_concerns() -> None:
    control, faults = Control(), list[BaseException]()
    rules = RoutingInForce(control, faults.append)
    assert rules.of("acme") is None
    control.set(rule("a", "drop", tenant="acme"), version=3)
    assert [(rules.of(tenant) is None, rules.version) for tenant in ("acme", "globex")] == [(False, 3), (True, 3)]
    control.record = None
    assert rules.of("acme") is None
    assert faults == []


def test_rules_that_cannot_be_read_leave_those_before_them_in_force() -> None:
    control, faults = Control(), list[BaseException]()
    rules = RoutingInForce(control, faults.append)
    control.set(rule("a", "drop"))
    before = rules.of("acme")
    assert control.record is not None
    control.record = control.record | {"body": '{"rules": [{"name": "of a newer release", "route": "freeze"}]}'}
    assert rules.of("acme") is before is not None
    assert rules.of("acme") is before
    assert [type(fault) for fault in faults] == [RoutingError]  # told once
    with pytest.raises(RoutingError):  # but nobody is let in on a start
        RoutingInForce(control, faults.append).load()


class Kafka:
    """Takes everything, or nothing."""

    def __init__(self) -> None:
        self.taken: list[otlp.Message] = []
        self.away = False

    async def publish(self, works: list[list[otlp.Message]]) -> list[Exception | None]:
        if self.away:
            return [Busy("away")] * len(works)
        self.taken += [message for work in works for message in work]
        return [None] * len(works)


async def test_what_was_dropped_is_a_plain_success_and_is_counted_once_it_is_acknowledged() -> None:
    control, kafka, metrics = Control(), Kafka(), GatewayMetrics(CollectorRegistry())
    control.set(rule("hooks", "drop", event="hook_*"), rule("rest", "archive", tenant="acme"))
    rules, counts = RoutingInForce(control, lambda _: None), RoutedCounts(metrics)

    def context(sender: Sender, now: int) -> otlp.Context:
        return otlp.Context(sender.tenant, now, b"k" * 32, routing=rules.of(sender.tenant))

    handler = Handler(kafka, context, metrics, counts)  # type: ignore[arg-type]
    body = as_json(logs(log("hook_registered", 0), log("user_prompt", 1, prompt="x"), log("hook_registered", 2)))
    request = Request("logs", otlp.JSON, body, Sender("acme"))
    kafka.away = True
    (refused,) = await handler([request])
    assert refused.error is not None
    assert counts.dropped == {}
    kafka.away = False
    (taken,) = await handler([request])
    assert (taken.error, taken.body("logs", otlp.JSON)) == (None, b"{}")
    value = lambda **labels: metrics.value(METRIC, **labels)  # noqa: E731
    assert value(rule="hooks", route="drop", signal="logs") == 2
    assert value(rule="rest", route="archive", signal="logs") == 1
    assert value(rule="rest", route="archive", signal="content") == 1
    assert metrics.value("ingest_gateway_records_total", signal="logs") == 3
    assert counts.dropped == {"hooks": {"logs": 2}}
    stored = [codec.decode("claude_event", m.value) for m in kafka.taken if m.topic == "events"]
    assert [row["route"] for row in stored] == ["drop", "archive", "drop"]


def test_only_so_many_rules_are_told_apart() -> None:
    metrics = GatewayMetrics(CollectorRegistry())
    counts = RoutedCounts(metrics)
    for number in range(_TOLD_MAX + 5):
        counts.add([Routed(f"r{number}", "drop", "logs", 1)])
    assert metrics.value(METRIC, rule=OTHER, route="drop", signal="logs") == 5
    assert len(counts.dropped) == _TOLD_MAX + 1


async def test_nobody_is_let_in_before_the_rules_can_be_read(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    control = Control()
    control.set(rule("a", "drop"))
    assert control.record is not None
    gateway = Gateway(kafka.bootstrap, prefix, tmp_path / "log")
    await gateway.make_topics()
    await publish(gateway.kafka, prefix, [control.record | {"body": '{"rules": [{"name": "a", "route": "freeze"}]}'}])
    try:
        gateway.start(wait=False)
        while "unknown route 'freeze'" not in gateway.log.read_text():
            await asyncio.sleep(0.1)
        assert not gateway.ready()
        await publish(gateway.kafka, prefix, [control.record])
        await asyncio.to_thread(gateway.wait_ready)
        health = await asyncio.to_thread(httpx.get, f"http://127.0.0.1:{gateway.health_port}/readyz")
        assert health.json()["details"] == {"dropped_by_rule": {}, "routing_version": 1}
        assert gateway.stop() == 0
    finally:
        gateway.kill()
