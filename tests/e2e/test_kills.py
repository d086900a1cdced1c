"""kill -9 of each process during one replay, the senders re-sending what was not acknowledged: each record once."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from millrace.fleet import NS_PER_S, Fleet, Request, Signal
from millrace.sender import Protocol, Sender
from sinks.lake import latest
from tests.e2e import lake
from tests.e2e.requests import keep
from tests.e2e.stack import Stack, eventually
from tests.e2e.truth import Sql, differences, truth

EVENTS = 50_000
# Of the gateway among others: over both of its fronts.
VICTIMS = ("gateway", "streams", "sinks") * 3
PROTOCOLS: tuple[Protocol, ...] = ("grpc", "http/json")
SENDERS = 4
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


async def send_all(
    waiting: list[Request], may_send: asyncio.Semaphore, endpoint: str, key: str, protocol: Protocol
) -> tuple[int, int]:
    """Send what waits until it is acknowledged; returns how many requests that were, and how many sends they took."""
    requests = attempts = 0

    async def work(sender: Sender) -> None:
        nonlocal requests, attempts
        while True:
            await may_send.acquire()
            if not waiting:
                return
            outcome = await sender.send(waiting.pop())
            assert (outcome.refused, outcome.rejected) == ("", 0)
            requests, attempts = requests + 1, attempts + outcome.attempts

    async with Sender(endpoint, key, protocol) as sender:
        await asyncio.gather(*(work(sender) for _ in range(SENDERS)))
    return requests, attempts


async def send_and_kill(stack: Stack, requests: list[Request], key: str) -> list[tuple[int, int]]:
    """Share the requests among the protocols; returns what `send_all` does, of each.

    Before each kill a part of them is let go, so that the victim has work and none is left without.
    """
    waiting, may_send = list(reversed(requests)), asyncio.Semaphore(0)
    ports = {"grpc": stack.ports["GATEWAY_GRPC"], "http/json": stack.ports["GATEWAY_HTTP"]}
    sending = asyncio.gather(
        *(send_all(waiting, may_send, f"http://127.0.0.1:{ports[one]}", key, one) for one in PROTOCOLS)
    )
    part = len(requests) // (len(VICTIMS) + 1)
    for number, victim in enumerate(VICTIMS, 1):
        for _ in range(part):
            may_send.release()
        while len(waiting) > len(requests) - part * number + part // 2 and not sending.done():
            await asyncio.sleep(0.02)
        await asyncio.to_thread(stack.kill, victim)
    for _ in range(len(requests) + SENDERS * len(PROTOCOLS)):  # the rest, and the end for each
        may_send.release()
    return await sending


def arrived(sql: Sql, events: int) -> str | None:
    """A cheap look before the whole comparison."""
    got = sql("select count(*) as n from events")[0]["n"]
    return None if got == events else f"{got} of {events} events"


@pytest.mark.slow
async def test_after_kills_tables_and_lake_equal_the_ledger(stack: Stack, tenant: str, tmp_path: Path) -> None:
    requests = fleet(seed=1)
    for taken, attempts in await send_and_kill(stack, requests, stack.key(tenant)):
        assert attempts > taken, "nothing was re-sent: the kills hit nothing"
    want = truth([keep(requests, tmp_path / "requests")])
    unique = want["unique"]
    assert unique["events"] >= EVENTS
    sql = stack.sql(stack.key(tenant, "query"))
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
