"""What each role sees, and attempts to read around it. Nothing hidden is shown, and nothing hidden can be told from
what is not there: with and without the hidden rows every answer is the same, to the letter of an error."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from schemas import roles
from schemas.errors import RetryableError
from schemas.keys import KeyRecord
from schemas.roles import DEFAULTS, Grant, Role, parse_rule
from service.audit import KEY_USE
from sinks.query import catalogue
from sinks.query.service import Door
from sinks.query.store import QueryStore
from tests.sinks.query import samples
from tests.sinks.query.conftest import Sql, served, serving

pytestmark = pytest.mark.asyncio(loop_scope="session")

PLATFORM = parse_rule("team = 'platform'")
# The same rows, by rules that DuckDB treats in other ways.
SEVERAL = parse_rule("team IN ('platform', 'none-such')")
ALL = ("usage", "person", "detail", "content")
OWN = {
    "only-platform": tuple(Grant(c, (), PLATFORM) for c in ALL),
    "only-several": tuple(Grant(c, (), SEVERAL) for c in ALL),
    "only-either": tuple(Grant(c, (), rule) for c in ALL for rule in (PLATFORM, parse_rule("team = 'none-such'"))),
    "nobody": (Grant("usage"), Grant("detail")),
    "partial": (Grant("usage"), Grant("person", (), PLATFORM), Grant("detail", (), PLATFORM)),
    "partial-several": (Grant("usage"), Grant("person", (), SEVERAL), Grant("detail", (), SEVERAL)),
    "security": (*DEFAULTS["security"].grants, Grant("content", ("content",), PLATFORM)),
    "unanswerable": (Grant("usage", (), parse_rule("success = true")),),
}
ROLES = {**DEFAULTS, **{name: Role(name, grants, 1) for name, grants in OWN.items()}}
ROW_ROLES = ("only-platform", "only-several", "only-either")
COLUMN_ROLES = ("partial", "partial-several")
KEYS = {
    f"{name}-key": KeyRecord(name, "query", "acme", "", "", roles=(name,))
    for name in (*ROLES, "no-such-role", "plain-security")
} | {
    "both-key": KeyRecord("both", "query", "acme", "", "", roles=("viewer", "only-platform")),
    "half-key": KeyRecord("half", "query", "acme", "", "", roles=("viewer", "no-such-role")),
    "root-key": KeyRecord("root", "admin", None, "", ""),
}
TOLD: list[Mapping[str, Any]] = []


async def told(entries: Sequence[Mapping[str, Any]]) -> None:
    """An audit that keeps what it is told, but for which keys are used."""
    TOLD.extend(one for one in entries if one["action"] != KEY_USE)


DOOR = Door(KEYS.get, ROLES.get, told)


async def fill(store: QueryStore, *, hidden_rows: bool = True, hidden_columns: bool = True) -> None:
    """Two rows of team platform, and four that a row rule hides: another team's, no team's, another tenant's."""
    groups = [("acme", "platform")]
    if hidden_rows:
        groups += [("acme", "core"), ("acme", None), ("globex", "platform"), ("globex", "core")]
    for number, (tenant, team) in enumerate(groups):
        open_ = (tenant, team) == ("acme", "platform")
        word = "shown" if open_ else "secret"
        label = f"{tenant}-{team}"
        fields: dict[str, Any] = {"team": team, "session_id": f"{label}-session", "user_key": f"{label}-user"}
        more: dict[str, Any] = {}
        if open_ or hidden_columns:
            more = {
                "user_email": f"{word}@{label}.example",
                "attributes": {word: f"{word} value"},
            }
        commands = [("7" if open_ else f"{word} command {i}") if open_ or hidden_columns else None for i in range(2)]
        numbers = [10 * number + i for i in range(2)]
        events = [
            samples.event(n, tenant, **fields, **more, command_line=command, cost_usd=1.5)
            for n, command in zip(numbers, commands, strict=True)
        ]
        texts = [
            samples.content(n, tenant, **fields, text="7" if open_ else f"secret words {n}", parsed={word: word})
            for n in numbers
        ]
        windows = [
            samples.user_window(n, tenant=tenant, user_key=f"{label}-user", team=team, grain=grain)
            for n, grain in zip(numbers, ("hour", "day"), strict=True)
        ]
        session = {k: v for k, v in more.items() if k == "user_email"} | fields
        await store.write(
            [
                samples.batch("events", events, partition=number),
                samples.batch("metrics", [samples.point(n, tenant, **fields) for n in numbers], partition=number),
                samples.batch("spans", [samples.span(n, tenant, **fields) for n in numbers], partition=number),
                samples.batch("content", texts, partition=number),
                samples.batch("sessions", [samples.session(number, tenant=tenant, **session)], partition=number),
                samples.batch(
                    "session-hours", [samples.session_hour(number, tenant=tenant, **fields)], partition=number
                ),
                samples.batch("user-windows", windows, partition=number),
            ]
        )
    if hidden_rows:
        rejected = [samples.rejected(n, tenant, error="why") for n, tenant in enumerate(("acme", "globex"))]
        audits = [samples.audit(n, tenant) for n, tenant in enumerate(("acme", "globex", None))]
        await store.write([samples.batch("rejected", rejected), samples.batch("audit", audits)])


async def _serving(folder: Path, **hidden: bool) -> AsyncIterator[Sql]:
    async with served(folder, door=DOOR) as (store, sql):
        await fill(store, **hidden)
        yield sql


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def full(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sql]:
    """A store with rows that the rules hide."""
    async for sql in _serving(tmp_path_factory.mktemp("full")):
        yield sql


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def without_rows(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sql]:
    """The same without the hidden rows."""
    async for sql in _serving(tmp_path_factory.mktemp("without-rows"), hidden_rows=False):
        yield sql


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def without_columns(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sql]:
    """The same with nothing in the hidden columns of those rows."""
    async for sql in _serving(tmp_path_factory.mktemp("without-columns"), hidden_columns=False):
        yield sql


# What a role gives


@pytest.mark.parametrize(
    ("role", "names", "columns"),
    [
        ("viewer", 8, {"user_key"}),
        ("analyst", 8, {"user_key", "user_email", "command_line"}),
        ("plain-security", 10, {"user_key", "user_email", "command_line"}),
        ("admin", 11, {"user_key", "user_email", "command_line"}),
    ],
)
async def test_the_default_roles(role: str, names: int, columns: set[str]) -> None:
    role = role.removeprefix("plain-")
    actor = roles.actor_of(KeyRecord("1", "query", "acme", "", "", roles=(role,)))
    access = catalogue.access_of(actor, DEFAULTS.get)
    assert len(set(access.names) & set(roles.DATASETS)) == names
    assert {c.name for c in access.columns("events")} & {"user_key", "user_email", "command_line"} == columns
    assert ("original" in {c.name for c in access.columns("rejected")}) is (role == "admin")
    assert ("error" in {c.name for c in access.columns("rejected")}) is (role in ("security", "admin"))
    assert ("content" in access.names) is (role == "admin")
    assert ("audit" in access.names) is (role in ("security", "admin"))
    assert not access.sees_all


async def test_the_datasets_of_the_roles_are_the_names_of_sql() -> None:
    over_tables = {name: n for name, n in catalogue.NAMES.items() if n.source is None}
    assert set(over_tables) == set(roles.DATASETS)
    for name, sql_name in over_tables.items():
        known = roles.fields(name)
        columns = {c.name for c in sql_name.columns}
        assert {f for f in known if f != "grain"} <= columns
        for column in sql_name.columns:
            if column.name in known:
                assert column.cls == known[column.name].cls


@pytest.mark.parametrize("role", ROW_ROLES)
async def test_a_row_rule_holds_in_every_dataset(full: Sql, role: str) -> None:
    for name in ("events", "metrics", "spans", "content", "sessions", "session_hours", "user_hours", "user_days"):
        found = await full.ask(f"select distinct tenant, team from {name}", f"{role}-key")
        assert found == [{"tenant": "acme", "team": "platform"}], name
    # These have no team, so that the rule cannot be asked of them: no rows, and /schema says why.
    for name in ("people", "rejected"):
        assert await full.ask(f"select count(*) as n from {name}", f"{role}-key") == [{"n": 0}]
    schema = (await full.http.get(f"{full.base}/schema", headers={"X-API-KEY": f"{role}-key"})).json()["tables"]
    rows = {table["name"]: table["rows"] for table in schema}
    assert rows["people"] == "none: the roles' rules ask for team, which cannot be asked of people"
    assert rows["events"].startswith("team ")


@pytest.mark.parametrize("role", COLUMN_ROLES)
async def test_a_class_by_row_is_null_elsewhere(full: Sql, role: str) -> None:
    found = await full.ask(
        "select team, count(*) as n, count(command_line) as c, count(user_email) as e, "
        "count(nullif(cardinality(attributes), 0)) as a, sum(cost_usd) as usd from events group by team order by team",
        f"{role}-key",
    )
    assert found == [
        {"team": "core", "n": 2, "c": 0, "e": 0, "a": 0, "usd": 3.0},
        {"team": "platform", "n": 2, "c": 2, "e": 2, "a": 2, "usd": 3.0},
        {"team": None, "n": 2, "c": 0, "e": 0, "a": 0, "usd": 3.0},
    ]


async def test_what_a_resource_says_needs_the_class_person_too(full: Sql) -> None:
    refused = await full.error("select resource_attributes from events", "nobody-key", status=403)
    assert "is of class detail and person, which role nobody does not have there" in refused["message"]
    assert await full.ask("select count(command_line) as n from events", "nobody-key") == [{"n": 6}]
    told = "select count(resource_attributes) as n, count(resource_attributes_json) as j from events"
    assert await full.ask(told, "partial-key") == [{"n": 2, "j": 2}]


async def test_a_key_sees_what_any_of_its_roles_gives(full: Sql) -> None:
    found = await full.ask(
        "select count(*) as n, count(command_line) as c, count(user_email) as e from events", "both-key"
    )
    assert found == [{"n": 6, "c": 2, "e": 2}]
    assert await full.ask("select count(*) as n, min(team) as t from content", "both-key") == [
        {"n": 2, "t": "platform"}
    ]


async def test_a_granted_scope_opens_content_and_no_more(full: Sql) -> None:
    assert await full.ask("select distinct tenant, team, text from content", "security-key") == [
        {"tenant": "acme", "team": "platform", "text": "7"}
    ]
    assert await full.ask("select tenant, error, length from rejected", "security-key") == [
        {"tenant": "acme", "error": "why", "length": 15}
    ]
    assert (await full.error("select original from rejected", "security-key", status=403))["code"] == "forbidden"


async def test_who_reads_the_audit_reads_the_own_tenants(full: Sql) -> None:
    statement = "select tenant, actor, action from audit order by tenant"
    own = {"tenant": "acme", "actor": "acme-auditor", "action": "content.read"}
    assert await full.ask(statement, "security-key") == [own]
    assert [row["tenant"] for row in await full.ask(statement, "root-key")] == ["acme", "globex", None]
    for role in ("viewer", "analyst", "partial"):
        assert (await full.error(statement, f"{role}-key", status=403))["code"] == "forbidden"


async def test_a_role_that_does_not_exist_gives_nothing_and_says_so(full: Sql) -> None:
    for statement in ("select 1", "select * from events"):
        error = await full.error(statement, "no-such-role-key", status=403)
        assert error["message"] == (
            "the role 'no-such-role' of this key does not exist, so it may read nothing; see: millrace role list"
        )
    assert (await full.http.get(f"{full.base}/schema", headers={"X-API-KEY": "no-such-role-key"})).status_code == 403
    assert await full.ask("select count(*) as n from events", "half-key") == [{"n": 6}]
    error = await full.error("select * from content", "half-key", status=403)
    assert "role viewer (there is no role no-such-role) does not have" in error["message"]


async def test_an_error_names_the_class_that_is_missing(full: Sql) -> None:
    for column, cls in (("user_email", "person"), ("command_line", "detail")):
        error = await full.error(f"select event_id,\n {column} from events", "viewer-key", status=403)
        assert error["message"] == (
            f"column '{column}' of events is of class {cls}, which role viewer does not have there"
        )
        assert error["line"] == 2
    assert (await full.error("select no_such from events", "viewer-key"))["code"] == "bind_error"


async def test_every_tenant_is_for_the_role_admin_alone() -> None:
    person = roles.Actor("ada", "person", None, ("security",))
    with pytest.raises(catalogue.QueryError, match="belongs to no tenant"):
        catalogue.access_of(person, DEFAULTS.get)
    assert catalogue.access_of(roles.Actor("ada", "person", None, ("admin",)), DEFAULTS.get).sees_all


async def test_an_equality_is_applied_by_the_scan_itself(full: Sql) -> None:
    access = catalogue.Access(("acme",), (Grant("usage", (), parse_rule("team = 'platform' AND event_sequence = 1")),))
    assert "CASE" not in access.view("events")
    cursor = full.database.cursor()
    cursor.execute(access.view("events"))
    plan = json.loads(
        cursor.execute(
            "explain (format json) select session_id from events where substr(session_id, 6)::int = 1"
        ).fetchall()[0][1]
    )
    cursor.close()
    scans: list[dict[str, Any]] = []
    waiting = list(plan)
    while waiting:
        node = waiting.pop()
        waiting += node["children"]
        if "Table" in node.get("extra_info", {}):
            scans.append(node["extra_info"])
    assert len(scans) == 1, plan
    filters = str(scans[0].get("Filters"))
    assert "team = 'platform'" in filters
    assert "event_sequence = 1" in filters


# Attempts to read around the role

ATTEMPTS = """
    select * from content
    select text from content
    select c.text from content c
    select original from rejected
    select count(*) from content
    select length(text) from content
    select parsed from content
    select * from "content"
    select * from CONTENT
    select * from "Content" as events
    table content
    from content
    from content select text
    with c as (select * from content) select * from c
    with c as materialized (from content) select count(*) from c
    with content as (select 1) select * from content
    with recursive c as (select text from content union all select text from c) select * from c
    with c as not materialized (select original from rejected) from c
    select (select string_agg(text, ',') from content)
    select * from events where exists (select 1 from content where text like '%secret%')
    select * from events e where e.event_id in (select event_id from content where starts_with(text, 's'))
    select e.tenant, x.text from events e, lateral (select text from content c where c.event_id = e.event_id) x
    select e.event_id, (select max(text) from content c where c.event_id = e.event_id) from events e
    select e.team, c.text from events e join content c using (tenant, event_id)
    select * from events natural join content
    select * from events positional join content
    select * from events asof join content c on events.event_time >= c.event_time
    select * from events semi join content using (event_id)
    select * from events anti join content using (event_id)
    select event_id from events union all select text from content
    select event_id from events except select text from content
    select * from events union all by name select * from content
    select max(text) over (partition by team) from content
    select first_value(text) over (order by event_time) from content
    select lag(text, 1, 'x') over (order by event_time), team from content
    select list(text order by text) from content
    select histogram(text) from content
    select min(text), max(text), mode(text), any_value(text) from content
    select arg_max(text, event_time) from content
    select to_json(c) from content c
    select content from content
    select columns(*) from content
    select columns('te.*') from content
    select * exclude (length) from content
    select * replace (upper(text) as text) from content
    select text::int from content
    select error(text) from content
    select cast(text as date) from content
    select text[1:3] from content
    select try_cast(text as int), text from content
    select coalesce(text, body_ref) from content
    select case when team = 'core' then text end from content
    select text from content where tenant = 'acme' or true
    select text from content where team <> 'platform' or team is null
    select text from content order by (select max(text) from content)
    select 1 limit (select count(*) from content where text like 'secret%')
    select * from content limit 1 offset (select length(max(text)) from content)
    select * from content limit 9223372036854775807
    select * from (values ((select max(text) from content)))
    values ((select max(text) from content))
    select text from content qualify row_number() over (order by text desc) = 1
    select team, text from content group by all
    select team, max(text) from content group by rollup (team)
    select distinct on (team) team, text from content
    select * from content tablesample 100%
    select unnest(map_values(parsed)) from content
    select * from unnest((select list(text) from content))
    select list_transform([1], x -> (select max(text) from content))
    select reduce((select list(text) from content), (a, b) -> a || b)
    select * from _content.raw.content
    select * from "_content"."raw"."content"
    select * from raw.content
    select * from main.content
    select * from temp.content
    select * from _content.raw.rejected
    select * from content.text
    select * from _events.raw.events
    select * from _events.raw.audit
    select * from query('select * from _content.raw.content')
    select * from query_table('content')
    select * from query_table(['content'])
    select * from seq_scan('_content.raw.content')
    select * from read_blob('{folder}/content.duckdb')
    select * from read_text('{folder}/content.duckdb.wal')
    select * from '{folder}/content.duckdb'
    select * from read_duckdb('{folder}/content.duckdb')
    select * from glob('{folder}/*')
    attach '{folder}/content.duckdb' as x
    detach _content
    use _content
    set search_path = '_content.raw'
    set variable x = (select max(text) from _content.raw.content)
    pragma table_info('_content.raw.content')
    pragma storage_info('_content.raw.content')
    select * from pragma_storage_info('_content.raw.content')
    select * from pragma_table_info('content')
    call pragma_storage_info('content')
    select * from duckdb_tables()
    select * from duckdb_columns() where column_name = 'text'
    select * from duckdb_views()
    select * from information_schema.columns
    select * from pg_catalog.pg_views
    select * from sqlite_master
    select * from duckdb_logs
    select current_query()
    select pg_get_viewdef(1)
    select stats(text) from content
    show content
    describe content
    summarize content
    select * from (summarize content)
    explain select * from content
    explain analyze select * from content
    prepare x as select text from content
    execute x
    select $1 from content
    select ? from content
    select * from json_execute_serialized_sql(json_serialize_sql('select * from content'))
    create macro f() as table select * from _content.raw.content
    create temp view v as select * from _content.raw.content
    create or replace temp view events as select * from _content.raw.content
    create table t as select * from content
    create sequence s
    select nextval('s')
    copy (select * from content) to '/tmp/x.csv'
    copy content to '/tmp/x.csv'
    export database '/tmp/x'
    select 1; select * from content
    select * from events; -- select 1
    select * from events /* */ ; select text from content
    select * from /* content */ "content" -- x
    select text from content --
    /* */ select /* */ text /* */ from /* */ content
    pivot content on team using max(text)
    unpivot content on text
    select * from content unpivot (v for n in (text, team))
    select * from content at (version => 1)
    select rowid, text from content
    select prompt from events
    select tool_input, body, prompt_text from events
    select user_prompt from spans
    select * from people
    select * from people p join content c using (user_key)
    select * from rejected
    select encode('x') = original, original from rejected
    select hex(original), base64(original), md5(original) from rejected
    select sha256 from rejected
    select decode(original) from rejected
    select * from audit
    select detail, target from audit
    insert into audit select * from audit
    insert into _events.raw.audit (audit_id) values ('x')
    update _events.raw.audit set actor = 'nobody'
    update audit set actor = 'nobody'
    delete from audit
    delete from _events.raw.audit
    truncate _events.raw.audit
    drop table _events.raw.audit
    alter table _events.raw.audit drop column actor
    merge into _events.raw.audit using audit on false when not matched then insert
    with x as (delete from _events.raw.audit returning *) select * from x
    select * from control
    select * from _events.raw.control
    insert into control values ('role', 'viewer')
    update control set body = '{}'
    select * from offsets
"""
# Of whom what must not be seen: parts of every text that is hidden from the role.
HIDDEN = {
    "viewer": ("secret", "shown@", "globex", "auditor", "why"),
    "security": ("secret words", "secret original", "globex"),
    "only-either": ("secret", "globex", "auditor"),
}
CONTENT_READERS = ("security", "only-either")


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("attempt", _lines(ATTEMPTS))
async def test_no_way_around_a_role(full: Sql, attempt: str) -> None:
    attempt = attempt.replace("{folder}", str(full.database.folder))
    for role, hidden in HIDDEN.items():
        answer = await full.post(attempt, f"{role}-key", limit=10**18)
        assert answer.status_code in (200, 400, 403), answer.text[:300]
        shown = answer.text.lower()
        assert not [word for word in hidden if word in shown and word not in attempt.lower()], role
        if role not in CONTENT_READERS and answer.status_code == 200:
            assert not _names_of(attempt) & {"content", "rejected", "audit", "control"}, role


def _names_of(attempt: str) -> set[str]:
    plain = attempt.lower().replace('"', " ").replace("'", " ").replace("(", " ").replace(";", " ")
    return set(plain.split())


async def test_the_schema_shows_a_role_its_own(full: Sql) -> None:
    for role in ("viewer", "analyst", *COLUMN_ROLES):
        answer = await full.http.get(f"{full.base}/schema", headers={"X-API-KEY": f"{role}-key"})
        names = {table["name"] for table in answer.json()["tables"]}
        assert not names & {"content", "rejected", "audit"}
    viewer = (await full.http.get(f"{full.base}/schema", headers={"X-API-KEY": "viewer-key"})).json()["tables"]
    assert {c["class"] for t in viewer for c in t["columns"]} == {"usage", "content"}
    assert {c["name"] for t in viewer if t["name"] == "events" for c in t["columns"] if c["class"] == "content"} == {
        "tool_parameters",
        "tool_input",
        "prompt",
        "prompt_text",
        "body",
    }  # the marks that say where a text is


# What a condition of the asker's does on hidden rows. Each would answer otherwise if it ran on one of them.
CONDITIONS = """
    select count(*) from {name}
    select count(*) from {name} where {column}::int = 7
    select sum({column}::int) from {name}
    select count(*) from {name} where case when team = 'platform' then 7 else {column}::int end = 7
    select count(*) from {name} where case when team = 'core' then error('there is core') else 'x' end = 'x'
    select 1 / (case when team = 'core' then 0 else 1 end) as one from {name}
    select 1 // (case when team = 'core' then 0 else 1 end) as one from {name}
    select count(*) from {name} where case when team = 'core' then ('x' || tenant)::int else 1 end = 1
    select count(*) from {name} where [1, 2][{column}::int] is null
    select count(*) from {name} where strptime({column}, '%d') is not null
    select count(*) from {name} where {column}::int in (7, 8, 9) or event_id = 'x'
    select count(*) from {name} where {column}::int between 1 and 9 and length({column}) = 1
    select count(*) from {name} where length({column}) > 5 and {column}::int = 7
    select count(*) from {name} where not ({column}::int <> 7)
    select count(*) from {name} a join {name} b on a.{column}::int = b.{column}::int
    select count(*) from {name} a left join {name} b on a.{column}::int = b.{column}::int and a.event_id = b.event_id
    select count(*) from {name} a where exists (select 1 from {name} b where b.{column}::int = a.{column}::int)
    select count(*) from {name} where {column}::int = (select max({column}::int) from {name})
    select {column}::int as v from {name} order by v limit 1
    select distinct {column}::int as v from {name}
    select max({column}::int) over (partition by team) as v from {name}
    select team, sum({column}::int) as v from {name} group by team having sum({column}::int) > 0
    select count(*) filter (where {column}::int = 7) as n from {name}
    select count(distinct {column}) as n, count({column}) as c, approx_count_distinct({column}) as a from {name}
    select min({column}) as a, max({column}) as z from {name}
    with c as materialized (select {column} as v from {name}) select count(*) from c where v::int = 7
    with recursive r as (select 0 as d union all select {column}::int - 7 from {name}) select count(*) from r
    select (select count(*) from {name} where {column}::int = 7) as n
    select count(*) from {name}, unnest([{column}::int]) as u(v) where u.v = 7
    select list_transform(list({column}), x -> x::int) as v from {name}
    select * from {name} order by event_id limit 1 offset 2
    select event_id, {column} from {name} where regexp_matches({column}, '7') or {column}::int = 7 order by 1
    select length(string_agg({column}, '')) as n, count(*) as c from {name} where {column} is not null
    select count(*) from {name} where ({column} || '')::json is not null
    select count(*) from {name} where to_base({column}::int, 2, 8) = 'x'
"""


def _settled(answer: Any) -> tuple[int, Any]:
    """An answer without the order of its rows, which nobody asked for, and without the version, which is of a store."""
    body = answer.json()
    body.pop("version", None)
    if "rows" in body:
        body["rows"] = sorted(body["rows"], key=json.dumps)
    return answer.status_code, body


@pytest.mark.parametrize("condition", _lines(CONDITIONS))
async def test_hidden_rows_are_as_if_they_were_not_there(full: Sql, without_rows: Sql, condition: str) -> None:
    for name, column, row_roles in (("events", "command_line", ("only-either",)), ("content", "text", ROW_ROLES)):
        statement = condition.format(name=name, column=column)
        for role in row_roles:
            answers = [await sql.post(statement, f"{role}-key") for sql in (full, without_rows)]
            same = _settled(answers[0]) == _settled(answers[1])
            assert same, f"{role}: {answers[0].text[:300]} instead of {answers[1].text[:300]}"


@pytest.mark.parametrize("condition", _lines(CONDITIONS))
async def test_hidden_columns_are_as_if_nothing_were_in_them(full: Sql, without_columns: Sql, condition: str) -> None:
    statement = condition.format(name="events", column="command_line")
    for role in ("partial-several",):
        answers = [await sql.post(statement, f"{role}-key") for sql in (full, without_columns)]
        same = _settled(answers[0]) == _settled(answers[1])
        assert same, f"{role}: {answers[0].text[:300]} instead of {answers[1].text[:300]}"


# The audit


async def test_a_read_of_content_is_told_before_it_is_answered(full: Sql) -> None:
    statement = "select text from content where text like 'never quoted%'"
    for attempt, key, outcome, reason, rows in (
        (statement, "security-key", "done", None, 0),
        ("with c as (select * from content) select count(*) from c", "root-key", "done", None, 1),
        ("select text::date from content where length(text) > 0", "root-key", "failed", "runtime_error", None),
        ("select error from rejected", "security-key", "done", None, 1),
    ):
        TOLD.clear()
        await full.post(attempt, key)
        (entry,) = TOLD
        detail = json.loads(entry["detail"])
        assert (entry["action"], entry["outcome"], entry["reason"]) == ("content.read", outcome, reason)
        assert (entry["actor"], entry["tenant"]) == (key.removesuffix("-key"), None if key == "root-key" else "acme")
        assert entry["target"] == ("rejected" if "rejected" in attempt else "content")
        assert entry["client_address"] == "127.0.0.1"
        assert (detail["rows"], detail["sql_bytes"]) == (rows, len(attempt))
        assert "never quoted" not in json.dumps(entry)
    TOLD.clear()
    await full.ask("select count(*) from events", "root-key")
    assert (await full.post("select * from content", "viewer-key")).status_code == 403
    assert TOLD == []


async def test_without_the_audit_content_is_not_read(full: Sql) -> None:
    async def away(_: Sequence[Mapping[str, Any]]) -> None:
        raise RetryableError("Kafka is away")

    async with serving(full.database, door=Door(KEYS.get, ROLES.get, away)) as sql:
        for statement in ("select text from content", "select text::date from content", "select error from rejected"):
            answer = await sql.post(statement, "root-key")
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
            assert answer.json()["error"] == {
                "code": "unavailable",
                "message": "content cannot be read now: every read is written to the audit, and the audit cannot be "
                "written; try again in a moment",
            }
        assert (await sql.post("select * from events", "root-key")).status_code == 200


async def test_the_store_is_as_before(full: Sql) -> None:
    assert await full.ask("select count(*) as n, count(distinct actor) as a from audit", "root-key") == [
        {"n": 3, "a": 3}
    ]
