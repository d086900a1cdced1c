"""The charts of the overview by what divides them, and its ranking. (Its tiles: tests/console/test_numbers.py.)"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tests.console.proof.figure import DAY, EVENTS, OVER, RARE, TENANTS, Figure, day
from tests.console.proof.spending import HOURS, MICROS, POINTS, REQUESTS, TOLD, active, telling, total, usd
from tests.console.proof.truth import DAY_US, Hour, Record, Row, Truth, grouped

NOT_TOLD = "(not told)"
MONEY = {"Cost": "usd", "Share": "percent", "Tokens": "tokens"}
# Series → column of session_hours, and the metric's or event's sum that it is.
SUMS = {
    "Token usage": {
        "Input": ("input_tokens", "input"),
        "Output": ("output_tokens", "output"),
        "Cache read": ("cache_read_tokens", "cache_read"),
        "Cache creation": ("cache_creation_tokens", "cache_creation"),
    },
    "Active time": {"User": ("active_user_s", "active_user_s"), "CLI": ("active_cli_s", "active_cli_s")},
    "Lines of code": {"Added": ("lines_added", "lines_added"), "Removed": ("lines_removed", "lines_removed")},
}


def summed(title: str, series: Mapping[str, tuple[str, str]]) -> Figure:
    def of(t: Truth) -> list[Row]:
        rows = [(one.at // DAY_US * DAY_US, name, one[sum_]) for one in t.hours for name, (_, sum_) in series.items()]
        return added(rows)

    return Figure(
        title,
        " union all ".join(
            f"select date_trunc('day', h.start) as at, '{name}' as series, sum(h.{column}) as value {HOURS} "
            "group by all having value > 0"
            for name, (column, _) in series.items()
        ),
        of,
        {"at": "time"},
    )


def added(rows: Iterable[tuple[int, str, float]]) -> list[Row]:
    """Rows of a chart; what adds up to nothing is not drawn."""
    found = grouped(
        list(rows),
        {"at": lambda one: one[0], "series": lambda one: one[1]},
        {"value": lambda some: sum(value for _, _, value in some)},
    )
    return [row for row in found if row["value"] > 1e-6]


def cost_by_model(t: Truth) -> list[Row]:
    """By requests and, of sessions that sent none, by points; what names no model is beside it."""
    told = [(day(one), one["model"] or "", usd([one])) for one in telling(t)]
    every = [(one.at // DAY_US * DAY_US, NOT_TOLD, one["usd"]) for one in t.hours]
    return added([*told, *every, *((at, NOT_TOLD, -usd) for at, _, usd in told)])


def tool(one: Record) -> str:
    name = one["tool_name"] or ""
    return "MCP tools" if name.startswith("mcp__") or name == "mcp_tool" else name


def ranked(title: str, column: str, of: Callable[[Truth, Hour], str | None], *tenants: str) -> Figure:
    def rows(t: Truth) -> list[Row]:
        every = total(t.hours, "usd")
        return grouped(
            t.hours,
            {title: lambda one: of(t, one)},
            {
                "Cost": lambda rows: total(rows, "usd"),
                "Share": lambda rows: total(rows, "usd") / every,
                "Tokens": lambda rows: total(rows, "tokens"),
                "Sessions": active,
            },
        )

    return Figure(
        f"Ranking by {title.lower()}",
        f'select {column} as "{title}", sum(h.spend_usd) as "Cost", '
        'sum(h.spend_usd) / sum(sum(h.spend_usd)) over () as "Share", '
        'sum(h.input_tokens + h.output_tokens) as "Tokens", '
        'count(distinct h.session_id) filter (h.active) as "Sessions" from session_hours h '
        "left join sessions s on s.tenant = h.tenant and s.session_id = h.session_id "
        "left join people p on p.tenant = h.tenant and p.user_key = h.user_key where h.tenant = '{tenant}' group by 1",
        rows,
        {title: "none", **MONEY},
        tenants or TENANTS,
    )


def models(t: Truth) -> list[Row]:
    every = total(t.hours, "usd")
    used = {(one["model"], one.session) for one in t.named("api_request")}
    return grouped(
        telling(t),
        {"Model": lambda one: one["model"]},
        {
            "Cost": usd,
            "Share": lambda rows: usd(rows) / every,
            "Tokens": lambda rows: sum(one.tokens for one in rows),
            "Sessions": lambda rows: sum(model == rows[0]["model"] for model, _ in used) or None,
        },
    )


def repository(one: Record) -> str | None:
    return one["vcs.repository.name"] and "/".join(
        name for name in (one["vcs.owner.name"], one["vcs.repository.name"]) if name
    )


def repositories(t: Truth) -> list[Row]:
    every = total(t.hours, "usd")
    return grouped(
        t.named("api_request"),
        {"Repository": repository},
        {
            "Cost": usd,
            "Share": lambda rows: usd(rows) / every,
            "Tokens": lambda rows: sum(one.tokens for one in rows),
        },
    )


def of_session(column: str) -> Callable[[Truth, Hour], str | None]:
    return lambda t, one: t.ledger["sessions"].get(one.session, {}).get(column)


RANKED_MODELS = (
    f"with n as (select e.model, {MICROS} as usd, e.input_tokens + e.output_tokens as tokens, e.session_id as asked "
    f"{REQUESTS} union all select m.model, m.value, 0, null {POINTS}) "
    f'select model as "Model", sum(usd) as "Cost", sum(usd) / (select sum(h.spend_usd) {HOURS}) as "Share", '
    'sum(tokens) as "Tokens", nullif(count(distinct asked), 0) as "Sessions" from n group by 1'
)
RANKED_REPOSITORIES = (
    "select coalesce(e.vcs_owner_name || '/', '') || e.vcs_repository_name as \"Repository\", "
    f'sum({MICROS}) as "Cost", sum({MICROS}) / (select sum(h.spend_usd) {HOURS}) as "Share", '
    f'sum(e.input_tokens + e.output_tokens) as "Tokens" {REQUESTS} group by 1'
)
PAGES: Mapping[str, tuple[Figure, ...]] = {
    "/": (
        *(summed(title, series) for title, series in SUMS.items()),
        Figure(
            "Cost by model",
            f"with n as (select {DAY} as at, e.model as series, {MICROS} as usd {REQUESTS} union all "
            f"select date_trunc('day', m.event_time), m.model, m.value {POINTS}), "
            f"every as (select date_trunc('day', h.start) as at, '{NOT_TOLD}' as series, h.spend_usd as usd {HOURS}), "
            f"each as (select * from n union all select * from every union all select n.at, '{NOT_TOLD}', -n.usd "
            "from n) select each.at, each.series, sum(each.usd) as value from each group by all having value > 1e-6",
            cost_by_model,
            {"at": "time"},
        ),
        Figure(
            "API requests by model",
            f"select {DAY} as at, e.model as series, count(*) as value {REQUESTS} group by all",
            lambda t: added((day(one), one["model"] or "", 1) for one in t.named("api_request")),
            {"at": "time"},
        ),
        Figure(
            "Tool calls",
            f"select {DAY} as at, case when e.tool_name like 'mcp%' then 'MCP tools' else e.tool_name end as series, "
            f"count(*) as value {EVENTS} e.event_name = 'tool_result' group by all",
            lambda t: added((day(one), tool(one), 1) for one in t.named("tool_result")),
            {"at": "time"},
            OVER,
        ),
        Figure(
            "Accept and reject decisions",
            f"select {DAY} as at, e.decision || ': ' || e.source as series, count(*) as value {EVENTS} "
            "e.event_name = 'tool_decision' group by all",
            lambda t: added((day(one), f"{one['decision']}: {one['source']}", 1) for one in t.named("tool_decision")),
            {"at": "time"},
        ),
        ranked("Team", "h.team", lambda _, one: one.team),
    ),
    "/?by=user": (
        ranked(
            "User",
            "coalesce(p.user_email, left(h.user_key, 11) || '…')",
            lambda t, one: t.who(one.user),
        ),
    ),
    "/?by=department": (ranked("Department", "h.department", lambda _, one: one.department, *TOLD),),
    "/?by=cost_center": (ranked("Cost center", "h.cost_center", lambda _, one: one.cost_center, *TOLD),),
    "/?by=version": (ranked("Version", "s.app_version", of_session("app_version"), RARE),),
    "/?by=entrypoint": (ranked("Entrypoint", "s.app_entrypoint", of_session("app_entrypoint"), RARE),),
    "/?by=model": (Figure("Ranking by model", RANKED_MODELS, models, {"Model": "none", **MONEY}),),
    "/?by=repository": (
        Figure("Ranking by repository", RANKED_REPOSITORIES, repositories, {"Repository": "none", **MONEY}, ("local",)),
    ),
}
