"""The views in other people's words: the same as the functions say, under the same rules as the names behind them."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from schemas import codec, records
from schemas.mapping.tables import Mapped, views
from schemas.records import CLASSES
from schemas.roles import Grant
from sinks.query import catalogue
from tests.schemas.mapping.records import bare, full, of_every_action, recorded
from tests.sinks.query import samples
from tests.sinks.query.conftest import Sql, rows, served

pytestmark = pytest.mark.asyncio(loop_scope="session")

CLIENTS = [*recorded("logs", "claude_event"), *of_every_action()]
# What no client sends, but anyone can: a view that fails on one record fails for everybody.
EXTREMES = [
    full(
        "claude_event",
        event_id=f"x-{i}",
        event_name=name,
        event_action=name,
        **dict.fromkeys(("duration_ms", "input_tokens", "cache_read_tokens", "ttft_ms", "status_code"), number),
        file_path=text,
        os_type=text,
        decision=text,
    )
    for i, (name, number, text) in enumerate(
        [
            ("api_request", 2**63 - 1, "'; --"),
            ("api_request", -(2**63), ""),
            ("tool_result", 0, "\\"),
            ("tool_decision", -7, "/"),
        ]
    )
]
SPANS = [
    full("claude_span", name=f"claude_code.{name}", span_id=f"{number:016x}", trace_id="0" * 32, start_time=samples.T0)
    for number, name in enumerate(("llm_request", "tool", "tool.execution", "interaction", "hook", "brand_new"))
]
ASKED = [
    *(
        bare(event_id=f"c-{i}", event_name="tool_result", event_action="tool_result.command", **fields)
        for i, fields in enumerate(
            [
                {"tool_name": "Bash", "command_line": "rm -rf build", "command_executable": "rm", "user_key": "u-1"},
                {"tool_name": "Bash", "command_line": "git push -f", "command_executable": "git", "user_key": "u-2"},
            ]
        )
    ),
    bare(event_id="m-0", event_name="tool_result", event_action="tool_result.mcp", mcp_server="graph", user_key="u-1"),
]
DECISIONS = [
    bare(event_id=f"d-{i}", event_name="tool_decision", event_action=f"tool_decision.{decision}", **fields)
    for i, (decision, fields) in enumerate(
        [
            ("accept", {"decision": "accept", "source": "user_permanent", "tool_name": "Bash", "user_key": "u-1"}),
            ("accept", {"decision": "accept", "source": "config", "tool_name": "Read", "user_key": "u-1"}),
            ("reject", {"decision": "reject", "source": "user_reject", "tool_name": "Bash", "user_key": "u-2"}),
        ]
    )
]
EVENTS = [*CLIENTS, *EXTREMES, *ASKED, *DECISIONS]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def sql(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sql]:
    async with served(tmp_path_factory.mktemp("mapped")) as (store, sql):
        await store.write([samples.batch("events", EVENTS), samples.batch("spans", SPANS)])
        yield sql


def as_stored(record: str, values: dict[str, Any]) -> dict[str, Any]:
    """A record as the codec gives it back."""
    return codec.decode(record, codec.encode(record, values))


def ours(view: Mapped) -> dict[str, dict[str, Any]]:
    """What the function says of each record, by its id."""
    held = EVENTS if view.record == "claude_event" else SPANS
    key = "event_id" if view.record == "claude_event" else "span_id"
    found = {values[key]: view.flat(as_stored(view.record, values)) for values in held}
    return {one: flat for one, flat in found.items() if flat is not None}


@pytest.mark.parametrize("view", views().values(), ids=lambda v: v.view)
async def test_view_and_function_say_the_same_of_the_same_records(sql: Sql, view: Mapped) -> None:
    own = {"ecs": "event.id", "ocsf": "metadata.uid", "gen_ai": "event_id"}[view.mapping]
    if view.record == "claude_span":
        own = "span.id" if view.mapping == "ecs" else "span_id"
    answer = await sql.ask(f"select * from {view.view}", "root-key", limit=5000)
    # Every name has its tenant; a document has it only where the foreign words have a place for it.
    known = {column.name for column in view.columns}
    theirs = {row[own]: {k: v for k, v in row.items() if v is not None and k in known} for row in answer}
    assert {row["tenant"] for row in answer} == {"acme"}
    assert theirs == ours(view)
    assert len(theirs) > 3


async def test_a_view_has_the_rows_that_the_key_may_see(sql: Sql) -> None:
    assert await sql.ask("select * from events_ecs", "globex-key") == []
    counts = [
        (await sql.ask(f"select count(*) as n from {name}", "acme-key"))[0]["n"] for name in ("events", "events_ecs")
    ]
    assert counts == [len(EVENTS)] * 2


async def test_a_column_that_reads_a_class_is_absent_for_who_may_not_see_it() -> None:
    for cls in ("person", "detail"):
        access = catalogue.Access(("acme",), tuple(Grant(granted) for granted in CLASSES if granted != cls))
        for view in views().values():
            record = records.record(view.record)
            hidden = {f.name for f in record.fields if f.cls == cls}
            names = {column.name for column in access.columns(view.view)}
            assert names == {c.name for c in view.columns if not c.expression.fields & hidden} | {"tenant"}
            assert all(f'"{field}"' not in access.view(view.view) for field in hidden)


async def test_a_view_obeys_the_condition_of_its_name(sql: Sql) -> None:
    [row] = await sql.ask("select count(*) as n from events_gen_ai", "acme-key")
    names = ", ".join(f"'{name}'" for name in views()["events_gen_ai"].only[1])  # type: ignore[index]
    [same] = await sql.ask(f"select count(*) as n from events where event_name in ({names})", "acme-key")
    assert row == same
    assert row["n"] == rows(sql.database, f"select count(*) from raw.events where event_name in ({names})")[0][0]


class TestWhatSecurityAsks:
    """The queries of seed 002, in its own words where they can be, on the view, and on our own names."""

    async def test_every_shell_command_of_a_person(self, sql: Sql) -> None:
        theirs = await sql.ask(
            'select "process.command_line" as command from events_ecs '
            """where "claude_code.tool_name" = 'Bash' and "event.action" = 'tool_result' """
            'and "process.command_line" is not null order by all'
        )
        ours = await sql.ask(
            "select command_line as command from events "
            "where tool_name = 'Bash' and event_name = 'tool_result' and command_line is not null order by all"
        )
        assert theirs == ours
        assert {"command": "rm -rf build"} in ours

    async def test_lasting_permissions_are_found_where_the_seeds_own_query_finds_none(self, sql: Sql) -> None:
        """tool_decision carries `source`; `decision_source` is on tool_result only."""
        seed = (
            """select count(*) as n from events_ecs where "event.id" like 'd-%' and "event.action" = 'tool_decision'"""
        )
        [none] = await sql.ask(f"""{seed} and "claude_code.decision_source" = 'user_permanent'""")
        [found] = await sql.ask(f"""{seed} and "claude_code.source" = 'user_permanent'""")
        assert (none["n"], found["n"]) == (0, 1)
        [here] = await sql.ask(
            "select user_key, tool_name from events where event_id like 'd-%' "
            "and event_action = 'tool_decision.accept' and source = 'user_permanent'"
        )
        assert here == {"user_key": "u-1", "tool_name": "Bash"}

    async def test_cost_by_person_and_day(self, sql: Sql) -> None:
        found = await sql.ask(
            """select "user.id", date_trunc('day', "@timestamp") as day, sum("claude_code.cost_usd") as usd """
            """from events_ecs where "event.action" = 'api_request' group by all having usd > 0"""
        )
        assert found

    async def test_every_use_of_an_mcp_server(self, sql: Sql) -> None:
        """The seed asks for tool_name mcp_tool; a client that tells names writes mcp__server__tool."""
        found = await sql.ask(
            "select event_action, coalesce(mcp_server, server_name) as server, count(*) as n from events "
            "where event_name = 'mcp_server_connection' or event_action = 'tool_result.mcp' group by all"
        )
        assert {"event_action": "tool_result.mcp", "server": "graph", "n": 1} in found
        assert "mcp_server_connection.connected" in {row["event_action"] for row in found}
