"""Pages over a store that a test fills itself; the console's clock stands at NOW."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from console.app import application
from schemas.roles import DEFAULTS
from sinks.query.database import Database
from sinks.query.service import Door
from sinks.query.store import QueryStore
from tests.console.conftest import BASE, Pages, console_over
from tests.sinks.query import samples
from tests.sinks.query.conftest import KEYS, RESOURCES, serving

# Tried in every field that comes from outside.
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)></script>&lt;"


@asynccontextmanager
async def pages_over(
    folder: Path, told: list[Mapping[str, Any]], **records: Sequence[Mapping[str, Any]]
) -> AsyncIterator[Pages]:
    """A console over a store with these records, topic (with _ for -) → values.  told: what the audit hears."""

    async def hear(entries: Sequence[Mapping[str, Any]]) -> None:
        told.extend(entries)

    database = Database(folder / "query", RESOURCES)
    store = QueryStore(database)
    await store.open(samples.IDENTITY)
    try:
        await store.write([samples.batch(topic.replace("_", "-"), list(values)) for topic, values in records.items()])
        async with serving(database, door=Door(KEYS.get, DEFAULTS.get, hear)) as sql:
            console = console_over(sql.base, "root-key")
            transport = httpx.ASGITransport(application(console))
            async with httpx.AsyncClient(transport=transport, base_url=BASE) as http:
                yield Pages(console, http, sql)
            await console.ask.close()
    finally:
        await store.close()
