"""The figures of the reliability pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tests.console.proof import truth
from tests.console.proof.figure import (
    DAY,
    EVENTS,
    LAST,
    NO_SUCCESS,
    OVER,
    P95,
    USERS,
    Figure,
    always,
    count,
    day,
    failed,
    quantile,
    quantile_sql,
    said,
)
from tests.console.proof.truth import DAY_US, Record, Row, Truth, grouped, last, mean, share, users, within

ERROR, REQUEST = "e.event_name = 'api_error'", "e.event_name = 'api_request'"
EXHAUSTED, INTERNAL = "e.event_name = 'api_retries_exhausted'", "e.event_name = 'internal_error'"
RESULT, COMPACTION = "e.event_name = 'tool_result'", "e.event_name = 'compaction'"
SESSIONS = "from sessions s where s.tenant = '{tenant}' and not s.ghost"
PARTS = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
MS = dict.fromkeys(PARTS, "ms")
# A session went on if a request of it succeeded within a day.
ENDED = f"""(select e.event_name, (select min(r.event_time) from events r where r.tenant = e.tenant
    and r.session_id = e.session_id and r.event_name = 'api_request' and r.event_time > e.event_time
    and r.event_time < e.event_time + interval 1 day) as went_on, e.event_time {EVENTS} ({ERROR} or {EXHAUSTED}))"""


def succeeded(rows: list[Record]) -> float | None:
    return share(len(rows) - failed(rows), len(rows))


def parts_sql(column: str) -> str:
    return ", ".join(f'{quantile_sql(column, part)} as "{name}"' for name, part in PARTS.items())


def parts(name: str) -> dict[str, Callable[[list[Record]], float | None]]:
    return {title: quantile(name, part) for title, part in PARTS.items()}


def ended(t: Truth) -> list[tuple[str, float | None]]:
    """What ended, and after how many ms the session went on."""
    requests = [(one.session, one.at) for one in t.named("api_request")]
    found: list[tuple[str, float | None]] = []
    for one in t.named("api_error", "api_retries_exhausted"):
        later = [at for session, at in requests if session == one.session and one.at < at < one.at + DAY_US]
        name = "API errors, all" if one.name == "api_error" else "Retries exhausted"
        found.append((name, min(later) // 1000 - one.at // 1000 if later else None))
    return found


def went_on(rows: Iterable[tuple[str, float | None]]) -> list[float]:
    return [pause for _, pause in rows if pause is not None]


def by_version(t: Truth) -> dict[str | None, list[Mapping[str, Any]]]:
    found: dict[str | None, list[Mapping[str, Any]]] = {}
    for one in t.sessions.values():
        found.setdefault(one["app_version"], []).append(one)
    return found


def of_sessions(t: Truth, rows: list[Mapping[str, Any]]) -> Row:
    return {"Sessions": len(rows), "Users": len({t.user_of(one) for one in rows} - {None})}


def newest(t: Truth) -> str:
    return max((one for one in by_version(t) if one), key=lambda text: [int(part) for part in text.split(".")])


def requests_by_model(t: Truth) -> list[Row]:
    both = [(one, model) for one in t.named("api_request") for model in ("all models", one["model"])]
    found = grouped(both, {"Model": lambda one: one[1]}, {"rows": lambda rows: [one for one, _ in rows]})
    return [
        {"Model": row["Model"], "Requests": len(row["rows"])}
        | {title: of(row["rows"]) for title, of in parts("duration_ms").items()}
        for row in found
    ]


PAGES: Mapping[str, tuple[Figure, ...]] = {
    "/reliability": (
        Figure(
            "tiles",
            f"""select {count(ERROR)} as "API errors",
            {count(ERROR)} / nullif({count(f"{ERROR} or {REQUEST}")}, 0) as "Share of API requests that failed",
            {count(EXHAUSTED)} as "Retries exhausted", {count(f"{RESULT} and not e.success")} as "Failed tool calls",
            {count(INTERNAL)} as "Internal errors", {count(COMPACTION)} as "Compactions",
            (select count(*) {SESSIONS} and s.errors > 0) as "Sessions with errors" {EVENTS} true""",
            lambda t: [
                {
                    "API errors": len(t.named("api_error")),
                    "Share of API requests that failed": share(
                        len(t.named("api_error")), len(t.named("api_error", "api_request"))
                    ),
                    "Retries exhausted": len(t.named("api_retries_exhausted")),
                    "Failed tool calls": failed(t.named("tool_result")),
                    "Internal errors": len(t.named("internal_error")),
                    "Compactions": len(t.named("compaction")),
                    "Sessions with errors": sum(one["errors"] > 0 for one in t.sessions.values()),
                }
            ],
            {"Share of API requests that failed": "percent"},
        ),
        Figure(
            "API errors by HTTP status",
            f"select {DAY} as at, coalesce(e.status_code::varchar, 'no HTTP status') as series, count(*) as value "
            f"{EVENTS} {ERROR} group by all",
            lambda t: grouped(
                t.named("api_error"),
                {"at": day, "series": lambda one: one["status_code"] or "no HTTP status"},
                {"value": len},
            ),
            {"at": "time"},
        ),
        Figure(
            "codes",
            'select coalesce(e.status_code::varchar, \'no HTTP status\') as "HTTP status", count(*) as "Errors", '
            f'count(distinct e.session_id) as "Sessions", {USERS} as "Users", {LAST} as "Last" '
            f"{EVENTS} {ERROR} group by 1",
            lambda t: grouped(
                t.named("api_error"),
                {"HTTP status": lambda one: one["status_code"] or "no HTTP status"},
                {"Errors": len, "Sessions": truth.sessions, "Users": users, "Last": last},
            ),
            {"Last": "time"},
        ),
        Figure(
            "models",
            f"""select e.model as "Model", {count(REQUEST)} as "Requests done", {count(ERROR)} as "Errors",
            {count(ERROR)} / nullif({count(f"{ERROR} or {REQUEST}")}, 0) as "Share failed",
            {count(EXHAUSTED)} as "Retries exhausted",
            count(distinct case when not {REQUEST} then e.session_id end) as "Sessions hit"
            {EVENTS} ({ERROR} or {REQUEST} or {EXHAUSTED}) group by 1""",
            lambda t: grouped(
                t.named("api_error", "api_request", "api_retries_exhausted"),
                {"Model": said("model")},
                {
                    "Requests done": lambda rows: sum(one.name == "api_request" for one in rows),
                    "Errors": lambda rows: sum(one.name == "api_error" for one in rows),
                    "Share failed": lambda rows: share(
                        sum(one.name == "api_error" for one in rows),
                        sum(one.name != "api_retries_exhausted" for one in rows),
                    ),
                    "Retries exhausted": lambda rows: sum(one.name == "api_retries_exhausted" for one in rows),
                    "Sessions hit": lambda rows: truth.sessions(one for one in rows if one.name != "api_request"),
                },
            ),
            {"Model": "told", "Share failed": "percent"},
        ),
        Figure(
            "recovery",
            "select case event_name when 'api_error' then 'API errors, all' else 'Retries exhausted' end as "
            '"What ended", count(*) as "Times", count(went_on) as "Recovered", '
            "median(date_diff('millisecond', event_time, went_on)) as \"Went on after (median)\" "
            f"from {ENDED} group by 1",
            lambda t: grouped(
                ended(t),
                {"What ended": lambda one: one[0]},
                {
                    "Times": len,
                    "Recovered": lambda rows: len(went_on(rows)),
                    "Went on after (median)": lambda rows: within(went_on(rows), 0.5),
                },
            ),
            {"Went on after (median)": "ms"},
        ),
        Figure(
            "recovery",
            "select case event_name when 'api_error' then 'API errors, all' else 'Retries exhausted' end as "
            '"What ended", count(*) - count(went_on) as "Stalled", count(went_on) / count(*) as "Recovered (2)" '
            f"from {ENDED} group by 1",
            lambda t: grouped(
                ended(t),
                {"What ended": lambda one: one[0]},
                {
                    "Stalled": lambda rows: len(rows) - len(went_on(rows)),
                    "Recovered (2)": lambda rows: len(went_on(rows)) / len(rows),
                },
            ),
            {"Recovered (2)": "percent"},
            OVER,
        ),
        Figure(
            "internal",
            'select e.error_name as "Error", e.error_code as "Code", coalesce(e.app_version, e.service_version) as '
            f'"Client version", count(*) as "Times", count(distinct e.session_id) as "Sessions", {USERS} as "Users", '
            f'{LAST} as "Last" {EVENTS} {INTERNAL} group by 1, 2, 3',
            lambda t: grouped(
                t.named("internal_error"),
                {"Error": said("error_name"), "Code": said("error_code"), "Client version": lambda one: one.version},
                {"Times": len, "Sessions": truth.sessions, "Users": users, "Last": last},
            ),
            {"Error": "told", "Last": "time"},
        ),
        Figure(
            "compactions",
            'select e."trigger" as "Started by", case when e.success then \'done\' else \'failed\' end as "Outcome", '
            'count(*) as "Times", count(distinct e.session_id) as "Sessions", avg(e.pre_tokens) as "Before (mean)", '
            f'avg(e.post_tokens) as "After (mean)", {quantile_sql("duration_ms", 0.95)} as "95 % within" '
            f"{EVENTS} {COMPACTION} group by 1, 2",
            lambda t: grouped(
                t.named("compaction"),
                {"Started by": said("trigger"), "Outcome": lambda one: "failed" if one.failed else "done"},
                {
                    "Times": len,
                    "Sessions": truth.sessions,
                    "Before (mean)": lambda rows: mean([one.number("pre_tokens") for one in rows]),
                    "After (mean)": lambda rows: mean([one.number("post_tokens") for one in rows]),
                    "95 % within": quantile("duration_ms", 0.95),
                },
            ),
            {"Started by": "told", "Before (mean)": "tokens", "After (mean)": "tokens", **P95},
        ),
    ),
    "/reliability/latency": (
        Figure(
            "tiles",
            'select count(*) as "Tool calls", count(*) filter (e.success) / count(*) as "That succeeded", '
            + ", ".join(f'{quantile_sql("duration_ms", part)} as "Tool time, {name}"' for name, part in PARTS.items())
            + f" {EVENTS} {RESULT}",
            lambda t: [
                {
                    "Tool calls": len(t.named("tool_result")),
                    "That succeeded": succeeded(t.named("tool_result")),
                }
                | {f"Tool time, {name}": of(t.named("tool_result")) for name, of in parts("duration_ms").items()}
            ],
            {"That succeeded": "percent", **{f"Tool time, {name}": "ms" for name in PARTS}},
        ),
        Figure(
            "tools",
            'select e.tool_name as "Tool", count(*) as "Calls", count(*) filter (e.success) / count(*) as "Succeeded", '
            f'{NO_SUCCESS} as "Failed", {parts_sql("duration_ms")}, {USERS} as "Users" {EVENTS} {RESULT} group by 1',
            lambda t: grouped(
                t.named("tool_result"),
                {"Tool": said("tool_name")},
                {
                    "Calls": len,
                    "Succeeded": lambda rows: 1 - failed(rows) / len(rows),
                    "Failed": failed,
                    **parts("duration_ms"),
                    "Users": users,
                },
            ),
            {"Tool": "told", "Succeeded": "percent", **MS},
        ),
        Figure(
            "requests-by-model",
            f'select e.model as "Model", count(*) as "Requests", {parts_sql("duration_ms")} {EVENTS} {REQUEST} '
            "group by 1 union all select 'all models', count(*), "
            f"{parts_sql('duration_ms')} {EVENTS} {REQUEST} having count(*) > 0",
            requests_by_model,
            {"Model": "told", **MS},
        ),
        Figure(
            "How long API requests take",
            " union all ".join(
                f"select {DAY} as at, '{name}' as series, {quantile_sql('duration_ms', part)} as value "
                f"{EVENTS} {REQUEST} group by all"
                for name, part in PARTS.items()
            ),
            lambda t: [
                row
                for name, part in PARTS.items()
                for row in grouped(
                    t.named("api_request"),
                    {"at": day, "series": always(name)},
                    {"value": quantile("duration_ms", part)},
                )
            ],
            {"at": "time"},
        ),
        Figure(
            "first-by-model",
            f'select e.model as "Model", count(*) as "Measured", {parts_sql("ttft_ms")} {EVENTS} {REQUEST} '
            "and e.ttft_ms is not null group by 1",
            lambda t: grouped(
                [one for one in t.named("api_request") if one["ttft_ms"]],
                {"Model": said("model")},
                {"Measured": len, **parts("ttft_ms")},
            ),
            {"Model": "told", **MS},
        ),
        Figure(
            "Time to first token, median",
            f"select {DAY} as at, e.model as series, median(e.ttft_ms) as value {EVENTS} {REQUEST} "
            "and e.ttft_ms is not null group by all",
            lambda t: grouped(
                [one for one in t.named("api_request") if one["ttft_ms"]],
                {"at": day, "series": said("model")},
                {"value": quantile("ttft_ms", 0.5)},
            ),
            {"at": "time"},
        ),
    ),
    "/reliability/versions": (
        Figure(
            "tiles",
            'select count(distinct s.app_version) as "Versions in use", count(*) as "Sessions", '
            'count(distinct s.user_key) as "Users", count(*) filter (s.app_version = (select s.app_version '
            f"{SESSIONS} order by string_split(s.app_version, '.')::int[] desc limit 1)) / count(*) "
            f'as "Sessions on the newest version" {SESSIONS}',
            lambda t: [
                {"Versions in use": len(by_version(t)), **of_sessions(t, list(t.sessions.values()))}
                | {"Sessions on the newest version": len(by_version(t)[newest(t)]) / len(t.sessions)}
            ],
            {"Sessions on the newest version": "percent"},
        ),
        Figure(
            "versions-in-use",
            'select s.app_version as "Version", count(*) as "Sessions", count(distinct s.user_key) as "Users", '
            'min(s.start_time) as "First seen", max(s.last_time) as "Last seen", '
            'count(*) filter (s.errors > 0) as "With errors", count(*) filter (s.errors > 0) / count(*) as "Share", '
            'sum(s.api_errors) as "API errors", sum(s.tool_failures) as "Tool failures", '
            f'sum(s.internal_errors) as "Internal errors" {SESSIONS} group by 1',
            lambda t: [
                {
                    "Version": version,
                    **of_sessions(t, rows),
                    "First seen": min(one["start_ns"] for one in rows) // 1000,
                    "Last seen": max(one["last_ns"] for one in rows) // 1000,
                    "With errors": sum(one["errors"] > 0 for one in rows),
                    "Share": sum(one["errors"] > 0 for one in rows) / len(rows),
                    "API errors": sum(one["api_errors"] for one in rows),
                    "Tool failures": sum(one["tool_failures"] for one in rows),
                    "Internal errors": sum(one["internal_errors"] for one in rows),
                }
                for version, rows in by_version(t).items()
            ],
            {"Version": "told", "First seen": "time", "Last seen": "time", "Share": "percent"},
        ),
        Figure(
            "clients",
            'select s.service_name as "Program", s.app_entrypoint as "Entrypoint", s.terminal_type as "Terminal", '
            'count(*) as "Sessions", count(distinct s.user_key) as "Users", max(s.last_time) as "Last seen" '
            f"{SESSIONS} group by 1, 2, 3",
            lambda t: grouped(
                list(t.sessions.values()),
                {
                    "Program": lambda one: one["service_name"],
                    "Entrypoint": lambda one: one["app_entrypoint"],
                    "Terminal": lambda one: one["terminal_type"],
                },
                {
                    "Sessions": len,
                    "Users": lambda rows: len({t.user_of(one) for one in rows} - {None}),
                    "Last seen": lambda rows: max(one["last_ns"] for one in rows) // 1000,
                },
            ),
            {"Program": "told", "Entrypoint": "told", "Last seen": "time"},
        ),
    ),
}
