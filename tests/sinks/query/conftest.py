"""A real store in real files, filled with three tenants, and the SQL service in front of it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from schemas.keys import KeyRecord
from schemas.roles import DEFAULTS
from sinks.metrics import SinkMetrics
from sinks.query.database import Database, Resources
from sinks.query.metrics import QueryMetrics
from sinks.query.runner import Limits
from sinks.query.service import Door, SqlService
from sinks.query.store import QueryStore
from tests.sinks.query import samples

TENANTS = ("acme", "globex", "o'hare")
RESOURCES = Resources(memory_mb=512, temp_mb=64, threads=2)
LIMITS = Limits(seconds=20.0)


@pytest.fixture
def metrics() -> SinkMetrics:
    return SinkMetrics()


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "query", RESOURCES)


@pytest.fixture
async def store(database: Database, metrics: SinkMetrics) -> AsyncIterator[QueryStore]:
    """An empty store, open."""
    store = QueryStore(database, metrics, clock=lambda: samples.T0)
    await store.open(samples.IDENTITY)
    yield store
    await store.close()


def rows(database: Database, sql: str) -> list[tuple[Any, ...]]:
    """What the store's own tables hold; `raw.x` stands for a table, in whichever file it is."""
    cursor = database.cursor()
    try:
        for name in ("content", "rejected"):
            sql = sql.replace(f"raw.{name}", f"_content.{'raw'}.{name}")
        sql = sql.replace(" raw.", " _events.raw.").replace("(raw.", "(_events.raw.")
        found: list[tuple[Any, ...]] = cursor.execute(sql).fetchall()
        return found
    finally:
        cursor.close()


KEYS = {
    "acme-key": KeyRecord("1", "query", "acme", "", ""),
    "globex-key": KeyRecord("2", "query", "globex", "", ""),
    "ohare-key": KeyRecord("3", "query", "o'hare", "", ""),
    "nobody-key": KeyRecord("4", "query", "nobody", "", ""),
    "ingest-key": KeyRecord("5", "ingest", "acme", "", ""),
    "admin-key": KeyRecord("6", "admin", "*", "", ""),
    "acme-admin-key": KeyRecord("7", "admin", "acme", "", ""),
    "root-key": KeyRecord("8", "admin", None, "", ""),
}


async def unheard(entries: Sequence[Mapping[str, Any]]) -> None:
    """An audit that takes every entry and keeps none."""


DOOR = Door(KEYS.get, DEFAULTS.get, unheard)


@dataclass(frozen=True)
class Sql:
    """The service as a client sees it."""

    base: str
    http: httpx.AsyncClient
    database: Database
    service: SqlService

    async def post(self, sql: Any, key: str | None = "acme-key", **members: Any) -> httpx.Response:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return await self.http.post(f"{self.base}/sql", json={"sql": sql, **members}, headers=headers)

    async def ask(self, sql: str, key: str = "acme-key", **members: Any) -> list[dict[str, Any]]:
        """Rows as objects; fails on any refusal."""
        answer = await self.post(sql, key, **members)
        assert answer.status_code == 200, answer.text[:500]
        body = answer.json()
        return [dict(zip(body["columns"], row, strict=True)) for row in body["rows"]]

    async def error(self, sql: Any, key: str | None = "acme-key", status: int = 400, **members: Any) -> dict[str, Any]:
        answer = await self.post(sql, key, **members)
        assert answer.status_code == status, answer.text[:500]
        error: dict[str, Any] = answer.json()["error"]
        return error


async def fill(store: QueryStore) -> None:
    """Ten events a tenant, and a little of everything else."""
    for number, tenant in enumerate(TENANTS):
        more = {
            "user_email": f"someone@{tenant}.example",
            "attributes": {"plan": f"{tenant}-plan"},
            "attributes_json": {"nested": '{"deep": [1, 2, 3]}'},
        }
        events = [
            samples.event(
                i,
                tenant,
                event_name="api_request" if i % 2 else "tool_result",
                cost_usd=0.01 * i,
                cost_usd_micros=10_000 * i,
                model="opus" if i % 4 == 1 else "haiku",
                input_tokens=i,
                duration_ms=100 * i,
                success=None if i % 2 else i % 4 == 0,
                prompt="<content>",
                command_line=f"{tenant}-command-{i}",
                workspace_host_paths=["a", "b"],
                **more,
            )
            for i in range(10)
        ]
        batches = [
            samples.batch("events", events, partition=number),
            samples.batch("metrics", [samples.point(i, tenant) for i in range(3)], partition=number),
            samples.batch("spans", [samples.span(i + 10 * number, tenant) for i in range(3)], partition=number),
            samples.batch("content", [samples.content(i, tenant) for i in range(3)], partition=number),
            samples.batch("rejected", [samples.rejected(1, tenant)], partition=number),
            samples.batch("audit", [samples.audit(1, tenant)], partition=number),
            samples.batch(
                "sessions",
                [
                    samples.session(1, tenant=tenant),
                    samples.session(2, tenant=tenant, event_counts={"api_request": 3, "user_prompt": 1}),
                    samples.session(3, tenant=tenant, pseudo=True),
                ],
                partition=number,
            ),
            samples.batch("session-hours", [samples.session_hour(1, tenant=tenant)], partition=number),
            samples.batch(
                "user-windows",
                [
                    samples.user_window(1, tenant=tenant),
                    samples.user_window(1, tenant=tenant, grain="day"),
                    samples.user_window(2, tenant=tenant, sessions=0, prompts=0, cost_usd=0.0),
                ],
                partition=number,
            ),
        ]
        await store.write(batches)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def sql(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sql]:
    """The service over one filled store, for all tests that only read: mark them with loop_scope="session"."""
    async with served(tmp_path_factory.mktemp("filled")) as (store, sql):
        await fill(store)
        yield sql


class serving:  # noqa: N801 - reads as the phrase `async with serving(...)`
    """The service on a free port, with the keys of this file."""

    def __init__(
        self, database: Database, limits: Limits = LIMITS, metrics: QueryMetrics | None = None, door: Door = DOOR
    ) -> None:
        self._database = database
        self._service = SqlService(database, door, port=0, limits=limits, metrics=metrics)

    async def __aenter__(self) -> Sql:
        port = await self._service.start()
        self._http = httpx.AsyncClient(timeout=60)
        return Sql(f"http://127.0.0.1:{port}", self._http, self._database, self._service)

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()
        await self._service.close()


@asynccontextmanager
async def served(folder: Path, limits: Limits = LIMITS, door: Door = DOOR) -> AsyncIterator[tuple[QueryStore, Sql]]:
    """A store of its own, empty, and the service over it."""
    database = Database(folder / "query", RESOURCES)
    store = QueryStore(database)
    await store.open(samples.IDENTITY)
    try:
        async with serving(database, limits, door=door) as sql:
            yield store, sql
    finally:
        await store.close()
