"""What analysts ask, with the answers."""

import re
from typing import Any

import pytest

from tests.sinks.query.conftest import Sql
from tests.sinks.query.samples import T0

pytestmark = pytest.mark.asyncio(loop_scope="session")

QUESTIONS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "group by": (
        "select model, count(*) n, sum(cost_usd_micros) micros from events group by model order by n desc, model",
        [{"model": "haiku", "n": 7, "micros": 300_000}, {"model": "opus", "n": 3, "micros": 150_000}],
    ),
    "group by all": (
        "select event_name, count(*) as n from events group by all order by all",
        [{"event_name": "api_request", "n": 5}, {"event_name": "tool_result", "n": 5}],
    ),
    "date_trunc": (
        "select date_trunc('day', event_time) as day, round(sum(cost_usd), 6) as cost from events group by 1",
        [{"day": "2026-09-21T00:00:00.000000Z", "cost": 0.45}],
    ),
    "map by key": (
        "select session_id, event_counts['api_request'] as n from sessions order by session_id",
        [{"session_id": "acme-session-1", "n": 1}, {"session_id": "acme-session-2", "n": 3}],
    ),
    "map entries": (
        "select e.key as event, sum(e.value) as n from (select unnest(map_entries(event_counts)) as e from sessions) "
        "group by 1 order by 1",
        [{"event": "api_request", "n": 4}, {"event": "user_prompt", "n": 1}],
    ),
    "lateral unnest": (
        "select u.key, u.value from sessions, unnest(map_entries(event_counts)) as t(u) where session_id like '%2' "
        "order by 1",
        [{"key": "api_request", "value": 3}, {"key": "user_prompt", "value": 1}],
    ),
    "window": (
        "select event_sequence, row_number() over (partition by model order by event_time desc) as nth, "
        "lag(event_sequence) over (order by event_time) as before from events qualify nth = 1 order by 1",
        [{"event_sequence": 8, "nth": 1, "before": 7}, {"event_sequence": 9, "nth": 1, "before": 8}],
    ),
    "cte": (
        "with costly as (select * from events where cost_usd > 0.05), per as (select model, count(*) n from costly "
        "group by 1) select * from per order by n desc, model",
        [{"model": "haiku", "n": 3}, {"model": "opus", "n": 1}],
    ),
    "recursive cte": (
        "with recursive n(x) as (select 1 union all select x + 1 from n where x < 5) select sum(x) as s from n",
        [{"s": 15}],
    ),
    "filter": (
        "select count(*) filter (where success) as ok, count(*) filter (where not success) as failed from events",
        [{"ok": 3, "failed": 2}],
    ),
    "percentile": (
        "select quantile_cont(duration_ms, 0.5) as median, approx_quantile(duration_ms, 0.9) > 700 as tail from events",
        [{"median": 450.0, "tail": True}],
    ),
    "join": (
        "select count(*) as n, count(distinct s.session_id) as sessions from events e join sessions s "
        "using (tenant, session_id)",
        [{"n": 4, "sessions": 2}],
    ),
    "people": (
        "select p.user_email, count(*) as n from events e join people p using (tenant, user_key) group by 1",
        [{"user_email": "someone@acme.example", "n": 10}],
    ),
    "json": (
        "select attributes_json['nested']->>'$.deep[1]' as second, "
        "json_array_length(attributes_json['nested'], '$.deep') as n from events limit 1",
        [{"second": "2", "n": 3}],
    ),
    "arrow without parentheses": (
        "select (attributes_json['nested']->'$.deep'->>0)::int as first from events limit 1",
        [{"first": 1}],
    ),
    "arrays": (
        "select workspace_host_paths[1] as a, len(workspace_host_paths) as n, list_contains(workspace_host_paths, 'b')"
        " as b from events limit 1",
        [{"a": "a", "n": 2, "b": True}],
    ),
    "list comprehension": (
        "select [x || '!' for x in workspace_host_paths if x <> 'a'] as l from events limit 1",
        [{"l": ["b!"]}],
    ),
    "lambdas": (
        "select list_transform([1, 2], x -> x + 1) as old, list_filter([1, 2], lambda x: x > 1) as new",
        [{"old": [2, 3], "new": [2]}],
    ),
    "subqueries": (
        "select (select max(cost_usd) from events) as top, count(*) as n from events e where exists "
        "(select 1 from sessions s where s.session_id = e.session_id)",
        [{"top": 0.09, "n": 4}],
    ),
    "set operation": (
        "select 'events' as t, count(*) as n from events union all select 'spans', count(*) from spans order by 1",
        [{"t": "events", "n": 10}, {"t": "spans", "n": 3}],
    ),
    "time arithmetic": (
        "select count(*) as n from events where event_time >= timestamptz '2026-09-21 14:13:20+00' + interval 5 second",
        [{"n": 5}],
    ),
    "time zone": (
        "select strftime(event_time at time zone 'Europe/Berlin', '%H:%M') as local from events "
        "order by event_time limit 1",
        [{"local": "16:13"}],
    ),
    "time bucket": (
        "select time_bucket(interval '5 seconds', event_time) as t, count(*) as n from events group by 1 order by 1",
        [{"t": "2026-09-21T14:13:20.000000Z", "n": 5}, {"t": "2026-09-21T14:13:25.000000Z", "n": 5}],
    ),
    "case and grouping sets": (
        "select case when grouping(model) = 1 then 'all' else model end as model, count(*) as n from events "
        "group by rollup (model) order by n desc, 1",
        [{"model": "all", "n": 10}, {"model": "haiku", "n": 7}, {"model": "opus", "n": 3}],
    ),
    "columns by pattern": (
        "select sum(columns('^(input|output)_tokens$')) from events",
        [{"input_tokens": 45, "output_tokens": None}],
    ),
    "values": (
        "select v.model, count(e.event_id) as n from (values ('opus'), ('sonnet')) v(model) left join events e "
        "on e.model = v.model group by 1 order by 1",
        [{"model": "opus", "n": 3}, {"model": "sonnet", "n": 0}],
    ),
    "regular expressions": (
        "select regexp_extract(command_line, '(\\d+)$', 1)::int as n from events where command_line similar to '.*-9'",
        [{"n": 9}],
    ),
    "timeline of a session": (
        "select event_time, event_name from events where session_id = 'acme-session-2' order by event_time, "
        "event_sequence limit 1",
        [{"event_time": "2026-09-21T14:13:22.000000Z", "event_name": "tool_result"}],
    ),
    "asof join": (
        "select count(*) as n from events e asof join spans s on e.tenant = s.tenant and e.event_time >= s.start_time",
        [{"n": 10}],
    ),
    "interval": (
        "select max(event_time) - min(event_time) as span, avg(last_time - start_time) as wall from events, "
        "(select last_time, start_time from sessions limit 1)",
        [{"span": "00:00:09.000000", "wall": "00:01:00.000000"}],
    ),
    "padding": ("select lpad('7', 3, '0') as a, format('{:>5}', 'x') as b", [{"a": "007", "b": "    x"}]),
}


@pytest.mark.parametrize("question", QUESTIONS)
async def test_what_analysts_write_is_answered(sql: Sql, question: str) -> None:
    text, expected = QUESTIONS[question]
    assert await sql.ask(text) == expected


async def test_comments_and_a_last_semicolon_are_fine(sql: Sql) -> None:
    assert await sql.ask("-- how many\nselect /* all */ count(*) as n from events; -- done") == [{"n": 10}]


async def test_names_are_found_whatever_their_case(sql: Sql) -> None:
    assert await sql.ask('select count(*) as n from EVENTS join "Sessions" using (tenant, session_id)') == [{"n": 4}]


async def test_every_name_can_be_read_whole(sql: Sql) -> None:
    for name in ("events", "metrics", "spans", "sessions", "session_hours", "user_hours", "user_days", "people"):
        found = await sql.ask(f"select * from {name}")
        assert found
        assert {row["tenant"] for row in found} == {"acme"}
    for name in ("content", "rejected"):
        assert {row["tenant"] for row in await sql.ask(f"from {name}", "admin-key")} == {"acme", "globex", "o'hare"}


async def test_values_come_as_json_has_them(sql: Sql) -> None:
    [row] = await sql.ask("""
        select timestamptz '2026-01-02 03:04:05.678+00' as z, timestamp '2026-01-02 03:04:05' as naive,
            date '2026-01-02' as d, time '03:04:05' as t, 1.5::decimal(9, 2) as money, 7::decimal(9, 0) as whole,
            'nan'::double as nan, 'inf'::double as inf, null as nothing, map {'a': 1.5} as m, map {1: 'x'} as by_number,
            {'a': [1, 2]} as s, 170141183460469231731687303715884105727::hugeint as huge, 'ab'::blob as b,
            interval '1 day 2 hours' as i, 'ü"' as text, true as yes, uuid '00000000-0000-0000-0000-000000000001' as u
    """)
    assert row == {
        "z": "2026-01-02T03:04:05.678000Z",
        "naive": "2026-01-02T03:04:05.000000",
        "d": "2026-01-02",
        "t": "03:04:05.000000",
        "money": 1.5,
        "whole": 7,
        "nan": None,
        "inf": None,
        "nothing": None,
        "m": {"a": 1.5},
        "by_number": {"1": "x"},
        "s": {"a": [1, 2]},
        "huge": 170141183460469231731687303715884105727,
        "b": "YWI=",
        "i": "1 days 02:00:00.000000",
        "text": 'ü"',
        "yes": True,
        "u": "00000000-0000-0000-0000-000000000001",
    }


async def test_columns_and_rows_are_lists(sql: Sql) -> None:
    answer = await sql.post("select 1 as a, 2 as a, 'x' as b")
    assert answer.headers["content-type"] == "application/json"
    said = answer.json()
    assert said.pop("version")
    assert re.fullmatch(r"query;dur=\d+", answer.headers["server-timing"])
    assert said == {"columns": ["a", "a", "b"], "rows": [[1, 2, "x"]], "truncated": False}


async def test_pseudo_sessions_and_empty_windows_are_not_shown(sql: Sql) -> None:
    assert await sql.ask("select count(*) as n from sessions") == [{"n": 2}]
    assert await sql.ask("select user_key from user_hours") == [{"user_key": "acme-user-1"}]
    assert [set(row) & {"grain", "is_empty", "kafka_key"} for row in await sql.ask("from user_hours")] == [set()]


async def test_the_event_time_is_the_one_that_was_sent(sql: Sql) -> None:
    [row] = await sql.ask("select epoch_us(min(event_time)) as t from events")
    assert row == {"t": T0}
