"""The security pages, over a store in which something happened."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio

from console import risks
from console.people import Person
from tests.console.conftest import GONE, Pages, console_over, pages_of
from tests.console.handmade import pages_over
from tests.console.incidents import (
    ANALYST,
    COMMAND,
    HOSTILE,
    RISKY,
    VIEWER,
    incidents,
    number,
    own_links,
    shown,
)
from tests.console.people import person
from tests.sinks.query import samples

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATHS = (
    "/security",
    "/security/commands",
    "/security/permissions",
    "/security/mcp",
    "/security/extensions",
    "/security/refusals",
    "/reliability",
    "/reliability/latency",
    "/reliability/versions",
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def watched(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pages]:
    """Pages over a store in which something happened."""
    async with incidents(tmp_path_factory.mktemp("incidents")) as pages:
        yield pages


def kind(link: str) -> tuple[str, tuple[str, ...]]:
    """What a link asks for, whatever the values: one of each is enough to try."""
    parts = urlsplit(link)
    return parts.path, tuple(sorted(parse_qs(parts.query)))


async def test_who_may_read_the_audit_finds_it_there(watched: Pages) -> None:
    for roles, there in ((("security",), True), (("admin",), True), (("analyst",), False)):
        page = (await watched.get("/security", person(*roles, tenant="acme"))).text
        assert ('href="/admin/audit' in page) is there, roles


# Commands


async def test_the_commands_that_ran_are_counted_by_program_and_by_user(watched: Pages) -> None:
    page = await shown(watched, "/security/commands")
    assert page.stats["Commands run"] == ("8", "+60 % before: 5")
    assert (number(page, "Look risky"), number(page, "Failed"), number(page, "Users")) == ("2", "1", "3")
    assert number(page, "Not told") == "2"
    rows = {row[0]: row[1:] for row in page.rows("by-program")}
    assert rows == {
        "git": ["3", "0", "0", "1"],
        "(not told)": ["2", "0", "0", "1"],
        "curl": ["1", "1", "0", "1"],
        "rm": ["1", "1", "1", "1"],
        HOSTILE: ["1", "0", "0", "1"],
    }
    by_user = {row[0]: row[1:] for row in page.rows("by-user")}
    assert by_user["ada@acme.example"] == ["4", "1", "2", "0"]
    assert by_user["bob@acme.example"] == ["3", "1", "1", "1"]


async def test_a_risky_command_says_why_and_leads_to_its_place_in_the_session(watched: Pages) -> None:
    page = await shown(watched, "/security/commands?only=risky")
    commands = page.column("latest", "Command")
    assert len(commands) == 2
    assert commands[0].startswith("rm -rf ~ ")
    assert risks.BY_NAME["deletes broadly"].why in commands[0]
    assert commands[1].startswith(RISKY)
    assert risks.BY_NAME["web to shell"].why in commands[1]
    (event,) = await watched.sql.ask("SELECT event_id FROM events WHERE command_line = 'rm -rf ~'")
    assert f"/sessions/acme/s2?event={event['event_id'].replace('/', '%2F')}" in page.links


async def test_each_kind_of_risk_leads_to_its_commands(watched: Pages) -> None:
    page = await shown(watched, "/security/commands")
    assert {row[0]: row[2:] for row in page.rows("by-risk")} == {
        "web to shell": ["1", "1"],
        "other privileges": ["1", "1"],
        "deletes broadly": ["1", "1"],
    }
    for row, link in zip(page.rows("by-risk"), dict.fromkeys(one for one in page.links if "risk=" in one), strict=True):
        assert len((await shown(watched, link)).rows("latest")) == int(row[2])


async def test_a_table_that_is_cut_says_of_how_many_rows(tmp_path: Path) -> None:
    """A program and a user for each of 35 commands, of which 30 are shown."""
    ran = [
        samples.event(number, **COMMAND, command_line=f"tool{number}", command_executable=f"tool{number}")
        | {"user_key": f"user-{number}"}
        for number in range(35)
    ]
    async with pages_over(tmp_path, events=ran) as pages:
        page = await shown(pages, "/security/commands")
        for table in ("by-program", "by-user"):
            assert len(page.rows(table)) == 30
        assert page.text.count("The first 30 of 35.") == 2
        assert "The first" not in (await shown(pages, "/security/commands?user=user-3")).text


async def test_the_commands_of_one_program_can_be_listed(watched: Pages) -> None:
    assert (await shown(watched, "/security/commands?program=git")).column("latest", "Command") == ["git status"] * 3
    untold = await shown(watched, "/security/commands?program=(none)")
    assert untold.column("latest", "Command") == ["(not told)"] * 2


async def test_who_may_not_see_commands_sees_how_many_ran_and_why_no_more(watched: Pages) -> None:
    for path in ("/security", "/security/commands", "/security/permissions"):
        page = await shown(watched, path, VIEWER)
        assert "rm -rf" not in page.text
        assert "git status" not in page.text
        assert "@acme.example" not in page.text
        assert "an admin can give you a role that shows it" in page.text
    page = await shown(watched, "/security/commands", VIEWER)
    assert number(page, "Commands run") == "8"
    assert [row[1:] for row in page.rows("by-user")] == [["4", "0"], ["3", "1"], ["1", "0"]]
    assert page.column("latest", "Tool") == ["Bash"] * 8


async def test_nobody_sees_the_commands_of_another_tenant(watched: Pages) -> None:
    assert "/globex" not in (await shown(watched, "/security/commands")).text
    assert "ls /globex" in (await shown(watched, "/security/commands", person("admin"))).text
    other = person("analyst", tenant="globex")
    assert (await shown(watched, "/security/commands", other)).column("latest", "Command") == ["ls /globex"]


# Permissions


async def test_permanent_approvals_stand_apart(watched: Pages) -> None:
    page = await shown(watched, "/security/permissions")
    assert number(page, "Permanent approvals") == "3"
    assert [row[:3] for row in page.rows("permanent")] == [["ada@acme.example", "Bash", "3"]]
    link = next(link for link in page.links if "source=user_permanent" in link and "user=ada" in link)
    assert (await shown(watched, link)).column("decisions", "Source") == ["user_permanent"] * 3


async def test_decisions_are_counted_by_source_and_by_tool(watched: Pages) -> None:
    page = await shown(watched, "/security/permissions")
    assert page.rows("sources") == [
        ["config", "accept", "5", "50.0 %", "1"],
        ["user_permanent", "accept", "3", "30.0 %", "1"],
        ["user_reject", "reject", "2", "20.0 %", "1"],
    ]
    assert page.tables["tools"] == [
        ["Tool", "All", "accept: config", "accept: user_permanent", "reject: user_reject"],
        ["Bash", "8", "5", "3", "–"],
        [HOSTILE, "2", "–", "–", "2"],
    ]
    rejected = await shown(watched, "/security/permissions?decision=reject")
    assert rejected.column("decisions", "Tool") == [HOSTILE] * 2


async def test_who_went_into_bypass_permissions_stands_first_though_others_were_later(watched: Pages) -> None:
    for path in ("/security", "/security/permissions"):
        page = await shown(watched, path)
        assert page.column("modes", "To") == ["bypassPermissions", "acceptEdits", "acceptEdits"]
        assert page.rows("modes")[0][1:] == ["bob@acme.example", "default", "bypassPermissions", "shift_tab"]
    assert number(page, "To bypassPermissions") == "1"


# Servers, hooks, plugins, skills


async def test_servers_have_their_connections_calls_users_and_tools(watched: Pages) -> None:
    page = await shown(watched, "/security/mcp")
    assert {row[0]: row[2:9] for row in page.rows("mcp-servers")} == {
        "jira": ["2", "0", "0", "4", "1", "2", "2"],
        HOSTILE: ["0", "1", "0", "0", "0", "0", "1"],
        "(not told)": ["1", "0", "0", "0", "0", "0", "1"],
    }
    assert {row[0]: row[1:4] for row in page.rows("mcp-tools")} == {
        "search": ["jira", "3", "0"],
        HOSTILE: ["jira", "1", "1"],
    }
    failed = await shown(watched, "/security/mcp?status=failed")
    assert failed.rows("connections")[0][2:8] == [HOSTILE, "failed", "stdio", "project", "-32000", HOSTILE]


async def test_who_may_not_see_the_names_of_servers_sees_their_scope(watched: Pages) -> None:
    page = await shown(watched, "/security/mcp", VIEWER)
    assert [row[0] for row in page.rows("mcp-servers")] == ["project", "(not told)"]
    assert "the names of MCP servers" in page.text
    assert "What it said" not in page.tables["connections"][0]


async def test_hooks_plugins_and_skills_are_an_inventory(watched: Pages) -> None:
    page = await shown(watched, "/security/extensions")
    assert [row[:7] for row in page.rows("hooks")] == [["PreToolUse", "command", "projectSettings", "–", "2", "1", "1"]]
    assert [row[:6] for row in page.rows("hook-runs")] == [
        [f"PreToolUse:{HOSTILE}", "projectSettings", "1", "1", "0", "1"],
        ["PreToolUse:Bash", "projectSettings", "4", "4", "4", "0"],
    ]
    assert [row[:8] for row in page.rows("plugins")] == [
        [HOSTILE, HOSTILE, "1.0", "user-local", "–", "hooks", "1", "0"]
    ]
    assert [row[:5] for row in page.rows("skills")] == [[HOSTILE, "plugin", "–", "–", "1"]]
    blocked = await shown(watched, page.link("/security/extensions?kind=hook_execution_complete&blocked=yes"))
    assert blocked.column("latest", "Outcome") == ["blocked"]


# Refusals and sign-ins


async def test_refusals_stand_by_category_and_model(watched: Pages) -> None:
    page = await shown(watched, "/security/refusals")
    assert page.rows("categories") == [["cyber", "opus", "2", "0", "1", "1"], [HOSTILE, "opus", "1", "1", "1", "1"]]
    cyber = await shown(watched, "/security/refusals?category=cyber")
    assert cyber.column("refused", "Category") == ["cyber"] * 2


async def test_sign_ins_that_failed_stand_first_with_their_reason(watched: Pages) -> None:
    page = await shown(watched, "/security/refusals")
    assert [row[:7] for row in page.rows("auth")] == [
        ["login", "failed", "oauth", HOSTILE, "401", "1", "1"],
        ["login", "done", "oauth", "–", "–", "2", "1"],
    ]
    assert [row[1:] for row in page.rows("failures")] == [["bob@acme.example", "login", "oauth", HOSTILE, "401"]]


# The overview of it


async def test_the_overview_counts_what_the_other_pages_list(watched: Pages) -> None:
    page = await shown(watched, "/security")
    assert {title: value for title, (value, _) in page.stats.items()} == {
        "Commands run": "8",
        "Commands that look risky": "2",
        "Rejected decisions": "2",
        "Permanent approvals": "3",
        "Changes to bypassPermissions": "1",
        "MCP connections failed": "1",
        "Hook runs that blocked": "1",
        "Refusals": "3",
        "Sign-ins that failed": "1",
    }
    assert page.stats["Commands that look risky"][1] == "+100 % before: 1"


# What holds for all of them


@pytest.mark.parametrize("path", PATHS)
async def test_nothing_hostile_is_ever_more_than_text(watched: Pages, path: str) -> None:
    page = await shown(watched, path, person("admin"))
    assert "<script>alert" not in page.text
    assert "<img src=x" not in page.text
    assert "&lt;script&gt;alert" in page.text, "the page shows none of it"


@pytest.mark.parametrize("who", [ANALYST, VIEWER], ids=("analyst", "viewer"))
async def test_every_link_leads_to_a_page_without_a_fault(watched: Pages, who: Person) -> None:
    kinds = {kind(link): link for path in PATHS for link in own_links(await shown(watched, f"{path}?range=7d", who))}
    assert len(kinds) > 25
    for link in kinds.values():
        await shown(watched, link, who)


@pytest.mark.parametrize("path", ["/security/commands", "/reliability"])
async def test_back_from_an_event_one_has_the_range_and_the_filters_again(watched: Pages, path: str) -> None:
    page = await shown(watched, f"{path}?range=7d&team=core&model=opus")
    session = await shown(watched, page.link("/sessions/acme/s1"))
    assert " data-chosen>" in session.text
    assert session.links.count("/sessions?range=7d&team=core&model=opus") == 2  # back, and in the menu


@pytest.mark.parametrize(
    ("query", "commands"),
    [
        ("team=core", 7),
        ("user=ada", 4),
        ("user=(none)", 0),
        ("version=2.1.100", 8),
        ("version=2.1.99", 0),
        # What an event does not say is that of its session.
        ("model=haiku", 4),
        ("model=opus", 4),
        ("entrypoint=cli", 4),
        ("range=7d", 13),
        ("team=core&user=bob&model=haiku", 3),
        ("tenant=globex", 0),
        ("department=(none)", 8),
    ],
)
async def test_filters_and_the_time_range_hold(watched: Pages, query: str, commands: int) -> None:
    page = await shown(watched, f"/security/commands?{query}")
    assert number(page, "Commands run") == str(commands)
    assert len(page.rows("latest")) == commands


@pytest.mark.parametrize("path", PATHS)
async def test_an_empty_range_says_so_everywhere(watched: Pages, path: str) -> None:
    page = await shown(watched, f"{path}?from=2020-01-01&to=2020-01-02")
    assert not any(page.rows(id_) for id_ in page.tables)
    assert "in this time range" in page.text


@pytest.mark.parametrize(
    "query", ["only=everything", "risk=none", "page=-1", "page=x", "page=1000000", "program=" + "x" * 300]
)
async def test_a_choice_that_makes_no_sense_says_why(watched: Pages, query: str) -> None:
    answer = await watched.get(f"/security/commands?{query}", ANALYST)
    assert answer.status_code == 400
    assert "This address makes no sense" in answer.text


async def test_a_list_can_be_paged_to_its_end(watched: Pages) -> None:
    newer = (await shown(watched, "/security/commands?page=1")).rows("latest")
    assert newer == []
    assert "Newer" in (await shown(watched, "/security/commands?page=1")).text


async def test_the_page_of_one_list_is_not_that_of_another(watched: Pages) -> None:
    first, second = [await shown(watched, f"/security/refusals{page}") for page in ("", "?page=1")]
    assert first.rows("failures") == second.rows("failures") != []
    assert "Newer" not in (await watched.get("/security/permissions?page=1")).text.partition('id="decisions"')[0]
    for path in PATHS:
        paged = (await watched.get(f"{path}?page=1")).text.count(">Newer<")
        assert paged == (path not in ("/security", "/reliability/versions")), path  # which have no list of pages


async def test_a_list_that_is_longer_than_all_of_its_pages_says_so(tmp_path: Path) -> None:
    """It has 201 pages, of 50 rows."""
    ran = [samples.event(-number, **COMMAND) for number in range(201 * 50 + 1)]
    async with pages_over(tmp_path, events=ran) as pages:
        assert "What is older is not listed." in (await shown(pages, "/security/commands?page=200")).text
        for page in ("page=199", "page=200&user=acme-user-1"):
            assert "is not listed" not in (await shown(pages, f"/security/commands?{page}")).text


@pytest.mark.parametrize("path", PATHS)
async def test_without_the_store_a_page_says_so(path: str) -> None:
    async with pages_of(console_over(GONE, "no key")) as pages:
        answer = await pages.get(path, ANALYST)
    assert answer.status_code == 503
    assert "No answer from the store" in answer.text
