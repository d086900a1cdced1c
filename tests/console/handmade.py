"""Pages over a store that a test fills itself; the console's clock stands at NOW."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from console.app import application
from schemas.roles import DEFAULTS, FindRole
from service.audit import KEY_USE
from sinks.protocol import Batch
from sinks.query.service import Door
from tests.console.conftest import KEPT_S, Pages, pages_and_store
from tests.sinks.query import samples
from tests.sinks.query.conftest import DOOR, KEYS

START_S = 60.0
# Tried in every field that comes from outside.
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)></script>&lt;"


# What a session and its hours both count.
_COUNTS = (
    *("prompts", "tools", "errors", "refusals", "commits", "pull_requests", "retries_exhausted", "internal_errors"),
    *("api_errors", "tool_failures", "cost_usd", "spend_usd", "input_tokens", "output_tokens"),
)


def hours_of(session: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The hours of a session: that of its beginning, with all that it counts, and that of its end."""
    who = {
        name: session.get(name) for name in ("tenant", "session_id", "user_key", "team", "department", "cost_center")
    }
    active = not session["ghost"]
    first, last = (session[name] - session[name] % samples.HOUR for name in ("start_time", "last_time"))
    all_of_it = {name: session[name] for name in _COUNTS if session.get(name) is not None}
    hours = [samples.session_hour(0, start=first, active=active, **{"prompts": 0, **who, **all_of_it})]
    if last > first:
        hours.append(samples.session_hour(0, start=last, active=active, prompts=0, **who))
    return hours


def old_and_new() -> dict[str, list[dict[str, Any]]]:
    """Topic → values: a session of today, and one of 70 days ago, of whose hours none is kept any more."""
    said = {"user_key": "ada", "team": "core", "app_version": "2.1.100", "model": "opus", "models": {"opus": 1.0}}
    sessions = [
        samples.session(number, start_time=at, last_time=at + samples.SECOND, spend_usd=1.0, errors=1, **said)
        for number, at in enumerate((samples.T0 - 70 * 24 * samples.HOUR, samples.T0))
    ]
    requests = [
        samples.event(number, event_time=one["start_time"], received_time=one["last_time"], model="opus", cost_usd=1.0)
        | {"session_id": one["session_id"], "user_key": "ada", "team": "core"}
        for number, one in enumerate(sessions)
    ]
    return {"events": requests, "sessions": sessions, "session_hours": hours_of(sessions[-1])}


def door_telling(told: list[Mapping[str, Any]], find_role: FindRole = DEFAULTS.get) -> Door:
    """A door whose audit is this list, but for which keys are used."""

    async def hear(entries: Sequence[Mapping[str, Any]]) -> None:
        told.extend(one for one in entries if one["action"] != KEY_USE)

    return Door(KEYS.get, find_role, hear)


def batches(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Batch]:
    """The beginning of each topic (with _ for -) → its values."""
    return [samples.batch(topic.replace("_", "-"), values) for topic, values in records.items()]


@asynccontextmanager
async def pages_over(folder: Path, door: Door = DOOR, **records: Sequence[Mapping[str, Any]]) -> AsyncIterator[Pages]:
    """A console over a store with these records, topic (with _ for -) → values."""
    async with pages_and_store(folder, door, kept_s=KEPT_S) as (pages, store):
        await store.write(batches(records))
        yield pages


@contextmanager
def listening(folder: Path, **records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The address of such a console, for browsers: it runs in a thread of its own."""
    told: Future[uvicorn.Server] = Future()

    async def serve(listener: socket.socket) -> None:
        async with pages_over(folder, **records) as pages:
            server = uvicorn.Server(uvicorn.Config(application(pages.console), log_level="warning", ws="none"))
            told.set_result(server)
            await server.serve(sockets=[listener])

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        served = pool.submit(asyncio.run, serve(listener))
        server = told.result(timeout=START_S)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            served.result()
