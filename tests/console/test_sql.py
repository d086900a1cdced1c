"""The SQL page: the same roles as everywhere, nothing runs by itself, and a query ends when it is cancelled."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio
from playwright.sync_api import Page
from starlette.requests import ClientDisconnect, Request

from console.ask import Answer
from console.errors import AskFault
from console.pages import sql as sql_page
from console.pages.sql import Choice, cell, excerpt, limits_of, quoted, shown, while_there
from console.questions import QUESTIONS
from sinks.query.runner import Limits
from tests.console import spending
from tests.console.browser import Window
from tests.console.conftest import GONE, Fed, Pages, console_over, pages_of
from tests.console.handmade import door_telling
from tests.console.people import person
from tests.console.spending import FORMULA, SCRIPT
from tests.e2e.stack import eventually
from tests.sinks.query.conftest import served

quick = pytest.mark.asyncio(loop_scope="module")
README = Path(__file__).parents[2] / "README.md"
# It counts for far longer than any test waits, and reads nothing.
ENDLESS = "with recursive t(n) as (select 1 union all select n + 1 from t where n < 1000000000) select count(*) from t"
# Clients name their teams, and so on, as they like.
NO_TIMES = (
    *("2026-13-45T00:00:00Z", "2026-02-30T00:00:00Z", "2026-09-21T14:13:60Z", "2026-09-21T24:00:00Z"),
    *("0000-01-01T00:00:00Z", "٢٠٢٦-09-21T00:00:00Z", "2026-09-21T14:13:10.0000051Z", "2026-09-21T14:13:10.Z"),
)
TOLD: list[Mapping[str, Any]] = []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def spent(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pages]:
    async with spending.spending(tmp_path_factory.mktemp("spent"), door_telling(TOLD)) as pages:
        yield pages


def test_the_examples_are_readmes_questions() -> None:
    text = README.read_text()
    section = text[text.index("## Ask it questions") : text.index("## Where the data is")]
    asked = re.findall(r"\*\*(.+?)\*\*\n\n((?:    .+\n)+)", section)
    assert [(one.title, one.sql) for one in QUESTIONS] == [
        (title, "\n".join(line[4:] for line in sql.splitlines())) for title, sql in asked
    ]


@quick
@pytest.mark.parametrize("question", QUESTIONS, ids=lambda one: one.title)
async def test_every_example_runs(spent: Pages, question: Any) -> None:
    page = (await spent.post("/sql", {"q": question.sql})).text
    assert 'id="sql-summary"' in page, page[page.find("sql-fault") :][:400]


@quick
async def test_a_link_shows_its_query_and_runs_nothing(spent: Pages) -> None:
    TOLD.clear()
    sql = "select text from content"
    page = (await spent.get(f"/sql?q={quote(sql)}")).text
    assert sql in page
    assert "has not been run" in page
    assert 'id="sql-summary"' not in page
    assert TOLD == []


@quick
async def test_running_needs_our_own_form(spent: Pages) -> None:
    for path in ("/sql", "/sql/csv", "/sql/json"):
        assert (await spent.post(path, {"q": "select 1", "csrf": "another"})).status_code == 403


@quick
async def test_a_read_of_content_is_told_to_the_audit_as_this_person(spent: Pages) -> None:
    TOLD.clear()
    who = person("admin", id_="reader@example.com")
    await spent.post("/sql", {"q": "select count(*) from content"}, who)
    assert [(one["actor"], one["action"], one["target"]) for one in TOLD] == [
        ("reader@example.com", "content.read", "content")
    ]


@quick
async def test_roles_are_those_of_everywhere(spent: Pages) -> None:
    viewer = person("viewer", tenant="acme")
    page = (await spent.post("/sql", {"q": "select user_email from sessions"}, viewer)).text
    assert "Not for your role." in page
    assert "a@example.com" not in page
    schema = (await spent.get("/sql", viewer)).text
    assert 'data-column="user_key"' in schema
    assert 'data-column="user_email"' not in schema
    assert 'data-table="content"' not in schema
    assert 'data-column="user_email"' in (await spent.get("/sql", person("analyst", tenant="acme"))).text
    other = (
        await spent.post("/sql", {"q": "select count(*) as n from sessions"}, person("analyst", tenant="globex"))
    ).text
    assert '<td class="cell-number number">0</td>' in other


@quick
async def test_values_are_shown_as_what_they_are(spent: Pages) -> None:
    sql = "select 1.5 as n, null as nothing, true as yes, map{'a': 1} as m, [1, null] as l, 'x' as t from (select 1)"
    page = (await spent.post("/sql", {"q": sql})).text
    for text in (
        '<td class="cell-number number">1.5</td>',
        '<td class="cell-null">null</td>',
        '<td class="cell-bool">true</td>',
        '<td class="cell-json">{&#34;a&#34;:1}</td>',
        '<td class="cell-json">[1,null]</td>',
        '<td class="cell-text">x</td>',
        '<th scope="col" class="number">n</th>',
        "1 row, ",
    ):
        assert text in page


@quick
async def test_a_text_that_only_looks_like_a_time_is_a_text_as_it_stands(spent: Pages) -> None:
    values = ", ".join(f"('{text}', {place})" for place, text in enumerate(NO_TIMES))
    page = (await spent.post("/sql", {"q": f"select t, n from (values {values}) x (t, n)"})).text
    for text in NO_TIMES:
        assert f'<td class="cell-text">{text}</td>' in page
    assert '"times": false' in page


@quick
async def test_a_year_has_four_digits(spent: Pages) -> None:
    page = (await spent.post("/sql", {"q": "select timestamptz '0001-01-01 00:00:01+00' as zero from (select 1)"})).text
    assert 'datetime="0001-01-01T00:00:01.000Z"' in page
    assert 'title="0001-01-01 00:00:01 UTC">0001-01-01 00:00:01<' in page


@quick
async def test_more_rows_than_the_limit_are_said_to_be_there(spent: Pages) -> None:
    page = (
        await spent.post(
            "/sql",
            {"q": "select e.event_id from events e, (values (1), (2), (3), (4), (5), (6), (7), (8)) b", "limit": "100"},
        )
    ).text
    assert "100 rows <strong>of more</strong>: the limit cut the answer" in page


@quick
async def test_a_fault_is_shown_at_its_place(spent: Pages) -> None:
    page = (await spent.post("/sql", {"q": "select *\r\nfrom sessions\r\nwhere nose = 1"})).text
    assert 'data-line="3" data-column="7"' in page
    assert "3: where nose = 1\n         ^" in page


@quick
async def test_hostile_values_and_names_are_text(spent: Pages) -> None:
    hostile = SCRIPT.replace("'", "''")
    sql = f"select team, '{hostile}' as \"<script>alert(2)\", spend_usd from session_hours"
    page = (await spent.post("/sql", {"q": sql})).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page  # in the table
    assert "\\u003cscript\\u003ealert(1)" in page  # in what the chart draws
    again = (await spent.get(f"/sql?q={quote(SCRIPT)}</textarea><script>alert(3)")).text
    assert "<script>alert" not in again


@quick
async def test_files_have_every_row_and_no_formula(spent: Pages) -> None:
    sql = "select cost_center, spend_usd, null as n, map{'a': 1} as m from session_hours where session_id = 'b'"
    file = await spent.post("/sql/csv", {"q": sql})
    assert file.headers["content-disposition"] == 'attachment; filename="query.csv"'
    rows = list(csv.reader(io.StringIO(file.text)))
    assert rows == [["cost_center", "spend_usd", "n", "m"], [f"'{FORMULA}", str(spending.B_USD), "", '{"a":1}']]
    answer = await spent.post("/sql/json", {"q": sql})
    assert json.loads(answer.text) == [{"cost_center": FORMULA, "spend_usd": spending.B_USD, "n": None, "m": {"a": 1}}]
    refused = await spent.post("/sql/csv", {"q": "select nose"})
    assert (refused.status_code, "nose" in refused.text) == (400, True)


@quick
async def test_a_file_that_lacks_rows_says_so_or_is_none(spent: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_page, "_FILE_ROWS_MAX", 2)
    for rows in (2, 3):
        sql = f"select unnest([1, 2, 3][:{rows}]) as n"
        file = (await spent.post("/sql/csv", {"q": sql})).text.splitlines()
        objects = await spent.post("/sql/json", {"q": sql})
        if rows == 2:
            assert file == ["n", "1", "2"]
            assert json.loads(objects.text) == [{"n": 1}, {"n": 2}]
        else:
            assert file == ["n", "1", "2", '"cut after 2 lines; filter more, or take a shorter time range"']
            assert objects.status_code == 400
            assert "holds 2 of these rows and could not say that there are more" in objects.text


@quick
async def test_the_limits_are_those_that_are_set_and_the_page_keeps_to(tmp_path: Path) -> None:
    for limits, words in (
        (
            Limits(seconds=7.0, bytes_max=1 << 20, running=3, waiting=5),
            "A query has 7 s and 1 MiB of answer; 3 run at once, of all who ask, and 5 more wait.",
        ),
        (
            Limits(seconds=600.0, bytes_max=1 << 30),
            "A query has 40 s and 32 MiB of answer; 4 run at once, of all who ask, and 32 more wait.",
        ),
    ):
        async with (
            served(tmp_path / str(limits.seconds), limits) as (_, sql),
            pages_of(console_over(sql.base, "root-key"), sql) as pages,
        ):
            assert words in (await pages.get("/sql")).text
    async with pages_of(console_over(GONE, "root-key")) as pages:
        text = (await pages.get("/sql")).text
    assert ("A query has" in text, "Only SELECT over these tables" in text) == (False, True)
    assert limits_of({}) is None  # a service that does not say them


@quick
async def test_who_leaves_takes_the_query_along(spent: Pages) -> None:
    leaving = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await leaving.wait()
        return {"type": "http.disconnect"}

    request = Request({"type": "http", "method": "POST", "path": "/sql", "headers": []}, receive)
    actor = person("admin").actor()
    asked = asyncio.create_task(while_there(request, spent.console.ask.fresh(actor, ENDLESS)))
    runner = spent.sql.service._runner
    assert runner is not None
    while not runner._jobs:
        await asyncio.sleep(0.01)
    leaving.set()
    with pytest.raises(ClientDisconnect):
        await asked
    async with asyncio.timeout(10):  # the query itself would take far longer
        while runner._jobs:
            await asyncio.sleep(0.01)


def test_columns_are_quoted_where_sql_needs_it() -> None:
    assert [quoted(name) for name in ("team", "event.action", 'a"b')] == ["team", '"event.action"', '"a""b"']


def test_a_long_text_is_cut_in_the_table_and_says_so() -> None:
    assert (len(cell("x" * 5000).text), cell("x" * 5000).cut) == (2000, 3000)


def test_a_column_of_midnights_is_one_of_days_and_one_with_another_time_is_not() -> None:
    first, later = "2026-11-02T00:00:00.000000Z", "2026-11-02T00:00:01Z"
    answer = Answer(("day", "at"), [[first, first], [None, later]], False)
    kinds = [[one.kind for one in row] for row in shown(answer, 0.1, Choice()).rows]
    assert kinds == [["day", "time"], ["null", "time"]]


def test_a_text_that_only_looks_like_a_time_makes_no_column_of_times_or_days() -> None:
    midnight, noon = "2026-11-02T00:00:00.000000Z", "2026-11-02T12:00:00.000001Z"
    for text in NO_TIMES:
        rows = [[midnight, midnight, midnight, 1], [midnight, noon, text, 2]]
        result = shown(Answer(("day", "at", "name", "n"), rows, False), 0.1, Choice(x="name"))
        assert [one.kind for one in result.rows[1]] == ["day", "time", "text", "number"]
        assert result.rows[0][2].kind == "time"
        assert result.data["buckets"] == ["day", "hour", None, None]
        assert result.chart is not None
        assert (result.chart.times, result.chart.labels) == (False, [midnight, text])


def test_a_mark_stands_below_a_fault_in_a_long_line() -> None:
    fault = AskFault("no", reason="bind_error", status=400, line=1, column=101)
    line, mark = excerpt("x" * 100 + "!" + "y" * 100, fault).split("\n")
    assert line[mark.index("^")] == "!"
    assert excerpt("select", AskFault("no", reason="x", status=400)) == ""


def test_a_chart_is_drawn_along_times_or_names() -> None:
    rows = [["b", 2, "2026-11-02T00:00:00.000000Z"], ["a", 1, "2026-11-01T00:00:00.000000Z"]]
    answer = Answer(("name", "n", "at"), rows, False)
    bars = shown(answer, 0.1, Choice()).chart
    assert bars is not None
    assert (bars.kind, bars.labels, bars.series[0].values) == ("bars", ["b", "a"], [2, 1])
    line = shown(answer, 0.1, Choice(x="at")).chart
    assert line is not None
    assert (line.kind, line.times, line.bucket, line.series[0].values) == ("lines", True, "day", [1, 2])
    assert shown(Answer(("a", "b"), [["x", "y"], ["x", "y"]], False), 0.1, Choice()).chart is None


# In a browser, over the running stack


def running(fed: Fed) -> dict[str, float]:
    """What the store says of its queries."""
    text = httpx.get(f"http://127.0.0.1:{fed.stack.ports['SINKS_HEALTH']}/metrics", trust_env=False).text
    found = re.findall(r'^sinks_query_(running|requests_total\{outcome="cancelled"\}) (\S+)$', text, re.MULTILINE)
    return {name.partition("{")[0]: float(value) for name, value in found}


def ask(page: Page, sql: str) -> None:
    page.fill("#sql-text", sql)
    page.press("#sql-text", "Control+Enter")


@pytest.mark.slow
def test_the_rows_on_the_page_are_those_of_sql(fed: Fed, window: Callable[..., Window]) -> None:
    sql = "select team, count(*) as sessions, round(sum(spend_usd), 6) as usd from sessions group by 1 order by 3 desc"
    expected = fed.stack.sql(fed.stack.admin_key())(sql)
    page = window().go("/sql")
    ask(page, sql)
    page.wait_for_selector("#sql-summary")
    rows = [[one.inner_text() for one in row.locator("td").all()] for row in page.locator(".sql-table tbody tr").all()]
    assert rows == [["null" if v is None else str(v) for v in row.values()] for row in expected]
    assert page.url.startswith(f"{fed.base}/sql?q=select+team")
    page.wait_for_selector("#sql-drawing canvas")
    page.select_option("#sql-y", "sessions")
    drawn = json.loads(page.locator("#sql-drawing script").text_content() or "")
    assert drawn["series"][0]["values"] == [row["sessions"] for row in expected]


@pytest.mark.slow
def test_another_column_is_drawn_by_what_its_values_are(window: Callable[..., Window]) -> None:
    page = window().go("/sql")
    at = "timestamptz '2026-11-02 00:00:00+00' - interval (n) day"
    ask(page, f"select '2026-13-4' || n || 'T00:00:00Z' as name, {at} as day, n from (values (0), (1), (2)) x (n)")
    page.wait_for_selector("#sql-drawing canvas")
    for column, times, bucket, first in (("day", True, "day", "2026-10-31T"), ("name", False, "hour", "2026-13-40T")):
        page.select_option("#sql-x", column)
        drawn = json.loads(page.locator("#sql-drawing script").text_content() or "")
        assert (drawn["times"], drawn["bucket"], drawn["labels"][0][:11]) == (times, bucket, first)


@pytest.mark.slow
def test_back_leads_to_the_query_before_and_runs_nothing(fed: Fed, window: Callable[..., Window]) -> None:
    page = window().go("/sql")
    for number in (1, 2):
        ask(page, f"select {number} as n")
        page.wait_for_selector(f".sql-table td:text-is('{number}')")
    posted = []
    page.on("request", lambda request: posted.append(request.url) if request.method != "GET" else None)
    for move, query in ((page.go_back, "select 1 as n"), (page.go_back, ""), (page.go_forward, "select 1 as n")):
        move()
        page.wait_for_function("q => document.getElementById('sql-text')?.value === q", arg=query)
        page.wait_for_selector("#result .empty")
    assert posted == []


@pytest.mark.slow
def test_cancel_stops_the_query_in_the_store(fed: Fed, window: Callable[..., Window]) -> None:
    one = window()
    page = one.go("/sql")
    before = running(fed).get("requests_total", 0)
    ask(page, ENDLESS)
    eventually(lambda: running(fed)["running"] != 1, timeout_s=20)
    page.click("#sql-cancel")
    page.wait_for_function("document.getElementById('sql-status').textContent.startsWith('Cancelled')")
    # Far sooner than its time limit, and said to be cancelled and not out of time.
    eventually(lambda: running(fed) != {"running": 0.0, "requests_total": before + 1}, timeout_s=15)
    assert all(text.startswith("htmx:") for text in one.complaints)  # htmx says that the request was aborted
    one.complaints.clear()
    ask(page, "select 41 + 1 as n")
    page.wait_for_selector("td:text-is('42')")


@pytest.mark.slow
def test_by_keyboard_alone_from_the_schema_to_a_mended_query(window: Callable[..., Window]) -> None:
    page = window().go("/sql")
    page.focus("#sql-text")
    page.keyboard.type("select nosession from sessions")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#sql-fault")
    page.wait_for_function(
        "(t => t.value.slice(t.selectionStart, t.selectionEnd) === 'nosession')(document.getElementById('sql-text'))"
    )
    assert page.evaluate("document.activeElement.id") == "sql-text"
    assert page.get_attribute("#sql-text", "aria-describedby") == "sql-hint sql-fault"
    page.keyboard.type("count(*) as n")  # over what is marked
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "sql-run"  # the editor holds nobody
    page.keyboard.press("Enter")
    page.wait_for_selector("#sql-summary")
    assert page.input_value("#sql-text") == "select count(*) as n from sessions"
    page.fill("#sql-text", "select ")
    page.fill("#sql-find", "retries_exh")
    page.locator("li[data-column=retries_exhausted] button").first.focus()
    page.keyboard.press("Enter")
    assert page.input_value("#sql-text") == "select retries_exhausted"


@pytest.mark.slow
def test_the_history_stays_in_this_browser_and_can_be_forgotten(window: Callable[..., Window]) -> None:
    one = window()
    page = one.go("/sql")
    for number in range(52):
        page.evaluate("([q]) => { document.getElementById('sql-text').value = q }", [f"select {number} as n"])
        page.press("#sql-text", "Control+Enter")
        page.wait_for_selector(f".sql-table td:text-is('{number}')")
    page = one.go("/sql")
    assert page.inner_text("#sql-history-count") == "50"
    page.locator("summary", has_text="Last queries").click()
    page.locator("#sql-history button").first.click()
    assert page.input_value("#sql-text") == "select 51 as n"
    page.click("#sql-history-clear")
    assert page.inner_text("#sql-history-count") == "0"
    assert page.evaluate("localStorage.length") == 0
