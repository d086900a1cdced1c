"""Security: the commands that ran, what was permitted, refusals and sign-ins. (Servers and hooks: extensions.py.)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from starlette.responses import Response

from console import risks, usage
from console.charts import over_time
from console.events import WHEN, grouped, named, of_range, since
from console.figures import (
    ROWS,
    Figures,
    Row,
    chosen_from,
    counted,
    drilled,
    figures,
    hidden,
    keyed,
    outcome,
    part,
    there_are,
    told,
    total,
)
from console.filters import NONE
from console.sections import Cell, Column, Section, Stat, Tab, Table
from console.shown import NOT_TOLD
from console.web import Page, Visit

TITLE = "Security"
TABS = (
    Tab("/security", "Overview"),
    Tab("/security/commands", "Commands"),
    Tab("/security/permissions", "Permissions"),
    Tab("/security/mcp", "MCP servers"),
    Tab("/security/extensions", "Hooks, plugins, skills"),
    Tab("/security/refusals", "Refusals and sign-ins"),
    Tab("/admin/audit", "Audit", sees="audit"),
)
# What the gateway derives of a tool's result (schemas/mapping/actions.py).
_COMMAND = "e.event_action = 'tool_result.command'"
BYPASS = "bypassPermissions"
_WATCHED = {
    "rejected": ("Rejected decisions", "e.event_name = 'tool_decision' AND e.decision = 'reject'"),
    "permanent": ("Permanent approvals", "e.event_name = 'tool_decision' AND e.source = 'user_permanent'"),
    "bypass": ("Changes to bypassPermissions", f"e.event_name = 'permission_mode_changed' AND e.to_mode = '{BYPASS}'"),
    "mcp": ("MCP connections failed", "e.event_name = 'mcp_server_connection' AND e.status = 'failed'"),
    "blocked": ("Hook runs that blocked", "e.event_name = 'hook_execution_complete' AND e.num_blocking > 0"),
    "refusals": ("Refusals", "e.event_name = 'api_refusal'"),
    "signins": ("Sign-ins that failed", "e.event_name = 'auth' AND NOT e.success"),
}
_WATCHED_EVENTS = (
    "tool_result",
    "tool_decision",
    "permission_mode_changed",
    "mcp_server_connection",
    "hook_execution_complete",
    "api_refusal",
    "auth",
)
_NO_COMMANDS = (
    "No shell command ran in this time range. Choose a longer one; or see under Sources whether clients are sending."
)
_UNTOLD = (
    "Clients send commands only with OTEL_LOG_TOOL_DETAILS=1; without it a run is counted, its command is not told."
)


def _which(page: Figures) -> str:
    """What a viewer does not see."""
    return "" if page.sees("command_line", "command_executable") else hidden("which commands ran", "class detail")


# Overview


async def overview(visit: Visit) -> Response:
    """How much there is of everything that security looks at, and the latest of what matters most."""
    page = await figures(visit, "/security")
    filters = page.filters
    now = since(filters)
    kinds = " ".join(f"WHEN {condition} THEN '{kind}'" for kind, (_, condition) in _WATCHED.items())
    commands = page.sees("command_line", "command_executable")
    found = await page.ask(
        totals=counted(
            now,
            of_range(filters, named(*_WATCHED_EVENTS), since=filters.before.start),
            commands=_COMMAND,
            **{kind: condition for kind, (_, condition) in _WATCHED.items()},
        ),
        risky=counted(
            now,
            of_range(filters, _COMMAND, "e.command_line IS NOT NULL", since=filters.before.start),
            risky=risks.risky("e.command_line"),
        )
        if commands
        else None,
        chart=f"SELECT {usage.start(filters.bucket, WHEN)} AS at, CASE {kinds} END AS kind, count(*) AS n "
        f"{of_range(filters, named(*_WATCHED_EVENTS[1:]))} GROUP BY ALL HAVING kind IS NOT NULL",
        commands=_commands(page, [risks.risky("e.command_line")], 10) if commands else None,
        modes=_modes(page, 10),
    )

    def totals() -> Section:
        row = found["totals"].one()
        risky = found["risky"].objects()
        links = {
            "rejected": filters.url("/security/permissions", decision="reject") + "#decisions",
            "permanent": filters.url("/security/permissions") + "#permanent",
            "bypass": filters.url("/security/permissions") + "#modes",
            "mcp": filters.url("/security/mcp", status="failed") + "#connections",
            "blocked": filters.url("/security/extensions", blocked="yes") + "#latest",
            "refusals": filters.url("/security/refusals"),
            "signins": filters.url("/security/refusals") + "#signins",
        }
        run = filters.url("/security/commands")
        stats = [total("Commands run", row, "commands", href=run)]
        if risky:
            href = filters.url("/security/commands", only="risky") + "#latest"
            stats.append(total("Commands that look risky", risky[0], "risky", better="down", href=href))
        stats += [total(title, row, kind, better="down", href=links[kind]) for kind, (title, _) in _WATCHED.items()]
        return Section("totals", "At a glance", stats=stats)

    def over() -> Section:
        names = {kind: title for kind, (title, _) in _WATCHED.items()}
        chart = over_time(
            "What to look at, over time",
            "count",
            filters.buckets(),
            found["chart"].objects(),
            name="kind",
            value="n",
            bucket=filters.bucket,
            names=names,
        )
        return Section("over-time", "Over time", charts=[drilled(chart, filters, page.path)])

    def latest() -> Section:
        tables = [_mode_table(page, "modes", found["modes"].objects(), "Latest changes of mode, bypass first")]
        if commands:
            rows = found["commands"].objects()
            tables.insert(0, _command_table(page, "risky", "Latest commands that look risky", rows))
        return Section("latest", "Latest", tables=tables)

    return page.render(
        "security.html",
        TITLE,
        TABS,
        [
            part("totals", "At a glance", [found["totals"], found["risky"]], totals),
            part("over-time", "Over time", [found["chart"]], over),
            part("latest", "Latest", [found["commands"], found["modes"]], latest),
        ],
        _which(page),
    )


# Commands


async def commands(visit: Visit) -> Response:
    """The commands that ran, by user and by program, with those that look risky marked."""
    page = await figures(visit, "/security/commands", only="Only", risk="Risk", program="Program")
    seen = page.sees("command_line", "command_executable")
    chosen = []
    if "only" in page.chosen:
        chosen_from("only", page.chosen["only"], ("risky",))
        chosen.append(risks.risky("e.command_line"))
    if "risk" in page.chosen:
        name = chosen_from("risk", page.chosen["risk"], risks.BY_NAME)
        chosen.append(risks.is_a(risks.BY_NAME[name], "e.command_line"))
    chosen += page.narrowed({"program": "e.command_executable"})
    now = since(page.filters)
    found = await page.ask(
        totals=counted(
            now,
            of_range(page.filters, _COMMAND, since=page.filters.before.start),
            runs="true",
            failed="NOT e.success",
        ),
        groups=_groups(page, seen),
        risks=_by_risk(page) if seen else None,
        latest=_commands(page, chosen if seen else []),
    )
    groups = [] if not hasattr(found["groups"], "objects") else found["groups"].objects()

    def totals() -> Section:
        row = found["totals"].one()
        untold = sum(one["untold"] or 0 for one in groups if one["of_all"])
        risky = sum(one["risky"] or 0 for one in groups if one["of_all"])
        stats = [total("Commands run", row, "runs", href=page.choose("latest"))]
        if seen:
            href = page.choose("latest", only="risky")
            stats.append(Stat("Look risky", risky, href=href, note="see the marks below"))
        stats += [
            total("Failed", row, "failed"),
            Stat(
                "Users",
                sum(one["users"] for one in groups if one["of_all"]),
                href=page.choose("by-user"),
                note="who ran any",
            ),
        ]
        if seen:
            stats.append(Stat("Not told", untold, note="held back by the client"))
        return Section("totals", "At a glance", stats=stats, note=_UNTOLD if seen and untold else "")

    def grouped() -> Section:
        tables = []
        if seen:
            counts = {row["risk"]: row for row in found["risks"].objects()}
            tables.append(_risk_table(page, counts))
            tables.append(_program_table(page, [row for row in groups if row["of_program"]]))
        tables.append(_user_table(page, [row for row in groups if row["of_user"]], seen))
        return Section("groups", "By risk, program and user", tables=tables)

    def latest() -> Section:
        rows = found["latest"].objects()
        table = _command_table(page, "latest", "Latest commands", rows)
        return Section("list", "Which ran", tables=[table], chosen=page.chips("latest"))

    return page.render(
        "security.html",
        TITLE,
        TABS,
        [
            part("totals", "At a glance", [found["totals"], found["groups"]], totals),
            part("groups", "By risk, program and user", [found["groups"], found["risks"]], grouped),
            part("list", "Which ran", [found["latest"]], latest),
        ],
        _which(page),
    )


def _commands(page: Figures, conditions: Sequence[str], most: int | None = None) -> str:
    """The latest commands, and with `risks` why each looks risky."""
    seen = page.sees("command_line")
    line = ", e.command_line" if seen else ""
    marks = f", {risks.names('command_line')} AS risks" if seen else ""
    found = page.latest(f"e.tool_name, e.success, e.decision_source{line}", _COMMAND, *conditions, most=most)
    return f"SELECT *{marks} FROM ({found}) ORDER BY happened DESC, event_id"


def _command_table(page: Figures, id_: str, title: str, rows: Sequence[Row]) -> Table:
    def cells(row: Row) -> list[Cell]:
        line = row.get("command_line")
        marks = [(name, risks.BY_NAME[name].why) for name in row.get("risks") or ()]
        command = [Cell(NOT_TOLD if line is None else line, marks=marks)] if "risks" in row else []
        return [*command, page.user(row), Cell(row["tool_name"]), Cell(row["decision_source"]), outcome(row["success"])]

    command = [Column("Command", "code")] if page.sees("command_line") else []
    columns = (*command, Column("User"), Column("Tool"), Column("Permitted by"), Column("Outcome"))
    first = id_ == "risky"  # of the overview, which has the first ones alone
    empty = "No such command ran in this time range." if page.chosen or first else _NO_COMMANDS
    return page.listing(id_, title, columns, rows, cells, empty=empty, paged=not first)


def _groups(page: Figures, seen: bool) -> str:
    """Totals of all, of the largest programs and of the largest users; each command's text is read once."""
    program, line = ("e.command_executable", "e.command_line") if seen else ("NULL::VARCHAR", "NULL::VARCHAR")
    risky = risks.risky("line") if seen else "false"
    groups = grouped(
        [(), ("program",), ("tenant", "user_key")],
        {
            "runs": "sum(n)::BIGINT",
            "failed": "sum(failed)::BIGINT",
            "risky": "coalesce(sum(n) FILTER (risky), 0)::BIGINT",
            "untold": "coalesce(sum(n) FILTER (line IS NULL), 0)::BIGINT",
        },
        "r",
        users="tenant, user_key",
        programs="program",
    )
    return (
        f"WITH c AS (SELECT {program} AS program, {line} AS line, e.tenant, e.user_key, count(*) AS n, "
        f"count(*) FILTER (WHERE NOT e.success) AS failed {of_range(page.filters, _COMMAND)} GROUP BY ALL), "
        f"r AS MATERIALIZED (SELECT *, {risky} AS risky FROM c) "
        "SELECT *, part = 0 AS of_all, part = 1 AS of_program, part = 2 AS of_user, "
        "count(*) OVER (PARTITION BY part) AS of "
        f"FROM ({groups}) "
        "QUALIFY row_number() OVER (PARTITION BY part ORDER BY runs DESC, program, user_key) <= 30 "
        "ORDER BY runs DESC, program, user_key"
    )


def _by_risk(page: Figures) -> str:
    return (
        "WITH c AS (SELECT e.command_line AS line, e.tenant, e.user_key, count(*) AS n "
        f"{of_range(page.filters, _COMMAND, risks.risky('e.command_line'))} GROUP BY ALL) "
        "SELECT risk, sum(n)::BIGINT AS runs, count(DISTINCT (tenant, user_key)) AS users "
        f"FROM (SELECT unnest({risks.names('line')}) AS risk, n, tenant, user_key FROM c) GROUP BY risk"
    )


def _risk_table(page: Figures, counts: dict[str, Row]) -> Table:
    rows, keys = [], []
    for risk in sorted(risks.RISKS, key=lambda risk: -counts[risk.name]["runs"] if risk.name in counts else 0):
        if row := counts.get(risk.name):
            href = page.choose("latest", risk=risk.name)
            rows.append((Cell(risk.name, href), Cell(risk.why), Cell(row["runs"], href), Cell(row["users"])))
            keys.append(risk.name)
    columns = (Column("Mark"), Column("Why to look", "words"), Column("Commands", "count"), Column("Users", "count"))
    note = "A mark is a reason to look, no judgement. A command can have several."
    empty = f"No command looks risky. Looked for: {', '.join(risks.BY_NAME)}."
    return Table("by-risk", "What looks risky", columns, rows, empty, note, keys=keys, wide=True)


def _program_table(page: Figures, rows: Sequence[Row]) -> Table:
    cells = []
    for row in rows:
        href = page.behind("latest", program=row["program"])
        risky = page.behind("latest", program=row["program"], only="risky") if row["risky"] else None
        cells.append(
            (
                told(row["program"], href),
                Cell(row["runs"], href),
                Cell(row["risky"], risky),
                Cell(row["failed"]),
                Cell(row["users"]),
            )
        )
    columns = [Column("Program"), *(Column(name, "count") for name in ("Runs", "Risky", "Failed", "Users"))]
    note = "The program that a command runs first; wrappers such as sudo and env are passed over."
    keys = keyed(rows, "program")
    return Table("by-program", "By program", columns, cells, _NO_COMMANDS, note, keys=keys, of=there_are(rows))


def _user_table(page: Figures, rows: Sequence[Row], seen: bool) -> Table:
    cells = []
    for row in rows:
        user = {"tenant": row["tenant"], "user": row["user_key"]}
        cell = [page.user(row), Cell(row["runs"], page.behind("latest", **user))]
        if seen:
            risky = page.behind("latest", **user, only="risky") if row["risky"] else None
            cell += [Cell(row["risky"], risky), Cell(row["programs"])]
        cells.append([*cell, Cell(row["failed"])])
    names = ("Runs", "Risky", "Programs", "Failed") if seen else ("Runs", "Failed")
    columns = [Column("User"), *(Column(name, "count") for name in names)]
    keys = keyed(rows, "tenant", "user_key")
    return Table("by-user", "By user", columns, cells, _NO_COMMANDS, keys=keys, of=there_are(rows))


# Permissions

_SOURCES = {
    "accept": ("config", "hook", "user_temporary", "user_permanent"),
    "reject": ("config", "hook", "user_reject", "user_abort"),
}
_DECISION = "e.event_name = 'tool_decision'"
_PERMANENT = f"{_DECISION} AND e.source = 'user_permanent'"


async def permissions(visit: Visit) -> Response:
    """What was permitted, by whom: decisions by source and tool, approvals for ever, and changes of mode."""
    page = await figures(visit, "/security/permissions", tool="Tool", source="Source", decision="Decision")
    filters = page.filters
    chosen = page.narrowed({"tool": "e.tool_name", "source": "e.source", "decision": "e.decision"})
    changes = "e.event_name = 'permission_mode_changed'"
    line = ", e.command_line" if page.sees("command_line") else ""
    found = await page.ask(
        totals=counted(
            since(filters),
            of_range(filters, named("tool_decision", "permission_mode_changed"), since=filters.before.start),
            decisions=_DECISION,
            rejects=f"{_DECISION} AND e.decision = 'reject'",
            permanent=_PERMANENT,
            changes=changes,
            bypass=f"{changes} AND e.to_mode = '{BYPASS}'",
        ),
        decisions="WITH f AS MATERIALIZED (SELECT e.decision, e.source, e.tool_name, e.tenant, e.user_key, "
        f"count(*) AS n {of_range(filters, _DECISION)} GROUP BY ALL) SELECT *, part = 0 AS of_all, "
        "(SELECT count(*) FROM (SELECT DISTINCT tool_name FROM f)) AS of FROM ("
        + grouped(
            [("decision", "source"), ("decision", "source", "tool_name")],
            {"n": "sum(n)::BIGINT"},
            "f",
            users="tenant, user_key",
        )
        + ") ORDER BY of_all DESC, n DESC LIMIT 2000",
        permanent=f"SELECT e.tenant, e.user_key, e.tool_name, count(*) AS n, max({WHEN}) AS last, "
        f"count(*) OVER () AS of {of_range(filters, _PERMANENT)} GROUP BY ALL ORDER BY n DESC, last DESC LIMIT 100",
        modes=_modes(page, 50),
        transitions="SELECT e.from_mode, e.to_mode, e.trigger, count(*) AS n, count(DISTINCT (e.tenant, e.user_key)) "
        f"AS users, max({WHEN}) AS last, count(*) OVER () AS of {of_range(filters, changes)} GROUP BY ALL "
        "ORDER BY n DESC LIMIT 100",
        latest=page.latest(f"e.tool_name, e.decision, e.source{line}", _DECISION, *chosen),
    )

    def totals() -> Section:
        row = found["totals"].one()
        return Section(
            "totals",
            "At a glance",
            stats=[
                total("Decisions", row, "decisions", href=page.choose("decisions")),
                total("Rejected", row, "rejects", href=page.choose("decisions", decision="reject")),
                total("Permanent approvals", row, "permanent", better="down", href=page.choose("permanent")),
                total("Changes of mode", row, "changes", href=page.choose("transitions")),
                total("To bypassPermissions", row, "bypass", better="down", href=page.choose("modes")),
            ],
        )

    def modes() -> Section:
        rows = found["modes"].objects()
        return Section(
            "mode-changes",
            "Changes of permission mode",
            "In bypassPermissions nobody is asked before a tool runs.",
            tables=[
                _mode_table(page, "modes", rows, "Who changed the mode, bypassPermissions first"),
                _transition_table(found["transitions"].objects()),
            ],
        )

    def decisions() -> Section:
        rows = found["decisions"].objects()
        return Section(
            "by-source",
            "Decisions by source and tool",
            "A client asks once for each tool call; the source says who, or what, answered.",
            tables=[
                _source_table(page, [row for row in rows if row["of_all"]]),
                _permanent_table(page, found["permanent"].objects()),
                _tool_table(page, [row for row in rows if not row["of_all"]]),
            ],
        )

    def latest() -> Section:
        def cells(row: Row) -> list[Cell]:
            command = [Cell(row["command_line"])] if "command_line" in row else []
            tone = "bad" if row["decision"] == "reject" else ""
            return [
                page.user(row),
                Cell(row["tool_name"]),
                *command,
                Cell(row["decision"], tone=tone),
                _source(row["source"]),
            ]

        command = [Column("Command", "code")] if line else []
        columns = (Column("User"), Column("Tool"), *command, Column("Decision"), Column("Source"))
        table = page.listing(
            "decisions",
            "Latest decisions",
            columns,
            found["latest"].objects(),
            cells,
            empty="No such decision in this time range.",
        )
        return Section("list", "Which were made", tables=[table], chosen=page.chips("decisions"))

    return page.render(
        "security.html",
        TITLE,
        TABS,
        [
            part("totals", "At a glance", [found["totals"]], totals),
            part("mode-changes", "Changes of permission mode", [found["modes"], found["transitions"]], modes),
            part("by-source", "Decisions by source and tool", [found["decisions"], found["permanent"]], decisions),
            part("list", "Which were made", [found["latest"]], latest),
        ],
        _which(page),
    )


def _source(source: str | None, href: str | None = None) -> Cell:
    return Cell(source, href, "warn" if source == "user_permanent" else "")


def _modes(page: Figures, most: int) -> str:
    """The changes of mode, those to bypassPermissions first."""
    return (
        f"SELECT e.event_id, e.tenant, e.session_id, e.user_key, {WHEN} AS happened, e.from_mode, e.to_mode, "
        f"e.trigger, count(*) OVER () AS of {of_range(page.filters, named('permission_mode_changed'))} "
        f"ORDER BY e.to_mode IS NOT DISTINCT FROM '{BYPASS}' DESC, happened DESC, e.event_id LIMIT {most}"
    )


def _mode_table(page: Figures, id_: str, rows: Sequence[Row], title: str) -> Table:
    def cells(row: Row) -> list[Cell]:
        to = Cell(row["to_mode"], tone="bad" if row["to_mode"] == BYPASS else "")
        return [page.user(row), Cell(row["from_mode"]), to, Cell(row["trigger"])]

    columns = (Column("User"), Column("From"), Column("To", "tag"), Column("By"))
    empty = "Nobody changed the permission mode in this time range."
    table = page.listing(id_, title, columns, rows, cells, empty=empty, tall=False, paged=False)
    return replace(table, of=there_are(rows))


def _transition_table(rows: Sequence[Row]) -> Table:
    columns = (
        Column("To", "tag"),
        Column("From"),
        Column("By"),
        Column("Changes", "count"),
        Column("Users", "count"),
        Column("Last", "time"),
    )
    rows = sorted(rows, key=lambda row: row["to_mode"] != BYPASS)
    cells = [
        (
            Cell(row["to_mode"], tone="bad" if row["to_mode"] == BYPASS else ""),
            Cell(row["from_mode"]),
            Cell(row["trigger"]),
            Cell(row["n"]),
            Cell(row["users"]),
            Cell(row["last"]),
        )
        for row in rows
    ]
    empty, keys = "Nobody changed the permission mode.", keyed(rows, "to_mode", "from_mode", "trigger")
    return Table("transitions", "By mode", columns, cells, empty, keys=keys, of=there_are(rows))


def _source_table(page: Figures, rows: Sequence[Row]) -> Table:
    every = sum(row["n"] for row in rows)
    cells = []
    rows = sorted(rows, key=lambda row: (row["decision"] or "", -row["n"]))
    for row in rows:
        href = page.behind("decisions", decision=row["decision"], source=row["source"])
        cells.append(
            (
                _source(row["source"], href),
                Cell(row["decision"], tone="bad" if row["decision"] == "reject" else ""),
                Cell(row["n"], href),
                Cell(row["n"] / every),
                Cell(row["users"]),
            )
        )
    columns = (
        Column("Source"),
        Column("Decision"),
        Column("Decisions", "count"),
        Column("Share", "percent"),
        Column("Users", "count"),
    )
    keys = keyed(rows, "source", "decision")
    return Table("sources", "By source", columns, cells, "No decision in this time range.", keys=keys)


def _permanent_table(page: Figures, rows: Sequence[Row]) -> Table:
    cells = []
    for row in rows:
        user = {"tenant": row["tenant"], "user": row["user_key"]}
        href = page.behind("decisions", source="user_permanent", tool=row["tool_name"], **user)
        cells.append((page.user(row), Cell(row["tool_name"]), Cell(row["n"], href), Cell(row["last"])))
    columns = (Column("User"), Column("Tool"), Column("Approvals", "count"), Column("Last", "time"))
    note = "user_permanent: the person chose never to be asked again for this tool; each use counts."
    return Table(
        "permanent",
        "Permanent approvals, by user and tool",
        columns,
        cells,
        "Nobody approved a tool for ever in this time range.",
        note,
        keys=keyed(rows, "tenant", "user_key", "tool_name"),
        of=there_are(rows),
    )


def _tool_table(page: Figures, rows: Sequence[Row]) -> Table:
    """One row a tool, one column for each source that decided."""
    pairs = [(decision, source) for decision, sources in _SOURCES.items() for source in sources]
    tools: dict[str | None, dict[tuple[Any, Any], int]] = {}
    for row in rows:
        tools.setdefault(row["tool_name"], {})[row["decision"], row["source"]] = row["n"]
    said = {pair for counts in tools.values() for pair in counts}
    shown = [pair for pair in pairs if pair in said] + sorted(said - set(pairs), key=repr)
    cells = []
    most = sorted(tools, key=lambda tool: -sum(tools[tool].values()))[:40]
    for tool in most:
        counts = tools[tool]
        line = [told(tool, page.behind("decisions", tool=tool)), Cell(sum(counts.values()))]
        for decision, source in shown:
            n = counts.get((decision, source))
            href = page.behind("decisions", tool=tool, decision=decision, source=source)
            line.append(Cell(n, href if n else None))
        cells.append(line)
    columns = [
        Column("Tool"),
        Column("All", "count"),
        *(Column(f"{decision or NONE}: {source or NONE}", "count") for decision, source in shown),
    ]
    empty = "No decision in this time range."
    return Table("tools", "By tool and source", columns, cells, empty, keys=most, wide=True, of=there_are(rows))


# Refusals and sign-ins


async def refusals(visit: Visit) -> Response:
    """What the API refused to answer, and how people signed in."""
    of_refusal = {"category": "Category", "refused": "Model"}
    of_signin = {"action": "Action", "method": "Method", "signin": "Sign-in error", "status": "HTTP status"}
    page = await figures(visit, "/security/refusals", **of_refusal, **of_signin)
    filters = page.filters
    refused = page.narrowed({"category": "e.category", "refused": "e.model"})
    columns = {"action": "e.action", "method": "e.auth_method", "signin": "e.error_category"}
    failed = page.narrowed({**columns, "status": "e.status_code::VARCHAR"})
    found = await page.ask(
        totals=counted(
            since(filters),
            of_range(filters, named("api_refusal", "auth"), since=filters.before.start),
            refusals="e.event_name = 'api_refusal'",
            hops="e.event_name = 'api_refusal' AND e.server_fallback_hop",
            signins="e.event_name = 'auth' AND e.action IS NOT DISTINCT FROM 'login'",
            failed="e.event_name = 'auth' AND NOT e.success",
        ),
        groups="SELECT e.category, e.model, count(*) AS n, count(*) FILTER (WHERE e.server_fallback_hop) AS hops, "
        "count(DISTINCT (e.tenant, e.session_id)) AS sessions, count(DISTINCT (e.tenant, e.user_key)) AS users, "
        f"count(*) OVER () AS of {of_range(filters, named('api_refusal'))} GROUP BY ALL ORDER BY n DESC LIMIT 100",
        latest=page.latest(
            "e.category, e.model, e.query_source, e.attempt, e.server_fallback_hop", named("api_refusal"), *refused
        ),
        auth="SELECT e.action, e.success, e.auth_method, e.error_category, e.status_code, count(*) AS n, "
        f"count(DISTINCT (e.tenant, e.user_key)) AS users, max({WHEN}) AS last, count(*) OVER () AS of "
        f"{of_range(filters, named('auth'))} GROUP BY ALL ORDER BY e.success, n DESC LIMIT 100",
        failures=page.latest(
            "e.action, e.auth_method, e.error_category, e.status_code",
            named("auth"),
            "NOT e.success",
            *failed,
            most=ROWS + 1,
        ),
    )

    def totals() -> Section:
        row = found["totals"].one()
        hops = "another model answered"
        return Section(
            "totals",
            "At a glance",
            stats=[
                total("Refusals", row, "refusals", better="down", href=page.choose("refused")),
                total("Of these unseen by the user", row, "hops", note=hops),
                total("Sign-ins", row, "signins", href=page.choose("auth")),
                total("Sign-ins and -outs that failed", row, "failed", better="down", href=page.choose("failures")),
            ],
        )

    def of_refusals() -> Section:
        def cells(row: Row) -> list[Cell]:
            hop = Cell("answered by another model" if row["server_fallback_hop"] else "shown to the user")
            return [page.user(row), told(row["category"]), Cell(row["model"]), Cell(row["query_source"]), hop]

        rows, groups = found["groups"].objects(), []
        for row in rows:
            href = page.behind("refused", category=row["category"], refused=row["model"])
            numbers = (Cell(row["n"], href), Cell(row["hops"]), Cell(row["sessions"]), Cell(row["users"]))
            groups.append((told(row["category"], href), Cell(row["model"]), *numbers))
        names = ("Refusals", "Answered by another model", "Sessions", "Users")
        columns = (Column("Category"), Column("Model"), *(Column(name, "count") for name in names))
        empty = "The API refused nothing in this time range."
        table = page.listing(
            "refused",
            "Latest refusals",
            (Column("User"), Column("Category"), Column("Model"), Column("Asked by"), Column("What followed")),
            found["latest"].objects(),
            cells,
            empty=empty,
        )
        title, keys, of = "By category and model", keyed(rows, "category", "model"), there_are(rows)
        by = Table("categories", title, columns, groups, empty, keys=keys, wide=True, of=of)
        return Section("refusals", "Refusals", tables=[by, table], chosen=page.chips("refused", of_refusal))

    def of_signins() -> Section:
        def cells(row: Row) -> list[Cell]:
            reason = [Cell(row[name]) for name in ("action", "auth_method", "error_category")]
            return [page.user(row), *reason, Cell(_status(row["status_code"]))]

        rows, groups = found["auth"].objects(), []
        for row in rows:
            said = {"action": row["action"], "method": row["auth_method"], "signin": row["error_category"]}
            href = page.behind("failures", **said, status=row["status_code"]) if row["success"] is False else None
            groups.append(
                (
                    told(row["action"]),
                    outcome(row["success"]),
                    Cell(row["auth_method"]),
                    Cell(row["error_category"]),
                    Cell(_status(row["status_code"])),
                    Cell(row["n"], href),
                    Cell(row["users"]),
                    Cell(row["last"]),
                )
            )
        texts = [Column(name) for name in ("Action", "Outcome", "Method", "Error", "HTTP status")]
        columns = (*texts, Column("Times", "count"), Column("Users", "count"), Column("Last", "time"))
        of, empty = there_are(rows), "Nobody signed in or out."
        keys = keyed(rows, "action", "success", "auth_method", "error_category", "status_code")
        by = Table("auth", "By outcome", columns, groups, empty, keys=keys, wide=True, of=of)
        table = page.listing(
            "failures",
            "Latest failures",
            tuple(Column(name) for name in ("User", "Action", "Method", "Error", "HTTP status")),
            found["failures"].objects(),
            cells,
            empty="No sign-in failed in this time range.",
            paged=False,
        )
        chosen = page.chips("failures", of_signin)
        return Section("signins", "Sign-ins of the clients", tables=[by, table], chosen=chosen)

    return page.render(
        "security.html",
        TITLE,
        TABS,
        [
            part("totals", "At a glance", [found["totals"]], totals),
            part("refusals", "Refusals", [found["groups"], found["latest"]], of_refusals),
            part("signins", "Sign-ins of the clients", [found["auth"], found["failures"]], of_signins),
        ],
    )


def _status(code: int | None) -> str | None:
    return None if code is None else str(code)


PAGES = (
    Page("/security", overview),
    Page("/security/commands", commands),
    Page("/security/permissions", permissions),
    Page("/security/refusals", refusals),
)
