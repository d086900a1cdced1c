"""The figures of the cost page, told by everything, and of the month report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.console.proof.figure import OVER, RARE, TENANTS, Figure
from tests.console.proof.truth import DAY_US, INPUT_USD, Hour, Record, Row, Truth, grouped, share

HOURS = "from session_hours h where h.tenant = '{tenant}'"
OF_PEOPLE = "from session_hours h left join people p on p.tenant = h.tenant and p.user_key = h.user_key"
REQUESTS = "from events e where e.tenant = '{tenant}' and e.event_name = 'api_request'"
MICROS = "coalesce(e.cost_usd_micros / 1e6, e.cost_usd)"
LONG = 16
# What has no requests tells its cost by its metric.
ASKED = f"(select e.session_id {REQUESTS} and e.session_id is not null)"
POINTS = (
    "from metrics m where m.tenant = '{tenant}' and m.metric = 'claude_code.cost.usage' "
    f"and m.session_id is not null and m.session_id not in {ASKED}"
)
# Who has more than one of everything.
TOLD = ("local", RARE)
MONEY = {"Cost": "usd", "Share": "percent", "Tokens in + out": "tokens"}


def total(hours: Iterable[Hour], name: str) -> float:
    return sum(one[name] for one in hours)


def active(hours: Iterable[Hour]) -> int:
    """Sessions that count."""
    return len({one.session for one in hours if one.active})


def spent(t: Truth, title: str, of: Callable[[Hour], str | None]) -> list[Row]:
    """By something that hours have; who neither cost anything nor had a session is not listed."""
    every = total(t.hours, "usd")
    rows = grouped(
        t.hours,
        {title: of},
        {
            "Cost": lambda rows: total(rows, "usd"),
            "Share": lambda rows: share(total(rows, "usd"), every),
            "Sessions": active,
            "Tokens in + out": lambda rows: total(rows, "tokens"),
        },
    )
    return [row for row in rows if row["Cost"] or row["Sessions"]]


def by_hours(title: str, column: str, of: Callable[[Hour], str | None], *tenants: str) -> Figure:
    return Figure(
        "by-title",
        f'select h.{column} as "{title}", sum(h.spend_usd) as "Cost", '
        'sum(h.spend_usd) / sum(sum(h.spend_usd)) over () as "Share", '
        'count(distinct h.session_id) filter (h.active) as "Sessions", '
        f'sum(h.input_tokens + h.output_tokens) as "Tokens in + out" {HOURS} group by 1 '
        'having "Cost" > 0 or "Sessions" > 0',
        lambda t: spent(t, title, of),
        {title: "none", **MONEY},
        tenants or TENANTS,
    )


def by_sessions(title: str, column: str, *tenants: str) -> Figure:
    def of(t: Truth) -> list[Row]:
        return spent(t, title, lambda hour: t.ledger["sessions"].get(hour.session, {}).get(column))

    return Figure(
        "by-title",
        f'select s.{column} as "{title}", sum(h.spend_usd) as "Cost", '
        'sum(h.spend_usd) / sum(sum(h.spend_usd)) over () as "Share", '
        'count(distinct h.session_id) filter (h.active) as "Sessions", '
        'sum(h.input_tokens + h.output_tokens) as "Tokens in + out" from session_hours h left join sessions s '
        "on s.tenant = h.tenant and s.session_id = h.session_id where h.tenant = '{tenant}' group by 1 "
        'having "Cost" > 0 or "Sessions" > 0',
        of,
        {title: "none", **MONEY},
        tenants or TENANTS,
    )


def telling(t: Truth) -> list[Record]:
    """What names a model and the like: requests, and points of the cost of sessions that sent no request."""
    asked = {one.session for one in t.named("api_request")}
    points = [one for one in t.points if one.name == "claude_code.cost.usage" and one.session]
    return [*t.named("api_request"), *(one for one in points if one.session not in asked)]


def usd(rows: Iterable[Record]) -> float:
    return sum(one.usd if one.name == "api_request" else one.value for one in rows)


def tokens(rows: Iterable[Record]) -> int | None:
    requests = [one for one in rows if one.name == "api_request"]
    return sum(one.tokens for one in requests) if requests else None


def by_requests(title: str, column: str, attribute: str, *tenants: str) -> Figure:
    def of(t: Truth) -> list[Row]:
        every = total(t.hours, "usd")
        rows = grouped(
            [one for one in telling(t) if one[attribute]],
            {title: lambda one: one[attribute]},
            {
                "Cost": usd,
                "Share": lambda rows: usd(rows) / every,
                "Sessions": lambda rows: len({one.session for one in rows if one.name == "api_request"} - {None}),
                "Tokens in + out": tokens,
            },
        )
        rest = every - sum(row["Cost"] for row in rows)
        untold = {title: None, "Cost": rest, "Share": share(rest, every), "Sessions": None, "Tokens in + out": None}
        return [*rows, *([untold] if rest > 1e-6 else [])]

    named = (
        f"select e.{column} as name, {MICROS} as usd, e.session_id, e.input_tokens + e.output_tokens as tokens "
        f"{REQUESTS} union all select m.{column}, m.value, null, null {POINTS}"
    )
    every = f"(select sum(h.spend_usd) {HOURS})"
    return Figure(
        "by-title",
        f"with n as ({named}), g as (select name, sum(usd) as usd, count(distinct session_id) as sessions, "
        "sum(tokens)::bigint as tokens from n where name is not null group by 1) "
        f'select name as "{title}", usd as "Cost", usd / {every} as "Share", sessions as "Sessions", '
        'tokens as "Tokens in + out" from g union all '
        f"select null, rest, rest / {every}, null, null from (select {every} - coalesce(sum(usd), 0) as rest from g) "
        "where rest > 1e-6",
        of,
        {title: "told", **MONEY},
        tenants or TENANTS,
    )


def per(t: Truth, many: float, size: float = 1) -> float | None:
    return total(t.hours, "usd") / many * size if many else None


RESULTS: dict[str, tuple[str, Callable[[Truth], float | None]]] = {
    "Total cost": ("sum(h.spend_usd)", lambda t: total(t.hours, "usd")),
    "Cost per session": (
        "sum(h.spend_usd) / nullif(count(distinct h.session_id) filter (h.active), 0)",
        lambda t: per(t, active(t.hours)),
    ),
    "Cost per commit": (
        "sum(h.spend_usd) / nullif(sum(h.commits), 0)",
        lambda t: per(t, total(t.hours, "commits")),
    ),
    "Cost per pull request": (
        "sum(h.spend_usd) / nullif(sum(h.pull_requests), 0)",
        lambda t: per(t, total(t.hours, "pull_requests")),
    ),
    "Cost per 100 lines added": (
        "sum(h.spend_usd) * 100 / nullif(sum(h.lines_added), 0)",
        lambda t: per(t, total(t.hours, "lines_added"), 100),
    ),
    "Cost per hour of user activity": (
        "sum(h.spend_usd) * 3600 / nullif(sum(h.active_user_s), 0)",
        lambda t: per(t, total(t.hours, "active_user_s"), 3600),
    ),
    "Cost per hour of Claude's work": (
        "sum(h.spend_usd) * 3600 / nullif(sum(h.active_cli_s), 0)",
        lambda t: per(t, total(t.hours, "active_cli_s"), 3600),
    ),
}


def cost_over_days(title: str, rows: Iterable[tuple[int, str, float]]) -> list[Row]:
    found = grouped(
        list(rows),
        {"at": lambda one: one[0] // DAY_US * DAY_US, "series": lambda one: one[1]},
        {"value": lambda some: sum(usd for _, _, usd in some)},
    )
    return [row for row in found if row["value"] > 1e-6]


def models_over_days(t: Truth) -> list[Row]:
    told = [(one.at, one["model"] or "", usd([one])) for one in telling(t)]
    of_all = [(hour.at, "(not told)", hour["usd"]) for hour in t.hours]
    return cost_over_days("model", [*told, *of_all, *((at, "(not told)", -usd) for at, _, usd in told)])


def most_expensive(t: Truth) -> list[Row]:
    found = grouped(
        [hour for hour in t.hours if hour.session in t.ledger["sessions"]],
        {"Session": lambda hour: hour.session},
        {
            "Cost": lambda rows: total(rows, "usd"),
            "Prompts": lambda rows: total(rows, "prompts"),
            "Tokens in + out": lambda rows: total(rows, "tokens"),
        },
    )
    top = sorted((row for row in found if row["Cost"] > 0), key=lambda row: (-row["Cost"], row["Session"]))[:20]
    of = t.ledger["sessions"]
    return [
        row
        | {
            "Session": row["Session"] if len(row["Session"]) <= 13 else f"{row['Session'][:12]}…",
            "Started": of[row["Session"]]["start_ns"] // 1000,
            "User": t.who(t.user_of(of[row["Session"]]), 10),
            "Team": of[row["Session"]]["team"],
            "Model": of[row["Session"]]["model"],
        }
        for row in top
    ]


def cached(t: Truth) -> list[Row]:
    """What the cache saved, by the price list; a price is only found where enough requests tell it."""
    found = []
    for row in grouped(t.named("api_request"), {"Model": lambda one: one["model"]}, {"rows": lambda rows: rows}):
        rows: list[Record] = row["rows"]
        plain, read, written = (
            sum(one.number(f"{name}_tokens") or 0 for one in rows) for name in ("input", "cache_read", "cache_creation")
        )
        price = INPUT_USD.get(row["Model"]) if len(rows) >= 5 else None
        usd = None if price is None else price / 1e6
        found.append(
            {
                "Model": row["Model"],
                "Requests": len(rows),
                "Read from cache": read,
                "Share of input": share(read, plain + read + written),
                "Written to cache": written,
                "Input price per M tokens": price,
                "Reads as plain input": None if usd is None else read * usd,
                "Reads cost": None if usd is None else read * usd * 0.1,
                "Writes cost extra": None if usd is None else written * usd * 0.25,
                "Saved": None if usd is None else read * usd * 0.9 - written * usd * 0.25,
            }
        )
    return found


def checked(t: Truth) -> list[Row]:
    sums = grouped(
        t.hours,
        {"session": lambda hour: hour.session},
        {"events": lambda rows: total(rows, "cost"), "metrics": lambda rows: total(rows, "metric_cost")},
    )
    found = []
    for name, events, metrics in (("both", True, True), ("events only", True, False), ("metrics only", False, True)):
        rows = [one for one in sums if (one["events"] > 0, one["metrics"] > 0) == (events, metrics)]
        found.append(
            {
                "Sessions that sent": name,
                "Sessions": len(rows),
                "Cost by events": sum(one["events"] for one in rows) if events else None,
                "Cost by metrics": sum(one["metrics"] for one in rows) if metrics else None,
            }
        )
    return found


CHECKED = f"(select h.session_id, sum(h.cost_usd) as cost, sum(h.metric_cost_usd) as metric {HOURS} group by 1)"
COST = (
    Figure(
        "tiles",
        "select " + ", ".join(f'{sql} as "{title}"' for title, (sql, _) in RESULTS.items())
        + f', count(distinct h.session_id) filter (h.active) as "Sessions" {HOURS}',
        lambda t: [{title: of(t) for title, (_, of) in RESULTS.items()} | {"Sessions": active(t.hours)}],
        dict.fromkeys(RESULTS, "usd"),
    ),
    by_hours("Team", "team", lambda hour: hour.team),
    Figure(
        "by-title foot",
        'select \'Total\' as "Team", sum(h.spend_usd) as "Cost", count(distinct h.session_id) filter (h.active) '
        f'as "Sessions", sum(h.input_tokens + h.output_tokens) as "Tokens in + out" {HOURS}',
        lambda t: [
            {
                "Team": "Total",
                "Cost": total(t.hours, "usd"),
                "Sessions": active(t.hours),
                "Tokens in + out": total(t.hours, "tokens"),
            }
        ],
        MONEY,
    ),
    Figure(
        "Cost over time by team",
        "select date_trunc('day', h.start) as at, coalesce(h.team, '(none)') as series, sum(h.spend_usd) as value "
        f"{HOURS} group by all having value > 0",
        lambda t: cost_over_days("team", ((one.at, one.team or "(none)", one["usd"]) for one in t.hours)),
        {"at": "time"},
    ),
    Figure(
        "top-title",
        "select case when length(s.session_id) > 13 then left(s.session_id, 12) || '…' else s.session_id end as "
        '"Session", s.start_time as "Started", coalesce(s.user_email, left(s.user_key, 9) || \'…\') as "User", '
        's.team as "Team", s.model as "Model", s.prompts as "Prompts", s.spend_usd as "Cost", '
        's.input_tokens + s.output_tokens as "Tokens in + out" from sessions s '
        "where s.tenant = '{tenant}' and s.spend_usd > 0 order by s.spend_usd desc, s.session_id limit 20",
        most_expensive,
        {"Started": "time", "Cost": "usd", "Tokens in + out": "tokens"},
    ),
    Figure(
        "cache-title",
        "",
        cached,
        {
            "Read from cache": "tokens",
            "Share of input": "percent",
            "Written to cache": "tokens",
            "Input price per M tokens": "price",
            "Reads as plain input": "usd",
            "Reads cost": "usd",
            "Writes cost extra": "usd",
            "Saved": "usd",
        },
    ),
    Figure(
        "check-title",
        " union all ".join(
            f'select \'{name}\' as "Sessions that sent", count(*) as "Sessions", {events} as "Cost by events", '
            f'{metrics} as "Cost by metrics" from {CHECKED} where {where}'
            for name, events, metrics, where in (
                ("both", "coalesce(sum(cost), 0)", "coalesce(sum(metric), 0)", "cost > 0 and metric > 0"),
                ("events only", "coalesce(sum(cost), 0)", "null", "cost > 0 and metric = 0"),
                ("metrics only", "null", "coalesce(sum(metric), 0)", "cost = 0 and metric > 0"),
            )
        ),
        checked,
        {"Cost by events": "usd", "Cost by metrics": "usd"},
    ),
)  # fmt: skip


# The month report


def month() -> tuple[datetime, datetime]:
    """The month of yesterday."""
    start = (datetime.now(UTC) - timedelta(days=1)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return start, (start + timedelta(days=31)).replace(day=1)


START, END = month()
MONTH = f"{START:%Y-%m}"
DAYS = (
    f"from user_days d where d.tenant = '{{tenant}}' and d.start >= '{START:%Y-%m-%d}' and d.start < '{END:%Y-%m-%d}'"
)
_US = {START: int(START.timestamp() * 1e6), END: int(END.timestamp() * 1e6)}
SUMS: dict[str, tuple[str, Callable[[list[Hour]], Any]]] = {
    "Cost": ("sum(d.spend_usd)", lambda rows: total(rows, "usd")),
    "Input tokens": ("sum(d.input_tokens)", lambda rows: total(rows, "input")),
    "Output tokens": ("sum(d.output_tokens)", lambda rows: total(rows, "output")),
    "Cache tokens": ("sum(d.cache_read_tokens + d.cache_creation_tokens)", lambda rows: total(rows, "cache")),
    "Users": ("count(distinct d.user_key)", lambda rows: len({one.user for one in rows} - {None})),
    "Commits": ("sum(d.commits)", lambda rows: total(rows, "commits")),
    "Pull requests": ("sum(d.pull_requests)", lambda rows: total(rows, "pull_requests")),
    "Lines": (
        "[sum(d.lines_added), sum(d.lines_removed)]",
        lambda rows: [total(rows, "lines_added"), total(rows, "lines_removed")],
    ),
}
UNITS = {"Cost": "usd", "Lines": "lines", **dict.fromkeys(("Input tokens", "Output tokens", "Cache tokens"), "tokens")}
SUMS_SQL = ", ".join(f'{sql} as "{title}"' for title, (sql, _) in SUMS.items())


def of_month(t: Truth) -> list[Hour]:
    return [one for one in t.hours if _US[START] <= one.at < _US[END]]


def summed(title: str, name: str, of: Callable[[Truth, Hour], str | None]) -> Figure:
    return Figure(
        f"{name}-title",
        f'select d.{name} as "{title}", {SUMS_SQL} {DAYS} group by 1',
        lambda t: grouped(
            of_month(t), {title: lambda one: of(t, one)}, {name: counted for name, (_, counted) in SUMS.items()}
        ),
        {title: "none", **UNITS},
    )


def week(at: int) -> str:
    """The days of its week that are in the month."""
    day = datetime.fromtimestamp(at / 1e6, UTC).replace(hour=0, minute=0)
    monday = day - timedelta(days=day.weekday())
    last = min(monday + timedelta(days=6), END - timedelta(days=1))
    return f"{max(monday, START):%Y-%m-%d} to {last:%Y-%m-%d}"


def models(t: Truth) -> list[Row]:
    told = [one for one in telling(t) if _US[START] <= one.at < _US[END]]

    def added(rows: Iterable[Record], *names: str) -> float:
        return sum(one.number(f"{name}_tokens") or 0 for one in rows for name in names)

    found = grouped(
        told,
        {"Model": lambda one: one["model"]},
        {
            "Cost": usd,
            "Input tokens": lambda rows: added(rows, "input"),
            "Output tokens": lambda rows: added(rows, "output"),
            "Cache tokens": lambda rows: added(rows, "cache_read", "cache_creation"),
            "Users": lambda rows: len({one.user for one in rows}),
        },
    )
    rest = total(of_month(t), "usd") - usd(told)
    tokens = dict.fromkeys(("Input tokens", "Output tokens", "Cache tokens"), 0)
    untold = [{"Model": "(not told)", "Cost": rest, **tokens, "Users": None}] if rest > 1e-6 else []
    return [*found, *untold]


REPORT = (
    Figure(
        "tiles",
        f"""select sum(d.spend_usd) as "Cost", sum(d.input_tokens + d.output_tokens) as "Tokens in + out",
        (select count(*) from sessions s where s.tenant = '{{tenant}}' and not s.ghost
            and s.start_time >= '{START:%Y-%m-%d}' and s.start_time < '{END:%Y-%m-%d}') as "Sessions",
        count(distinct d.user_key) as "Users", sum(d.commits) as "Commits", sum(d.pull_requests) as "Pull requests",
        sum(d.lines_added) as "Lines added", sum(d.lines_removed) as "Lines removed" {DAYS}""",
        lambda t: [
            {
                "Cost": total(of_month(t), "usd"),
                "Tokens in + out": total(of_month(t), "tokens"),
                "Sessions": sum(_US[START] <= one["start_ns"] // 1000 < _US[END] for one in t.sessions.values()),
                "Users": len({one.user for one in of_month(t)} - {None}),
                "Commits": total(of_month(t), "commits"),
                "Pull requests": total(of_month(t), "pull_requests"),
                "Lines added": total(of_month(t), "lines_added"),
                "Lines removed": total(of_month(t), "lines_removed"),
            }
        ],
        {"Cost": "usd", "Tokens in + out": "tokens"},
    ),
    summed("Cost center", "cost_center", lambda _, hour: hour.cost_center),
    summed("Team", "team", lambda _, hour: hour.team),
    Figure(
        "week-title",
        f"select strftime(greatest(date_trunc('week', d.start), timestamptz '{START:%Y-%m-%d} 00:00:00Z'), '%Y-%m-%d') "
        "|| ' to ' || strftime(least(date_trunc('week', d.start) + interval 6 day, "
        f"timestamptz '{END - timedelta(days=1):%Y-%m-%d} 00:00:00Z'), '%Y-%m-%d') as \"Week\", {SUMS_SQL} {DAYS} "
        "group by 1",
        lambda t: grouped(
            of_month(t), {"Week": lambda one: week(one.at)}, {name: counted for name, (_, counted) in SUMS.items()}
        ),
        UNITS,
    ),
    Figure(
        "user-title",
        f"select coalesce(p.user_email, left(d.user_key, {LONG - 1}) || '…') as \"User\", {SUMS_SQL} "
        + DAYS.replace(
            "user_days d", "user_days d left join people p on p.tenant = d.tenant and p.user_key = d.user_key"
        )
        + " group by 1",
        lambda t: grouped(
            of_month(t),
            {"User": lambda one: t.who(one.user, LONG)},
            {name: counted for name, (_, counted) in SUMS.items()},
        ),
        UNITS,
    ),
    Figure("model-title", "", models, UNITS),
    Figure(
        "team-title foot",
        f"select 'Total' as \"Team\", {SUMS_SQL} {DAYS}",
        lambda t: [{"Team": "Total"} | {name: counted(of_month(t)) for name, (_, counted) in SUMS.items()}],
        UNITS,
    ),
)

PAGES: Mapping[str, tuple[Figure, ...]] = {
    "/cost": COST,
    "/cost?by=user": (
        Figure(
            "by-title",
            f"select coalesce(p.user_email, left(h.user_key, {LONG - 1}) || '…') as \"User\", "
            'sum(h.spend_usd) as "Cost", sum(h.spend_usd) / sum(sum(h.spend_usd)) over () as "Share", '
            'count(distinct h.session_id) filter (h.active) as "Sessions", '
            f'sum(h.input_tokens + h.output_tokens) as "Tokens in + out" {OF_PEOPLE} '
            'where h.tenant = \'{tenant}\' group by 1 having "Cost" > 0 or "Sessions" > 0',
            lambda t: spent(t, "User", lambda hour: t.who(hour.user, LONG)),
            MONEY,
        ),
    ),
    "/cost?by=department": (by_hours("Department", "department", lambda hour: hour.department, *TOLD),),
    "/cost?by=cost_center": (by_hours("Cost center", "cost_center", lambda hour: hour.cost_center, *TOLD),),
    "/cost?by=version": (by_sessions("Version", "app_version", RARE),),
    "/cost?by=entrypoint": (by_sessions("Entrypoint", "app_entrypoint", RARE),),
    "/cost?by=model": (
        by_requests("Model", "model", "model"),
        Figure(
            "Cost over time by model",
            "with n as (select date_trunc('day', e.event_time) as at, e.model as series, "
            f"{MICROS} as usd {REQUESTS} union all select date_trunc('day', m.event_time), m.model, m.value {POINTS}), "
            f"every as (select date_trunc('day', h.start) as at, '(not told)' as series, h.spend_usd as usd {HOURS}), "
            "each as (select * from n union all select * from every union all select n.at, '(not told)', -n.usd "
            "from n) select each.at, each.series, sum(each.usd) as value from each group by all having value > 1e-6",
            models_over_days,
            {"at": "time"},
        ),
    ),
    "/cost?by=query_source": (by_requests("Query source", "query_source", "query_source"),),
    "/cost?by=agent": (by_requests("Agent", "agent_name", "agent.name", *TOLD),),
    "/cost?by=skill": (by_requests("Skill", "skill_name", "skill.name", *OVER),),
    "/cost?by=plugin": (by_requests("Plugin", "plugin_name", "plugin.name", *OVER),),
    "/cost?by=mcp_server": (by_requests("MCP server", "mcp_server_name", "mcp_server.name", RARE),),
    f"/report?month={MONTH}": REPORT,
}
