"""The list of sessions: columns, sorting, filters, search, pages and CSV, over real SQL; live in a browser."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import fields
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio

from console.download import cell
from console.listing import COLUMNS, DEFAULT_COLUMNS, HAVING, ONLY, OUTCOMES, PAGE_ROWS, Listing
from console.pages import sessions
from console.shown import count, seconds, tokens, usd
from tests.console.browser import Window
from tests.console.conftest import CAPTURES, GONE, Fed, Pages, console_over, pages_of
from tests.console.handmade import HOSTILE, hours_of, pages_over
from tests.console.people import person
from tests.e2e import truth
from tests.sinks.query import samples

over_sql = pytest.mark.asyncio(loop_scope="session")
MINUTE = 60 * samples.SECOND
COUNT = 120


def made(number: int, **fields: Any) -> dict[str, Any]:
    """The number-th session: a minute earlier than the one before, with numbers that tell it from all others."""
    start = samples.T0 - number * MINUTE
    return samples.session(
        number,
        **{
            "start_time": start,
            "last_time": start + 30 * samples.SECOND,
            "duration_s": 30.0,
            "user_email": f"user{number % 3}@example.com",
            "team": f"team-{number % 4}",
            "model": "opus" if number % 2 else "haiku",
            "models": {"opus": 1.0} if number % 2 else {"haiku": 1.0},
            "app_version": "2.1.200",
            "spend_usd": 0.01 * number,
            "cost_usd": 0.01 * number,
            "prompts": number,
            "tools": number % 7,
            "input_tokens": 100 * number,
            "output_tokens": number,
            "errors": 1 if number % 10 == 3 else 0,
            "refusals": 1 if number % 10 == 4 else 0,
            "retries_exhausted": 1 if number == 13 else 0,
            "permission_mode": "bypassPermissions" if number == 7 else None,
            **fields,
        },
    )


HOSTILE_SESSION = 500
FIELDS = ("team", "department", "cost_center", "model", "user_email", "app_version", "app_entrypoint", "terminal_type")
SESSIONS = [
    *(made(number) for number in range(COUNT)),
    made(300, ghost=True),
    made(301, pseudo=True),
    made(302, start_time=samples.T0 - 30 * 24 * samples.HOUR, last_time=samples.T0 - 29 * 24 * samples.HOUR),
    made(
        HOSTILE_SESSION,
        tenant="globex",
        session_id=HOSTILE,
        permission_mode=HOSTILE,
        models={HOSTILE: 1.0},
        **dict.fromkeys(FIELDS, HOSTILE),
    ),
    made(501, tenant="globex", team="=cmd|' /C calc'!A0", user_email="@SUM(1)", model="+1", department="-1"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def listed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pages]:
    hours = [hour for one in SESSIONS if not one["pseudo"] for hour in hours_of(one)]
    known = [samples.event(1, user_email="user1@example.com")]
    folder = tmp_path_factory.mktemp("list")
    async with pages_over(folder, sessions=SESSIONS, session_hours=hours, events=known) as pages:
        yield pages


def cells(html: str) -> list[list[str]]:
    """The texts of the table's body."""
    body = re.search(r"<tbody>(.*?)</tbody>", html, re.DOTALL)
    if body is None:
        return []
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", body[1], re.DOTALL)
    found = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in rows]
    return [[re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text)).strip() for text in row] for row in found]


async def column(pages: Pages, name: str, query: str) -> list[str]:
    answer = await pages.get(f"/sessions?tenant=acme&columns={name}&{query}")
    assert answer.status_code == 200, answer.text[:500]
    return [row[0] for row in cells(answer.text)]


def shown_count(html: str) -> str:
    found = re.search(r"<strong>([\d,]+)</strong> session", html)
    return "0" if found is None else found[1]


@over_sql
async def test_the_list_has_the_nine_columns_and_its_sums(listed: Pages) -> None:
    answer = await listed.get("/sessions?tenant=acme")
    heads = [re.sub(r"<[^>]+>|[↓↑]", "", one).strip() for one in re.findall(r"<th scope.*?</th>", answer.text)]
    assert heads == ["Start time", "User", "Model", "Prompts", "Duration", "Cost", "Tools", "Tokens", "Errors"]
    first = cells(answer.text)[0]
    assert first == ["2026-09-21 14:13 open", "user0@example.com", "haiku", "0", "30.0 s", "$0.00", "0", "0", "0"]
    assert "<strong>120</strong> sessions · 7,140 prompts · $71.40 ·" in answer.text


@over_sql
async def test_ghosts_pseudo_sessions_and_what_is_out_of_the_range_are_left_out(listed: Pages) -> None:
    assert shown_count((await listed.get("/sessions?tenant=acme")).text) == str(COUNT)
    assert shown_count((await listed.get("/sessions?tenant=acme&range=90d")).text) == str(COUNT + 1)


@over_sql
async def test_a_session_is_in_a_range_when_it_was_active_in_an_hour_of_it(listed: Pages) -> None:
    for query, expected in (
        ("from=2026-08-22T14:00Z&to=2026-08-22T15:00Z", "1"),  # it began in it
        ("from=2026-08-22T15:00Z&to=2026-08-23T14:00Z", "0"),  # it pauses
        ("from=2026-08-23T14:00Z&to=2026-08-23T15:00Z", "1"),  # it goes on in it
        ("from=2026-08-23T15:00Z&to=2026-08-23T16:00Z", "0"),
        ("from=2026-08-22T12:00Z&to=2026-08-22T13:00Z", "0"),
    ):
        assert shown_count((await listed.get(f"/sessions?tenant=acme&{query}")).text) == expected, query


@over_sql
async def test_every_column_sorts_both_ways_and_is_stable(listed: Pages) -> None:
    for name in COLUMNS:
        for sort in (name, f"-{name}"):
            answer = await listed.get(f"/sessions?tenant=acme&sort={sort}&columns=session,{name}")
            assert answer.status_code == 200, (sort, answer.text[:300])
            assert len(cells(answer.text)) == PAGE_ROWS, sort
    assert (await column(listed, "prompts", "sort=-cost"))[:3] == ["119", "118", "117"]
    assert (await column(listed, "prompts", "sort=cost"))[:3] == ["0", "1", "2"]
    # 120 sessions with the same duration come in the order of their ids, over all pages.
    ids = [text for page in (1, 2, 3) for text in await column(listed, "prompts", f"sort=duration&page={page}")]
    assert ids == [str(number) for number in sorted(range(COUNT), key=lambda number: f"acme-session-{number}")]


@over_sql
async def test_pages_follow_each_other_and_end(listed: Pages) -> None:
    assert [len(await column(listed, "prompts", f"page={page}")) for page in (1, 2, 3)] == [50, 50, 20]
    beyond = await listed.get("/sessions?tenant=acme&page=4")
    assert "This page is behind the last of 120 sessions." in beyond.text
    assert (await listed.get("/sessions?page=0")).status_code == 400
    assert (await listed.get("/sessions?page=99999999999999999999")).status_code == 400
    second = (await listed.get("/sessions?tenant=acme&sort=-cost&page=2")).text
    assert 'href="/sessions?tenant=acme&amp;sort=-cost&amp;page=3" rel="next"' in second
    assert 'href="/sessions?tenant=acme&amp;sort=-cost" rel="prev"' in second


@over_sql
async def test_filters_of_other_pages_and_only_narrow_the_list(listed: Pages) -> None:
    for query, expected in (
        ("team=team-1", 30),
        ("user=acme-user-2", 40),
        ("model=opus", 60),
        ("version=2.1.200", COUNT),
        ("department=(none)", COUNT),
        ("only=errors", 12),
        ("only=refusals", 12),
        ("only=errors,refusals", 0),
        ("only=errors&only=refusals", 0),
        ("only=failed", 1),
        ("outcome=failed", 1),
        ("outcome=open", 6),
        ("outcome=idle", 25),
        ("outcome=closed", 89),
        ("mode=bypassPermissions", 1),
        ("mode=(none)", COUNT - 1),
        ("team=team-1&only=errors&model=opus", 6),
        ("team=nobody's", 0),
    ):
        assert shown_count((await listed.get(f"/sessions?tenant=acme&{query}")).text) == str(expected), query


@over_sql
@pytest.mark.parametrize("second", [0, 20, 59])
async def test_the_sessions_of_an_outcome_are_tagged_with_it_whatever_the_second(
    listed: Pages, monkeypatch: pytest.MonkeyPatch, second: int
) -> None:
    now = listed.console.now().replace(second=second)
    monkeypatch.setattr(listed.console, "now", lambda: now)
    for outcome in ("open", "idle", "closed"):
        tags = await column(listed, "outcome", f"outcome={outcome}")
        assert tags
        assert {tag.removesuffix(" failed") for tag in tags} == {outcome}
        # The last of them by time is the one whose state changes next; its own page agrees.
        text = (await listed.get(f"/sessions?tenant=acme&outcome={outcome}&sort=start")).text
        link = re.search(r'class="row-link" href="([^"]+)"', text)
        assert link is not None
        assert re.search(rf"<dt>State</dt><dd><span[^>]*>{outcome}<", (await listed.get(unescape(link[1]))).text)


@over_sql
async def test_every_only_and_outcome_is_sql(listed: Pages) -> None:
    for query in [f"only={name}" for name in ONLY] + [f"outcome={name}" for name in OUTCOMES]:
        answer = await listed.get(f"/sessions?{query}")
        assert (answer.status_code, 'role="alert"' in answer.text) == (200, False), query


@over_sql
async def test_the_search_finds_by_the_beginning_of_an_id_by_email_and_by_text(listed: Pages) -> None:
    for text, expected in (
        ("acme-session-11", 11),  # 11 and 110 to 119
        ("session-11", 0),
        ("USER1@", 40),
        ("team-3", 30),
        ("haik", 60),
        ("100%", 0),
        ("' OR true --", 0),
    ):
        answer = await listed.get(f"/sessions?{urlencode({'tenant': 'acme', 'q': text})}")
        assert shown_count(answer.text) == str(expected), text


@over_sql
async def test_what_makes_no_sense_says_what_does(listed: Pages) -> None:
    for query, words in (
        ("sort=beauty", "there is no column &#39;beauty&#39; to sort by"),
        ("only=joy", "only cannot be &#39;joy&#39;"),
        ("outcome=odd", "there is no outcome &#39;odd&#39;"),
        (f"q={'x' * 300}", "q is longer than 256 characters"),
    ):
        answer = await listed.get(f"/sessions?{query}")
        assert (answer.status_code, words in answer.text) == (400, True), query


@over_sql
async def test_chosen_columns_are_kept_in_every_link(listed: Pages) -> None:
    text = (await listed.get("/sessions?tenant=acme&columns=start&columns=team&columns=nonsense&range=7d")).text
    assert cells(text)[1] == ["2026-09-21 14:12 open", "team-1"]
    for link in re.findall(r'<th scope="col"[^>]*><a href="([^"]+)"', text):
        assert "columns=start%2Cteam" in link
        assert "range=7d" in link


@over_sql
async def test_the_filter_offers_what_occurs_in_the_range(listed: Pages) -> None:
    text = (await listed.get("/overview/choices?of=/sessions&tenant=acme&sort=-cost")).text
    assert '<form class="choices" method="get" action="/sessions">' in text
    assert '<input type="hidden" name="sort" value="-cost">' in text
    teams = re.search(r'<select name="team">(.*?)</select>', text, re.DOTALL)
    assert teams is not None
    assert 'value="team-2">team-2 (30)</option>' in teams[1]
    users = re.search(r'<select name="user">(.*?)</select>', text, re.DOTALL)
    assert users is not None
    assert 'value="acme-user-1">user1@example.com (40)</option>' in users[1]
    text = (await listed.get("/sessions?tenant=acme&mode=odd")).text
    assert "<option>bypassPermissions</option>" in text
    assert "<option selected>odd</option>" in text


@over_sql
async def test_an_empty_list_says_what_to_do(listed: Pages) -> None:
    nothing = "/sessions?from=2025-01-01T00:00Z&to=2025-01-02T00:00Z"
    assert 'href="/sources">To the sources' in (await listed.get(nothing)).text
    looks = {"filters", "columns", "sort", "page", "having"}
    asked = [*HAVING, *(one.name for one in fields(Listing) if one.name not in looks)]
    said = dict.fromkeys(asked, "x") | {"outcome": "open", "only": "errors"}
    for name, value in {"team": "nobody", **said}.items():
        text = (await listed.get(f"{nothing}&{name}={value}")).text
        assert ("fits the filters" in text, "To the sources" in text) == (True, False), name


@over_sql
async def test_who_may_not_see_people_sees_keys_and_cannot_search_addresses(listed: Pages) -> None:
    viewer = person("viewer", tenant="acme", id_="somebody")
    text = (await listed.get("/sessions", viewer)).text
    assert "@example.com" not in text
    assert "acme-user-0" in text
    assert "E-mail addresses are not for your role" in text
    assert shown_count((await listed.get("/sessions?q=user1@", viewer)).text) == "0"
    exported = (await listed.get("/sessions.csv", viewer)).text
    assert "@example.com" not in exported
    assert "acme-user-0" in exported


@over_sql
async def test_nobody_sees_the_sessions_of_another_tenant(listed: Pages) -> None:
    other = person("analyst", tenant="globex")
    assert shown_count((await listed.get("/sessions", other)).text) == "2"
    assert shown_count((await listed.get("/sessions?tenant=acme", other)).text) == "0"
    assert "acme" not in (await listed.get("/sessions.csv", other)).text


@over_sql
async def test_script_in_any_field_is_text(listed: Pages) -> None:
    every = ",".join(COLUMNS)
    text = (await listed.get(f"/sessions?tenant=globex&columns={every}")).text
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    shown = "&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&gt;&lt;img src=x onerror=alert(2)&gt;"
    assert text.count(shown) > 2 * len(FIELDS)
    asked = {"tenant": "globex", "team": HOSTILE, "q": HOSTILE[:20], "mode": HOSTILE}
    answer = await listed.get(f"/sessions?{urlencode(asked)}")
    assert shown_count(answer.text) == "1"
    assert "<script>alert" not in answer.text


@over_sql
async def test_the_csv_has_every_row_in_the_order_of_the_page(listed: Pages) -> None:
    answer = await listed.get("/sessions.csv?tenant=acme&sort=-cost&only=errors&page=7")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="sessions-20260920-20260921.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert list(rows[0]) == [*DEFAULT_COLUMNS, "session"]
    assert [row["session"] for row in rows] == [f"acme-session-{number}" for number in range(113, 0, -10)]
    assert [row["cost"] for row in rows][:2] == ["1.13", "1.03"]
    assert rows[0]["user"] == "user2@example.com"


@over_sql
async def test_no_cell_of_the_csv_is_a_formula(listed: Pages) -> None:
    answer = await listed.get("/sessions.csv?tenant=globex&columns=start,team,user,model,department&q=@SUM")
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert (row["team"], row["user"], row["model"], row["department"]) == (
        "'=cmd|' /C calc'!A0",
        "'@SUM(1)",
        "'+1",
        "'-1",
    )


def test_what_a_spreadsheet_would_take_for_a_formula_is_quoted() -> None:
    assert [cell(text) for text in ("=1", "+1", "-1", "@a", "\t=1", "\r=1")] == [
        "'=1",
        "'+1",
        "'-1",
        "'@a",
        "'\t=1",
        "'\r=1",
    ]
    assert [cell(value) for value in ("a=1", -1.5, None, "")] == ["a=1", -1.5, "", ""]


@over_sql
async def test_a_csv_that_was_cut_says_so(listed: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "CSV_ROWS_MAX", 10)
    lines = (await listed.get("/sessions.csv?tenant=acme")).text.splitlines()
    assert len(lines) == 12
    assert lines[-1] == '"cut after 10 lines; filter more, or take a shorter time range"'


@over_sql
async def test_a_hundred_thousand_sessions_are_one_csv_with_all_columns(tmp_path: Path) -> None:
    one = samples.session(1, tenant="acme", user_email="someone.with-a-name@example.com")
    async with pages_over(tmp_path, sessions=[one], session_hours=hours_of(one)) as many:
        cursor = many.sql.database.cursor()
        for table in ("sessions", "session_hours"):
            cursor.execute(
                f"insert into _events.raw.{table} by name select s.* replace (md5(i::varchar) as session_id) "
                f"from _events.raw.{table} s, range(99_999) t(i)"
            )
        cursor.close()
        answer = await many.get(f"/sessions.csv?range=90d&columns={','.join(COLUMNS)}")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    ids = {hashlib.md5(str(number).encode()).hexdigest() for number in range(99_999)}
    assert {row["session"] for row in rows} == {*ids, one["session_id"]}
    assert len(rows) == 100_000


@over_sql
async def test_the_list_stands_when_the_store_is_gone() -> None:
    async with pages_of(console_over(GONE, "root-key")) as pages:
        answer = await pages.get("/sessions")
    assert answer.status_code == 503
    assert "cannot be reached" in answer.text


# In a browser, over the running stack


@pytest.mark.slow
def test_the_rows_are_those_of_sql_and_of_the_ledger(fed: Fed, window: Callable[..., Window]) -> None:
    want = {id_: one for id_, one in truth.truth(CAPTURES)["sessions"].items() if not one["ghost"]}
    columns = "session,prompts,cost,tools,tokens,errors,refusals,model,duration,version,mode,lines_added,commits"
    one = window()
    one.go(f"/sessions?tenant=captures&range=7d&columns={columns}&sort=session")
    page = one.page
    rows = page.locator("tr[data-row]").all()
    shown = [[text.strip() for text in row.locator("td").all_inner_texts()] for row in rows]
    assert len(shown) == len(want)
    sql = fed.stack.sql(fed.stack.admin_key())(
        "select session_id, prompts, spend_usd, tools, input_tokens + output_tokens as tokens, errors, refusals, "
        "model, duration_s, app_version, permission_mode, lines_added, commits "
        "from sessions where tenant = 'captures' and not ghost order by session_id"
    )
    for texts, row in zip(shown, sql, strict=True):
        expected = want[row["session_id"]]
        told = (expected["prompts"], expected["tools"], expected["errors"], expected["refusals"])
        assert (row["prompts"], row["tools"], row["errors"], row["refusals"]) == told
        assert truth.close(row["spend_usd"], expected["cost_usd"])
        assert row["tokens"] == expected["input_tokens"] + expected["output_tokens"]
        assert texts[0].startswith(row["session_id"][:12])
        assert texts[1:13] == [
            str(row["prompts"]),
            usd(row["spend_usd"]),
            str(row["tools"]),
            tokens(row["tokens"]),
            str(row["errors"]),
            str(row["refusals"]),
            row["model"] or "–",
            seconds(row["duration_s"]),
            row["app_version"] or "–",
            row["permission_mode"] or "–",
            count(row["lines_added"]),
            count(row["commits"]),
        ]


@pytest.mark.slow
def test_nothing_is_wrong_for_who_cannot_see_or_use_a_mouse(window: Callable[..., Window]) -> None:
    for scheme in ("light", "dark"):
        one = window(color_scheme=scheme, viewport={"width": 1600, "height": 900})
        one.go("/sessions")
        one.page.get_by_text("Filter", exact=True).click()
        assert one.accessibility() == []
