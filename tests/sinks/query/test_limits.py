"""Time, memory, rows, bytes and places: a query stays inside of them, and the writer does not notice."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from sinks.query.database import Database, Resources
from sinks.query.metrics import QueryMetrics
from sinks.query.runner import Limits
from sinks.query.store import QueryStore
from tests.sinks.query import samples
from tests.sinks.query.conftest import RESOURCES, Sql, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROWS = 60_000
ENDLESS = "with recursive t(x) as (select 1 union all select x + 1 from t) select count(*) from t"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def store(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[QueryStore]:
    """Many rows, made inside of DuckDB."""
    database = Database(tmp_path_factory.mktemp("limits") / "query", Resources(memory_mb=256, temp_mb=16, threads=2))
    store = QueryStore(database)
    await store.open(samples.IDENTITY)
    cursor = database.cursor()
    cursor.execute(
        "insert into _events.raw.events by name select 'e' || i as event_id, 'acme' as tenant, 'x' as event_name, "
        f"make_timestamptz({samples.T0} + i) as event_time, i as event_sequence, md5(i::varchar) as session_id, "
        f"repeat(md5(i::varchar), 20) as command_line from range({ROWS}) as t(i)"
    )
    cursor.close()
    yield store
    await store.close()


@pytest.fixture
def database(store: QueryStore) -> Database:
    return store._database


async def test_the_default_number_of_rows_and_the_askers(database: Database) -> None:
    async with serving(database, Limits(rows=5, rows_max=20)) as sql:
        for limit, shown in ((None, 5), (7, 7), (20, 20), (1000, 20), (0, 0)):
            answer = (await sql.post("select event_sequence from events order by 1", limit=limit)).json()
            assert [row[0] for row in answer["rows"]] == list(range(shown))
            assert answer["truncated"] is True
        exact = (await sql.post("select * from events order by event_id limit 5")).json()
        assert (len(exact["rows"]), exact["truncated"]) == (5, False)


async def test_who_counts_what_is_distinct_in_a_large_store_is_answered(database: Database) -> None:
    """DuckDB makes a join of it, whose rows it guesses as the product of both sides: no query that runs away."""
    async with serving(database) as sql:
        counted = "count(distinct session_id), count(distinct event_id), max(event_sequence)"
        answer = (await sql.post(f"select tenant, {counted} from events group by 1")).json()
        assert answer["rows"] == [["acme", ROWS, ROWS, ROWS - 1]]


async def test_many_rows_come_in_their_order(database: Database) -> None:
    async with serving(database) as sql:
        answer = (await sql.post("select event_sequence from events order by 1", limit=ROWS)).json()
        assert [row[0] for row in answer["rows"]] == list(range(ROWS))
        assert answer["truncated"] is False


async def test_bytes_are_bounded_whatever_the_rows(database: Database) -> None:
    async with serving(database, Limits(rows=ROWS, bytes_max=2_000_000)) as sql:
        response = await sql.post("select command_line from events")
        assert len(response.content) < 3_000_000
        assert response.json()["truncated"] is True


@pytest.mark.parametrize(
    "statement",
    [
        ENDLESS,
        "select count(*) from events a join events b on a.tenant = b.tenant and a.event_id < b.event_id",
        "with recursive t(x) as (select 1 union all select x + 1 from t) select x from t",
        "select sum(length(sha256(a.command_line || b.event_id))) from events a join events b using (tenant) "
        "where a.event_sequence < 1000",
    ],
)
async def test_a_query_ends_at_its_time(database: Database, statement: str) -> None:
    async with serving(database, Limits(seconds=1.0)) as sql:
        began = time.monotonic()
        error = await sql.error(statement, limit=1_000_000)
        assert error == {"code": "time_limit", "message": "the query took longer than 1 s"}
        assert time.monotonic() - began < 15
        assert await sql.ask("select 1 as one") == [{"one": 1}]


async def test_a_client_that_leaves_frees_its_place(database: Database) -> None:
    metrics = QueryMetrics()
    async with serving(database, Limits(running=1, seconds=60), metrics) as sql:
        with pytest.raises(httpx.ReadTimeout):
            await sql.http.post(
                f"{sql.base}/sql", json={"sql": ENDLESS}, headers={"X-API-KEY": "acme-key"}, timeout=0.5
            )
        began = time.monotonic()
        assert await sql.ask("select 1 as one") == [{"one": 1}]
        assert time.monotonic() - began < 15
        assert metrics.value("sinks_query_requests_total", outcome="cancelled") == 1
        assert metrics.value("sinks_query_requests_total", outcome="ok") == 1
        assert metrics.value("sinks_query_running") == 0


async def test_what_waits_too_long_or_in_too_great_a_number_is_refused(database: Database) -> None:
    async with serving(database, Limits(running=1, waiting=1, seconds=2.0)) as sql:
        answers = await asyncio.gather(*(sql.post(ENDLESS) for _ in range(3)))
        codes = sorted(answer.json()["error"]["code"] for answer in answers)
        assert codes[0] == "busy"
        assert set(codes) <= {"busy", "time_limit"}
        refused = next(answer for answer in answers if answer.status_code == 503)
        assert refused.headers["retry-after"] == "1"


async def test_one_who_asks_much_does_not_keep_another_waiting(database: Database) -> None:
    metrics = QueryMetrics()
    async with serving(database, Limits(running=2, seconds=60), metrics) as sql:
        slow = [asyncio.create_task(sql.post(ENDLESS)) for _ in range(20)]
        async with asyncio.timeout(30):
            while metrics.value("sinks_query_waiting") < 19:
                await asyncio.sleep(0.01)
        for _ in range(3):
            assert await sql.ask("select 1 as one", "globex-key") == [{"one": 1}]
        assert not any(one.done() for one in slow)
        for one in slow:
            one.cancel()
        await asyncio.gather(*slow, return_exceptions=True)


async def test_who_leaves_while_waiting_leaves_the_queue(database: Database) -> None:
    metrics = QueryMetrics()

    async def until(waiting: int) -> None:
        async with asyncio.timeout(30):
            while metrics.value("sinks_query_waiting") != waiting:
                await asyncio.sleep(0.01)

    async with serving(database, Limits(running=1, seconds=60), metrics) as sql:
        first = asyncio.create_task(sql.post(ENDLESS))
        leaving = [asyncio.create_task(sql.post("select 1 as one")) for _ in range(5)]
        await until(5)
        for one in leaving:
            one.cancel()
        await until(0)
        assert metrics.value("sinks_query_running") == 1
        assert not first.done()
        assert metrics.value("sinks_query_requests_total", outcome="cancelled") == 5
        first.cancel()
        await asyncio.gather(first, *leaving, return_exceptions=True)


async def test_closing_interrupts_what_runs(database: Database) -> None:
    began = time.monotonic()
    async with serving(database, Limits(seconds=60)) as sql:
        running = asyncio.create_task(sql.post(ENDLESS))
        await asyncio.sleep(0.3)
        await sql.service.close()
        answer = (await asyncio.gather(running, return_exceptions=True))[0]
        assert isinstance(answer, httpx.HTTPError) or answer.json()["error"]["code"] == "cancelled"
    assert time.monotonic() - began < 20


async def test_memory_is_bounded_and_the_writer_goes_on(store: QueryStore, database: Database) -> None:
    async with serving(database) as sql:
        error = await sql.error(
            "select length(string_agg(a.command_line || b.n)) as n from events a, "
            "(values (1), (2), (3), (4), (5), (6), (7), (8)) b(n)"
        )
        assert error["code"] == "memory_limit"
        await store.write([samples.batch("spans", [samples.span(1)])])
        assert await sql.ask("select count(*) as n from spans") == [{"n": 1}]


async def test_memory_that_duckdb_does_not_count_is_bounded_too(store: QueryStore, database: Database) -> None:
    # Texts that grow inside of one expression are not part of DuckDB's memory_limit: this one would take gigabytes.
    async with serving(database, Limits(seconds=60, uncounted_mb=300)) as sql:
        error = await sql.error(
            "select max(length(replace(replace(command_line, 'a', command_line), 'b', command_line))) from events"
        )
        assert error["code"] == "memory_limit"
        assert await sql.ask("select count(*) as n from events where event_id = 'e7'") == [{"n": 1}]


@pytest.mark.parametrize(
    "statement",
    [
        "select count(*) from events a, events b",
        "select count(*) from events a cross join events b",
        "select count(*) from events a join events b on a.event_time < b.event_time",
        "select count(*) from events a join events b on a.event_sequence between b.event_sequence and "
        "b.event_sequence + a.event_sequence",
        "select count(*) from events a join events b on a.event_id <> b.event_id",
        "select count(*) from events a left join events b on a.command_line like '%' || b.event_id || '%'",
        "select (select count(*) from events b where b.event_time < a.event_time) from events a",
    ],
)
async def test_a_join_of_everything_with_everything_is_refused_by_its_plan(database: Database, statement: str) -> None:
    async with serving(database) as sql:
        error = await sql.error(statement)
        assert error["code"] == "too_expensive"
        assert "join on an equality" in error["message"]


async def test_a_join_with_a_few_rows_is_not(database: Database) -> None:
    async with serving(database) as sql:
        found = await sql.ask(
            "select b.n, count(*) as c from events a join (values (10), (100)) b(n) on a.event_sequence < b.n "
            "group by 1 order by 1"
        )
        assert found == [{"n": 10, "c": 10}, {"n": 100, "c": 100}]


async def test_queries_see_one_snapshot_while_the_writer_writes(tmp_path: Path) -> None:
    database = Database(tmp_path / "query", RESOURCES)
    store = QueryStore(database)
    await store.open(samples.IDENTITY)

    async def write() -> None:
        for number in range(20):
            # One transaction: ten events and the session that counts them.
            await store.write(
                [
                    samples.batch(
                        "events",
                        [samples.event(10 * number + i, session_id="acme-session-1") for i in range(10)],
                        first_offset=10 * number,
                    ),
                    samples.batch("sessions", [samples.session(1, number + 1)], first_offset=number),
                ]
            )

    async def read(sql: Sql) -> int:
        answered = 0
        while not writing.done():
            [row] = await sql.ask(
                "select count(*) as events, (select 10 * max(version) from sessions) as counted from events"
            )
            assert row["events"] == (row["counted"] or 0)
            answered += 1
        return answered

    async with serving(database) as sql:
        writing = asyncio.create_task(write())
        answered = await asyncio.gather(read(sql), read(sql))
        await writing
        assert sum(answered) >= 4
        assert await sql.ask("select count(*) as n from events") == [{"n": 200}]
    await store.close()
