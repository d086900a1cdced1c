"""The month's report: its sums are those of the users' days, and what is printed has them."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio
from pypdf import PdfReader

from tests.console import spending
from tests.console.browser import Window
from tests.console.conftest import Fed, Pages
from tests.console.handmade import pages_over
from tests.console.people import person
from tests.console.spending import A_USD, ARCHIVED_USD, B_USD, BEFORE_USD, FORMULA, METRIC_USD, PSEUDO_USD, SCRIPT
from tests.sinks.query import samples

DAY = 24 * samples.HOUR
quick = pytest.mark.asyncio(loop_scope="module")
MONTH_USD = A_USD + ARCHIVED_USD + B_USD + METRIC_USD + PSEUDO_USD + BEFORE_USD


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def spent(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pages]:
    async with spending.spending(tmp_path_factory.mktemp("spent")) as pages:
        yield pages


async def sections(pages: Pages, query: str) -> dict[str, list[dict[str, str]]]:
    answer = await pages.get(f"/report.csv?{query}")
    assert answer.status_code == 200, answer.text[:300]
    found: dict[str, list[dict[str, str]]] = {}
    for row in csv.DictReader(io.StringIO(answer.text)):
        found.setdefault(row["section"], []).append(row)
    return found


@quick
async def test_every_table_adds_up_to_the_month(spent: Pages) -> None:
    found = await sections(spent, "month=2026-09")
    assert float(found["total"][0]["cost_usd"]) == pytest.approx(MONTH_USD, abs=1e-6)
    assert set(found) == {"total", "cost_center", "team", "week", "model", "user"}
    for name, rows in found.items():
        assert sum(float(row["cost_usd"]) for row in rows) == pytest.approx(MONTH_USD, abs=1e-6), name
    assert {row["name"]: row["users"] for row in found["week"]}["2026-09-21 to 2026-09-27"] == "3"


@quick
async def test_a_cost_center_alone(spent: Pages) -> None:
    found = await sections(spent, "month=2026-09&cost_center=cc-1")
    (total,) = found["total"]
    assert float(total["cost_usd"]) == pytest.approx(A_USD + ARCHIVED_USD + BEFORE_USD)
    assert (total["commits"], total["users"]) == ("3", "1")
    assert "cost_center" not in found
    assert [row["name"] for row in found["user"]] == ["a@example.com"]
    none = await sections(spent, "month=2026-09&cost_center=(none)")
    assert float(none["total"][0]["cost_usd"]) == pytest.approx(METRIC_USD + PSEUDO_USD)


@quick
async def test_what_no_request_tells_a_model_for_is_a_line_of_its_own(spent: Pages) -> None:
    models = {row["name"]: float(row["cost_usd"]) for row in (await sections(spent, "month=2026-09"))["model"]}
    rest = ARCHIVED_USD + PSEUDO_USD + BEFORE_USD
    assert models == pytest.approx({spending.OPUS: A_USD + METRIC_USD, spending.ODD: B_USD, "(not told)": rest})


@quick
async def test_the_page_says_what_it_covers_and_that_it_may_change(spent: Pages) -> None:
    page = (await spent.get("/report?month=2026-09")).text
    assert f"${MONTH_USD:,.2f}" in page
    assert "2026-09-01 to 2026-09-30" in page
    assert "the month is not over" in page
    assert "A month is never closed for good" in page
    assert "2026-09-21 14:13:20 UTC; the newest record counted was received at " in page
    before = (await spent.get("/report?month=2026-08")).text
    assert "the month is not over" not in before


@quick
async def test_hostile_names_are_text_on_the_page_and_no_formula_in_the_file(spent: Pages) -> None:
    page = (await spent.get("/report?month=2026-09")).text
    assert "<script>alert" not in page
    assert "alert(1)" in page
    text = (await spent.get("/report.csv?month=2026-09")).text
    assert f",'{FORMULA}," in text
    assert SCRIPT[:8] in text  # a file is no page


@quick
async def test_a_viewer_sees_keys_and_no_persons(spent: Pages) -> None:
    page = (await spent.get("/report?month=2026-09", person("viewer", tenant="acme"))).text
    assert "@example.com</th>" not in page
    assert "user-a" in page


async def test_everybody_of_a_large_fleet_is_in_the_file(tmp_path: Path) -> None:
    one = samples.user_window(1, grain="day", start=samples.T0 - samples.T0 % DAY, spend_usd=1.0)
    async with pages_over(tmp_path, user_windows=[one]) as fleet:
        cursor = fleet.sql.database.cursor()
        cursor.execute(
            "insert into _events.raw.user_days by name select d.* replace (md5(i::varchar) as user_key) "
            "from _events.raw.user_days d, range(120_000) t(i)"
        )
        cursor.close()
        found = await sections(fleet, "month=2026-09")
    assert len({row["key"] for row in found["user"]}) == len(found["user"]) == 120_001
    assert sum(float(row["cost_usd"]) for row in found["user"]) == float(found["total"][0]["cost_usd"]) == 120_001


@quick
async def test_a_month_that_is_none_and_one_without_anything(spent: Pages) -> None:
    for month in ("2026-13", "nose", "2026-9"):
        answer = await spent.get(f"/report?month={month}")
        assert answer.status_code == 400
        assert "write 2026-11" in answer.text
    assert "Nothing is known of this month" in (await spent.get("/report?month=2025-12")).text


@pytest.mark.slow
def test_the_print_is_a_pdf_with_the_numbers(fed: Fed, window: Callable[..., Window]) -> None:
    ask = fed.stack.sql(fed.stack.admin_key())
    month = f"{datetime.now(UTC):%Y-%m}"
    page = window().go(f"/report?month={month}")
    (total,) = ask("select sum(spend_usd) as usd from user_days where start >= date_trunc('month', now())")
    said = page.locator(".stat-value").first.inner_text()
    assert said == f"${total['usd']:,.2f}"
    pdf = page.pdf(prefer_css_page_size=True)
    sheets = PdfReader(io.BytesIO(pdf)).pages
    assert len(sheets) >= 2  # the demo's users take more than one sheet
    text = "\n".join(sheet.extract_text() for sheet in sheets)
    assert said in text
    assert "By team" in text
    assert "Overview" not in text  # no menu on paper
