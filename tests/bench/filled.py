"""A query store filled to size, for benches of what reads it.

The rows are made by DuckDB inside of the store's own tables, with the columns that the client's events have, as the
sink would store them: events in about the order of their arrival, the aggregates as the sums of those events. Writing
ten million records through the topics would take an hour and give the same tables.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sinks.query import rows
from sinks.query.database import Database, Resources
from sinks.query.tables import TABLES, quoted

_FILLING = Resources(memory_mb=6144, temp_mb=20_000)
_RAW = "_events.raw"


@dataclass(frozen=True)
class Size:
    """How much to fill in.  sessions: at least so many that are no ghosts.  days: that it is spread over, until now."""

    sessions: int = 100_000
    events: int = 10_000_000
    users: int = 1_000
    days: int = 90


def fill(folder: Path, size: Size, now: datetime | None = None) -> dict[str, int]:
    """Fill the store of a folder, which must be a new one. Returns: rows by table."""
    database = Database(folder, _FILLING)
    database.open("bench")
    cursor = database.cursor()
    try:
        cursor.execute("SELECT setseed(0.42)")
        end = (now or datetime.now(UTC)).replace(minute=0, second=0, microsecond=0)
        _plan(cursor, size, end)
        began = time.monotonic()
        for day in range(-1, size.days):
            _events(cursor, end - timedelta(days=size.days - day))
            if day % 10 == 9:
                print(f"  {day + 1} of {size.days} days, {time.monotonic() - began:.0f} s", flush=True)
        _hours(cursor)
        _sessions(cursor)
        _windows(cursor)
        _people(cursor)
        names = ("events", "sessions", "session_hours", "user_hours", "user_days", "people")
        return {name: cursor.execute(f"SELECT count(*) FROM {_RAW}.{name}").fetchone()[0] for name in names}
    finally:
        cursor.close()
        database.close()


def _uuid(text: str) -> str:
    digest = f"md5({text})"
    return "||'-'||".join(f"substr({digest}, {at}, {n})" for at, n in ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12)))


def _plan(cursor: Any, size: Size, end: datetime) -> None:
    """Who has which session when: few people have most, at daytime, five days a week."""
    cursor.execute(f"""
        CREATE TEMP TABLE who AS
        SELECT u, CASE WHEN u % 10 = 9 THEN 'other' ELSE 'local' END AS tenant, md5('user' || u) AS user_key,
               'user' || u || '@example.com' AS user_email, {_uuid("'account' || u")} AS user_account_uuid,
               'team-' || (u % 23) AS team, 'department-' || (u % 23 % 5) AS department,
               'cc-' || (u % 23 % 8) AS cost_center,
               ['linux', 'darwin', 'windows'][1 + u % 3] AS os_type,
               ['iTerm.app', 'vscode', 'xterm-256color', 'tmux'][1 + u % 4] AS terminal_type
        FROM range({size.users}) t(u)""")
    cursor.execute(f"""
        CREATE TEMP TABLE raw_plan AS
        SELECT s, floor(pow(random(), 1.8) * {size.users})::INT AS u, random() AS r_day, random() AS r_hour,
               random() AS r_ghost, random() AS r_model, random() AS r_version, random() AS r_entry,
               exp(4.1 + sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random())) AS weight
        FROM range({size.sessions * 104 // 100}) t(s)""")
    cursor.execute(f"""
        CREATE TEMP TABLE plan AS
        WITH timed AS (
            SELECT *, floor(r_day * {size.days})::INT AS day,
                   (8 + 10 * (r_hour + random()) / 2) * 3600 + random() * 3600 AS second,
                   r_ghost < 0.03 AS ghost
            FROM raw_plan),
        weekdays AS (
            SELECT * REPLACE (CASE WHEN isodow(TIMESTAMPTZ '{end.isoformat()}' - to_days({size.days} - day)) > 5
                      AND s % 5 > 0 THEN greatest(0, day - 2 - s % 3) ELSE day END AS day) FROM timed)
        SELECT s, w.*, day, {_uuid("'session' || s")} AS session_id, ghost,
               TIMESTAMPTZ '{end.isoformat()}' - to_days({size.days} - day) + to_milliseconds((second * 1000)::BIGINT
                   - {end.hour * 3_600_000}) AS began,
               CASE WHEN ghost THEN 3 ELSE
                   greatest(5, round(weight * {size.events * 1.045} / sum(weight) OVER ()))::INT END AS n,
               5 + 40 * random() AS step_s,
               ['claude-sonnet-4-6', 'claude-opus-4-6', 'claude-haiku-4-5', 'claude-opus-4-5'][
                   CASE WHEN r_model < .55 THEN 1 WHEN r_model < .85 THEN 2 WHEN r_model < .95 THEN 3 ELSE 4 END
               ] AS main_model,
               '2.1.' || (180 + day // 6 + floor(r_version * 4)::INT) AS version,
               ['cli', 'claude-vscode', 'sdk-cli', 'sdk-ts'][
                   CASE WHEN r_entry < .7 THEN 1 WHEN r_entry < .9 THEN 2 WHEN r_entry < .96 THEN 3 ELSE 4 END
               ] AS entrypoint
        FROM weekdays p JOIN who w USING (u)""")
    cursor.execute("DROP TABLE raw_plan")


def _events(cursor: Any, day: datetime) -> None:
    """Events of the sessions that begin on a day, in the order of time."""
    tools = "['Bash', 'Read', 'Edit', 'Grep', 'Write', 'WebFetch', 'Glob', 'Task', 'mcp_tool', 'TodoWrite']"
    cursor.execute(f"""
        CREATE OR REPLACE TEMP TABLE today AS
        WITH each AS (
            SELECT p.*, i, random() AS r, random() AS q,
                   began + to_milliseconds((i * step_s * 1000 + random() * 900)::BIGINT) AS happened
            FROM (FROM plan WHERE began >= TIMESTAMPTZ '{day.isoformat()}'
                  AND began < TIMESTAMPTZ '{(day + timedelta(days=1)).isoformat()}') p, unnest(range(n)) t(i)),
        named AS (
            SELECT *, CASE WHEN ghost THEN 'hook_registered' WHEN i = 0 THEN 'user_prompt'
                           WHEN r < .27 THEN 'api_request' WHEN r < .49 THEN 'assistant_response'
                           WHEN r < .69 THEN 'tool_decision' WHEN r < .89 THEN 'tool_result'
                           WHEN r < .95 THEN 'user_prompt' WHEN r < .97 THEN 'hook_execution_complete'
                           WHEN r < .985 THEN 'mcp_server_connection' WHEN r < .99 THEN 'api_error'
                           WHEN r < .992 THEN 'api_refusal' WHEN r < .995 THEN 'compaction'
                           ELSE 'subagent_completed' END AS event_name
            FROM each)
        SELECT * EXCLUDE (r, q), random() AS r, q,
               event_name = 'api_request' AS is_request, event_name IN ('tool_decision', 'tool_result') AS is_tool,
               {tools}[1 + floor(pow(q, 2.2) * 10)::INT] AS tool,
               CASE WHEN q < .15 THEN 'claude-haiku-4-5' ELSE main_model END AS its_model
        FROM named""")
    micros = "(2000 + pow(r, 4) * 300000)::BIGINT"
    values = {
        "event_id": _uuid("session_id || i"),
        "tenant": "tenant",
        "event_name": "event_name",
        "event_time": "happened",
        "received_time": "happened + to_milliseconds(500 + (q * 5000)::BIGINT)",
        "session_id": "session_id",
        "user_key": "user_key",
        "event_sequence": "i",
        "clock_suspect": "false",
        "route": "'hot'",
        "user_id": "md5(user_email || 'id') || md5(user_email)",
        "user_email": "user_email",
        "user_account_uuid": "user_account_uuid",
        "organization_id": "md5(tenant)",
        "team": "team",
        "department": "department",
        "cost_center": "cost_center",
        "service_name": "'claude-code'",
        "service_version": "version",
        "app_version": "version",
        "app_entrypoint": "entrypoint",
        "terminal_type": "terminal_type",
        "prompt_id": _uuid("session_id || i // 16"),
        "model": "CASE WHEN is_request OR event_name IN ('assistant_response', 'api_error', 'api_refusal') "
        "THEN its_model END",
        "cost_usd": f"CASE WHEN is_request THEN {micros} / 1e6 END",
        "cost_usd_micros": f"CASE WHEN is_request THEN {micros} END",
        "input_tokens": "CASE WHEN is_request THEN (r * 4000)::BIGINT END",
        "output_tokens": "CASE WHEN is_request THEN (pow(q, 3) * 4000)::BIGINT END",
        "cache_read_tokens": "CASE WHEN is_request THEN (r * 120000)::BIGINT END",
        "cache_creation_tokens": "CASE WHEN is_request THEN (q * 9000)::BIGINT END",
        "duration_ms": "CASE WHEN is_request OR event_name = 'tool_result' THEN (100 + pow(r, 3) * 30000)::BIGINT END",
        "request_id": f"CASE WHEN is_request THEN 'req_' || substr({_uuid('session_id || i')}, 1, 20) END",
        "query_source": "CASE WHEN is_request THEN 'repl_main_thread' END",
        "speed": "CASE WHEN is_request THEN 'normal' END",
        "ttft_ms": "CASE WHEN is_request THEN (300 + r * 3000)::BIGINT END",
        "tool_name": "CASE WHEN is_tool THEN tool END",
        "tool_use_id": f"CASE WHEN is_tool THEN 'toolu_' || substr({_uuid('session_id || i')}, 1, 22) END",
        "success": "CASE WHEN event_name = 'tool_result' THEN r > 0.07 END",
        "decision": "CASE WHEN event_name = 'tool_decision' THEN if(r > 0.06, 'accept', 'reject') END",
        "source": "CASE WHEN event_name = 'tool_decision' THEN CASE WHEN r < 0.06 THEN 'user_reject' "
        "WHEN r < .7 THEN 'config' WHEN r < .9 THEN 'user_temporary' ELSE 'user_permanent' END END",
        "status_code": "CASE WHEN event_name = 'api_error' THEN CASE WHEN r < .6 THEN 529 ELSE 500 END END",
        "command_line": "CASE WHEN event_name = 'tool_result' AND tool = 'Bash' THEN 'make check ' || i % 50 END",
        "prompt_length": "CASE WHEN event_name = 'user_prompt' THEN (r * 900)::BIGINT END",
        "prompt": "CASE WHEN event_name = 'user_prompt' THEN '<REDACTED>' END",
        "observed_time": "happened",
        "event_timestamp": "happened",
        "log_body": "'claude_code.' || event_name",
        "os_type": "os_type",
        "event_action": "event_name",
        "client": "'code'",
        "scope_name": "'com.anthropic.claude_code.events'",
        "scope_version": "version",
        **dict.fromkeys(("attributes", "attributes_json", "resource_attributes_json"), "MAP {}"),
        "resource_attributes": "MAP {'team.id': team, 'department': department, 'cost_center': cost_center, "
        "'os.type': os_type, 'service.name': 'claude-code', 'service.version': version}",
    }
    _insert(cursor, "events", values, "today", order="happened")


def _hours(cursor: Any) -> None:
    """session_hours as the sums of their events, and what only metrics tell by chance."""

    def counted(name: str) -> str:
        return f"count(*) FILTER (event_name = '{name}')"

    tokens = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_creation_tokens")
    cursor.execute(f"""
        CREATE TEMP TABLE summed AS
        SELECT tenant, session_id, date_trunc('hour', event_time) AS start, any_value(user_key) AS user_key,
               any_value(team) AS team, any_value(department) AS department, any_value(cost_center) AS cost_center,
               any_value(app_version) AS app_version, any_value(app_entrypoint) AS app_entrypoint,
               any_value(terminal_type) AS terminal_type, any_value(user_email) AS user_email,
               any_value(user_id) AS user_id, any_value(user_account_uuid) AS user_account_uuid,
               any_value(organization_id) AS organization_id,
               min(event_time) AS first_time, max(event_time) AS last_time,
               max(received_time) AS received_time, count(*) AS version,
               {counted("user_prompt")} AS prompts, {counted("api_request")} AS api_requests,
               coalesce(sum(cost_usd), 0) AS cost_usd,
               {", ".join(f"coalesce(sum({t}), 0)::BIGINT AS {t}" for t in tokens)},
               {counted("tool_result")} AS tools,
               count(*) FILTER (event_name = 'tool_result' AND NOT success) AS tool_failures,
               {counted("api_error")} AS api_errors, 0 AS internal_errors, 0 AS retries_exhausted,
               {counted("api_refusal")} AS refusals,
               count(*) FILTER (decision = 'accept') AS accepts, count(*) FILTER (decision = 'reject') AS rejects,
               {counted("compaction")} AS compactions, {counted("subagent_completed")} AS subagents
        FROM {_RAW}.events GROUP BY ALL""")
    cursor.execute("""
        CREATE TEMP TABLE hours AS
        SELECT *, prompts + api_requests + api_errors + tools > 0 AS active, cost_usd AS metric_cost_usd,
               cost_usd AS spend_usd, api_errors + tool_failures AS errors,
               round(prompts * 40 * random(), 1) AS active_user_s,
               round(api_requests * 9 * random(), 1) AS active_cli_s,
               (tools * 6 * random())::BIGINT AS lines_added, (tools * 3 * random())::BIGINT AS lines_removed,
               CASE WHEN random() < .2 THEN 1 ELSE 0 END AS commits,
               CASE WHEN random() < .05 THEN 1 ELSE 0 END AS pull_requests
        FROM summed""")
    cursor.execute("DROP TABLE summed")
    _aggregated(cursor, "session_hours", "hours", "session_id || epoch_us(start)", order="start")


def _sessions(cursor: Any) -> None:
    table = next(t for t in TABLES if t.name == "sessions")
    sums = ", ".join(f"sum({name}) AS {name}" for name in table.sums)
    latest = ("user_key", "user_id", "user_email", "user_account_uuid", "organization_id", "team", "department")
    latest += ("cost_center", "app_version", "app_entrypoint", "terminal_type")
    cursor.execute(f"""
        CREATE TEMP TABLE models AS
        WITH each AS (SELECT tenant, session_id, model, sum(cost_usd) AS cost, count(*) AS n FROM {_RAW}.events
                      WHERE event_name = 'api_request' GROUP BY ALL)
        SELECT tenant, session_id, map(list(model ORDER BY model), list(cost ORDER BY model)) AS models,
               arg_max(model, cost) AS model, sum(n) AS n FROM each GROUP BY ALL""")
    cursor.execute(f"""
        CREATE TEMP TABLE whole AS
        SELECT tenant, session_id, {", ".join(f"any_value({name}) AS {name}" for name in latest)},
               min(first_time) AS start_time, max(last_time) AS last_time,
               epoch(max(last_time) - min(first_time)) AS duration_s, epoch(max(last_time) - min(first_time)) AS run_s,
               {sums}, max(received_time) AS received_time, sum(version)::BIGINT AS version,
               NOT bool_or(active) AS ghost
        FROM hours GROUP BY tenant, session_id""")
    cursor.execute("""
        CREATE TEMP TABLE all_sessions AS
        SELECT w.*, coalesce(m.models, MAP {}) AS models, m.model,
               MAP {'user_prompt': prompts, 'api_request': api_requests, 'tool_result': tools,
                    'tool_decision': accepts + rejects} AS event_counts,
               MAP {}::MAP(VARCHAR, DOUBLE) AS metric_totals, 0 AS sequence_gaps, 0 AS resends, 0 AS late,
               false AS pseudo, []::VARCHAR[] AS flags, 'claude-code' AS service_name
        FROM whole w LEFT JOIN models m USING (tenant, session_id)""")
    _aggregated(cursor, "sessions", "all_sessions", "session_id", order="start_time")


def _windows(cursor: Any) -> None:
    for grain in ("hour", "day"):
        table = next(t for t in TABLES if t.name == f"user_{grain}s")
        sums = ", ".join(f"sum({name}) AS {name}" for name in table.sums)
        cursor.execute(f"""
            CREATE OR REPLACE TEMP TABLE windows AS
            SELECT tenant, user_key, team, cost_center, any_value(department) AS department,
                   date_trunc('{grain}', start) AS start, count(DISTINCT session_id) FILTER (active) AS sessions,
                   {sums},
                   max(received_time) AS received_time, sum(version)::BIGINT AS version
            FROM hours GROUP BY ALL""")
        _aggregated(cursor, table.name, "windows", "user_key || epoch_us(start)", order="start")


def _people(cursor: Any) -> None:
    cursor.execute(f"""
        INSERT INTO {_RAW}.people BY NAME
        SELECT tenant, user_key, any_value(user_id) AS user_id, any_value(user_email) AS user_email,
               any_value(user_account_uuid) AS user_account_uuid, any_value(organization_id) AS organization_id,
               min(start) AS first_seen, max(last_time) AS last_seen FROM hours GROUP BY ALL""")


def _aggregated(cursor: Any, name: str, source: str, key: str, *, order: str) -> None:
    """Rows of a versioned table from a table of ours that has its columns, and more."""
    table = next(t for t in TABLES if t.name == name)
    present = {row[0] for row in cursor.execute(f"DESCRIBE {source}").fetchall()}
    columns = {c: quoted(c) for c in table.columns if c in present}
    columns |= {"epoch": "1", "kafka_key": f"encode({key})"}
    if table.hides_empty:
        columns["is_empty"] = rows._empty(table).rpartition(" AS ")[0]
    _insert(cursor, name, columns, source, order=order)


def _insert(cursor: Any, name: str, values: dict[str, str], source: str, *, order: str) -> None:
    table = next(t for t in TABLES if t.name == name)
    unknown = values.keys() - table.columns.keys()
    assert not unknown, unknown
    shown = ", ".join(f"({value})::{table.columns[column]} AS {quoted(column)}" for column, value in values.items())
    cursor.execute(f"INSERT INTO {table.path} BY NAME SELECT {shown} FROM {source} ORDER BY {order}")
