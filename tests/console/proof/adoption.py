"""The figures of adoption."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache

from tests.console.proof.figure import Figure
from tests.console.proof.truth import DAY_US, Row, Truth, grouped, share

# Active: who sent a prompt or had a session.
DAYS = (
    "from user_days d where d.tenant = '{tenant}' and (d.prompts > 0 or d.sessions > 0) "
    "and d.start >= current_date - interval 29 day"
)
SESSIONS = "from sessions s where s.tenant = '{tenant}' and not s.ghost"
WINDOWS = {"that day (DAU)": 1, "in 7 days (WAU)": 7, "in 30 days (MAU)": 30}
OF_SESSIONS = {
    ("Subagents", "Subagents"): ("s.subagents", "subagent_completed"),
    ("Skills", "Skills"): ("s.event_counts['skill_activated']", "skill_activated"),
    ("Hooks", "Hooks that ran"): ("s.event_counts['hook_execution_start']", "hook_execution_start"),
    ("Plugins", "Plugins loaded"): ("s.event_counts['plugin_loaded']", "plugin_loaded"),
    ("Mentions", "@-mentions"): ("s.event_counts['at_mention']", "at_mention"),
    ("Context", "Compactions"): ("s.compactions", "compaction"),
    ("Results", "Commits"): ("s.commits", "claude_code.commit.count"),
    ("Results", "Pull requests"): ("s.pull_requests", "claude_code.pull_request.count"),
}
OF_EVENTS = {
    "Tools": ("tool_result", "tool_name"),
    "Permission modes": ("permission_mode_changed", "to_mode"),
    "Slash commands": ("user_prompt", "command_name"),
}


def today() -> int:
    return time.time_ns() // 1000 // DAY_US * DAY_US


@cache
def user_days(t: Truth) -> list[Row]:
    """Days of users, by team, on which they were active."""
    rows = grouped(
        t.hours,
        {"at": lambda one: one.at // DAY_US * DAY_US, "user": lambda one: one.user, "team": lambda one: one.team},
        {
            "prompts": lambda rows: sum(one["prompts"] for one in rows),
            "sessions": lambda rows: len({one.session for one in rows if one.active}),
            "users_s": lambda rows: sum(one["active_user_s"] for one in rows),
            "claude_s": lambda rows: sum(one["active_cli_s"] for one in rows),
        },
    )
    return [row for row in rows if row["prompts"] or row["sessions"]]


def active(t: Truth, last: int, days: int) -> int:
    """Users who were so on the day `last` or one of the days before it, so many in all."""
    return len({row["user"] for row in user_days(t) if last - days * DAY_US < row["at"] <= last})


def of_range(t: Truth) -> dict[str, float]:
    days = user_days(t)
    return {
        "users": len({row["user"] for row in days}),
        **{name: sum(row[name] for row in days) for name in ("prompts", "sessions", "users_s", "claude_s")},
    }


def tiles(t: Truth) -> list[Row]:
    every, yesterday = of_range(t), today() - DAY_US
    dau, wau, mau = (active(t, yesterday, days) for days in WINDOWS.values())
    return [
        {
            "Active users in the range": every["users"],
            "DAU, last whole day": dau,
            "WAU": wau,
            "MAU": mau,
            "Stickiness": share(dau, mau),
            "Prompts per active user": every["prompts"] / every["users"],
            "Sessions per active user": every["sessions"] / every["users"],
            "Active time of users": every["users_s"],
            "Active time of Claude": every["claude_s"],
        }
    ]


def curves(t: Truth) -> list[Row]:
    """For every day of the range; today is no day of DAU yet."""
    days = [today() - ago * DAY_US for ago in range(30)]
    rows = [
        {"at": day, "series": name, "value": active(t, day, length)}
        for name, length in WINDOWS.items()
        for day in days
        if length > 1 or day < today()
    ]
    return [row for row in rows if row["value"]]


def sticky(t: Truth) -> list[Row]:
    by_day: dict[int, dict[str, float]] = {}
    for row in curves(t):
        by_day.setdefault(row["at"], {})[row["series"]] = row["value"]
    dau, _, mau = WINDOWS
    return [
        {"at": at, "series": "Stickiness", "value": found[dau] / found[mau]}
        for at, found in by_day.items()
        if dau in found
    ]


def users(rows: Iterable[Row]) -> set[str | None]:
    return {row["user"] for row in rows}


def first_days(t: Truth) -> dict[str | None, int]:
    return {user: min(row["at"] for row in user_days(t) if row["user"] == user) for user in users(user_days(t))}


def newcomers(t: Truth) -> list[Row]:
    first = first_days(t)
    seen = {(row["at"], row["user"]) for row in user_days(t)}
    kinds = [(day, "new" if first[user] == day else "returning") for day, user in seen]
    return grouped(kinds, {"at": lambda one: one[0], "series": lambda one: one[1]}, {"value": len})


def spread(t: Truth) -> list[Row]:
    """Users by how many days they were active on."""
    seen = {(row["user"], row["at"]) for row in user_days(t)}
    days = [sum(user == one for one, _ in seen) for user in {user for user, _ in seen}]
    longest = max(days)
    bins = [(1, 1), (2, 3), (4, 7), (8, 14), (15, 21), (22, 30)]
    found = []
    for low, high in ((low, min(high, longest)) for low, high in bins if low <= longest):
        words = f"{low} day{'s' if low > 1 else ''}" if low == high else f"{low} to {high} days"
        found.append({"at": words, "series": "users", "value": sum(low <= one <= high for one in days)})
    return [row for row in found if row["value"]]


def over_days(t: Truth, **series: Callable[[list[Row]], float]) -> list[Row]:
    rows = grouped(user_days(t), {"at": lambda one: one["at"]}, {"rows": lambda rows: rows})
    found = [{"at": one["at"], "series": name, "value": of(one["rows"])} for one in rows for name, of in series.items()]
    return [row for row in found if row["value"]]


def added(name: str) -> Callable[[list[Row]], float]:
    return lambda rows: sum(row[name] for row in rows)


def each(name: str) -> Callable[[list[Row]], float]:
    return lambda rows: added(name)(rows) / len(users(rows))


def teams(t: Truth) -> list[Row]:
    first = first_days(t)
    return grouped(
        user_days(t),
        {"Team": lambda one: one["team"]},
        {
            "Active users": lambda rows: len(users(rows)),
            "Known users": lambda rows: len(users(rows)),
            "Share active": lambda rows: 1.0,
            "New users": lambda rows: sum(first[user] >= today() - 29 * DAY_US for user in users(rows)),
            "Prompts": added("prompts"),
            "Active time of users": added("users_s"),
        },
    )


def users_by(column: str) -> Callable[[Truth], list[Row]]:
    return lambda t: grouped(
        list(t.sessions.values()),
        {"at": lambda one: one[column] or "(none)", "series": lambda _: "users"},
        {"value": lambda rows: len({t.user_of(one) for one in rows})},
    )


def features(t: Truth) -> list[Row]:
    used: list[tuple[str, str, str | None, float]] = []
    for kind, (name, attribute) in OF_EVENTS.items():
        used += [(kind, text, one.user, 1) for one in t.named(name) if (text := one[attribute])]
    connected = [one for one in t.named("mcp_server_connection") if one["status"] == "connected"]
    used += [("MCP", "A server connected", one.user, 1) for one in connected]
    counted = [(one, 1.0) for one in t.events] + [(one, one.value) for one in t.points]
    for (kind, title), (_, name) in OF_SESSIONS.items():
        of = [(one, value) for one, value in counted if one.name == name and one.session in t.sessions]
        used += [(kind, title, t.user_of(t.sessions[str(one.session)]), value) for one, value in of]
    return grouped(
        used,
        {"Kind": lambda one: one[0], "Feature": lambda one: one[1]},
        {
            "Users": lambda rows: len({user for _, _, user, _ in rows}),
            "Of active users": lambda rows: len({user for _, _, user, _ in rows}) / of_range(t)["users"],
            "Uses": lambda rows: sum(n for _, _, _, n in rows),
        },
    )


USERS = f"(select count(distinct d.user_key) {DAYS})"
WINDOW = (
    "(select count(distinct d.user_key) from user_days d where d.tenant = '{tenant}' and (d.prompts > 0 or d.sessions "
    "> 0) and d.start < {at} + interval 1 day and d.start > {at} - interval LENGTH day)"
)
YESTERDAY = "(current_date - 1)::timestamptz"
ALL_DAYS = (
    "(select (current_date - n)::timestamptz as at from "
    f"(values {', '.join(f'({ago})' for ago in range(30))}) as ago(n))"
)


def window(at: str, length: int) -> str:
    return WINDOW.replace("{at}", at).replace("LENGTH", str(length))


FIRSTS = (
    "(select d.user_key, min(d.start) as first from user_days d where d.tenant = '{tenant}' "
    "and (d.prompts > 0 or d.sessions > 0) group by 1)"
)
ADOPTION = (
    Figure(
        "tiles",
        f"""select count(distinct d.user_key) as "Active users in the range",
        {window(YESTERDAY, 1)} as "DAU, last whole day", {window(YESTERDAY, 7)} as "WAU",
        {window(YESTERDAY, 30)} as "MAU", {window(YESTERDAY, 1)} / nullif({window(YESTERDAY, 30)}, 0) as "Stickiness",
        sum(d.prompts) / count(distinct d.user_key) as "Prompts per active user",
        sum(d.sessions) / count(distinct d.user_key) as "Sessions per active user",
        sum(d.active_user_s) as "Active time of users", sum(d.active_cli_s) as "Active time of Claude" {DAYS}""",
        tiles,
        {
            "Stickiness": "percent",
            "Prompts per active user": "count",
            "Sessions per active user": "tenth",
            "Active time of users": "seconds",
            "Active time of Claude": "seconds",
        },
    ),
    Figure(
        "Active users",
        "select * from ("
        + " union all ".join(
            f"select a.at, '{name}' as series, {window('a.at', length)} as value from {ALL_DAYS} a"
            + (" where a.at < current_date::timestamptz" if length == 1 else "")
            for name, length in WINDOWS.items()
        )
        + ") where value > 0",
        curves,
        {"at": "time"},
    ),
    Figure(
        "Stickiness",
        f"select x.at, 'Stickiness' as series, x.value from (select a.at, {window('a.at', 1)} / "
        f"nullif({window('a.at', 30)}, 0) as value from {ALL_DAYS} a where a.at < current_date::timestamptz) x "
        "where x.value > 0",
        sticky,
        {"at": "time"},
    ),
    Figure(
        "New and returning users by day",
        "select d.start as at, case when f.first = d.start then 'new' else 'returning' end as series, "
        f"count(distinct d.user_key) as value from user_days d join {FIRSTS} f on f.user_key = d.user_key "
        "where d.tenant = '{tenant}' and (d.prompts > 0 or d.sessions > 0) group by all",
        newcomers,
        {"at": "time"},
    ),
    Figure("Users by active days in the range", "", spread),
    Figure(
        "Active time",
        f"select d.start as at, 'users' as series, sum(d.active_user_s) as value {DAYS} group by 1 having value > 0 "
        f"union all select d.start, 'Claude', sum(d.active_cli_s) as value {DAYS} group by 1 having value > 0",
        lambda t: over_days(t, users=added("users_s"), Claude=added("claude_s")),
        {"at": "time"},
    ),
    Figure(
        "Prompts and sessions per active user, by day",
        " union all ".join(
            f"select d.start as at, '{name}' as series, sum(d.{name}) / count(distinct d.user_key) as value {DAYS} "
            "group by 1 having value > 0"
            for name in ("prompts", "sessions")
        ),
        lambda t: over_days(t, prompts=each("prompts"), sessions=each("sessions")),
        {"at": "time"},
    ),
    *(
        Figure(
            title,
            f"select coalesce(s.{column}, '(none)') as at, 'users' as series, count(distinct s.user_key) as value "
            f"{SESSIONS} group by 1",
            users_by(column),
        )
        for title, column in (
            ("Users by entrypoint", "app_entrypoint"),
            ("Users by terminal", "terminal_type"),
            ("Users by client version", "app_version"),
        )
    ),
    Figure(
        "groups-title",
        'select d.team as "Team", count(distinct d.user_key) as "Active users", '
        'count(distinct d.user_key) as "Known users", 1.0::double as "Share active", '
        'count(distinct d.user_key) as "New users", sum(d.prompts) as "Prompts", '
        f'sum(d.active_user_s) as "Active time of users" {DAYS} group by 1',
        teams,
        {"Team": "none", "Share active": "percent", "Active time of users": "seconds"},
    ),
    Figure(
        "features-title",
        "with u as ("
        + " union all ".join(
            [
                f"select '{kind}' as kind, e.{column} as name, e.user_key, 1 as uses from events e "
                f"where e.tenant = '{{tenant}}' and e.event_name = '{name}' and e.{column} is not null"
                for kind, (name, column) in OF_EVENTS.items()
            ]
            + [
                "select 'MCP', 'A server connected', e.user_key, 1 from events e where e.tenant = '{tenant}' "
                "and e.event_name = 'mcp_server_connection' and e.status = 'connected'"
            ]
            + [
                f"select '{kind}', '{title}', s.user_key, {uses} {SESSIONS} and {uses} > 0"
                for (kind, title), (uses, _) in OF_SESSIONS.items()
            ]
        )
        + ') select kind as "Kind", name as "Feature", count(distinct user_key) as "Users", '
        f'count(distinct user_key) / {USERS} as "Of active users", sum(uses) as "Uses" from u group by 1, 2',
        features,
        {"Of active users": "percent"},
    ),
)

PAGES: Mapping[str, tuple[Figure, ...]] = {"/adoption": ADOPTION}
