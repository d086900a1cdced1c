"""Security, what extends a client: MCP servers and their use, hooks, plugins and skills."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from console.events import WHEN, named, of_range, since
from console.figures import Figures, Row, counted, figures, hidden, keyed, outcome, part, there_are, told, total, yes
from console.pages.security import TABS, TITLE
from console.sections import Cell, Column, Section, Table
from console.web import Page, Visit

_CONNECTION = "e.event_name = 'mcp_server_connection'"
# What the gateway derives of a tool's result (schemas/mapping/actions.py).
_CALL = "e.event_action = 'tool_result.mcp'"
_UNTOLD = (
    "Clients tell the names of servers only with OTEL_LOG_TOOL_DETAILS=1; the others stand together as (not told)."
)
_USERS = "count(DISTINCT (e.tenant, e.user_key))"


async def servers(visit: Visit) -> Response:
    """MCP servers: how they connect, who calls which of their tools."""
    choices = {"server": "Server", "status": "Status", "error": "Error", "transport": "Transport"}
    page = await figures(visit, "/security/mcp", **choices)
    filters = page.filters
    seen = page.sees("server_name", "mcp_server", "mcp_tool")
    server = "coalesce(e.server_name, e.mcp_server)" if seen else "coalesce(e.server_scope, e.mcp_server_scope)"
    of_server = page.narrowed({"server": server})
    chosen = page.narrowed({"status": "e.status", "error": "e.error_code", "transport": "e.transport_type"})
    error = ", e.error" if page.sees("error") else ""
    tool = "coalesce(e.mcp_tool, e.tool_name)" if seen else "e.tool_name"
    both = f"({_CONNECTION} OR {_CALL})"
    found = await page.ask(
        totals=counted(
            since(filters),
            of_range(filters, named("mcp_server_connection", "tool_result"), both, since=filters.before.start),
            connections=f"{_CONNECTION} AND e.status = 'connected'",
            failed=f"{_CONNECTION} AND e.status = 'failed'",
            calls=_CALL,
            call_failures=f"{_CALL} AND NOT e.success",
        ),
        servers=f"SELECT {server} AS server, count(*) FILTER (WHERE e.status = 'connected') AS connected, "
        "count(*) FILTER (WHERE e.status = 'failed') AS failed, "
        "count(*) FILTER (WHERE e.status = 'disconnected') AS disconnected, "
        f"count(*) FILTER (WHERE {_CALL}) AS calls, "
        f"count(*) FILTER (WHERE {_CALL} AND NOT e.success) AS call_failures, "
        f"count(DISTINCT e.tool_name) FILTER (WHERE {_CALL}) AS tools, {_USERS} AS users, max({WHEN}) AS last, "
        "string_agg(DISTINCT e.transport_type, ', ') AS transports, count(*) AS n, count(*) OVER () AS of "
        + of_range(filters, named("mcp_server_connection", "tool_result"), both)
        + " GROUP BY 1 ORDER BY n DESC, server LIMIT 100",
        tools=f"SELECT {server} AS server, {tool} AS tool, count(*) AS calls, "
        f"count(*) FILTER (WHERE NOT e.success) AS failures, quantile_cont(e.duration_ms, 0.95) AS p95, "
        f"{_USERS} AS users, count(*) OVER () AS of {of_range(filters, named('tool_result'), _CALL, *of_server)} "
        "GROUP BY ALL ORDER BY calls DESC LIMIT 50",
        errors=f"SELECT {server} AS server, e.error_code, e.transport_type, count(*) AS n, {_USERS} AS users, "
        f"max({WHEN}) AS last, count(*) OVER () AS of "
        + of_range(filters, named("mcp_server_connection"), "e.status = 'failed'")
        + " GROUP BY ALL ORDER BY n DESC LIMIT 50",
        latest=page.latest(
            f"{server} AS server, e.status, e.transport_type, e.server_scope, e.error_code, e.duration_ms{error}",
            named("mcp_server_connection"),
            *of_server,
            *chosen,
        ),
    )
    name = "Server" if seen else "Scope"

    def totals() -> Section:
        row = found["totals"].one()
        stats = [
            total("Connections", row, "connections", href=page.choose("connections", status="connected")),
            total("Failed connections", row, "failed", better="down", href=page.choose("connections", status="failed")),
            total("Tool calls", row, "calls", href=page.choose("mcp-tools")),
            total("Failed calls", row, "call_failures", better="down", href=page.choose("mcp-tools")),
        ]
        return Section("totals", "At a glance", stats=stats)

    def use() -> Section:
        rows = found["servers"].objects()
        note = _UNTOLD if seen and any(row["server"] is None for row in rows) else ""
        tables = [_server_table(page, name, rows), _tool_table(page, name, found["tools"].objects(), bool(of_server))]
        return Section("servers", "Servers and their use", tables=tables, note=note)

    def connections() -> Section:
        def cells(row: Row) -> list[Cell]:
            tone = "bad" if row["status"] == "failed" else ""
            more = [Cell(row[column]) for column in ("transport_type", "server_scope", "error_code")]
            text = [Cell(row["error"])] if error else []
            return [
                page.user(row),
                told(row["server"]),
                Cell(row["status"], tone=tone),
                *more,
                *text,
                Cell(row["duration_ms"]),
            ]

        said = [Column("What it said", "words")] if error else []
        latest = page.listing(
            "connections",
            "Latest connections",
            (*map(Column, ("User", name, "Status", "Transport", "Scope", "Error")), *said, Column("Took", "ms")),
            found["latest"].objects(),
            cells,
            empty="No such connection in this time range.",
        )
        return Section(
            "connecting",
            "Connections",
            tables=[_failure_table(page, name, found["errors"].objects()), latest],
            chosen=page.chips("connections"),
        )

    return page.render(
        "security.html",
        TITLE,
        TABS,
        [
            part("totals", "At a glance", [found["totals"]], totals),
            part("servers", "Servers and their use", [found["servers"], found["tools"]], use),
            part("connecting", "Connections", [found["errors"], found["latest"]], connections),
        ],
        "" if seen else hidden("the names of MCP servers", "class detail"),
    )


def _server_table(page: Figures, name: str, rows: Sequence[Row]) -> Table:
    cells = []
    for row in rows:
        server = row["server"]
        failed = page.behind("connections", server=server, status="failed") if row["failed"] else None
        tools = page.behind("mcp-tools", server=server)
        cells.append(
            (
                told(server, page.behind("connections", server=server)),
                Cell(row["transports"]),
                Cell(row["connected"], page.behind("connections", server=server, status="connected")),
                Cell(row["failed"], failed, "bad" if row["failed"] else ""),
                Cell(row["disconnected"], page.behind("connections", server=server, status="disconnected")),
                Cell(row["calls"], tools, to="The tools that were called, each with its calls"),
                Cell(row["call_failures"]),
                Cell(row["tools"]),
                Cell(row["users"]),
                Cell(row["last"]),
            )
        )
    numbers = ("Connected", "Failed", "Disconnected", "Calls", "Failed calls", "Tools", "Users")
    columns = (
        Column(name),
        Column("Transport"),
        *(Column(one, "count") for one in numbers),
        Column("Last seen", "time"),
    )
    empty = "No client connected to an MCP server, or called one, in this time range."
    title, keys = f"By {name.lower()}", keyed(rows, "server")
    return Table("mcp-servers", title, columns, cells, empty, keys=keys, wide=True, of=there_are(rows))


def _tool_table(page: Figures, name: str, rows: Sequence[Row], chosen: bool) -> Table:
    cells = [
        (
            Cell(row["tool"]),
            told(row["server"], page.behind("mcp-tools", server=row["server"])),
            Cell(row["calls"]),
            Cell(row["failures"], tone="bad" if row["failures"] else ""),
            Cell(row["p95"]),
            Cell(row["users"]),
        )
        for row in rows
    ]
    columns = (
        Column("Tool"),
        Column(name),
        Column("Calls", "count"),
        Column("Failed", "count"),
        Column("95 % within", "ms"),
        Column("Users", "count"),
    )
    title = "Tools called, of the chosen server" if chosen else "Tools called"
    empty = "No tool of an MCP server was called."
    keys = keyed(rows, "server", "tool")
    return Table("mcp-tools", title, columns, cells, empty, keys=keys, wide=True, of=there_are(rows))


def _failure_table(page: Figures, name: str, rows: Sequence[Row]) -> Table:
    cells = []
    for row in rows:
        of = {"server": row["server"], "error": row["error_code"], "transport": row["transport_type"]}
        href = page.behind("connections", status="failed", **of)
        texts = (told(row["server"], href), Cell(row["error_code"]), Cell(row["transport_type"]))
        cells.append((*texts, Cell(row["n"], href), Cell(row["users"]), Cell(row["last"])))
    columns = (
        Column(name),
        Column("Error"),
        Column("Transport"),
        Column("Failures", "count"),
        Column("Users", "count"),
        Column("Last", "time"),
    )
    title, empty = "Why connections failed", "None failed."
    keys = keyed(rows, "server", "error_code", "transport_type")
    return Table("mcp-errors", title, columns, cells, empty, keys=keys, wide=True, of=there_are(rows))


# Hooks, plugins, skills

_HOOK_RUN = "e.event_name = 'hook_execution_complete'"
_EXTENSIONS = ("hook_registered", "hook_execution_complete", "plugin_loaded", "plugin_installed", "skill_activated")
_NO_HOOKS = "No client registered a hook in this time range."


# What the list of all of them can be narrowed to: what it is called, and of an event it is this.
_CHOICES = {
    "kind": ("Event", "e.event_name"),
    "hook": ("Hook", "coalesce(e.hook_name, e.hook_event)"),
    "listens": ("Listens to", "e.hook_event"),
    "type": ("Kind", "e.hook_type"),
    "hook_source": ("Defined in", "e.hook_source"),
    "plugin": ("Plugin", "e.plugin_name"),
    "marketplace": ("Marketplace", "e.marketplace_name"),
    "release": ("Version", "e.plugin_version"),
    "scope": ("Scope", "e.plugin_scope"),
    "enabled": ("Enabled by", "e.enabled_via"),
    "skill": ("Skill", "e.skill_name"),
    "skill_source": ("Loaded from", "e.skill_source"),
    "trigger": ("Activated by", "e.invocation_trigger"),
    "blocked": ("Blocked", yes("coalesce(e.num_blocking, 0) > 0")),
}


async def extensions(visit: Visit) -> Response:
    """The inventory of hooks, plugins and skills: what is there, where it comes from, what it did."""
    page = await figures(visit, "/security/extensions", **{name: label for name, (label, _) in _CHOICES.items()})
    filters = page.filters
    chosen = page.narrowed({name: column for name, (_, column) in _CHOICES.items()})
    found = await page.ask(
        totals=counted(
            since(filters),
            of_range(filters, named(*_EXTENSIONS), since=filters.before.start),
            registered="e.event_name = 'hook_registered'",
            runs=_HOOK_RUN,
            blocked=f"{_HOOK_RUN} AND e.num_blocking > 0",
            broken=f"{_HOOK_RUN} AND e.num_non_blocking_error > 0",
            installed="e.event_name = 'plugin_installed'",
            skills="e.event_name = 'skill_activated'",
        ),
        hooks=f"SELECT e.hook_event, e.hook_type, e.hook_source, e.plugin_name, count(*) AS n, {_USERS} AS users, "
        f"count(DISTINCT (e.tenant, e.session_id)) AS sessions, max({WHEN}) AS last, count(*) OVER () AS of "
        f"{of_range(filters, named('hook_registered'))} GROUP BY ALL ORDER BY n DESC LIMIT 100",
        runs="SELECT coalesce(e.hook_name, e.hook_event) AS hook, e.hook_source, count(*) AS n, "
        "sum(e.num_hooks)::BIGINT AS hooks, sum(e.num_success)::BIGINT AS done, "
        "sum(e.num_blocking)::BIGINT AS blocked, sum(e.num_non_blocking_error)::BIGINT AS broken, "
        "sum(e.num_cancelled)::BIGINT AS cancelled, quantile_cont(e.total_duration_ms, 0.95) AS p95, "
        f"{_USERS} AS users, count(*) OVER () AS of {of_range(filters, named('hook_execution_complete'))} GROUP BY ALL "
        "ORDER BY blocked DESC NULLS LAST, n DESC LIMIT 100",
        plugins="SELECT e.plugin_name, e.marketplace_name, e.plugin_version, e.plugin_scope, e.enabled_via, "
        "bool_or(e.has_hooks) AS has_hooks, bool_or(e.has_mcp) AS has_mcp, "
        "count(*) FILTER (WHERE e.event_name = 'plugin_loaded') AS loads, "
        f"count(*) FILTER (WHERE e.event_name = 'plugin_installed') AS installs, {_USERS} AS users, "
        f"max({WHEN}) AS last, count(*) OVER () AS of "
        f"{of_range(filters, named('plugin_loaded', 'plugin_installed'))} "
        "GROUP BY ALL ORDER BY users DESC, loads DESC LIMIT 100",
        skills=f"SELECT e.skill_name, e.skill_source, e.plugin_name, e.invocation_trigger, count(*) AS n, {_USERS} AS "
        f"users, max({WHEN}) AS last, count(*) OVER () AS of {of_range(filters, named('skill_activated'))} "
        "GROUP BY ALL ORDER BY n DESC LIMIT 100",
        latest=page.latest(
            "e.event_name, CASE e.event_name WHEN 'skill_activated' THEN e.skill_name "
            "WHEN 'plugin_loaded' THEN e.plugin_name "
            "WHEN 'plugin_installed' THEN e.plugin_name ELSE coalesce(e.hook_name, e.hook_event) END AS name, "
            "coalesce(e.hook_source, e.skill_source, e.plugin_scope, e.install_trigger) AS source, "
            "e.num_blocking, e.num_non_blocking_error, e.num_success",
            named(*_EXTENSIONS),
            *chosen,
        ),
    )

    def totals() -> Section:
        row = found["totals"].one()
        runs = "hook_execution_complete"
        return Section(
            "totals",
            "At a glance",
            stats=[
                total("Hooks registered", row, "registered", href=page.choose("hooks")),
                total("Hook runs", row, "runs", href=page.choose("latest", kind=runs)),
                total("Runs that blocked", row, "blocked", href=page.choose("latest", kind=runs, blocked="yes")),
                total("Runs with errors", row, "broken", better="down", href=page.choose("hook-runs")),
                total("Plugins installed", row, "installed", href=page.choose("latest", kind="plugin_installed")),
                total("Skills activated", row, "skills", href=page.choose("latest", kind="skill_activated")),
            ],
        )

    def hooks() -> Section:
        registered = _hook_table(page, found["hooks"].objects())
        return Section("of-hooks", "Hooks", tables=[registered, _run_table(page, found["runs"].objects())])

    def plugins() -> Section:
        return Section("of-plugins", "Plugins", tables=[_plugin_table(page, found["plugins"].objects())])

    def skills() -> Section:
        return Section("of-skills", "Skills", tables=[_skill_table(page, found["skills"].objects())])

    def latest() -> Section:
        table = page.listing(
            "latest",
            "Latest of all",
            (Column("User"), Column("Event"), Column("Name"), Column("Source"), Column("Outcome")),
            found["latest"].objects(),
            lambda row: [page.user(row), Cell(row["event_name"]), Cell(row["name"]), Cell(row["source"]), _ended(row)],
            empty="Nothing of this kind in this time range.",
        )
        return Section("list", "Which they were", tables=[table], chosen=page.chips("latest"))

    return page.render(
        "security.html",
        TITLE,
        TABS,
        [
            part("totals", "At a glance", [found["totals"]], totals),
            part("of-hooks", "Hooks", [found["hooks"], found["runs"]], hooks),
            part("of-plugins", "Plugins", [found["plugins"]], plugins),
            part("of-skills", "Skills", [found["skills"]], skills),
            part("list", "Which they were", [found["latest"]], latest),
        ],
    )


def _ended(row: Row) -> Cell:
    """How a run of hooks ended; nothing for what is no run."""
    if row["num_blocking"]:
        return Cell("blocked", tone="warn")
    if row["num_non_blocking_error"]:
        return Cell("failed", tone="bad")
    return outcome(True) if row["num_success"] else Cell(None)


def _hook_table(page: Figures, rows: Sequence[Row]) -> Table:
    cells = []
    for row in rows:
        said = {"type": row["hook_type"], "hook_source": row["hook_source"], "plugin": row["plugin_name"]}
        href = page.behind("latest", kind="hook_registered", listens=row["hook_event"], **said)
        texts = map(Cell, said.values())
        numbers = [Cell(row["n"], href), Cell(row["sessions"]), Cell(row["users"]), Cell(row["last"])]
        cells.append([Cell(row["hook_event"], href), *texts, *numbers])
    columns = (
        *map(Column, ("Listens to", "Kind", "Defined in", "Plugin")),
        *(Column(name, "count") for name in ("Registered", "Sessions", "Users")),
        Column("Last", "time"),
    )
    keys = keyed(rows, "hook_event", "hook_type", "hook_source", "plugin_name")
    return Table("hooks", "Registered", columns, cells, _NO_HOOKS, keys=keys, wide=True, of=there_are(rows))


def _run_table(page: Figures, rows: Sequence[Row]) -> Table:
    cells = []
    for row in rows:
        of = {"kind": "hook_execution_complete", "hook": row["hook"], "hook_source": row["hook_source"]}
        href = page.behind("latest", **of)
        blocked = page.behind("latest", **of, blocked="yes") if row["blocked"] else None
        cells.append(
            (
                Cell(row["hook"], href),
                Cell(row["hook_source"]),
                Cell(row["n"], href),
                Cell(row["hooks"]),
                Cell(row["done"]),
                Cell(row["blocked"], blocked, "warn" if row["blocked"] else "", to="The runs in which a hook blocked"),
                Cell(row["broken"], tone="bad" if row["broken"] else ""),
                Cell(row["cancelled"]),
                Cell(row["p95"]),
                Cell(row["users"]),
            )
        )
    columns = (
        Column("Hook"),
        Column("Defined in"),
        *(Column(name, "count") for name in ("Runs", "Hooks", "Done", "Blocked", "Errors", "Cancelled")),
        Column("95 % within", "ms"),
        Column("Users", "count"),
    )
    empty = "No hook ran in this time range."
    keys = keyed(rows, "hook", "hook_source")
    return Table("hook-runs", "Executed", columns, cells, empty, keys=keys, wide=True, of=there_are(rows))


def _plugin_table(page: Figures, rows: Sequence[Row]) -> Table:
    cells = []
    for row in rows:
        said = {"marketplace": row["marketplace_name"], "release": row["plugin_version"], "scope": row["plugin_scope"]}
        of = {"plugin": row["plugin_name"], **said, "enabled": row["enabled_via"]}
        loads = page.behind("latest", kind="plugin_loaded", **of) if row["loads"] else None
        installs = page.behind("latest", kind="plugin_installed", **of) if row["installs"] else None
        texts = [*map(Cell, said.values()), Cell(row["enabled_via"])]
        brings = [name for name, column in (("hooks", "has_hooks"), ("MCP servers", "has_mcp")) if row[column]]
        numbers = [Cell(row["loads"], loads), Cell(row["installs"], installs), Cell(row["users"]), Cell(row["last"])]
        name = told(row["plugin_name"], page.behind("latest", **of))
        cells.append([name, *texts, Cell(", ".join(brings) or None), *numbers])
    columns = (
        *map(Column, ("Plugin", "Marketplace", "Version", "Scope", "Enabled by", "Brings")),
        *(Column(name, "count") for name in ("Loaded", "Installed", "Users")),
        Column("Last", "time"),
    )
    note = "Without OTEL_LOG_TOOL_DETAILS=1 clients call every plugin of others third-party."
    empty = "No client loaded or installed a plugin in this time range."
    keys = keyed(rows, "plugin_name", "marketplace_name", "plugin_version", "plugin_scope", "enabled_via")
    return Table(
        "plugins", "Loaded and installed", columns, cells, empty, note, keys=keys, wide=True, of=there_are(rows)
    )


def _skill_table(page: Figures, rows: Sequence[Row]) -> Table:
    cells: list[Any] = []
    for row in rows:
        plugin, trigger = row["plugin_name"], row["invocation_trigger"]
        said = {"skill_source": row["skill_source"], "plugin": plugin, "trigger": trigger}
        href = page.behind("latest", kind="skill_activated", skill=row["skill_name"], **said)
        texts = map(Cell, said.values())
        numbers = [Cell(row["n"], href), Cell(row["users"]), Cell(row["last"])]
        cells.append([told(row["skill_name"], href), *texts, *numbers])
    columns = (
        *map(Column, ("Skill", "Loaded from", "Plugin", "Activated by")),
        Column("Times", "count"),
        Column("Users", "count"),
        Column("Last", "time"),
    )
    empty = "No skill was activated in this time range."
    keys = keyed(rows, "skill_name", "skill_source", "plugin_name", "invocation_trigger")
    return Table("skills", "Activated", columns, cells, empty, keys=keys, wide=True, of=there_are(rows))


PAGES = (Page("/security/mcp", servers), Page("/security/extensions", extensions))
