"""A number in a table of security or reliability leads to as many rows as it says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from tests.console.conftest import PATIENCE_S, Pages, console_over, pages_of
from tests.console.handmade import hours_of, pages_over
from tests.console.incidents import CHAPTERS, HOUR_S, Diary, sessions, shown
from tests.console.people import person
from tests.console.test_security import PATHS, kind
from tests.sinks.query import samples

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROOT = person("admin")
# What the tables group events by; and hook_name, which they do not for what is registered.
GROUPED: Mapping[str, tuple[str, ...]] = {
    "api_error": ("model", "status_code"),
    "api_refusal": ("category", "model"),
    "api_retries_exhausted": ("model", "status_code"),
    "auth": ("action", "auth_method", "error_category", "status_code"),
    "hook_execution_complete": ("hook_name", "hook_source"),
    "hook_registered": ("hook_event", "hook_name", "hook_source", "hook_type", "plugin_name"),
    "internal_error": ("error_code", "error_name", "service_version"),
    "mcp_server_connection": ("error_code", "server_name", "status", "transport_type"),
    "plugin_loaded": ("enabled_via", "event_name", "marketplace_name", "plugin_name", "plugin_scope", "plugin_version"),
    "skill_activated": ("invocation_trigger", "plugin_name", "skill_name", "skill_source"),
    "tool_decision": ("decision", "source", "tool_name", "user_key"),
    "tool_result": ("command_executable", "tool_name"),
}
OTHER = {"event_name": "plugin_installed", "status_code": 418}
# Numbers that count something else than the rows that they lead to, which their links say: (table, column) → why.
ELSEWHERE: Mapping[str, Mapping[tuple[str, str], str]] = {
    "/reliability": {("models", "Requests done"): "requests that went well are not listed; the sessions are"},
    "/reliability/latency": {("requests-by-model", "Requests"): "the same"},
    "/security/extensions": {("hook-runs", "Blocked"): "counts hooks, of which one run has several"},
    "/security/mcp": {("mcp-servers", "Calls"): "leads to the tools, each with its calls"},
}
# Pages with lists alone.
WITHOUT = ("/security",)


def twins(diary: Diary) -> None:
    """Each event once more for every column that it is grouped by, with another value in this one alone."""
    for event in tuple(diary.events):
        for column in GROUPED.get(event["event_name"], ()):
            id_ = f"{diary.tenant}/{len(diary.events)}"
            diary.events.append({**event, "event_id": id_, column: OTHER.get(column, f"another {column}")})


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def alike(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pages]:
    """Pages over a store in which every group has others that differ in one column; two tenants name users alike."""
    diary, same = Diary(), Diary("globex")
    for chapter in CHAPTERS:
        chapter(diary)
        chapter(same)
    twins(diary)
    hours = [hour for one in sessions() for hour in hours_of(one)]
    events = [*diary.events, *same.events]
    folder = tmp_path_factory.mktemp("alike")
    async with pages_over(folder, events=events, sessions=sessions(), session_hours=hours) as pages:
        # Nothing is written any more, and most questions of a page are the same whatever is chosen on it.
        console = console_over(pages.sql.base, "root-key", kept_s=HOUR_S, sql_timeout_s=PATIENCE_S)
        async with pages_of(console) as keeping:
            yield keeping


async def rows_behind(pages: Pages, href: str) -> int:
    """How many rows a list has, on all of its pages."""
    path, _, anchor = href.partition("#")
    if path.startswith("/sessions"):
        return (await pages.get(path, ROOT)).text.count("data-row>")
    page, count, number = await shown(pages, path, ROOT), 0, 1
    while True:
        assert not page.rows(anchor) or page.tables[anchor][0][0] == "When", f"{href} is no list"
        count += len(page.rows(anchor))
        older = [link for link in page.links if f"page={number}" in link and link.endswith(f"#{anchor}")]
        if not older:
            return count
        page, number = await shown(pages, older[0], ROOT), number + 1


@pytest.mark.parametrize("path", PATHS)
async def test_a_number_leads_to_as_many_rows_as_it_says(alike: Pages, path: str) -> None:
    """On the page as it is, and once more as each kind of its own links leads to it."""
    chosen = {kind(one.href): one.href for one in (await shown(alike, path, ROOT)).numbers}
    behind: dict[str, int] = {}
    elsewhere, wrong = set(), []
    for address in (path, *(href for (of, _), href in chosen.items() if of == path)):
        for one in (await shown(alike, address, ROOT)).numbers:
            if one.to:
                elsewhere.add((one.table, one.column))
                continue
            if one.href not in behind:
                behind[one.href] = await rows_behind(alike, one.href)
            if one.value != f"{behind[one.href]:,}":
                wrong.append((address, one, behind[one.href]))
    assert wrong == []
    assert elsewhere == ELSEWHERE.get(path, {}).keys()
    assert bool(behind) == (path not in WITHOUT)


async def test_a_name_that_no_address_can_say_leads_nowhere(tmp_path: Path) -> None:
    names = ("", " padded ", "x" * 300, "pdf")
    events = [samples.event(-place, event_name="skill_activated", skill_name=name) for place, name in enumerate(names)]
    async with pages_over(tmp_path, events=events) as pages:
        page = await shown(pages, "/security/extensions", ROOT)
        assert len(page.rows("skills")) == 4
        (number,) = page.numbers
        assert (await shown(pages, number.href, ROOT)).column("latest", "Name") == ["pdf"]
