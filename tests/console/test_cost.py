"""The cost page: that its lines add up, that they are those of SQL, and what may be seen of them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator, Callable
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from console import download, prices
from console.ask import Answer
from console.filters import DAY, Filters
from console.pages import cost
from console.pages.cost import BYS, lines_of
from console.shown import usd
from tests.console import spending
from tests.console.browser import Window
from tests.console.conftest import GONE, NOW, Fed, Pages, console_over, pages_of
from tests.console.handmade import old_and_new, pages_over
from tests.console.people import person
from tests.console.spending import A_USD, B_USD, FORMULA, METRIC_USD, PDF_USD, SCRIPT, TOTAL_USD

quick = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def spent(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pages]:
    async with spending.spending(tmp_path_factory.mktemp("spent")) as pages:
        yield pages


async def table(pages: Pages, name: str, query: str = "", **who: str) -> list[dict[str, str]]:
    answer = await pages.get(f"/cost.csv?table={name}{query}", person(**who) if who else None)
    assert answer.status_code == 200, answer.text[:300]
    return list(csv.DictReader(io.StringIO(answer.text)))


@quick
@pytest.mark.parametrize("by", BYS)
async def test_the_lines_add_up_to_the_total_by_whatever_they_are_told(spent: Pages, by: str) -> None:
    rows = await table(spent, "by", f"&by={by}")
    assert sum(float(row["cost_usd"]) for row in rows) == pytest.approx(TOTAL_USD, abs=1e-6)
    assert sum(float(row["before_usd"]) for row in rows) == pytest.approx(spending.BEFORE_USD, abs=1e-6)
    assert sum(float(row["share"]) for row in rows) == pytest.approx(1)


@quick
@pytest.mark.parametrize("by", BYS)
async def test_the_bars_over_time_add_up_to_the_total(spent: Pages, by: str) -> None:
    rows = await table(spent, "time", f"&by={by}")
    assert sum(float(v) for row in rows for k, v in row.items() if k != "time_utc") == pytest.approx(
        TOTAL_USD, abs=1e-6
    )


@quick
async def test_what_a_request_names_is_told_and_the_rest_is_not_told(spent: Pages) -> None:
    rows = {row["skill"]: float(row["cost_usd"]) for row in await table(spent, "by", "&by=skill")}
    assert rows == pytest.approx({"pdf": PDF_USD, "(not told)": TOTAL_USD - PDF_USD})


@quick
async def test_a_session_without_events_is_told_by_its_metric_and_no_other_is(spent: Pages) -> None:
    rows = {row["query_source"]: float(row["cost_usd"]) for row in await table(spent, "by", "&by=query_source")}
    assert rows == pytest.approx(
        {
            "repl_main_thread": A_USD,
            SCRIPT: B_USD,
            "auxiliary": METRIC_USD,
            "(not told)": spending.ARCHIVED_USD + spending.PSEUDO_USD,
        }
    )


@quick
@pytest.mark.parametrize("by", ["team", "cost_center", "model", "version", "user"])
async def test_a_line_has_as_many_sessions_as_its_link_lists(spent: Pages, by: str) -> None:
    """Also a model that a session without events asked, which is in no list."""
    text = (await spent.get(f"/cost?by={by}")).text
    rows = re.findall(r'<tr id="by-\w+">(?:(?!</tr>).)*?href="(/sessions[^"]*)">', text, re.S)
    said = await table(spent, "by", f"&by={by}")
    listed = [await spent.get(unescape(url).replace("/sessions", "/sessions.csv", 1)) for url in rows]
    assert rows
    assert [one.text.count("\n") - 1 for one in listed] == [int(one["sessions"]) for one in said if one["sessions"]]


@quick
async def test_a_filter_holds_for_every_table(spent: Pages) -> None:
    core = TOTAL_USD - B_USD
    for by in ("team", "model", "skill"):
        rows = await table(spent, "by", f"&by={by}&team=core")
        assert sum(float(row["cost_usd"]) for row in rows) == pytest.approx(core, abs=1e-6), by
    assert {row["session_id"] for row in await table(spent, "sessions", "&team=core")} == {"a", "c"}
    models = await table(spent, "cache", "&team=core")
    assert [row["model"] for row in models] == [spending.OPUS]


@quick
async def test_what_one_of_something_cost(spent: Pages) -> None:
    rows = {row["result"]: row["usd"] for row in await table(spent, "results")}
    assert {name: float(usd) for name, usd in rows.items()} == pytest.approx(
        {
            "cost per session": TOTAL_USD / 2,
            "cost per commit": TOTAL_USD / 2,
            "cost per pull request": TOTAL_USD,
            "cost per 100 lines added": TOTAL_USD / 4,
            "cost per hour of user activity": TOTAL_USD * 2,
            "cost per hour of Claude's work": TOTAL_USD,
        }
    )


@quick
async def test_the_cache_is_priced_by_the_requests_and_not_at_all_where_they_do_not_agree(spent: Pages) -> None:
    rows = {row["model"]: row for row in await table(spent, "cache")}
    opus, odd = rows[spending.OPUS], rows[spending.ODD]
    assert float(opus["input_usd_per_token"]) == pytest.approx(spending.INPUT_USD)
    read, written = float(opus["cache_read_tokens"]), float(opus["cache_creation_tokens"])
    saved = spending.INPUT_USD * (0.9 * read - 0.25 * written)
    assert float(opus["saved_usd"]) == pytest.approx(saved)
    assert (odd["input_usd_per_token"], odd["saved_usd"]) == ("", "")
    page = (await spent.get("/cost")).text
    assert "not found" in page
    assert "a token read from the cache costs 0.1 of a plain input token" in page


@quick
async def test_events_are_held_against_metrics(spent: Pages) -> None:
    (row,) = await table(spent, "check")
    assert (row["both_sessions"], row["only_events_sessions"], row["only_metrics_sessions"]) == ("1", "1", "2")
    assert float(row["both_metrics_usd"]) - float(row["both_events_usd"]) == pytest.approx(-0.01)
    assert "−$0.01" in (await spent.get("/cost")).text


@quick
async def test_a_name_leads_to_the_sessions_behind_it(spent: Pages) -> None:
    page = (await spent.get("/cost?range=7d")).text
    assert 'href="/sessions?range=7d&amp;team=core"' in page


@quick
async def test_back_from_a_session_one_has_the_range_and_the_filters_again(spent: Pages) -> None:
    page = (await spent.get("/cost?range=7d&team=core")).text
    (link,) = re.findall(r'href="(/sessions/acme/a\?[^"]+)"', page)
    session = (await spent.get(unescape(link))).text
    back = re.search(r'href="(/sessions[^"]*)" data-close', session)
    assert back is not None
    assert unescape(back[1]) == "/sessions?range=7d&team=core"
    assert 'href="/cost?range=7d&amp;team=core"' in session  # of the menu


@quick
async def test_the_month_report_has_the_filters_that_it_knows(spent: Pages) -> None:
    page = (await spent.get("/cost?tenant=acme&team=core&department=eng&cost_center=cc-1&model=opus&user=user-a")).text
    (link,) = set(re.findall(r'href="(/report[^"]*)"', page))
    assert unescape(link) == "/report?month=2026-09&tenant=acme&team=core&department=eng&cost_center=cc-1"
    report = (await spent.get(unescape(link))).text
    assert all(f"<dt>{label}</dt>" in report for label in ("Tenant", "Team", "Department", "Cost center"))


@quick
@pytest.mark.parametrize("chosen", ["", "&team=core", "&tenant=globex", "&user=nobody"])
async def test_a_skill_leads_to_its_requests_under_the_same_filters(spent: Pages, chosen: str) -> None:
    rows = {row["skill"]: float(row["cost_usd"]) for row in await table(spent, "by", f"&by=skill{chosen}")}
    links = re.findall(r'href="/sql\?q=([^"]+)"', (await spent.get(f"/cost?by=skill&range=30d{chosen}")).text)
    assert bool(links) == bool(set(rows) - {""}), "without any there is nothing to lead to"
    for link in links:
        sql = unquote_plus(unescape(link))
        answer = (await spent.post("/sql/csv", {"q": sql})).text.splitlines()
        of = re.search(r"skill_name = '([^']*)'", sql)
        assert of is not None
        assert sum(float(line.split(",")[-1]) for line in answer[1:]) == pytest.approx(rows[of[1]], abs=1e-4)


@quick
@pytest.mark.parametrize("by", ["team", "model", "skill"])
async def test_every_bucket_can_be_followed_without_a_mouse(spent: Pages, by: str) -> None:
    page = (await spent.get(f"/cost?by={by}&range=90d")).text
    (table,) = re.findall(r'<details class="as-table">.*?</details>', page, re.DOTALL)
    rows = re.findall(r'<th scope="row"><a href="(/sessions[^"]+)">', table)
    assert len(set(rows)) == table.count("<a ") == 90
    assert ">2026-09-21 14:" in (await spent.get(unescape(rows[-1]))).text


@quick
@pytest.mark.parametrize("by", BYS)
async def test_hostile_names_are_shown_as_text(spent: Pages, by: str) -> None:
    page = (await spent.get(f"/cost?by={by}")).text
    assert "<script>alert" not in page
    assert "alert(1)" in page


@quick
async def test_what_a_file_leaves_out_is_called_others(spent: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not what no request tells."""
    whole = await table(spent, "by", "&by=team")
    monkeypatch.setattr(cost, "_FILE_ROWS_MAX", 1)
    first, others = await table(spent, "by", "&by=team")
    assert (first, others["team"]) == (whole[0], "(others)")
    assert float(first["cost_usd"]) + float(others["cost_usd"]) == pytest.approx(TOTAL_USD, abs=1e-6)


@quick
async def test_no_spreadsheet_runs_what_a_name_says(spent: Pages) -> None:
    text = (await spent.get("/cost.csv?table=by&by=agent")).text
    assert f"'{FORMULA}" in text
    assert f"\n{FORMULA}" not in text


@given(st.text())
def test_a_cell_never_begins_a_formula(text: str) -> None:
    assert not download.cell(text).startswith(("=", "+", "-", "@", "\t", "\r"))


@quick
async def test_who_may_not_see_persons_sees_keys(spent: Pages) -> None:
    viewer = person("viewer", tenant="acme")
    page = (await spent.get("/cost?by=user", viewer)).text
    assert "a@example.com" not in page
    assert "user-a" in page
    assert "an admin can grant it the class <em>person</em>" in page
    assert "a@example.com" in (await spent.get("/cost?by=user", person("analyst", tenant="acme"))).text


@quick
async def test_another_tenant_sees_nothing_of_it(spent: Pages) -> None:
    page = (await spent.get("/cost", person("analyst", tenant="globex"))).text
    assert "Nothing was spent in this time range" in page
    assert ">core<" not in page


@quick
async def test_an_address_that_makes_no_sense_says_why(spent: Pages) -> None:
    assert "there is no cost by &#39;nose&#39;" in (await spent.get("/cost?by=nose")).text
    assert (await spent.get("/cost.csv?table=nose")).status_code == 400


@quick
async def test_a_store_that_is_gone_is_said_to_be() -> None:
    async with pages_of(console_over(GONE, "root-key")) as pages:
        for path in ("/cost", "/adoption?range=7d", "/report"):
            answer = await pages.get(path)
            assert answer.status_code == 503
            assert "the SQL service cannot be reached" in answer.text


@quick
async def test_an_empty_store_says_so_and_fails_nowhere(tmp_path: Path) -> None:
    said = {
        "/cost": "Nothing was spent in this time range",
        "/adoption?range=30d": "Nobody was active in this time range",
        "/report": "Nothing is known of this month",
        "/sql": "Write a query and press Run",
    }
    async with pages_over(tmp_path) as pages:
        for path, text in said.items():
            page = (await pages.get(path)).text
            assert text in page
            assert "No answer" not in page


def test_lines_that_are_left_out_are_one_line_together() -> None:
    totals = Answer(("spend_usd", "before_spend_usd"), [[55.0, 5.0]], False)
    rows: list[list[Any]] = [[f"team-{n}", float(n), 0.5, 1, 10] for n in range(10, 0, -1)]
    found = Answer(("name", "usd", "before_usd", "sessions", "tokens"), rows, False)
    lines = lines_of(BYS["team"], found, totals, Filters(NOW - DAY, NOW), NOW, 3)
    assert [(line.name, line.usd) for line in lines] == [
        ("team-10", 10.0),
        ("team-9", 9.0),
        ("team-8", 8.0),
        ("(others)", 28.0),
    ]


@quick
@pytest.mark.parametrize("by", ["version", "team", "model"])
async def test_of_a_range_longer_than_hours_are_kept_a_line_leads_to_the_sessions_that_it_counts(
    tmp_path: Path, by: str
) -> None:
    async with pages_over(tmp_path, **old_and_new()) as pages:
        (line,) = await table(pages, "by", f"&by={by}&range=90d")
        assert (line["cost_usd"], line["share"], line["sessions"]) == ("1.0", "1.0", "1")
        page = (await pages.get(f"/cost?by={by}&range=90d")).text
        (link,) = re.findall(r'<th scope="row" class="name"><a href="([^"]+)">', page)
        assert (await pages.get(unescape(link))).text.count("data-row>") == 1
        # The list of a bar, too, leaves out the hours of its day that are not counted.
        days = [unescape(one) for one in re.findall(r'<th scope="row"><a href="(/sessions[^"]+)">', page)]
        assert len(days) == 90
        assert "/sessions?from=2026-07-23T14%3A00%3A00Z&to=2026-07-24T00%3A00%3A00Z" in days


@quick
@pytest.mark.parametrize("by", ["model", "version"])
async def test_a_range_that_is_older_than_all_hours_has_no_line(tmp_path: Path, by: str) -> None:
    """Not the cost of requests that the total does not have, and as much less than nothing."""
    async with pages_over(tmp_path, **old_and_new()) as pages:
        assert await table(pages, "by", f"&by={by}&from=2026-07-03T00:00Z&to=2026-07-20T00:00Z") == []


# Prices


def sums(requests: list[tuple[float, float, float]]) -> prices.Sums:
    def total(a: int, b: int) -> float:
        return sum(one[a] * one[b] for one in requests)

    return prices.Sums(
        len(requests), total(0, 0), total(0, 1), total(1, 1), total(0, 2), total(1, 2), total(2, 2)
    )  # fmt: skip


@given(
    st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 10**5)), min_size=5, max_size=30, unique=True),
    st.floats(1e-8, 1e-3),
    st.floats(1e-8, 1e-3),
)
def test_prices_are_found_again_from_what_requests_cost(
    tokens: list[tuple[int, int]], input_usd: float, output_usd: float
) -> None:
    found = prices.derived(sums([(x, y, input_usd * x + output_usd * y) for x, y in tokens]))
    if found is not None:  # too much alike to be told apart
        assert found.input_usd == pytest.approx(input_usd, rel=0.05)


def test_no_price_is_invented() -> None:
    exact = [(1000.0 * i, 50.0 * i * i, 0.005 * i + 0.001 * i * i) for i in range(1, 9)]
    assert prices.derived(sums(exact)) is not None
    assert prices.derived(sums(exact[:4])) is None  # too few
    assert prices.derived(sums([(x, y, c * (1 + i % 2)) for i, (x, y, c) in enumerate(exact)])) is None  # no one price
    assert prices.derived(sums([(x, 2 * x, 3 * x) for x, _, _ in exact])) is None  # one mixture only
    assert prices.derived(sums([(x, y, 0.0) for x, y, _ in exact])) is None  # free


# In a browser, over the running stack


@pytest.mark.slow
def test_the_page_says_what_sql_says(fed: Fed, window: Callable[..., Window]) -> None:
    ask = fed.stack.sql(fed.stack.admin_key())
    page = window().go("/cost?range=30d&tenant=local&by=team")
    (total,) = ask("select sum(spend_usd) as usd, sum(commits) as commits from session_hours where tenant = 'local'")
    said = [one.inner_text() for one in page.locator("section#cost > .stats .stat-value").all()]
    assert said[0] == f"${total['usd']:,.2f}"
    assert said[3] == f"${total['usd'] / total['commits']:,.2f}"
    teams = ask(
        "select team, sum(spend_usd) as usd from session_hours where tenant = 'local' group by 1 order by usd desc"
    )
    rows = page.locator("tr[id^=by-]").all()
    assert [row.locator("td").first.inner_text() for row in rows] == [usd(one["usd"]) for one in teams]
    page.wait_for_selector("canvas")
    models = ask(
        "select model, sum(coalesce(cost_usd_micros / 1e6, cost_usd)) as usd from events "
        "where event_name = 'api_request' and tenant = 'local' group by 1 order by 2 desc"
    )
    page.get_by_role("link", name="Model", exact=True).click()
    page.wait_for_url("**/cost?range=30d&tenant=local&by=model")
    said = [one.inner_text() for one in page.locator("tr[id^=by-] th").all()]
    assert said[: len(models)] == [one["model"] for one in models]
