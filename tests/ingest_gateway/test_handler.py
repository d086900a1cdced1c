"""The handler alone: what one request does to those beside it."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from ingest_gateway.credentials import Sender
from ingest_gateway.errors import Refused
from ingest_gateway.handler import Handler, Request
from ingest_gateway.metrics import GatewayMetrics
from schemas import codec, otlp
from tests.ingest_gateway.otlp import as_json, log, logs


class Published:
    """Takes everything, as Kafka does on a good day."""

    def __init__(self) -> None:
        self.works: list[list[otlp.Message]] = []

    async def publish(self, works: list[list[otlp.Message]]) -> list[Exception | None]:
        self.works = works
        return [None] * len(works)


async def test_a_fault_of_ours_in_one_request_fails_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tenants share a round; what cannot be decoded is kept in `rejected`, and only its own client is refused."""
    transcode = otlp.transcode

    def faulty(signal: Any, kind: str, body: bytes, context: otlp.Context) -> Any:
        if context.tenant == "attacker":
            raise RuntimeError("a case that nobody has thought of")
        return transcode(signal, kind, body, context)

    monkeypatch.setattr(otlp, "transcode", faulty)
    published = Published()
    context = lambda sender, received_us: otlp.Context(sender.tenant, received_us, b"k" * 32)  # noqa: E731
    handler = Handler(published, context, GatewayMetrics(CollectorRegistry()))  # type: ignore[arg-type]
    body = as_json(logs(log()))
    found = await handler(
        [Request("logs", otlp.JSON, body, Sender(tenant)) for tenant in ("victim", "attacker", "victim")]
    )
    assert [outcome.error is None for outcome in found] == [True, False, True]
    assert isinstance(found[1].error, Refused)
    (kept,) = published.works[1]
    row = codec.decode("rejected", kept.value)
    assert (row["reason"], row["original"], row["tenant"]) == ("internal_error", body, "attacker")
