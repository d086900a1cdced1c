"""The adoption page: who is active, by one definition everywhere."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from console.filters import DAY, Filters
from console.pages.adoption import ACTIVE_WORDS, WINDOWS, Span, rolling, whole_days
from tests.console import spending
from tests.console.browser import Window
from tests.console.conftest import NOW, Fed, Pages
from tests.console.people import person
from tests.console.spending import SCRIPT

quick = pytest.mark.asyncio(loop_scope="module")
TODAY = NOW.replace(hour=0, minute=0, second=0, microsecond=0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def spent(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pages]:
    async with spending.spending(tmp_path_factory.mktemp("spent")) as pages:
        yield pages


async def table(pages: Pages, name: str, query: str = "&range=30d") -> list[dict[str, str]]:
    answer = await pages.get(f"/adoption.csv?table={name}{query}")
    assert answer.status_code == 200, answer.text[:300]
    return list(csv.DictReader(io.StringIO(answer.text)))


# user-a is active today, 1, 6, 7, 35 and 36 days ago; user-b today and 20 days ago; user-c never.


@quick
async def test_active_users_of_a_day_of_7_and_of_30(spent: Pages) -> None:
    found = {row["day_utc"]: tuple(int(row[n]) for n in ("dau", "wau", "mau")) for row in await table(spent, "users")}
    assert len(found) == 30

    def ago(days: int) -> tuple[int, ...]:
        return found[f"{TODAY - days * DAY:%Y-%m-%d}"]

    assert ago(0) == (2, 2, 2)
    assert ago(1) == (1, 1, 2)
    assert ago(5) == (0, 1, 2)
    assert ago(7) == (1, 1, 2)
    assert ago(8) == (0, 0, 2)  # the 35th day ago is 27 days before it
    assert ago(20) == (1, 1, 2)
    assert ago(25) == (0, 0, 1)
    assert ago(29) == (0, 1, 1)  # 6 days after the last of user-a's days


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60)), max_size=60, unique=True),
    st.integers(30, 60),
    st.integers(1, 10),
)
def test_counting_by_changes_is_counting_by_windows(days: list[tuple[int, int]], first: int, length: int) -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    span = Span(begin + first * DAY, begin + (first + length) * DAY, begin + (first + length) * DAY)
    changes: list[dict[str, Any]] = []
    for name, window in WINDOWS.items():
        for user in range(4):
            own = sorted(day for who, day in days if who == user and first - 29 <= day < first + length)
            for day, following in zip(own, [*own[1:], 10**6], strict=False):
                for at, users in ((day, 1), (min(day + window, following), -1)):
                    if at < first + length:
                        changes.append({"name": name, "at": (begin + at * DAY).isoformat(), "users": users})
    found = rolling(_summed(changes), span)
    for name, window in WINDOWS.items():
        expected = [
            len({who for who, day in days if last - window < day <= last and day >= first - 29})
            for last in range(first, first + length)
        ]
        assert found[name] == expected


def _summed(changes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    sums: dict[tuple[str, str], int] = {}
    for one in changes:
        key = one["name"], one["at"]
        sums[key] = sums.get(key, 0) + one["users"]
    return [{"name": name, "at": at, "users": users} for (name, at), users in sums.items()]


def test_every_day_that_a_range_touches_counts_whole() -> None:
    start = datetime(2026, 9, 21, 15, tzinfo=UTC)
    assert whole_days(Filters(start, start + timedelta(hours=3)), TODAY + 2 * DAY) == Span(
        TODAY, TODAY + DAY, TODAY + DAY
    )
    assert whole_days(Filters(TODAY, TODAY + DAY), NOW) == Span(TODAY, TODAY + DAY, TODAY)


def test_a_day_that_is_not_over_is_compared_with_none_that_is() -> None:
    week = whole_days(Filters(TODAY - 6 * DAY, NOW.replace(minute=0, second=0) + timedelta(hours=1)), NOW)
    assert (week.start, week.over, week.end) == (TODAY - 6 * DAY, TODAY, TODAY + DAY)
    assert (week.before, week.days[week.last]) == (TODAY - 12 * DAY, TODAY - DAY)
    today = whole_days(Filters(TODAY, TODAY + DAY), NOW)
    assert (today.before, today.days[today.last]) == (TODAY, TODAY)


@quick
async def test_today_so_far_stands_beside_the_last_whole_day(spent: Pages) -> None:
    page = (await spent.get("/adoption?range=7d")).text
    dau = re.search(r"<h2>DAU, last whole day</h2><p[^>]*>(.*?)</p><p[^>]*>(.*?)</p>", page)
    assert dau is not None
    assert dau.groups() == ("1", f"active on {TODAY - DAY:%Y-%m-%d}; so far today: 2")
    users = re.search(r"<h2>Active users in the range</h2>\s*<p[^>]*>(.*?)</p>\s*<p[^>]*>(.*?)</p>", page, re.DOTALL)
    assert users is not None
    # user-a on two days that are over; six days before that user-a once: as many, although today has user-b, too.
    assert users[1] == "2"
    assert re.sub(r"<[^>]+>|\s+", " ", users[2]).split() == ["±0", "%", "before:", "1"]


@quick
async def test_a_user_is_new_on_their_first_day_in_the_store_and_returns_after_it(spent: Pages) -> None:
    found = {
        row["at"][:10]: (int(row["new_users"]), int(row["returning_users"])) for row in await table(spent, "newcomers")
    }
    assert found == {
        f"{TODAY - 20 * DAY:%Y-%m-%d}": (1, 0),
        f"{TODAY - 7 * DAY:%Y-%m-%d}": (0, 1),
        f"{TODAY - 6 * DAY:%Y-%m-%d}": (0, 1),
        f"{TODAY - 1 * DAY:%Y-%m-%d}": (0, 1),
        f"{TODAY:%Y-%m-%d}": (0, 2),
    }
    assert (
        f"It begins on {TODAY - 36 * DAY:%Y-%m-%d}, when everybody is new."
        in (await spent.get("/adoption?range=30d")).text
    )


@quick
async def test_users_by_active_days(spent: Pages) -> None:
    rows = await table(spent, "spread")
    assert [(row["active_days"], row["users"]) for row in rows] == [("2", "1"), ("4", "1")]


@quick
async def test_a_team_with_its_share_of_known_users(spent: Pages) -> None:
    rows = {row["name"]: row for row in await table(spent, "groups", "&range=24h")}
    assert (rows["core"]["active_users"], rows["core"]["known_users"], rows["core"]["new_users"]) == ("1", "1", "0")
    assert rows[SCRIPT]["active_users"] == "1"
    week = {row["name"]: row for row in await table(spent, "groups", "&range=7d&by=department")}
    assert (week["eng"]["active_users"], week["eng"]["prompts"]) == ("1", "7")


@quick
async def test_what_is_used_as_a_share_of_active_users(spent: Pages) -> None:
    found = {(row["kind"], row["feature"]): row for row in await table(spent, "features", "&range=7d")}
    assert found["Tools", "Bash"]["share_of_active_users"] == "0.5"
    assert found["Permission modes", "plan"]["users"] == "1"
    assert (found["Subagents", "Subagents"]["uses"], found["MCP", "A server connected"]["uses"]) == ("2", "1")
    assert ("Skills", "Skills") not in found


@quick
async def test_a_filter_that_only_sessions_have_counts_what_was_done_in_them_in_every_table(spent: Pages) -> None:
    query = "&range=7d&version=2.1.0"  # the session of user-a today; their other ones are of no known version
    assert [row["dau"] for row in await table(spent, "users", query)] == ["0", "0", "0", "0", "0", "0", "1"]
    (new,) = await table(spent, "newcomers", query)
    assert (new["at"][:10], new["new_users"], new["returning_users"]) == (f"{TODAY:%Y-%m-%d}", "0", "1")
    (activity,) = await table(spent, "activity", query)
    assert (activity["prompts"], activity["sessions"], activity["active_user_s"]) == ("3", "1", "1800.0")
    assert [(row["active_days"], row["users"]) for row in await table(spent, "spread", query)] == [("1", "1")]
    (group,) = await table(spent, "groups", query)
    assert (group["name"], group["active_users"], group["prompts"]) == ("core", "1", "3")
    assert {row["name"] for row in await table(spent, "clients", query)} == {"cli", "tmux", "2.1.0"}
    assert {row["users"] for row in await table(spent, "features", query)} == {"1"}


@quick
async def test_where_it_is_used(spent: Pages) -> None:
    rows = {(row["kind"], row["name"]): row["users"] for row in await table(spent, "clients", "&range=7d")}
    assert rows["entrypoint", "cli"] == rows["terminal", "tmux"] == rows["version", "2.1.0"] == "1"


@quick
async def test_the_page_says_what_active_means_and_shows_hostile_names_as_text(spent: Pages) -> None:
    page = (await spent.get("/adoption?range=30d")).text
    assert ACTIVE_WORDS in page
    assert "<script>alert" not in page
    assert "alert(1)" in page
    assert "No answer" not in page


@quick
async def test_it_begins_with_30_days(spent: Pages) -> None:
    answer = await spent.get("/adoption?team=core")
    assert (answer.status_code, answer.headers["location"]) == (303, "/adoption?team=core&range=30d")


@quick
async def test_a_viewer_sees_all_of_it_and_another_tenant_nothing(spent: Pages) -> None:
    assert "No answer" not in (await spent.get("/adoption?range=30d", person("viewer", tenant="acme"))).text
    page = (await spent.get("/adoption?range=30d", person("viewer", tenant="globex"))).text
    assert "Nobody was active in this time range" in page
    assert ">core<" not in page


@pytest.mark.slow
def test_the_page_says_what_sql_says(fed: Fed, window: Callable[..., Window]) -> None:
    ask = fed.stack.sql(fed.stack.admin_key())
    page = window().go("/adoption?range=30d")
    (row,) = ask(
        "select count(distinct (tenant, user_key)) as users, count(distinct (tenant, user_key)) filter "
        "(start = date_trunc('day', now()) - interval 1 day) as last, sum(prompts) as prompts from user_days "
        "where (prompts > 0 or sessions > 0) and start >= date_trunc('day', now()) - interval 29 day"
    )
    said = [one.inner_text() for one in page.locator("section#adoption > .stats .stat-value").all()]
    assert said[:2] == [f"{row['users']:,}", f"{row['last']:,}"]
    page.wait_for_selector("canvas")
