"""The policy in force is the last good one; without a good one nothing of the tenant is taken."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from ingest_gateway.credentials import Sender
from ingest_gateway.errors import Busy
from ingest_gateway.handler import Handler, Request
from ingest_gateway.metrics import GatewayMetrics
from ingest_gateway.policies import Policies
from schemas import otlp, policy
from schemas.policy import NONE, HashKeys, Policy, PolicyError
from tests.ingest_gateway.otlp import as_json, log, logs
from tests.ingest_gateway.test_handler import Published

Records = dict[tuple[str, str], dict[str, Any]]


def control(id_: str, body: str | Policy, *, deleted: bool = False) -> dict[str, Any]:
    value = policy.control_value(NONE, id_, updated_at=1, updated_by="ada", deleted=deleted)
    return (
        value | {"body": body}
        if isinstance(body, str)
        else policy.control_value(body, id_, updated_at=1, updated_by="")
    )


def view(records: Records, faults: list[PolicyError] | None = None) -> Policies:
    told = [].append if faults is None else faults.append
    return Policies(lambda k, i: records.get((k, i)), HashKeys({"identity": b"x" * 32}), retry_after_s=1, on_fault=told)


def test_a_tenants_own_policy_replaces_the_one_for_all() -> None:
    records = {("policy", "*"): control("*", Policy(1, {"person": "drop"}))}
    policies = view(records)
    assert policies.of("acme")[0].classes == {"person": "drop"}
    records["policy", "acme"] = control("acme", Policy(2, {"detail": "hash"}))
    assert policies.of("acme")[0].classes == {"detail": "hash"}
    assert policies.of("other")[0].version == 1
    records["policy", "acme"] = control("acme", NONE.__class__(3), deleted=True) | {"deleted": True}
    assert policies.of("acme")[0].version == 1
    del records["policy", "*"]
    assert policies.of("acme") == (NONE, b"")


def test_a_broken_policy_leaves_the_last_good_one_in_force_and_is_told_once() -> None:
    records, faults = {("policy", "acme"): control("acme", Policy(1, {"person": "drop"}))}, []
    policies = view(records, faults)
    policies.of("acme")
    for broken in ("", '{"classes": {"person": "hide"}}', '{"classes": {"person": "hash"}, "hash_key": "lost"}'):
        faults.clear()
        records["policy", "acme"] = control("acme", broken)
        assert [policies.of("acme")[0].version for _ in range(3)] == [1, 1, 1]
        assert len(faults) == 1


def test_without_a_good_one_the_tenant_is_refused_for_now_and_no_other() -> None:
    policies = view({("policy", "acme"): control("acme", "{")})
    with pytest.raises(Busy, match="the privacy policy of acme cannot be read"):
        policies.of("acme")
    assert policies.of("other") == (NONE, b"")
    assert policies.fault() == ""
    assert "cannot be read" in view({("policy", "*"): control("*", "{")}).fault()


async def test_a_request_without_its_policy_is_not_stored_and_those_beside_it_are() -> None:
    policies = view({("policy", "acme"): control("acme", "{")})
    published = Published()

    def context(sender: Sender, us: int) -> otlp.Context:
        return otlp.Context(sender.tenant, us, b"k" * 32, policy=policies.of(sender.tenant)[0])

    handler = Handler(published, context, GatewayMetrics(CollectorRegistry()))  # type: ignore[arg-type]
    requests = [
        Request("logs", otlp.JSON, as_json(logs(log())), Sender(tenant)) for tenant in ("acme", "other", "acme")
    ]
    found = await handler(requests)
    assert [type(outcome.error) for outcome in found] == [Busy, type(None), Busy]
    assert [len(work) for work in published.works] == [0, 1, 0]
