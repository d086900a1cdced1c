"""Who may ask what, and how a refusal looks."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas import records
from schemas.keys import KeyRecord
from schemas.roles import ACTOR_HEADER, DEFAULTS, Actor, Grant, actor_of, stated
from schemas.stored import RESENDS
from sinks.query import catalogue, guard
from sinks.query.database import Database
from sinks.query.runner import Limits
from sinks.query.service import Door
from sinks.query.shadow import Shadows
from tests.sinks.query import samples
from tests.sinks.query.conftest import KEYS, RESOURCES, Sql, fill, served, serving, unheard

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_key_is_taken_from_either_header(sql: Sql) -> None:
    for headers in (
        {"Authorization": "Bearer acme-key"},
        {"authorization": "bearer  acme-key"},
        {"X-API-KEY": "acme-key"},
    ):
        answer = await sql.http.post(f"{sql.base}/sql", json={"sql": "select 1 as one"}, headers=headers)
        assert (answer.status_code, answer.json()["rows"]) == (200, [[1]])


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic acme-key"}])
async def test_without_a_known_key_nothing_is_read(sql: Sql, headers: dict[str, str]) -> None:
    for method, path in (("POST", "/sql"), ("GET", "/schema"), ("GET", "/version")):
        answer = await sql.http.request(method, f"{sql.base}{path}", content=b"\xff not json", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["error"]["code"] == "unauthorized"


async def test_an_ingest_key_may_not_ask(sql: Sql) -> None:
    error = await sql.error("select 1", "ingest-key", status=403)
    assert error == {
        "code": "forbidden",
        "message": "an ingest key may only send telemetry; ask with a query or an admin key",
    }
    answer = await sql.http.get(f"{sql.base}/schema", headers={"X-API-KEY": "ingest-key"})
    assert answer.status_code == 403


async def test_a_query_key_sees_its_tenant_only(sql: Sql) -> None:
    for key, tenant in (("acme-key", "acme"), ("globex-key", "globex"), ("ohare-key", "o'hare")):
        for name in ("events", "metrics", "spans", "sessions", "session_hours", "user_hours", "user_days", "people"):
            assert await sql.ask(f"select distinct tenant from {name}", key) == [{"tenant": tenant}]
    assert await sql.ask("select count(*) as n from events", "nobody-key") == [{"n": 0}]


@pytest.mark.parametrize("name", ["content", "rejected", "CONTENT", '"Rejected"'])
async def test_content_needs_an_admin_key(sql: Sql, name: str) -> None:
    error = await sql.error(f"select * from {name}", status=403)
    assert error["code"] == "forbidden"
    plain = name.lower().strip('"')
    assert error["message"] == (
        f"'{plain}' needs a grant of class content on {plain}, which role analyst does not have; an admin can give it: "
        f"millrace role grant ROLE --class content --dataset {plain}"
    )


async def test_an_admin_key_sees_every_tenant_unless_it_has_one(sql: Sql) -> None:
    for name in catalogue.NAMES:
        statement = f"select list(distinct tenant order by tenant) as tenants from {name}"
        for key in ("admin-key", "root-key"):
            assert await sql.ask(statement, key) == [{"tenants": ["acme", "globex", "o'hare"]}]
        assert await sql.ask(statement, "acme-admin-key") == [{"tenants": ["acme"]}]


async def test_an_admin_joins_content_with_its_events(sql: Sql) -> None:
    found = await sql.ask(
        "select e.event_name, c.text from content c join events e using (tenant, event_id) where c.tenant = 'acme' "
        "order by c.event_id limit 1",
        "admin-key",
    )
    assert found == [{"event_name": "tool_result", "text": "secret words 0 of acme"}]


async def test_an_admin_hears_what_went_wrong_and_others_do_not(sql: Sql) -> None:
    statement = "select user_email::int from events"
    assert "someone@acme.example" in (await sql.error(statement, "admin-key"))["message"]
    assert "someone" not in (await sql.error(statement, "acme-admin-key"))["message"]


async def test_a_query_key_without_a_tenant_sees_nothing() -> None:
    for tenant in (None, ""):
        with pytest.raises(catalogue.QueryError, match="belongs to no tenant"):
            catalogue.access_of(actor_of(KeyRecord("1", "query", tenant, "", "")), DEFAULTS.get)
    star = catalogue.access_of(actor_of(KeyRecord("1", "query", "*", "", "")), DEFAULTS.get)
    assert star.tenants == ("*",)  # a tenant's name like any other, not a wildcard


async def test_what_an_actor_may_see_is_worked_out_once_until_a_role_changes_and_of_so_many_at_most() -> None:
    def of(tenant: str) -> Actor:
        return actor_of(KeyRecord("1", "query", tenant, "", ""))

    one = catalogue.access_of(of("acme"), DEFAULTS.get)
    assert catalogue.access_of(of("acme"), DEFAULTS.get) is one
    assert "globex" in catalogue.access_of(of("globex"), DEFAULTS.get).view("events")
    changed = {name: replace(role, grants=(Grant("usage", ("sessions",)),)) for name, role in DEFAULTS.items()}
    assert catalogue.access_of(of("acme"), changed.get).names == ("sessions",)
    for n in range(100):
        catalogue.access_of(of(f"tenant-{n}"), DEFAULTS.get)
    assert catalogue.access_of(of("acme"), DEFAULTS.get) == one
    assert catalogue.access_of(of("acme"), DEFAULTS.get) is not one


async def test_a_query_that_was_let_through_is_decided_anew_for_who_sees_less_and_told_each_time(
    tmp_path: Path,
) -> None:
    told: list[Any] = []

    async def hear(entries: Sequence[Mapping[str, Any]]) -> None:
        told.extend(entry for entry in entries if entry["action"] == "content.read")

    text = "select text from content order by event_id limit 1"
    async with served(tmp_path, door=Door(KEYS.get, DEFAULTS.get, hear)) as (store, sql):
        await fill(store)
        for count in (1, 2, 3):
            assert await sql.ask(text, "acme-admin-key") == [{"text": "secret words 0 of acme"}]
            assert len(told) == count
        assert (await sql.error(text, "acme-key", status=403))["code"] == "forbidden"
        assert len(await sql.ask(text, "root-key")) == 1
        await sql.ask("select count(*) as n from events", "acme-key")
        assert await sql.ask("select count(*) as n from events", "nobody-key") == [{"n": 0}]
        assert await sql.ask("select count(*) as n from events", "root-key") == [{"n": 30}]


async def test_of_queries_that_were_let_through_so_many_are_kept_and_none_too_long() -> None:
    shadows = Shadows()
    one = catalogue.access_of(actor_of(KEYS["acme-key"]), DEFAULTS.get)
    texts = [f"select {n} as n" for n in range(300)]
    for text in [*texts, "select 1 as " + "n" * 10_000]:
        shadows.let_through(one, guard.Checked(text, ()))
    kept = [text for text in texts if shadows.passed(one, text)]
    assert kept == texts[44:]
    assert shadows.passed(one, "select 1 as " + "n" * 10_000) is None
    assert shadows.passed(catalogue.access_of(actor_of(KEYS["root-key"]), DEFAULTS.get), texts[-1]) is None
    shadows.close()


async def test_a_class_that_is_not_granted_has_no_columns() -> None:
    access = catalogue.Access(("acme",), (Grant("usage", ("events",)),))
    names = {column.name for column in access.columns("events")}
    event = records.record("claude_event")
    own = {f.name for f in event.fields if f.cls == "usage" or (f.cls == "content" and f.type == "string")}
    assert names == {*own, "resends"}
    assert "user_email" not in access.view("events")


async def test_the_schema_names_what_the_key_may_read(sql: Sql) -> None:
    answer = await sql.http.get(f"{sql.base}/schema", headers={"X-API-KEY": "acme-key"})
    tables: dict[str, Any] = {table["name"]: table for table in answer.json()["tables"]}
    assert set(tables) == set(catalogue.NAMES) - {"content", "rejected", "audit"}
    event = records.record("claude_event")
    assert [c["name"] for c in tables["events"]["columns"]] == [*(f.name for f in event.fields), "resends"]
    for name in ("events", "metrics", "spans"):
        assert tables[name]["columns"][-1] == {
            "name": "resends",
            "type": "BIGINT",
            "class": "usage",
            "unit": "records",
            "doc": RESENDS.doc,
        }
    assert next(c for c in tables["events"]["columns"] if c["name"] == "cost_usd") == {
        "name": "cost_usd",
        "type": "DOUBLE",
        "class": "usage",
        "unit": "USD",
        "doc": event.field("cost_usd").doc,
    }
    assert tables["user_hours"]["doc"]
    answer = await sql.http.get(f"{sql.base}/schema", headers={"X-API-KEY": "admin-key"})
    assert {table["name"] for table in answer.json()["tables"]} == set(catalogue.NAMES)


async def test_the_schema_says_the_limits_of_a_query_as_they_are_set(sql: Sql) -> None:
    limits = Limits(seconds=7.0, rows=10, rows_max=20, running=3, waiting=5)
    async with serving(sql.database, limits) as other:
        answer = await sql.http.get(f"{other.base}/schema", headers={"X-API-KEY": "acme-key"})
    assert answer.json()["limits"] == {
        "seconds": 7.0,
        "rows": 10,
        "rows_max": 20,
        "bytes_max": limits.bytes_max,
        "running": 3,
        "waiting": 5,
        "sql_bytes": limits.sql_bytes,
    }


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 400, "must be JSON"),
        (b"{", 400, "must be JSON"),
        (b"[" * 100_000, 400, "must be JSON"),
        (b'["select 1"]', 400, 'with a text "sql"'),
        (b"{}", 400, 'with a text "sql"'),
        (b'{"sql": 1}', 400, 'with a text "sql"'),
        (b'{"sql": "select 1", "limit": -1}', 400, "whole number"),
        (b'{"sql": "select 1", "limit": 1.5}', 400, "whole number"),
        (b'{"sql": "select 1", "limit": true}', 400, "whole number"),
        (b'{"sql": "select 1", "tenant": "globex"}', 400, "unknown member 'tenant'"),
        (b'{"sql": "' + b" " * 200_000 + b'"}', 413, "longer than"),
        (b'{"sql": "' + b" " * 2_000_000 + b'"}', 413, "longer than"),
    ],
)
async def test_a_bad_request_says_what_is_wrong(sql: Sql, body: bytes, status: int, says: str) -> None:
    answer = await sql.http.post(f"{sql.base}/sql", content=body, headers={"X-API-KEY": "acme-key"})
    assert answer.status_code == status
    assert says in answer.json()["error"]["message"]


async def test_other_paths_and_methods_are_errors_of_the_same_form(sql: Sql) -> None:
    for method, path, status in (("GET", "/sql", 405), ("POST", "/schema", 405), ("GET", "/", 404)):
        answer = await sql.http.request(method, f"{sql.base}{path}", headers={"X-API-KEY": "acme-key"})
        assert answer.status_code == status
        assert answer.json()["error"]["message"] == "the paths are POST /sql, GET /schema and GET /version"


async def test_the_version_is_that_of_the_answers_until_something_is_written_or_may_be_seen(tmp_path: Path) -> None:
    roles = dict(DEFAULTS)
    async with served(tmp_path, door=Door(KEYS.get, roles.get, unheard)) as (store, sql):

        async def version(key: str = "acme-key") -> str:
            answer = await sql.http.get(f"{sql.base}/version", headers={"X-API-KEY": key})
            return str(answer.json()["version"])

        async def of_answer() -> str:
            return str((await sql.post("select count(*) from events")).json()["version"])

        empty = await version()
        assert await of_answer() == empty == await version()
        await store.write([samples.batch("events", [samples.event(0, "acme")])])
        filled = await version()
        assert await of_answer() == filled != empty
        roles["analyst"] = replace(roles["analyst"], grants=roles["analyst"].grants[:1])
        assert await of_answer() == await version() != filled
        before = await version()
        assert before != await version("root-key")


async def test_a_store_that_is_opened_again_has_another_version(tmp_path: Path) -> None:
    """What it counts begins anew, and a killed one may have written what it never said."""
    versions = set()
    for _ in range(2):
        async with served(tmp_path) as (_, sql):
            versions.add((await sql.post("select 1 as one")).json()["version"])
    assert len(versions) == 2


async def test_a_store_that_is_not_open_is_an_answer_to_wait(tmp_path: Path) -> None:
    async with serving(Database(tmp_path / "query", RESOURCES)) as sql:
        answer = await sql.post("select count(*) from events")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["error"]["code"] == "unavailable"


async def test_an_admin_key_asks_as_a_person_who_sees_what_their_roles_say(sql: Sql) -> None:
    viewer = {ACTOR_HEADER: stated(Actor("ann@acme", "person", "acme", ("viewer",)))}
    for key in ("root-key", "acme-admin-key"):
        answer = await sql.http.post(
            f"{sql.base}/sql",
            json={"sql": "select distinct tenant from events"},
            headers={"X-API-KEY": key, **viewer},
        )
        assert answer.json()["rows"] == [["acme"]]
        answer = await sql.http.get(f"{sql.base}/schema", headers={"X-API-KEY": key, **viewer})
        assert "content" not in [table["name"] for table in answer.json()["tables"]]


@pytest.mark.parametrize(
    ("key", "tenant", "header", "words"),
    [
        ("acme-key", "acme", None, "only an admin key may ask as a person"),
        ("acme-admin-key", "globex", None, "this admin key is of tenant acme"),
        ("acme-admin-key", None, None, "this admin key is of tenant acme"),
        ("root-key", None, None, "this key belongs to no tenant"),
        ("root-key", "acme", "{}", "is no person"),
        ("root-key", "acme", "bnVsbA==", "is no person"),
    ],
)
async def test_nobody_asks_as_more_than_their_key_is(
    sql: Sql, key: str, tenant: str | None, header: str | None, words: str
) -> None:
    person = stated(Actor("ann@acme", "person", tenant, ("viewer",)))
    answer = await sql.http.post(
        f"{sql.base}/sql", json={"sql": "select 1"}, headers={"X-API-KEY": key, ACTOR_HEADER: header or person}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
    assert words in answer.json()["error"]["message"]
