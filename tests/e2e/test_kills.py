"""kill -9 of each process during a replay, the sender re-sending what was not acknowledged: each record once."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from millrace.fleet import NS_PER_S, Fleet, Request, Signal
from millrace.sender import Sender
from sinks.lake import latest
from tests.e2e import lake
from tests.e2e.requests import keep
from tests.e2e.stack import Stack, eventually
from tests.e2e.truth import Sql, differences, truth

EVENTS = 50_000
KILLS = 3
SENDERS = 8
TURNS = 6


def fleet(seed: int) -> list[Request]:
    """Requests with at least EVENTS events of a few hundred users, all of today and yesterday, a few turns in each."""
    requests: list[Request] = []
    made = Fleet(seed, users=300, events_per_request=1000)
    events, now = 0, time.time_ns() - 20 * 3600 * NS_PER_S
    while events < EVENTS:
        by_signal: dict[Signal, list[Request]] = {}
        for _ in range(TURNS):
            now += 8 * NS_PER_S
            for request in made.turn(now):
                by_signal.setdefault(request.signal, []).append(request)
        for signal, parts in by_signal.items():
            (outer,) = parts[0].body
            body = {outer: [resource for part in parts for resource in part.body[outer]]}
            requests.append(Request(signal, body, sum(part.records for part in parts)))
            events += requests[-1].records if signal == "logs" else 0
    return requests


async def send_all(requests: list[Request], endpoint: str, key: str, protocol: str, progress: list[int]) -> int:
    """Send everything until it is acknowledged; returns how many sends that took."""
    waiting = list(reversed(requests))
    attempts = 0

    async def work(sender: Sender) -> None:
        nonlocal attempts
        while waiting:
            outcome = await sender.send(waiting.pop())
            assert (outcome.refused, outcome.rejected) == ("", 0)
            attempts += outcome.attempts
            progress[0] += 1

    async with Sender(endpoint, key, protocol) as sender:  # type: ignore[arg-type]
        await asyncio.gather(*(work(sender) for _ in range(SENDERS)))
    return attempts


async def send_and_kill(stack: Stack, victim: str, requests: list[Request], key: str, protocol: str) -> int:
    port = stack.ports["GATEWAY_GRPC" if protocol == "grpc" else "GATEWAY_HTTP"]
    progress = [0]
    sending = asyncio.create_task(send_all(requests, f"http://127.0.0.1:{port}", key, protocol, progress))
    for number in range(1, KILLS + 1):
        while progress[0] < len(requests) * number // (KILLS + 1) and not sending.done():
            await asyncio.sleep(0.02)
        await asyncio.to_thread(stack.kill, victim)
    return await sending


def arrived(sql: Sql, events: int) -> str | None:
    """A cheap look before the whole comparison."""
    got = sql("select count(*) as n from events")[0]["n"]
    return None if got == events else f"{got} of {events} events"


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Request], dict[str, Any]]:
    """The requests, and the truth about them; every test sends them as a tenant of its own."""
    requests = fleet(seed=1)
    return requests, truth([keep(requests, tmp_path_factory.mktemp("sent") / "requests")])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("victim", "protocol"), [("gateway", "grpc"), ("streams", "http/json"), ("sinks", "http/json")]
)
async def test_after_kills_tables_and_lake_equal_the_ledger(
    stack: Stack, tenant: str, sent: tuple[list[Request], dict[str, Any]], victim: str, protocol: str
) -> None:
    requests, want = sent
    attempts = await send_and_kill(stack, victim, requests, stack.key(tenant), protocol)
    if victim == "gateway":
        assert attempts > len(requests), "nothing was re-sent: the kills hit nothing"
    assert want["unique"]["events"] >= EVENTS
    sql = stack.sql(stack.key(tenant, "query"))
    unique = want["unique"]
    await asyncio.to_thread(eventually, lambda: arrived(sql, unique["events"]), timeout_s=120.0)
    await asyncio.to_thread(eventually, lambda: differences(sql, want), timeout_s=120.0)

    stored = {"events": unique["events"], "metrics": unique["points"], "spans": unique["spans"]}
    await asyncio.to_thread(eventually, stack.sinks_lag)
    await asyncio.to_thread(
        eventually, lambda: None if (got := lake.counts(stack.data, tenant)) == stored else (got, stored)
    )
    columns = ("tenant", "session_id", "epoch", "received_time", "version", "kafka_offset", "prompts", "cost_usd")
    in_lake = latest(lake.rows(stack.data, "session_versions", tenant, columns))
    rows = sql("select session_id, prompts, cost_usd, version from sessions order by session_id")
    got = in_lake.sort_by("session_id").select(["session_id", "prompts", "cost_usd", "version"]).to_pylist()
    assert got == rows
