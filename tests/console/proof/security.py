"""The figures of the security pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tests.console.proof import rare, truth
from tests.console.proof.figure import (
    DAY,
    EVENTS,
    LAST,
    NO_SUCCESS,
    P95,
    USER,
    USERS,
    Figure,
    count,
    failed,
    n,
    over_days,
    quantile,
    quantile_sql,
    said,
    summed,
    that,
)
from tests.console.proof.truth import Record, Truth, grouped, last, users

COMMAND = "e.event_name = 'tool_result' and e.tool_name = 'Bash'"
MARKED = ", ".join(
    f"""('{one.replace("'", "''")}', '{mark}')""" for one, marks in rare.COMMANDS.items() for mark in marks
)
RISKY = f"e.command_line in (select line from (values {MARKED}) as m(line, mark))"
CALL = "e.event_name = 'tool_result' and (e.tool_name like 'mcp@_@_%' escape '@' or e.tool_name = 'mcp_tool')"
CONNECTION = "e.event_name = 'mcp_server_connection'"
RUN = "e.event_name = 'hook_execution_complete'"
DECISION = "e.event_name = 'tool_decision'"
MODE = "e.event_name = 'permission_mode_changed'"
BYPASS = f"{MODE} and e.to_mode = 'bypassPermissions'"
PERMANENT = f"{DECISION} and e.source = 'user_permanent'"


def marks(one: Record) -> tuple[str, ...]:
    return rare.COMMANDS.get(one.parameter("full_command") or "", ())


def risky(rows: Iterable[Record]) -> int:
    return sum(bool(marks(one)) for one in rows)


def watched(t: Truth) -> dict[str, list[Record]]:
    decisions = t.named("tool_decision")
    return {
        "Rejected decisions": that(decisions, decision="reject"),
        "Permanent approvals": that(decisions, source="user_permanent"),
        "Changes to bypassPermissions": that(t.named("permission_mode_changed"), to_mode="bypassPermissions"),
        "MCP connections failed": that(t.named("mcp_server_connection"), status="failed"),
        "Hook runs that blocked": [one for one in t.named("hook_execution_complete") if one.number("num_blocking")],
        "Refusals": t.named("api_refusal"),
        "Sign-ins that failed": [one for one in t.named("auth") if one.failed],
    }


WATCHED = {
    "Rejected decisions": f"{DECISION} and e.decision = 'reject'",
    "Permanent approvals": PERMANENT,
    "Changes to bypassPermissions": BYPASS,
    "MCP connections failed": f"{CONNECTION} and e.status = 'failed'",
    "Hook runs that blocked": f"{RUN} and e.num_blocking > 0",
    "Refusals": "e.event_name = 'api_refusal'",
    "Sign-ins that failed": "e.event_name = 'auth' and not e.success",
}


PAGES: Mapping[str, tuple[Figure, ...]] = {
    "/security": (
        Figure(
            "tiles",
            f'select {count(COMMAND)} as "Commands run", {count(RISKY)} as "Commands that look risky", '
            + ", ".join(f'{count(one)} as "{title}"' for title, one in WATCHED.items())
            + f" {EVENTS} true",
            lambda t: [
                {"Commands run": len(t.commands), "Commands that look risky": risky(t.commands)}
                | {title: len(rows) for title, rows in watched(t).items()}
            ],
        ),
        Figure(
            "What to look at, over time",
            " union all ".join(
                f"select {DAY} as at, '{title}' as series, count(*) as value {EVENTS} {one} group by all"
                for title, one in WATCHED.items()
            ),
            lambda t: over_days(watched(t)),
            {"at": "time"},
        ),
    ),
    "/security/commands": (
        Figure(
            "tiles",
            f'select count(*) as "Commands run", {count(RISKY)} as "Look risky", {NO_SUCCESS} as "Failed", '
            f'{USERS} as "Users", {count("e.command_line is null")} as "Not told" {EVENTS} {COMMAND}',
            lambda t: [
                {
                    "Commands run": len(t.commands),
                    "Look risky": risky(t.commands),
                    "Failed": failed(t.commands),
                    "Users": users(t.commands),
                    "Not told": sum(one.parameter("full_command") is None for one in t.commands),
                }
            ],
        ),
        Figure(
            "by-risk",
            f'select m.mark as "Mark", count(*) as "Commands", {USERS} as "Users" '
            f"from events e join (values {MARKED}) as m(line, mark) on e.command_line = m.line "
            f"where e.tenant = '{{tenant}}' and {COMMAND} group by 1",
            lambda t: grouped(
                [(mark, one) for one in t.commands for mark in marks(one)],
                {"Mark": lambda one: one[0]},
                {"Commands": len, "Users": lambda rows: users(one for _, one in rows)},
            ),
        ),
        Figure(
            "by-program",
            f'select e.command_executable as "Program", count(*) as "Runs", {count(RISKY)} as "Risky", '
            f'{NO_SUCCESS} as "Failed", {USERS} as "Users" {EVENTS} {COMMAND} group by 1',
            lambda t: grouped(
                t.commands,
                {"Program": lambda one: one.program},
                {"Runs": len, "Risky": risky, "Failed": failed, "Users": users},
            ),
            {"Program": "told"},
        ),
        Figure(
            "by-user",
            f'select {USER} as "User", count(*) as "Runs", {count(RISKY)} as "Risky", {NO_SUCCESS} as "Failed", '
            f'count(distinct e.command_executable) as "Programs" {EVENTS} {COMMAND} group by 1',
            lambda t: grouped(
                t.commands,
                {"User": lambda one: t.who(one.user)},
                {
                    "Runs": len,
                    "Risky": risky,
                    "Failed": failed,
                    "Programs": lambda rows: len({one.program for one in rows} - {None}),
                },
            ),
        ),
    ),
    "/security/permissions": (
        Figure(
            "tiles",
            f'select {count(DECISION)} as "Decisions", {count(WATCHED["Rejected decisions"])} as "Rejected", '
            f'{count(PERMANENT)} as "Permanent approvals", {count(MODE)} as "Changes of mode", '
            f'{count(BYPASS)} as "To bypassPermissions" {EVENTS} true',
            lambda t: [
                {
                    "Decisions": len(t.named("tool_decision")),
                    "Rejected": n(t.named("tool_decision"), decision="reject"),
                    "Permanent approvals": n(t.named("tool_decision"), source="user_permanent"),
                    "Changes of mode": len(t.named("permission_mode_changed")),
                    "To bypassPermissions": n(t.named("permission_mode_changed"), to_mode="bypassPermissions"),
                }
            ],
        ),
        Figure(
            "modes",
            f'select e.event_time as "When", {USER} as "User", e.from_mode as "From", e.to_mode as "To", '
            f'e.trigger as "By" {EVENTS} {MODE}',
            lambda t: [
                {"When": one.at, "User": t.who(one.user)}
                | {title: one[name] for title, name in (("From", "from_mode"), ("To", "to_mode"), ("By", "trigger"))}
                for one in t.named("permission_mode_changed")
            ],
            {"When": "time"},
        ),
        Figure(
            "transitions",
            f'select e.from_mode as "From", e.to_mode as "To", e.trigger as "By", count(*) as "Changes", '
            f'{USERS} as "Users", {LAST} as "Last" {EVENTS} {MODE} group by 1, 2, 3',
            lambda t: grouped(
                t.named("permission_mode_changed"),
                {"From": said("from_mode"), "To": said("to_mode"), "By": said("trigger")},
                {"Changes": len, "Users": users, "Last": last},
            ),
            {"Last": "time"},
        ),
        Figure(
            "sources",
            f'select e.source as "Source", e.decision as "Decision", count(*) as "Decisions", '
            f'count(*) / sum(count(*)) over () as "Share", {USERS} as "Users" {EVENTS} {DECISION} group by 1, 2',
            lambda t: grouped(
                t.named("tool_decision"),
                {"Source": said("source"), "Decision": said("decision")},
                {"Decisions": len, "Share": lambda rows: len(rows) / len(t.named("tool_decision")), "Users": users},
            ),
            {"Share": "percent"},
        ),
        Figure(
            "permanent",
            f'select {USER} as "User", e.tool_name as "Tool", count(*) as "Approvals", {LAST} as "Last" '
            f"{EVENTS} {PERMANENT} group by 1, 2",
            lambda t: grouped(
                that(t.named("tool_decision"), source="user_permanent"),
                {"User": lambda one: t.who(one.user), "Tool": said("tool_name")},
                {"Approvals": len, "Last": last},
            ),
            {"Last": "time"},
        ),
        Figure(
            "tools × Tool",
            f"select e.tool_name as at, e.decision || ': ' || e.source as series, count(*) as value {EVENTS} "
            f"{DECISION} group by all union all select e.tool_name, 'All', count(*) {EVENTS} {DECISION} group by all",
            lambda t: grouped(
                [
                    (one, series)
                    for one in t.named("tool_decision")
                    for series in ("All", f"{one['decision']}: {one['source']}")
                ],
                {"at": lambda one: one[0]["tool_name"], "series": lambda one: one[1]},
                {"value": len},
            ),
        ),
    ),
    "/security/mcp": (
        Figure(
            "tiles",
            f"""select {count(f"{CONNECTION} and e.status = 'connected'")} as "Connections",
            {count(WATCHED["MCP connections failed"])} as "Failed connections", {count(CALL)} as "Tool calls",
            {count(f"{CALL} and not e.success")} as "Failed calls" {EVENTS} true""",
            lambda t: [
                {
                    "Connections": n(t.named("mcp_server_connection"), status="connected"),
                    "Failed connections": n(t.named("mcp_server_connection"), status="failed"),
                    "Tool calls": len(t.calls),
                    "Failed calls": failed(t.calls),
                }
            ],
        ),
        Figure(
            "mcp-servers",
            f"""select coalesce(e.server_name, e.mcp_server) as "Server",
            {count("e.status = 'connected'")} as "Connected",
            {count("e.status = 'failed'")} as "Failed", {count("e.status = 'disconnected'")} as "Disconnected",
            {count(CALL)} as "Calls", {count(f"{CALL} and not e.success")} as "Failed calls",
            count(distinct e.tool_name) as "Tools", {USERS} as "Users", {LAST} as "Last seen",
            string_agg(distinct e.transport_type) as "Transport" {EVENTS} (({CALL}) or ({CONNECTION})) group by 1""",
            lambda t: grouped(
                [*t.calls, *t.named("mcp_server_connection")],
                {"Server": lambda one: one.server},
                {
                    "Connected": lambda rows: n(rows, status="connected"),
                    "Failed": lambda rows: n(rows, status="failed"),
                    "Disconnected": lambda rows: n(rows, status="disconnected"),
                    "Calls": lambda rows: sum(one.name == "tool_result" for one in rows),
                    "Failed calls": lambda rows: sum(one.name == "tool_result" and one.failed for one in rows),
                    "Tools": lambda rows: len({one["tool_name"] for one in rows} - {None}),
                    "Users": users,
                    "Last seen": last,
                    "Transport": lambda rows: ", ".join({one["transport_type"] or "" for one in rows} - {""}) or None,
                },
            ),
            {"Server": "told", "Last seen": "time"},
        ),
        Figure(
            "mcp-tools",
            f'select coalesce(e.mcp_tool, e.tool_name) as "Tool", e.mcp_server as "Server", count(*) as "Calls", '
            f'{NO_SUCCESS} as "Failed", {quantile_sql("duration_ms", 0.95)} as "95 % within", {USERS} as "Users" '
            f"{EVENTS} {CALL} group by 1, 2",
            lambda t: grouped(
                t.calls,
                {"Tool": lambda one: one.called, "Server": lambda one: one.server},
                {"Calls": len, "Failed": failed, "95 % within": quantile("duration_ms", 0.95), "Users": users},
            ),
            {"Server": "told", **P95},
        ),
        Figure(
            "mcp-errors",
            f'select e.server_name as "Server", e.error_code as "Error", e.transport_type as "Transport", '
            f'count(*) as "Failures", {USERS} as "Users", {LAST} as "Last" '
            f"{EVENTS} {WATCHED['MCP connections failed']} group by 1, 2, 3",
            lambda t: grouped(
                that(t.named("mcp_server_connection"), status="failed"),
                {"Server": said("server_name"), "Error": said("error_code"), "Transport": said("transport_type")},
                {"Failures": len, "Users": users, "Last": last},
            ),
            {"Server": "told", "Last": "time"},
        ),
    ),
    "/security/extensions": (
        Figure(
            "tiles",
            f"""select {count("e.event_name = 'hook_registered'")} as "Hooks registered", {count(RUN)} as "Hook runs",
            {count(f"{RUN} and e.num_blocking > 0")} as "Runs that blocked",
            {count(f"{RUN} and e.num_non_blocking_error > 0")} as "Runs with errors",
            {count("e.event_name = 'plugin_installed'")} as "Plugins installed",
            {count("e.event_name = 'skill_activated'")} as "Skills activated" {EVENTS} true""",
            lambda t: [
                {
                    "Hooks registered": len(t.named("hook_registered")),
                    "Hook runs": len(t.named("hook_execution_complete")),
                    "Runs that blocked": len(watched(t)["Hook runs that blocked"]),
                    "Runs with errors": sum(
                        bool(one.number("num_non_blocking_error")) for one in t.named("hook_execution_complete")
                    ),
                    "Plugins installed": len(t.named("plugin_installed")),
                    "Skills activated": len(t.named("skill_activated")),
                }
            ],
        ),
        Figure(
            "hooks",
            'select e.hook_event as "Listens to", e.hook_type as "Kind", e.hook_source as "Defined in", '
            'count(*) as "Registered", count(distinct e.session_id) as "Sessions", '
            f'{USERS} as "Users", {LAST} as "Last" {EVENTS} e.event_name = \'hook_registered\' group by 1, 2, 3',
            lambda t: grouped(
                t.named("hook_registered"),
                {"Listens to": said("hook_event"), "Kind": said("hook_type"), "Defined in": said("hook_source")},
                {"Registered": len, "Sessions": truth.sessions, "Users": users, "Last": last},
            ),
            {"Last": "time"},
        ),
        Figure(
            "hook-runs",
            'select e.hook_name as "Hook", e.hook_source as "Defined in", count(*) as "Runs", '
            'sum(e.num_hooks) as "Hooks", sum(e.num_success) as "Done", sum(e.num_blocking) as "Blocked", '
            'sum(e.num_non_blocking_error) as "Errors", sum(e.num_cancelled) as "Cancelled", '
            f'{quantile_sql("total_duration_ms", 0.95)} as "95 % within", {USERS} as "Users" '
            f"{EVENTS} {RUN} group by 1, 2",
            lambda t: grouped(
                t.named("hook_execution_complete"),
                {"Hook": said("hook_name"), "Defined in": said("hook_source")},
                {
                    "Runs": len,
                    "Hooks": summed("num_hooks"),
                    "Done": summed("num_success"),
                    "Blocked": summed("num_blocking"),
                    "Errors": summed("num_non_blocking_error"),
                    "Cancelled": summed("num_cancelled"),
                    "95 % within": quantile("total_duration_ms", 0.95),
                    "Users": users,
                },
            ),
            P95,
        ),
        Figure(
            "plugins",
            'select e.plugin_name as "Plugin", e.marketplace_name as "Marketplace", e.plugin_version as "Version", '
            'e.plugin_scope as "Scope", e.enabled_via as "Enabled by", '
            f"""{count("e.event_name = 'plugin_loaded'")} as "Loaded", """
            f"""{count("e.event_name = 'plugin_installed'")} as "Installed", {USERS} as "Users", {LAST} as "Last" """
            f"{EVENTS} e.event_name in ('plugin_loaded', 'plugin_installed') group by 1, 2, 3, 4, 5",
            lambda t: grouped(
                t.named("plugin_loaded", "plugin_installed"),
                {
                    "Plugin": said("plugin.name"),
                    "Marketplace": said("marketplace.name"),
                    "Version": said("plugin.version"),
                    "Scope": said("plugin.scope"),
                    "Enabled by": said("enabled_via"),
                },
                {
                    "Loaded": lambda rows: sum(one.name == "plugin_loaded" for one in rows),
                    "Installed": lambda rows: sum(one.name == "plugin_installed" for one in rows),
                    "Users": users,
                    "Last": last,
                },
            ),
            {"Plugin": "told", "Last": "time"},
        ),
        Figure(
            "skills",
            'select e.skill_name as "Skill", e.skill_source as "Loaded from", e.invocation_trigger as "Activated by", '
            f'count(*) as "Times", {USERS} as "Users", {LAST} as "Last" {EVENTS} e.event_name = \'skill_activated\' '
            "group by 1, 2, 3",
            lambda t: grouped(
                t.named("skill_activated"),
                {
                    "Skill": said("skill.name"),
                    "Loaded from": said("skill.source"),
                    "Activated by": said("invocation_trigger"),
                },
                {"Times": len, "Users": users, "Last": last},
            ),
            {"Skill": "told", "Last": "time"},
        ),
    ),
    "/security/refusals": (
        Figure(
            "tiles",
            f"""select {count("e.event_name = 'api_refusal'")} as "Refusals",
            {count("e.event_name = 'api_refusal' and e.server_fallback_hop")} as "Of these unseen by the user",
            {count("e.event_name = 'auth' and e.action = 'login'")} as "Sign-ins",
            {count("e.event_name = 'auth' and not e.success")} as "Sign-ins and -outs that failed" {EVENTS} true""",
            lambda t: [
                {
                    "Refusals": len(t.named("api_refusal")),
                    "Of these unseen by the user": sum(
                        one.yes("server_fallback_hop") is True for one in t.named("api_refusal")
                    ),
                    "Sign-ins": n(t.named("auth"), action="login"),
                    "Sign-ins and -outs that failed": failed(t.named("auth")),
                }
            ],
        ),
        Figure(
            "categories",
            'select e.category as "Category", e.model as "Model", count(*) as "Refusals", '
            f'{count("e.server_fallback_hop")} as "Answered by another model", '
            f'count(distinct e.session_id) as "Sessions", {USERS} as "Users" {EVENTS} e.event_name = \'api_refusal\' '
            "group by 1, 2",
            lambda t: grouped(
                t.named("api_refusal"),
                {"Category": said("category"), "Model": said("model")},
                {
                    "Refusals": len,
                    "Answered by another model": lambda rows: sum(
                        one.yes("server_fallback_hop") is True for one in rows
                    ),
                    "Sessions": truth.sessions,
                    "Users": users,
                },
            ),
            {"Category": "told"},
        ),
        Figure(
            "auth",
            "select e.action as \"Action\", case when e.success then 'done' else 'failed' end as \"Outcome\", "
            'e.auth_method as "Method", e.error_category as "Error", e.status_code::varchar as "HTTP status", '
            f'count(*) as "Times", {USERS} as "Users", {LAST} as "Last" {EVENTS} e.event_name = \'auth\' '
            "group by 1, 2, 3, 4, 5",
            lambda t: grouped(
                t.named("auth"),
                {
                    "Action": said("action"),
                    "Outcome": lambda one: "failed" if one.failed else "done",
                    "Method": said("auth_method"),
                    "Error": said("error_category"),
                    "HTTP status": said("status_code"),
                },
                {"Times": len, "Users": users, "Last": last},
            ),
            {"Last": "time"},
        ),
    ),
}
