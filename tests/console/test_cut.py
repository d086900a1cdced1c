"""A list that leaves rows out says so, and says so only then: over a store with just as many as each list shows, and
over one with one more of everything."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import httpx
import pytest
import pytest_asyncio

from console.ask import Answer
from console.download import lines
from console.pages import report
from tests.console.conftest import Pages
from tests.console.handmade import hours_of, pages_over
from tests.sinks.query import samples
from tests.sinks.query.samples import HOUR, SECOND, T0

pytestmark = pytest.mark.asyncio(loop_scope="module")

DAY = 24 * HOUR
# Path → what it says where it leaves something out, and how many rows with an id that begins so it then has.
SAID = [
    ("/cost", "The 20 most expensive; all of them.", "top-", 20),
    ("/cost", "The 100 models that cost most; the sums above are of these alone, and the CSV has all.", "cache-", 100),
    ("/sources", "The 200 sources that sent last; the sums above are of these.", "source-", 200),
    ("/sources", "without ghosts. The 100 with the most.", None, 0),
    ("/sources/rejected", "The 100 that came last.", None, 0),
    ("/security/permissions", "The first 40 of 41.", "tools-", 40),
    ("/reliability/latency", "The first 50 of 51.", "first-by-model-", 50),
    ("/reliability/latency?range=7d", "The first 6 of 7 models.", None, 0),
    ("/report?month=2026-09", "The first 500 cost centers; any other can stand in the address.", None, 0),
    ("/report?month=2026-09", "The first 1,000 are shown; the CSV has up to 300,000.", None, 0),
    ("/adoption?range=7d", "Of tools, modes and commands these are the first 100 of 101.", "feature-", 100),
    ("/admin/tenants", "Sessions are looked up for the 1,000 tenants heard last", "tenant-", 1000),
]


def many(more: int) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """As many of everything as a list shows, and so many more."""
    service = {"service_name": "service-0"}
    told = {**service, "event_name": "api_request", "cost_usd": 0.5, "input_tokens": 10}
    earlier, before = ({"event_time": T0 - days * DAY, "received_time": T0 - days * DAY} for days in (3, 10))
    events: list[dict[str, Any]] = [
        *({"event_name": "at_mention", "service_name": f"service-{n}"} for n in range(200 + more)),
        *({**service, "event_name": "tool_decision", "tool_name": f"tool-{n}"} for n in range(40 + more)),
        *({**service, "event_name": "tool_result", "tool_name": f"tool-{n}"} for n in range(100 + more)),
        *({**told, "model": f"model-{n}"} for n in range(100 + more)),
        *({**told, **before, "model": f"old-{n}"} for n in range(900)),
        # Of the events only these tell a time to the first token: of today only traces do.
        *({**told, **earlier, "model": f"old-{n}", "ttft_ms": 100} for n in range(6 + more)),
    ]
    sessions = [
        samples.session(
            n,
            session_id=f"session-{n}",
            start_time=T0 - n * SECOND,
            last_time=T0 - n * SECOND,
            service_name="service-0",
            spend_usd=1.0 if n < 20 + more else 0.0,
            app_version=f"1.0.{n}" if n < 99 + more else None,
            terminal_type=f"terminal-{n}",
        )
        for n in range(310)
    ]
    elsewhere = [
        samples.session(
            n, tenant=f"tenant-{n}", start_time=T0 - 40 * DAY, last_time=T0 - 40 * DAY, received_time=T0 - 40 * DAY
        )
        for n in range(999 + more)
    ]
    return {
        "events": [samples.event(n, **{"event_time": T0 - SECOND, **one}) for n, one in enumerate(events)],
        "spans": [samples.span(n, service_name="service-0", model=f"model-{n}", ttft_ms=100) for n in range(50 + more)],
        "sessions": [*sessions, *elsewhere],
        "session_hours": [hour for one in sessions for hour in hours_of(one)],
        "rejected": [samples.rejected(n, received_at=T0 - SECOND, reason=f"reason-{n}") for n in range(100 + more)],
        "user_windows": [
            samples.user_window(n, grain="day", start=T0 - T0 % DAY, cost_center=f"cc-{n:03}", spend_usd=1.0)
            for n in range(500 + more)
        ],
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def full(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pages]:
    async with pages_over(tmp_path_factory.mktemp("full"), **many(0)) as pages:
        yield pages


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def over(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pages]:
    async with pages_over(tmp_path_factory.mktemp("over"), **many(1)) as pages:
        yield pages


async def page(pages: Pages, path: str) -> httpx.Response:
    """What is read by a click is asked for by one."""
    answer = await (pages.post(path, {}) if path == "/sources/rejected" else pages.get(path))
    assert answer.status_code == 200
    assert "No answer" not in answer.text
    return answer


def words(text: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", text)).split())


@pytest.mark.parametrize(("path", "said", "rows", "number"), SAID)
async def test_a_list_says_that_it_leaves_rows_out_when_it_does(
    full: Pages, over: Pages, path: str, said: str, rows: str | None, number: int
) -> None:
    cut, whole = (await page(over, path)).text, (await page(full, path)).text
    assert said in words(cut)
    assert said not in words(whole)
    if rows is not None:
        for text in (cut, whole):
            assert len(re.findall(rf'<tr id="{rows}', text)) == number


@pytest.mark.parametrize(
    ("file", "begins", "number"),
    [
        ("/cost.csv?table=sessions", "acme,session-", 21),
        ("/cost.csv?table=cache", "model-", 101),
        ("/adoption.csv?table=clients&range=7d", "terminal,", 310),
        ("/adoption.csv?table=features&range=7d", "Tools,", 101),
        # With the line of what no request tells.
        ("/report.csv?month=2026-09", "model,", 1001 + 1),
    ],
)
async def test_the_file_has_what_the_page_leaves_out(over: Pages, file: str, begins: str, number: int) -> None:
    text = (await page(over, file)).text
    assert len([line for line in text.splitlines() if line.startswith(begins)]) == number


async def test_a_report_that_is_cut_says_so_below_each_table_that_is(
    full: Pages, over: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "_FILE_ROWS_MAX", 500)
    mark = 'cost_center,"cut after 500 lines; filter more, or take a shorter time range"'
    for pages, ends in ((full, "cost_center,cc-499,"), (over, mark)):
        text = (await page(pages, "/report.csv?month=2026-09")).text
        centers = [line for line in text.splitlines() if line.startswith("cost_center,")]
        assert centers[-1].startswith(ends)
        assert len(centers) == 500 + (pages is over)
        assert "model,(others),," in text


async def test_a_file_that_is_cut_ends_with_a_line_that_says_so() -> None:
    rows = [["a", 1], ["b", 2]]
    assert lines(Answer(("name", "n"), rows, truncated=False)) == rows
    assert lines(Answer(("name", "n"), rows, truncated=True)) == [
        *rows,
        ["cut after 2 lines; filter more, or take a shorter time range"],
    ]


async def test_many_terminals_push_no_version_off_the_page(over: Pages) -> None:
    text = words((await page(over, "/adoption?range=7d")).text)
    assert "The first 12 of 310." in text
    assert "The first 12 of 101." in text
