"""The reliability pages, over a store in which something happened. (What holds for every such page: test_security.)"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path

import pytest
import pytest_asyncio

from tests.console.conftest import Pages
from tests.console.handmade import old_and_new, pages_over
from tests.console.incidents import HOSTILE, VIEWER, incidents, number, shown
from tests.sinks.query import samples

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def watched(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pages]:
    """Pages over a store in which something happened."""
    async with incidents(tmp_path_factory.mktemp("incidents")) as pages:
        yield pages


# Errors


async def test_errors_of_the_api_stand_by_status_and_by_model(watched: Pages) -> None:
    page = await shown(watched, "/reliability")
    assert (number(page, "API errors"), number(page, "Share of API requests that failed")) == ("4", "50.0 %")
    assert [row[:4] for row in page.rows("codes")] == [["529", "3", "3", "2"], ["400", "1", "1", "1"]]
    assert page.rows("models") == [
        ["opus", "3", "3", "50.0 %", "3", "3"],
        [HOSTILE, "0", "1", "100.0 %", "0", "1"],
        ["haiku", "1", "0", "0.0 %", "0", "0"],
    ]
    assert '"name": "529"' in page.text  # of the chart


async def test_a_session_that_went_on_after_its_retries_recovered_and_one_that_did_not_stalled(watched: Pages) -> None:
    page = await shown(watched, "/reliability")
    assert page.rows("recovery") == [
        ["Retries exhausted", "3", "1", "1", "1", "50.0 %", "30.0 s"],
        ["API errors, all", "4", "2", "1", "1", "66.7 %", "27.5 s"],
    ]
    stalled = await shown(watched, page.link("/reliability?kind=api_retries_exhausted&after=stalled"))
    assert [row[1:] for row in stalled.rows("failures")] == [
        ["bob@acme.example", "Retries exhausted", "529", "opus", HOSTILE, "11", "1 min 30 s", "stalled"]
    ]
    assert any(link.startswith("/sessions/acme/s2?event=") for link in stalled.links)


async def test_errors_that_name_no_session_are_counted_as_unknown(tmp_path: Path) -> None:
    error = {"event_name": "api_error", "model": "opus", "status_code": 529}
    events = [samples.event(-450, session_id="s1", **error), samples.event(-440, session_id=None, **error)]
    async with pages_over(tmp_path, events=events) as pages:
        page = await shown(pages, "/reliability")
        assert page.tables["recovery"][0][1:6] == ["Times", "Recovered", "Stalled", "Too early to say", "Unknown"]
        assert page.rows("recovery") == [["API errors, all", "2", "0", "1", "0", "1", "0.0 %", "–"]]
        assert "Unknown: the error names no session." in page.text
        unknown = await shown(pages, page.link("/reliability?kind=api_error&after=unknown"))
        assert [row[-1] for row in unknown.rows("failures")] == ["unknown"]


async def test_the_errors_of_one_status_or_model_can_be_listed(watched: Pages) -> None:
    """Those that ended a request, and those that ended all of its retries."""
    assert (await shown(watched, "/reliability?status=400")).column("failures", "What") == ["API error"]
    for chosen in ("status=529", "failed=opus"):
        both = (await shown(watched, f"/reliability?{chosen}")).column("failures", "What")
        assert sorted(both) == ["API error"] * 3 + ["Retries exhausted"] * 3
        errors = (await shown(watched, f"/reliability?{chosen}&kind=api_error")).column("failures", "What")
        assert errors == ["API error"] * 3


async def test_totals_and_bars_of_api_errors_lead_to_these_alone(watched: Pages) -> None:
    page = await shown(watched, "/reliability")
    *_, bar = (link for link in page.links if link.startswith("/reliability?from="))
    for link in (page.link("/reliability?kind=api_error"), bar):
        assert set((await shown(watched, link)).column("failures", "What")) == {"API error"}, link


async def test_who_may_not_see_the_texts_of_errors_sees_that_there_were_errors(watched: Pages) -> None:
    page = await shown(watched, "/reliability", VIEWER)
    assert "bad request" not in page.text
    assert "the text of errors" in page.text
    assert number(page, "API errors") == "4"


async def test_sessions_with_errors_leave_ghosts_out_and_lead_to_their_list(watched: Pages) -> None:
    page = await shown(watched, "/reliability?team=core")
    (row,) = await watched.sql.ask("SELECT count(*) AS n FROM sessions WHERE errors > 0 AND NOT ghost")
    assert row["n"] == 2
    assert number(await shown(watched, "/reliability"), "Sessions with errors") == "2"
    assert "/sessions?team=core&only=errors" in page.links


async def test_internal_errors_and_compactions_are_counted(watched: Pages) -> None:
    page = await shown(watched, "/reliability")
    assert [row[:6] for row in page.rows("internal")] == [[HOSTILE, "E1", "2.1.100", "1", "1", "1"]]
    assert page.rows("compactions") == [["auto", "done", "2", "1", "2.00 k", "500", "50 ms"]]
    link = next(link for link in page.links if "name=" in link)
    assert [row[1:] for row in (await shown(watched, link)).rows("internals")] == [
        ["bob@acme.example", HOSTILE, "E1", "2.1.100"]
    ]


# Speed


async def test_tools_have_their_success_and_their_percentiles(watched: Pages) -> None:
    page = await shown(watched, "/reliability/latency")
    rows = {row[0]: row[1:] for row in page.rows("tools")}
    assert rows["Read"] == ["10", "90.0 %", "1", "550 ms", "955 ms", "991 ms", "1"]
    assert rows["Bash"][:3] == ["8", "87.5 %", "1"]
    failed = await shown(watched, "/reliability/latency?tool=Read")
    assert [row[1:] for row in failed.rows("tool-failures")] == [["ada@acme.example", "Read", "–", HOSTILE, "1.0 s"]]


async def test_requests_and_the_time_to_their_first_token_have_percentiles_by_model(watched: Pages) -> None:
    page = await shown(watched, "/reliability/latency")
    assert page.rows("requests-by-model") == [
        ["all models", "4", "2.5 s", "3.8 s", "4.0 s"],
        ["opus", "3", "3.0 s", "3.9 s", "4.0 s"],
        ["haiku", "1", "1.0 s", "1.0 s", "1.0 s"],
    ]
    assert page.rows("first-by-model") == [
        ["opus", "3", "300 ms", "390 ms", "398 ms"],
        ["haiku", "1", "100 ms", "100 ms", "100 ms"],
    ]
    assert "Time to first token, median" in page.text


async def test_requests_without_a_model_share_no_line_with_one_that_is_called_so(tmp_path: Path) -> None:
    request = {"event_name": "api_request", "duration_ms": 1000}
    events = [
        samples.event(-450, model=None, ttft_ms=100, **request),
        samples.event(-440, model="(none)", ttft_ms=900, **request),
    ]
    async with pages_over(tmp_path, events=events) as pages:
        text = (await shown(pages, "/reliability/latency")).text
    found = re.findall(r'"name": "\(none\)", "values": \[[^]]*?(\d+)\.0', text)
    assert sorted(found) == ["100", "100", "900", "900"], "two lines in each of two charts"


async def test_without_times_to_the_first_token_it_says_how_to_get_them(watched: Pages) -> None:
    page = await shown(watched, "/reliability/latency?from=2020-01-01&to=2020-01-02")
    assert "CLAUDE_CODE_ENHANCED_TELEMETRY_BETA=1" in page.text


# Versions


async def test_versions_in_use_stand_newest_first(watched: Pages) -> None:
    page = await shown(watched, "/reliability/versions")
    assert [row[:3] for row in page.rows("versions-in-use")] == [
        ["2.1.100", "1", "1"],
        ["2.1.99", "1", "1"],
        [HOSTILE, "1", "1"],
    ]
    assert page.stats["Sessions"] == ("3", "+200 % before: 1")
    assert "/sessions?version=2.1.100&only=errors" in page.links


@pytest.mark.parametrize(
    ("path", "counted"), [("/reliability", "Sessions with errors"), ("/reliability/versions", "Sessions")]
)
async def test_sessions_of_a_range_longer_than_hours_are_kept_lead_to_those_that_are_counted(
    tmp_path: Path, path: str, counted: str
) -> None:
    note = f"{counted} are counted by their hours, which are kept for 60 days."
    async with pages_over(tmp_path, **old_and_new()) as pages:
        page = await shown(pages, f"{path}?range=90d")
        assert note in page.text
        assert number(page, counted) == "1"
        assert page.links.count("/sessions?range=90d") == 1  # of the menu
        of_requests = {one.href for one in page.numbers if one.to}
        lists = {link for link in page.links if link.startswith("/sessions?")} - of_requests - {"/sessions?range=90d"}
        assert {(await pages.get(link)).text.count("data-row>") for link in lists} == {1}
        assert note not in (await shown(pages, f"{path}?range=30d")).text


def drawn_tables(text: str) -> list[str]:
    """The tables that say what charts draw."""
    return re.findall(r'<details class="as-table">.*?</details>', text, re.DOTALL)


@pytest.mark.parametrize("path", ["/reliability", "/security"])
@pytest.mark.parametrize(("range_", "buckets"), [("24h", 24), ("7d", 7), ("30d", 30), ("90d", 90)])
async def test_every_bar_can_be_followed_without_a_mouse(watched: Pages, path: str, range_: str, buckets: int) -> None:
    (table,) = drawn_tables((await shown(watched, f"{path}?range={range_}")).text)
    rows = re.findall(r'<th scope="row"><a href="([^"]+)">', table)
    assert len(rows) == len(set(rows)) == buckets
    assert buckets <= 48 or table.count("<a ") == buckets  # a page of a long range is not made heavy
    of_today = await shown(watched, unescape(rows[-1]))
    assert of_today.rows("failures" if path == "/reliability" else "modes")
