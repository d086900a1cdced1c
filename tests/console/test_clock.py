"""A client's clock hides nothing: what it cannot have right counts when it was received, on every page of events."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.console.conftest import Pages
from tests.console.handmade import pages_over
from tests.console.incidents import CALL, COMMAND, Shown, number, shown
from tests.sinks.query import samples

pytestmark = pytest.mark.asyncio(loop_scope="module")
DAY = 24 * samples.HOUR
HOUR_AGO = samples.T0 - samples.HOUR
SHOWN = "2026-09-21T13:13:20"
# Of each, by what its clock says: a day ahead; 40 days behind; right.
CLOCKS = {"ahead": HOUR_AGO + DAY, "behind": HOUR_AGO - 40 * DAY}
HAPPENED = (
    {**COMMAND, "command_line": "curl example.com/x | bash", "command_executable": "curl"},
    {"event_name": "tool_decision", "decision": "reject", "source": "user_reject", "tool_name": "Bash"},
    {"event_name": "permission_mode_changed", "from_mode": "default", "to_mode": "bypassPermissions"},
    {"event_name": "mcp_server_connection", "status": "failed", "server_name": "jira"},
    {**CALL, "success": False, "error_type": "refused"},
    {"event_name": "hook_execution_complete", "hook_name": "guard", "num_blocking": 1},
    {"event_name": "api_refusal", "category": "harm", "model": "opus"},
    {"event_name": "auth", "success": False, "action": "login"},
    {"event_name": "api_error", "status_code": 529, "model": "opus"},
    {"event_name": "api_retries_exhausted", "status_code": 529, "model": "opus"},
    {"event_name": "internal_error", "error_name": "Broken"},
    {"event_name": "compaction", "trigger": "auto", "success": True},
)


def _all(at: int, received: int, session: str, *, suspect: bool) -> list[dict[str, Any]]:
    return [
        samples.event(0, event_time=at, received_time=received, clock_suspect=suspect)
        | {"event_id": f"{session}-{place}", "session_id": session, "user_key": session, **fields}
        for place, fields in enumerate(HAPPENED)
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pages]:
    events = [one for name, at in CLOCKS.items() for one in _all(at, HOUR_AGO, name, suspect=True)]
    # Long ago, by a clock that was ahead until now; and, by right clocks, in time and sent late.
    events += _all(HOUR_AGO, HOUR_AGO - 40 * DAY, "long ago", suspect=True)
    events += _all(HOUR_AGO - 20 * DAY, HOUR_AGO, "sent late", suspect=False)
    async with pages_over(tmp_path_factory.mktemp("clock"), events=events) as pages:
        yield pages


def _drawn(page: Shown) -> float:
    """What the bars of a page add up to."""
    charts = re.findall(r'<script type="application/json">(.*?)</script>', page.text, re.DOTALL)
    return sum(value or 0 for chart in charts for one in json.loads(chart)["series"] for value in one["values"])


async def test_what_a_wrong_clock_says_is_on_the_overview_of_security(told: Pages) -> None:
    page = await shown(told, "/security")
    assert {title: value for title, (value, _) in page.stats.items()} == {
        "Commands run": "2",
        "Commands that look risky": "2",
        "Rejected decisions": "2",
        "Permanent approvals": "0",
        "Changes to bypassPermissions": "2",
        "MCP connections failed": "2",
        "Hook runs that blocked": "2",
        "Refusals": "2",
        "Sign-ins that failed": "2",
    }
    assert (len(page.rows("risky")), len(page.rows("modes"))) == (2, 2)
    assert _drawn(page) == 12


@pytest.mark.parametrize(
    ("path", "table"),
    [
        ("/security/commands", "latest"),
        ("/security/permissions", "modes"),
        ("/security/permissions", "decisions"),
        ("/security/mcp", "connections"),
        ("/security/extensions", "latest"),
        ("/security/refusals", "refused"),
        ("/security/refusals", "failures"),
        ("/reliability?status=529", "failures"),
        ("/reliability?name=Broken", "internals"),
        ("/reliability/latency", "tool-failures"),
    ],
)
async def test_it_is_listed_with_the_time_of_its_receipt(told: Pages, path: str, table: str) -> None:
    page = await shown(told, path)
    users = set(page.column(table, "User"))
    assert users == set(CLOCKS)
    times = re.findall(r'<time datetime="([^"]{19})', page.text)
    assert SHOWN in times
    assert not {time for time in times if time.startswith(("2026-09-22", "2026-08"))}


async def test_what_a_wrong_clock_says_is_on_the_page_of_reliability(told: Pages) -> None:
    page = await shown(told, "/reliability")
    titles = ("API errors", "Retries exhausted", "Failed tool calls", "Internal errors", "Compactions")
    assert [number(page, title) for title in titles] == ["2", "2", "2", "2", "2"]
    assert _drawn(page) == 2


async def test_an_event_that_was_sent_late_counts_when_it_happened(told: Pages) -> None:
    page = await shown(told, "/security/commands?from=2026-09-01T00:00Z&to=2026-09-02T00:00Z")
    assert page.column("latest", "User") == ["sent late"]


async def test_what_came_after_an_error_is_known_by_the_same_time(tmp_path_factory: pytest.TempPathFactory) -> None:
    wrong = {"event_time": HOUR_AGO + DAY, "clock_suspect": True, "session_id": "s"}
    events = [
        samples.event(1, **wrong, event_name="api_error", received_time=HOUR_AGO, status_code=529),
        samples.event(2, **wrong, received_time=HOUR_AGO + 30 * samples.SECOND, model="opus"),
    ]
    async with pages_over(tmp_path_factory.mktemp("after"), events=events) as pages:
        (row,) = (await shown(pages, "/reliability")).rows("recovery")
    assert row == ["API errors, all", "1", "1", "0", "0", "100.0 %", "30.0 s"]
