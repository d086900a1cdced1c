"""Attempts of one tenant's key to see what is not its own. Every one is refused, or answers with nothing hidden."""

import pytest

from service.sql import literal
from tests.sinks.query.conftest import Sql

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Parts of every hidden value: other tenants, and text of class content.
HIDDEN = ("globex", "hare", "secret")

ATTACKS = """
    select * from raw.events
    select * from _events.raw.events
    select * from "_events"."raw"."events"
    select * from main.events
    select * from temp.events
    select * from memory.main.events
    select sum(cost_usd) from _events.raw.events
    select * from _content.raw.content
    select * from raw.offsets
    with events as (select * from raw.events) select * from events
    with events as (select 1 as tenant) select * from events
    with raw as (select 1) select * from raw.events
    with x as (select * from _events.raw.events) select * from x
    with x as materialized (from _events.raw.events) select count(*) from x
    with recursive x as (select * from raw.events union all select * from x) select * from x
    with recursive t using key (a) as (select 1 as a union select a from recurring.t) select * from t
    with duckdb_tables as (select 1) select * from duckdb_tables
    with pg_tables as (select 1) select * from pg_tables
    select * from (with sqlite_master as (select 1) select 1), sqlite_master
    select (with inner_one as (select 1) select 1), * from inner_one
    select * from events, lateral (select * from _events.raw.events) x
    select * from events e, lateral (select e.tenant, r.* from raw.events r) x
    select (select string_agg(tenant, ',') from _events.raw.events)
    select * from events where exists (select 1 from raw.events)
    select * from events order by (select max(tenant) from raw.events)
    select 1 limit (select count(*) from raw.events)
    select * from events limit 1 offset (select count(*) from raw.events)
    values ((select max(tenant) from raw.events))
    select * from query('select * from _events.raw.events')
    select * from query_table('_events.raw.events')
    select * from query_table(['events', '_events.raw.events'])
    select * from json_execute_serialized_sql(json_serialize_sql('select * from _events.raw.events'))
    select json_serialize_sql('select 1')
    select json_serialize_plan('select * from _events.raw.events')
    select json_deserialize_sql('{}')
    select * from read_blob('{folder}/events.duckdb')
    select * from read_blob('{folder}/content.duckdb')
    select * from read_text('{folder}/content.duckdb.wal')
    select * from read_text('/etc/passwd')
    select * from read_csv('/etc/passwd')
    select * from read_parquet('{folder}/*')
    select * from read_json('{folder}/*')
    select * from read_duckdb('{folder}/events.duckdb')
    select * from '{folder}/events.duckdb'
    select * from "{folder}/content.duckdb"
    select * from '/etc/passwd'
    select * from glob('{folder}/*')
    select * from sniff_csv('/etc/passwd')
    select * from parquet_metadata('{folder}/x')
    select * from seq_scan('_events.raw.events')
    select * from arrow_scan(1, 2, 3)
    select * from python_map_function(1)
    select * from summary((select * from events))
    attach '{folder}/content.duckdb' as x
    attach ':memory:' as x
    detach _events
    use _events
    use _events.raw
    set schema '_events.raw'
    set search_path = '_events.raw'
    set enable_external_access = true
    set lock_configuration = false
    set variable x = (select max(tenant) from raw.events)
    reset memory_limit
    select current_setting('temp_directory')
    select getvariable('x')
    select getenv('HOME')
    select current_query()
    select current_database()
    select current_schemas(true)
    select current_user
    select in_search_path('_events', 'raw')
    select txid_current()
    select * from duckdb_tables()
    select * from duckdb_views()
    select * from duckdb_columns()
    select * from duckdb_schemas()
    select * from duckdb_databases()
    select * from duckdb_settings()
    select * from duckdb_functions()
    select * from duckdb_secrets()
    select * from duckdb_temporary_files()
    select * from duckdb_memory()
    select * from duckdb_logs
    select * from duckdb_logs()
    select * from duckdb_tables
    select * from information_schema.tables
    select * from information_schema.columns
    select * from pg_catalog.pg_tables
    select * from pg_catalog.pg_class
    select * from pg_views
    select * from sqlite_master
    select * from sqlite_schema
    select * from pragma_table_info('_events.raw.events')
    select * from pragma_storage_info('_events.raw.events')
    select * from pragma_show('events')
    select * from pragma_database_size()
    select pg_get_viewdef(1)
    select stats(tenant) from events
    select vector_type(tenant) from events
    pivot events on tenant
    pivot _events.raw.events on tenant using count(*)
    select * from (pivot _events.raw.events on tenant in ('globex') using count(*))
    select * from (pivot events on model in ('opus') using count(*))
    unpivot events on tenant
    select * from events unpivot (v for n in (tenant, model))
    summarize events
    summarize _events.raw.events
    select * from (summarize _events.raw.events)
    describe events
    describe _events.raw.events
    select * from (describe events)
    show tables
    show all tables
    show databases
    select * from (show all tables)
    explain select * from _events.raw.events
    explain analyze select * from events
    copy (select * from _events.raw.events) to '/tmp/x.csv'
    copy _events.raw.events to '/tmp/x.csv'
    copy events from '/etc/passwd'
    copy from database _events to x
    export database '/tmp/x'
    import database '/tmp/x'
    create temp view v as select * from _events.raw.events
    create or replace temp view events as select * from _events.raw.events
    create table x as select * from _events.raw.events
    create macro f() as table select * from _events.raw.events
    create macro f() as (select max(tenant) from _events.raw.events)
    create function f() as (select 1)
    create type x as enum (select tenant from _events.raw.events)
    insert into _events.raw.events (tenant) values ('acme')
    with x as (insert into _events.raw.events (tenant) values ('acme') returning tenant) select * from x
    with x as (delete from _events.raw.events returning *) select * from x
    with x as (update _events.raw.events set tenant = 'acme' returning *) select * from x
    update _events.raw.events set tenant = 'acme'
    delete from _events.raw.events
    merge into _events.raw.events using events on false when not matched then insert
    truncate _events.raw.events
    drop view events
    drop table _events.raw.events
    alter table _events.raw.events add column x int
    prepare x as select * from _events.raw.events
    execute x
    deallocate x
    call duckdb_tables()
    call pragma_version()
    pragma database_list
    pragma show_tables
    pragma table_info('_events.raw.events')
    checkpoint
    force checkpoint _events
    vacuum
    analyze
    begin transaction
    commit
    rollback
    load httpfs
    install httpfs
    select 1; select * from _events.raw.events
    select 1; drop table _events.raw.events
    select * from events at (version => 1)
    select * from _events.raw.events at (timestamp => now())
    table _events.raw.events
    from _events.raw.events
    from _events.raw.events select tenant
    select _events.raw.events.tenant from _events.raw.events
    select rowid from events
    select kafka_key from sessions
    select is_empty from user_hours
    select ?
    select $1
    select $name
    select events.query('x') from events
    select main.count(*) from events
    select system.main.count(*) from events
    select x::_events.raw.thing from (select 1 as x)
    select list_transform([1], x -> (select max(tenant) from raw.events))
    select apply([1], lambda x: (select max(tenant) from _events.raw.events))
    select * from events union all select * from _events.raw.events
    select * from events union all by name select * from raw.events
    select * from events intersect select * from _events.raw.events
    select * from events positional join _events.raw.events
    select * from events asof join _events.raw.events r on events.event_time >= r.event_time
    select * from events semi join _events.raw.events using (model)
    select * from events natural join _events.raw.events
    select * from range(10)
    select * from generate_series(1, 10)
    select range(1000000000)
    select generate_series(1, 1000000000)
    select repeat('x', 2000000000)
    select list_resize([1], 1000000000)
    select lpad('x', 2000000000, 'y')
    select lpad('x', event_sequence::int, 'y') from events
    select ('x').lpad(2000000000, 'y')
    select lpad(string := 'x', count := 2000000000, pad := 'y')
    select rpad('x', 1000000 * 1000, 'y')
    select to_base(1, 2, 2000000000)
    select printf('%*d', 2000000000, 1)
    select levenshtein(command_line, command_line) from events
    select printf('%2000000000d', 1)
    select format('{:2000000000}', 1)
    select format('{:{}}', 1, 2000000000)
    select format(command_line, 1) from events
    select bar(1, 0, 1, 1e9)
    select sleep_ms(60000)
    select pg_sleep(60)
    select setseed(0.5)
    select nextval('x')
    select error('x')
    select write_log('x')
    select * from repeat(1, 10)
    select * from test_all_types()
    select * from unnest(range(10))
    select * from json_each('[1]')
    select * from which_secret('x', 'y')
    select * from checkpoint()
    select * from force_checkpoint()
    select * from enable_logging()
    select default
"""

# These may be asked: all they can show is the key's own.
HARMLESS = """
    select * from events where tenant = 'globex'
    select * from events where tenant <> 'acme' or true
    select count(*) from events where tenant in ('globex', 'acme') or 1 = 1
    select * from events e where e.tenant like '%'
    select * from (select * from events) where tenant is not null
    select events from events
    select e from events e
    select * exclude (tenant) from events
    select to_json(e) from events e
    select max(user_email), min(user_email) from events
    select * from people
    select tenant, count(*) from events group by rollup (tenant)
    select tenant from sessions union select tenant from spans union select tenant from metrics
    select first(tenant) over () from events
    select mode(tenant), list(distinct tenant), histogram(tenant) from events
    select * from events tablesample 100%
    with e as (select * from events) select * from e
    select columns(*) from user_days
    select prompt from events
    select * from session_hours full join user_hours using (tenant)
    select * from events e left join sessions s on s.tenant <> e.tenant
    select * from events where coalesce(tenant, 'x') not in ('acme')
    select * from events limit (select count(*) from events)
    select ',' || string_agg(tenant, ',') from events
"""


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("attempt", _lines(ATTACKS))
async def test_nothing_hidden_is_shown(sql: Sql, attempt: str) -> None:
    attempt = attempt.replace("{folder}", str(sql.database.folder))
    for key in ("acme-key", "acme-admin-key"):
        answer = await sql.post(attempt, key)
        assert answer.status_code in (400, 403), answer.text
        shown = answer.text.lower()
        for word in HIDDEN:
            assert word not in shown or word in attempt.lower()


@pytest.mark.parametrize("attempt", _lines(HARMLESS))
async def test_what_may_be_asked_shows_only_the_own(sql: Sql, attempt: str) -> None:
    answer = await sql.post(attempt)
    assert answer.status_code == 200, answer.text
    assert not [word for word in HIDDEN if word in answer.text.lower()]


async def test_the_store_is_as_before(sql: Sql) -> None:
    assert await sql.ask("select count(*) as n, count(distinct tenant) as t from events", "admin-key") == [
        {"n": 30, "t": 3}
    ]


@pytest.mark.parametrize(
    "attempt",
    [
        "select tenant::int from events",
        "select * from events where user_email::int = 1",
        "select 1 / (length(user_email) - length(user_email)) + user_email::double from events",
        "select strptime(command_line, '%Y') from events",
        "select json_extract(command_line, '$') from events",
        "select command_line::timestamptz from events",
        "select ('{' || command_line)::json from events",
        "select * from events a join events b on a.user_email::int = b.event_sequence",
    ],
)
async def test_a_failure_on_the_data_tells_no_value(sql: Sql, attempt: str) -> None:
    for key in ("acme-key", "acme-admin-key"):
        error = await sql.error(attempt, key)
        assert error["code"] == "runtime_error"
        assert not [word for word in (*HIDDEN, "acme", "command") if word in error["message"]]


@pytest.mark.parametrize("text", ["", "it's", "a''b", "--", "a\0b", "\0", "'\0'; drop table events; '", "\\", "é\n"])
async def test_a_literal_is_the_text_and_nothing_else(sql: Sql, text: str) -> None:
    assert await sql.ask(f"select {literal(text)} as text") == [{"text": text}]
    assert await sql.ask(f"select 1 as found where {literal(text)} = {literal(text)} and {literal('b')} < 'c'") == [
        {"found": 1}
    ]


async def test_a_condition_of_the_asker_sees_only_own_rows(sql: Sql) -> None:
    # Were it to run before the tenant's predicate, the other tenants' addresses would fail to convert.
    statement = "select count(*) as n from events where case when tenant = 'acme' then 1 else user_email::int end = 1"
    assert await sql.ask(statement) == [{"n": 10}]
    # A quote in a tenant's name stays inside of the literal.
    assert await sql.ask("select distinct tenant from events", "ohare-key") == [{"tenant": "o'hare"}]
