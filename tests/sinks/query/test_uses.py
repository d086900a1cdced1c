"""Of every key that asks, the audit has once a day that it does; nobody who asks waits for that."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest

from millrace.kafka import Broker
from schemas.roles import ACTOR_HEADER, DEFAULTS, Actor, stated
from schemas.topics import CATALOGUE
from service.audit import AuditLog
from service.cluster import ensure_topics
from sinks.query.database import Database
from sinks.query.service import Door
from sinks.query.store import QueryStore
from sinks.query.uses import KeyUses
from tests.millrace.test_roles import entries
from tests.sinks.query.conftest import KEYS, Sql, serving

MONDAY, TUESDAY = date(2026, 11, 16), date(2026, 11, 17)


@dataclass
class Audit:
    """An audit topic of a test's own, which is not there yet."""

    kafka: dict[str, Any]
    prefix: str
    log: AuditLog

    async def make(self) -> None:
        await ensure_topics(self.kafka, [CATALOGUE["audit"]], self.prefix, "local")

    async def until(self, number: int) -> list[dict[str, Any]]:
        """All entries, once there are so many."""
        async with asyncio.timeout(20):
            while len(found := await entries(self.kafka, self.prefix)) < number:
                await asyncio.sleep(0.05)
        return found


@pytest.fixture
async def audit(kafka: Broker, prefix: str) -> AsyncIterator[Audit]:
    one = Audit(kafka.kwargs, prefix, AuditLog(kafka.kwargs, prefix))
    yield one
    await one.log.close()


async def use(sql: Sql, key: str, path: str = "/sql", **headers: str) -> int:
    """The status of a request with a key."""
    sent = {"Authorization": f"Bearer {key}", **headers}
    if path == "/schema":
        return (await sql.http.get(f"{sql.base}{path}", headers=sent)).status_code
    return (await sql.http.post(f"{sql.base}{path}", json={"sql": "select 1"}, headers=sent)).status_code


async def test_a_key_that_asks_is_told_once_however_often_and_in_whose_name_it_asks(
    audit: Audit, store: QueryStore, database: Database
) -> None:
    await audit.make()
    ann = stated(Actor("ann@example.com", "person", "acme", ("viewer",), "192.0.2.9"))
    async with serving(database, door=Door(KEYS.get, DEFAULTS.get, audit.log.write)) as sql:
        for _ in range(3):
            assert await use(sql, "acme-key") == 200
            assert await use(sql, "acme-key", "/schema") == 200
            assert await use(sql, "root-key", **{ACTOR_HEADER: ann}) == 200
            assert await use(sql, "admin-key", "/schema") == 200
            assert await use(sql, "ingest-key") == 403
            assert await use(sql, "made-up-key") == 401
        # Who has a key and may not do this with it has the key nevertheless.
        assert await use(sql, "globex-key", **{ACTOR_HEADER: ann}) == 403
        found = await audit.until(4)
    told = ("action", "actor", "actor_kind", "tenant", "target", "outcome", "client_address")
    assert [tuple(one[name] for name in told) for one in found] == [
        ("key.use", id_, kind, tenant, id_, "done", "127.0.0.1")
        for id_, kind, tenant in (
            ("1", "query", "acme"),
            ("8", "admin", None),
            ("6", "admin", None),
            ("2", "query", "globex"),
        )
    ]
    assert not [key for key in KEYS if key in json.dumps(found)]


async def test_the_next_day_and_after_a_start_it_is_told_again(audit: Audit) -> None:
    await audit.make()
    days = iter((MONDAY, MONDAY, TUESDAY, TUESDAY))
    uses, key = KeyUses(audit.log.write, today=lambda: next(days)), KEYS["acme-key"]
    for address, told in (("192.0.2.1", 1), ("192.0.2.2", 1), ("192.0.2.3", 2), ("192.0.2.4", 2)):
        uses.used(key, address)
        await audit.until(told)
    await uses.close()
    again = KeyUses(audit.log.write, today=lambda: TUESDAY)
    again.used(key, "192.0.2.5")
    found = await audit.until(3)
    await again.close()
    assert [one["client_address"] for one in found] == ["192.0.2.1", "192.0.2.3", "192.0.2.5"]


async def test_what_the_audit_did_not_take_is_told_when_it_is_there(audit: Audit) -> None:
    uses = KeyUses(audit.log.write, today=lambda: MONDAY, retry_s=0.05)
    uses.used(KEYS["acme-key"], "192.0.2.1")
    await asyncio.sleep(0.2)  # the topic is not there: it is tried in vain
    uses.used(KEYS["acme-key"], "192.0.2.2")
    uses.used(KEYS["root-key"], None)
    await audit.make()
    found = await audit.until(2)
    await uses.close()
    assert [(one["actor"], one["client_address"]) for one in found] == [("1", "192.0.2.1"), ("8", None)]


async def test_an_audit_that_does_not_answer_keeps_nobody_waiting(store: QueryStore, database: Database) -> None:
    asked = asyncio.Event()

    async def silent(_: Sequence[Mapping[str, Any]]) -> None:
        asked.set()
        await asyncio.Event().wait()

    async with serving(database, door=Door(KEYS.get, DEFAULTS.get, silent)) as sql:
        assert await use(sql, "acme-key") == 200
        await asked.wait()
        assert await use(sql, "acme-key") == 200
        assert await use(sql, "root-key") == 200
