"""The lake, the query tables and the fake pass the same tests."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from sinks.lake import LakeSink, latest
from sinks.query.database import Database
from sinks.query.store import QueryStore
from sinks.query.tables import BY_TOPIC
from tests.sinks.contract import Bench, SinkContract
from tests.sinks.fake import FakeSink, FakeStore
from tests.sinks.lake.stores import lake_sink, scan


class TestFake(SinkContract):
    @pytest.fixture
    def bench(self) -> Bench:
        store = FakeStore()

        async def read(sink: FakeSink, topic: str) -> list[dict[str, Any]]:
            return list((sink.store.events if topic == "events" else sink.store.sessions).values())

        return Bench(lambda: FakeSink(store), read)


class TestLake(SinkContract):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> Bench:
        async def read(_: LakeSink, topic: str) -> list[dict[str, Any]]:
            if topic == "events":
                return (await asyncio.to_thread(scan, tmp_path, "events", ["event_id"])).to_pylist()
            versions = await asyncio.to_thread(scan, tmp_path, "session_versions", None)
            return latest(versions).select(["session_id", "prompts"]).to_pylist()

        return Bench(lambda: lake_sink(tmp_path), read)


class TestQuery(SinkContract):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> Bench:
        databases: list[Database] = []

        def sink() -> QueryStore:
            databases.append(Database(tmp_path))
            return QueryStore(databases[-1])

        async def read(_: QueryStore, topic: str) -> list[dict[str, Any]]:
            columns = ("event_id",) if topic == "events" else ("session_id", "prompts")
            path = BY_TOPIC[topic][0].path
            rows = databases[-1].cursor().execute(f"SELECT {', '.join(columns)} FROM {path}").fetchall()
            return [dict(zip(columns, row, strict=True)) for row in rows]

        return Bench(sink, read)
