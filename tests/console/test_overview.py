"""The overview: its numbers over a store that was filled by hand, and its looks in a browser over the running stack."""

from __future__ import annotations

import html
import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from console.ask import Answer
from console.filters import DIMENSIONS, Filters
from console.told import Told
from console.usage import SPLIT, number_of, spans
from schemas.roles import Condition, Grant, Role
from tests.console.browser import Window
from tests.console.conftest import GONE, NOW, Fed, Pages, console_over, pages_and_store, pages_of
from tests.console.handmade import batches, pages_over
from tests.console.people import person
from tests.console.proof.reading import totals
from tests.sinks.query import samples
from tests.sinks.query.conftest import DOOR

# Hostile, as a team, a model, a tool and a version may be.
EVIL = """<script>alert("'x")</script>"""
HOUR = samples.T0 - samples.T0 % samples.HOUR  # 14:00, the hour of now
DAY = 24 * samples.HOUR
FULL = "/?from=2026-09-20T15:00Z&to=2026-09-21T15:00Z"


def request(number: int, at: int, model: str, micros: int, **fields: Any) -> dict[str, Any]:
    made = samples.event(number, event_time=at, received_time=at + samples.SECOND, team="core", model=model)
    money = {"cost_usd": micros / 1e6, "cost_usd_micros": micros, "input_tokens": 100, "output_tokens": 10}
    who = {"session_id": "acme-session-1", "user_key": "acme-user-1", "user_email": "one@acme.example"}
    return {**made, **money, **who, **fields}


def hour(number: int, start: int, **fields: Any) -> dict[str, Any]:
    cost = fields.pop("spend_usd", 0.0)
    return samples.session_hour(number, start=start, prompts=0, **{"spend_usd": cost, "cost_usd": cost, **fields})


def _rows() -> dict[str, list[dict[str, Any]]]:
    """Two hours of a session, with an archived request; a hostile one; points alone; a ghost; the day before."""
    three, two = HOUR - samples.HOUR, HOUR
    calls = [
        ("tool_result", {"tool_name": "Bash", "success": True}),
        ("tool_result", {"tool_name": "mcp__jira__search", "success": True}),
        ("tool_result", {"tool_name": EVIL, "success": False}),
        ("tool_decision", {"tool_name": "Bash", "decision": "accept", "source": "config"}),
        ("tool_decision", {"tool_name": "Bash", "decision": "reject", "source": "user_reject"}),
    ]
    own = {"session_id": "acme-session-1", "user_key": "acme-user-1", "team": "core"}
    own_hour: dict[str, Any] = {"team": "core", "spend_usd": 0.625, "api_requests": 3, "input_tokens": 200}
    own_hour |= {"output_tokens": 20, "tools": 3, "tool_failures": 1, "errors": 1, "accepts": 1, "rejects": 1}
    own_hour["lines_added"] = 7
    return {
        "events": [
            request(1, three + 5 * samples.SECOND, "opus", 500_000),
            request(2, two + 5 * samples.SECOND, "haiku", 250_000),
            # Of a client whose clock is a month off: it counts where it was received.
            request(3, two - 40 * DAY, "opus", 125_000)
            | {"clock_suspect": True, "received_time": two + samples.SECOND},
            request(4, two + 9 * samples.SECOND, EVIL, 1_000_000, session_id="evil", team=EVIL),
            *(
                samples.event(10 + number, event_name=name, event_time=two + number, **own, **fields)
                for number, (name, fields) in enumerate(calls)
            ),
        ],
        "sessions": [
            samples.session(1, team="core", model="opus", models={"opus": 0.625, "haiku": 0.25}, app_version="2.1.1"),
            samples.session(2, session_id="evil", team=EVIL, model=EVIL, models={EVIL: 1.0}, app_version=EVIL),
            samples.session(3, team="core", ghost=True),
            samples.session(4, team="old", model="opus", start_time=two - DAY, last_time=two - DAY + samples.SECOND),
        ],
        "session_hours": [
            hour(1, three, team="core", spend_usd=0.5, api_requests=1, input_tokens=100, output_tokens=10, commits=1),
            # A request of 0.25 more than the events tell: routing archived it.
            hour(1, two, **own_hour),
            hour(
                2, two, session_id="evil", team=EVIL, spend_usd=1.0, api_requests=1, input_tokens=100, output_tokens=10
            ),
            hour(3, two, team="core", active=False),
            # Points without a session: they cost, and are no session.
            hour(5, two, session_id="points", team="core", active=False, spend_usd=0.125, active_user_s=30.0),
            hour(4, two - DAY, team="old", spend_usd=2.0, api_requests=4),
        ],
    }


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def used(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pages]:
    """For tests that only read."""
    async with pages_over(tmp_path_factory.mktemp("overview"), **_rows()) as pages:
        yield pages


def stats(text: str) -> dict[str, str]:
    """Title → value and what stands below it."""
    found = re.findall(
        r'<div class="stat">\s*<h2>(.*?)</h2>\s*<p class="stat-value">(.*?)</p>\s*<p[^>]*>(.*?)</p>', text, re.S
    )
    plain = [[re.sub(r"<[^>]*>|\s+", " ", part).split() for part in one] for one in found]
    return {" ".join(title): " ".join([*value, *below]) for title, value, below in plain}


def charts(text: str) -> dict[str, dict[str, Any]]:
    """Title → what is drawn."""
    inside = "(?:(?!</figure>).)*?"
    figures = re.findall(
        rf"<figcaption>([^<]*)</figcaption>{inside}<script type=\"application/json\">(.*?)</script>", text, re.S
    )
    return {html.unescape(title): json.loads(data) for title, data in figures}


def sums(chart: dict[str, Any]) -> dict[str, float]:
    return {one["name"]: round(sum(one["values"]), 6) for one in chart["series"]}


def ranking(text: str) -> dict[str, list[str]]:
    """First cell → the other ones."""
    (table,) = re.findall(r'<div class="card scroll ranking".*?<tbody>(.*?)</tbody>', text, re.S)
    found = {}
    for row in re.findall(r"<tr.*?</tr>", table, re.S):
        cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S)
        plain = [html.unescape(re.sub(r"<[^>]*>", "", cell)).strip() for cell in cells]
        found[plain[0]] = plain[1:]
    return found


@pytest.mark.asyncio(loop_scope="session")
async def test_the_numbers_are_those_of_sql_beside_those_of_the_day_before(used: Pages) -> None:
    found = stats((await used.get("/")).text)
    (now,) = await used.sql.ask(
        "SELECT sum(spend_usd) AS usd, sum(input_tokens + output_tokens) AS tokens FROM session_hours "
        "WHERE start >= TIMESTAMPTZ '2026-09-20T15:00Z'"
    )
    assert found["Total cost"] == f"${now['usd']:,.2f} +12 % before: $2.00" == "$2.25 +12 % before: $2.00"
    assert found["Total tokens"] == f"{now['tokens']} input and output" == "440 input and output"
    assert found["Sessions"] == "2 +100 % before: 1"  # neither the ghost nor the points
    assert found["Commits"] == "1 nothing before"
    assert found["Errors"] == "1 API, tools and client"
    drawn = (await used.get("/", **{"HX-Request": "true"})).text
    assert "Total $2.25, before $2.00 (+12 %)" in drawn, "the charts are beside the period before, too"


@pytest.mark.asyncio(loop_scope="session")
async def test_all_twelve_panels_are_there(used: Pages) -> None:
    text = (await used.get("/")).text
    assert {"Total cost", "Total tokens", "Sessions", "Commits", "Pull requests"} <= stats(text).keys()
    titles = set(re.findall("<figcaption>(.*?)</figcaption>", text))
    assert titles == {
        *("Token usage", "Cost by model", "Active time", "Lines of code", "Tool calls", "API requests by model"),
        "Accept and reject decisions",
    }


@pytest.mark.asyncio(loop_scope="session")
async def test_every_panel_is_beside_the_same_of_the_period_before(tmp_path: Path) -> None:
    """Three sessions now, one like each of them a day ago."""
    some = {
        "spend_usd": 1.5,
        "input_tokens": 100,
        "output_tokens": 50,
        "commits": 2,
        "pull_requests": 3,
        "tools": 4,
        "accepts": 5,
        "rejects": 6,
        "api_requests": 7,
        "lines_added": 8,
        "lines_removed": 9,
        "active_user_s": 60.0,
        "prompts": 10,
        "errors": 12,
        "refusals": 13,
    }
    times = [(HOUR, "now-1"), (HOUR, "now-2"), (HOUR, "now-3"), (HOUR - DAY, "before")]
    hours = [samples.session_hour(n, start=at, session_id=id_, **some) for n, (at, id_) in enumerate(times)]
    sessions = [
        samples.session(n, session_id=id_, start_time=at, last_time=at + 1) for n, (at, id_) in enumerate(times)
    ]
    async with pages_over(tmp_path, session_hours=hours, sessions=sessions) as pages:
        page = (await pages.get("/", **{"HX-Request": "true"})).text
    said = {title: re.search(r"(\S+) \+200 % before: (\S+)", text) for title, text in stats(page).items()}
    assert {title: found and found.groups() for title, found in said.items()} == {
        "Total cost": ("$4.50", "$1.50"),
        "Total tokens": ("450", "150"),
        "Sessions": ("3", "1"),
        "Commits": ("6", "2"),
        "Pull requests": ("9", "3"),
        "Prompts": ("30", "10"),
        "Errors": ("36", "12"),
        "Refusals": ("39", "13"),
    }
    assert totals(page) == {
        "Cost by model": "Total $4.50, before $1.50 (+200 %).",
        "Token usage": "Total 450, before 150 (+200 %).",
        "API requests by model": "Total 21, before 7 (+200 %).",
        "Tool calls": "Total 12, before 4 (+200 %).",
        "Accept and reject decisions": "Total 33, before 11 (+200 %).",
        "Active time": "Total 3 min, before 1 min (+200 %).",
        "Lines of code": "Total 51, before 17 (+200 %).",
    }


@pytest.mark.asyncio(loop_scope="session")
async def test_the_cost_of_models_adds_up_to_the_total_with_what_no_event_told(used: Pages) -> None:
    chart = charts((await used.get("/")).text)["Cost by model"]
    by_hour = [sum(one["values"][place] for one in chart["series"]) for place in range(len(chart["labels"]))]
    told = dict(zip(chart["labels"], by_hour, strict=True))
    assert told["2026-09-21T13:00:00Z"] == pytest.approx(0.5)
    assert told["2026-09-21T14:00:00Z"] == pytest.approx(1.75)
    assert sum(by_hour) == pytest.approx(2.25)


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("start", ["2026-09-20T13:00Z", "2026-09-19", "2026-08-21", "2026-02-01"])
async def test_hours_days_and_weeks_add_up_to_the_same(used: Pages, start: str) -> None:
    text = (await used.get(f"/?from={start}&to=2026-09-21T15:00Z")).text
    assert stats(text)["Total cost"].startswith("$4.25")
    for title, total in (("Cost by model", 4.25), ("API requests by model", 9), ("Token usage", 440)):
        assert sum(sums(charts(text)[title]).values()) == pytest.approx(total)


@pytest.mark.asyncio(loop_scope="session")
async def test_an_event_with_an_impossible_clock_counts_in_its_hour_of_receipt(used: Pages) -> None:
    chart = charts((await used.get("/")).text)["API requests by model"]
    (opus,) = [one for one in chart["series"] if one["name"] == "opus"]
    found = {label: value for label, value in zip(chart["labels"], opus["values"], strict=True) if value}
    assert found == {"2026-09-21T13:00:00Z": 1, "2026-09-21T14:00:00Z": 1}


@pytest.mark.asyncio(loop_scope="session")
async def test_calls_and_decisions_are_told_by_tool_and_source(used: Pages) -> None:
    found = charts((await used.get("/")).text)
    assert sums(found["Tool calls"]) == {EVIL: 1, "Bash": 1, "MCP tools": 1}
    assert sums(found["Accept and reject decisions"]) == {"accept: config": 1, "reject: user_reject": 1}
    assert sums(found["API requests by model"]) == {"opus": 2, EVIL: 1, "haiku": 1, "(not told)": 1}
    assert sums(found["Active time"]) == {"User": 30, "CLI": 0}
    assert sums(found["Lines of code"]) == {"Added": 7, "Removed": 0}


@pytest.mark.asyncio(loop_scope="session")
async def test_a_bar_leads_to_the_sessions_of_its_hour_and_model(used: Pages) -> None:
    chart = charts((await used.get("/?team=core")).text)["Cost by model"]
    (haiku,) = [one for one in chart["series"] if one["name"] == "haiku"]
    place = chart["labels"].index("2026-09-21T14:00:00Z")
    hours = "from=2026-09-21T14%3A00%3A00Z&to=2026-09-21T15%3A00%3A00Z"
    assert chart["links"][place] + haiku["more"] == f"/sessions?{hours}&team=core&asked=haiku"
    (rest,) = [one for one in chart["series"] if one["name"] == "(not told)"]
    assert rest["more"] == ""
    chart = charts((await used.get("/?model=haiku")).text)["Cost by model"]
    (opus,) = [one for one in chart["series"] if one["name"] == "opus"]
    assert chart["links"][place] + opus["more"] == f"/sessions?{hours}&model=haiku&asked=opus"


@pytest.mark.asyncio(loop_scope="session")
async def test_a_bar_of_a_sum_leads_to_the_sessions_that_have_some_of_it(used: Pages) -> None:
    found = charts((await used.get("/")).text)
    for title, name, sessions in (
        ("Lines of code", "Added", 1),
        ("Lines of code", "Removed", 0),
        ("Token usage", "Input", 2),
        ("Token usage", "Cache read", 0),
        ("Active time", "User", 0),  # of points without a session
    ):
        (series,) = [one for one in found[title]["series"] if one["name"] == name]
        place = found[title]["labels"].index("2026-09-21T14:00:00Z")
        listed = await used.get(found[title]["links"][place] + series["more"])
        assert listed.status_code == 200
        assert listed.text.count('<tr id="s-') == sessions, (title, name)


@pytest.mark.asyncio(loop_scope="session")
async def test_teams_are_ranked_with_share_and_change_and_lead_on(used: Pages) -> None:
    text = (await used.get("/")).text
    found = ranking(text)
    assert list(found) == ["core", EVIL, "old"]
    assert found["core"] == ["$1.25", "", "55.6 %", "new", "330", "new", "1", "new", "Only this: core"]
    assert found["old"][:4] == ["–", "", "0.0 %", "−100 %"]
    assert 'href="/sessions?team=core"' in text
    assert 'href="/?team=core"' in text


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("by", [*DIMENSIONS, "repository"])
async def test_every_dimension_can_be_ranked_by(used: Pages, by: str) -> None:
    for path in (f"/?by={by}", f"/?by={by}&team=core&model=opus", f"/?range=90d&by={by}&version=2.1.1"):
        answer = await used.get(path)
        assert answer.status_code == 200
        assert 'class="fault"' not in answer.text
        assert by == "repository" or ranking(answer.text)


@pytest.mark.asyncio(loop_scope="session")
async def test_a_model_has_the_cost_of_its_requests_and_the_sessions_that_used_it(used: Pages) -> None:
    text = (await used.get("/?by=model")).text
    found = ranking(text)
    assert {name: (cells[0], cells[6]) for name, cells in found.items()} == {
        EVIL: ("$1.00", "1"),
        "opus": ("$0.62", "1"),
        "haiku": ("$0.25", "1"),
    }
    assert "of the cost" in text


@pytest.mark.asyncio(loop_scope="session")
async def test_a_filter_holds_for_every_panel(used: Pages) -> None:
    for path in ("/?model=haiku", "/?version=2.1.1"):  # of sessions: joined with their hours
        text = (await used.get(path)).text
        assert stats(text)["Total cost"].startswith("$1.12")
        assert set(sums(charts(text)["Cost by model"])) == {"opus", "haiku", "(not told)"}
    text = (await used.get("/?team=core")).text
    assert stats(text)["Total cost"].startswith("$1.25")
    assert stats(text)["Sessions"].startswith("1 ")


@pytest.mark.asyncio(loop_scope="session")
async def test_who_may_not_see_persons_sees_keys_and_the_others_see_addresses(used: Pages) -> None:
    viewer, analyst = person("viewer", tenant="acme"), person("analyst", tenant="acme")
    for path in ("/?by=user", "/?user=acme-user-1", "/overview/choices?team=core"):
        assert "one@acme.example" in (await used.get(path, analyst)).text
        seen = await used.get(path, viewer)
        assert seen.status_code == 200
        assert "one@acme.example" not in seen.text
        assert "acme-user-1" in seen.text
    assert "an admin can grant it the class person" in (await used.get("/?by=user", viewer)).text


@pytest.mark.asyncio(loop_scope="session")
async def test_nobody_sees_another_tenant(used: Pages) -> None:
    text = (await used.get("/", person("analyst", tenant="globex"))).text
    assert "Nothing has arrived yet" in text
    assert 'href="/sources"' in text


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize(
    "path", ["/", "/?by=version", "/?by=model", "/overview/choices", f"/?team={EVIL}", f"/?by={EVIL}"]
)
async def test_script_in_any_name_is_text(used: Pages, path: str) -> None:
    text = (await used.get(path)).text
    assert "<script>alert" not in text
    assert "alert(" in text or path == f"/?by={EVIL}"


@pytest.mark.asyncio(loop_scope="session")
async def test_filters_that_match_nothing_can_be_removed(used: Pages) -> None:
    text = (await used.get("/?range=7d&team=nobody&by=user")).text
    assert "Nothing matches these filters" in text
    assert 'href="/?range=7d&amp;by=user"' in text


@pytest.mark.asyncio(loop_scope="session")
async def test_a_time_without_anything_leads_to_the_latest_usage(used: Pages) -> None:
    text = (await used.get("/?from=2025-01-01&to=2025-01-02")).text
    assert "Nothing in this time range, nor in the one before." in text
    assert 'href="/?from=2026-09-20T15%3A00%3A00Z&amp;to=2026-09-21T15%3A00%3A00Z"' in text


@pytest.mark.asyncio(loop_scope="session")
async def test_the_choices_are_the_values_that_occur(used: Pages) -> None:
    text = (await used.get("/overview/choices?model=haiku&range=7d")).text
    offered = re.findall(r'<option value="([^"]+)"( selected)?>', text)
    assert ("core", "") in offered
    assert ("haiku", " selected") in offered
    assert html.escape(EVIL, quote=True).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in dict(offered)
    assert "old" not in dict(offered)  # it did not use that model
    assert '<input type="hidden" name="range" value="7d">' in text


@pytest.mark.asyncio(loop_scope="session")
async def test_the_form_leads_to_an_address_that_says_only_what_was_chosen(used: Pages) -> None:
    answer = await used.get("/?range=7d&tenant=&team=core&user=&by=model")
    assert (answer.status_code, answer.headers["location"]) == (303, "/?range=7d&team=core&by=model")


async def test_a_store_that_is_gone_is_told_and_nothing_fails() -> None:
    async with pages_of(console_over(GONE, "root-key")) as pages:
        answer = await pages.get("/")
    assert answer.status_code == 200
    assert "No answer yet." in answer.text
    assert "the SQL service cannot be reached" in answer.text


async def test_a_late_event_changes_a_day_that_was_kept(tmp_path: Path) -> None:
    rows = _rows()
    async with pages_and_store(tmp_path) as (pages, store):
        await store.write(batches(rows))
        path = "/?from=2026-09-15T00:00Z&to=2026-09-22T00:00Z"
        before = charts((await pages.get(path)).text)["API requests by model"]
        assert sums(before) == {"opus": 2, EVIL: 1, "haiku": 1, "(not told)": 5}
        old = HOUR - DAY
        late = request(99, old + samples.SECOND, "sonnet", 10_000, session_id="acme-session-4")
        grown = hour(4, old, team="old", spend_usd=2.01, api_requests=5, version=2)
        await store.write(
            [
                samples.batch("events", [late], first_offset=len(rows["events"])),
                samples.batch("session-hours", [grown], first_offset=len(rows["session_hours"])),
            ]
        )
        after = charts((await pages.get(path)).text)["API requests by model"]
        assert sums(after) == {"opus": 2, EVIL: 1, "haiku": 1, "sonnet": 1, "(not told)": 5}


async def test_metrics_alone_tell_cost_by_model_and_what_is_missing_is_said(tmp_path: Path) -> None:
    told = {"session_id": "silent", "user_key": "acme-user-1"}
    rows = {
        "sessions": [samples.session(1, ghost=True, api_requests=0, spend_usd=0.75, last_time=HOUR, **told)],
        "session_hours": [hour(1, HOUR, active=False, cost_usd=0.0, metric_cost_usd=0.75, spend_usd=0.75, **told)],
        "metrics": [
            samples.point(
                number, event_time=HOUR, metric=metric, value=value, model="opus", temporality="delta", **told
            )
            for number, (metric, value) in enumerate((("claude_code.cost.usage", 0.75), ("claude_code.token.usage", 9)))
        ],
    }
    role = Role("pointless", (Grant("usage", ("session_hours", "sessions", "events")),))
    door = replace(DOOR, find_role=lambda name: role if name == role.name else DOOR.find_role(name))
    async with pages_over(tmp_path, door, **rows) as pages:
        text = (await pages.get("/?by=model")).text
        assert sums(charts(text)["Cost by model"]) == {"opus": 0.75}
        assert ranking(text)["opus"][0] == "$0.75"
        assert "OTEL_LOGS_EXPORTER=otlp" in text
        text = (await pages.get("/", person(role.name, tenant="acme"))).text
        assert sums(charts(text)["Cost by model"]) == {"(not told)": 0.75}


async def test_a_role_with_a_rule_counts_its_own_rows_alone(tmp_path: Path) -> None:
    rule = (Condition("team", ("core",)),)
    roles = {
        "lead": Role("lead", (Grant("usage", ("session_hours", "sessions", "events"), rule),)),
        "partly": Role("partly", (Grant("usage", ("session_hours",), rule),)),
    }
    async with pages_over(tmp_path, replace(DOOR, find_role=roles.get), **_rows()) as pages:
        for role, models in (("lead", {"opus", "haiku", "(not told)"}), ("partly", {"(not told)"})):
            text = (await pages.get("/", person(role, tenant="acme"))).text
            assert stats(text)["Total cost"].startswith("$1.25")
            assert set(sums(charts(text)["Cost by model"])) == models
        assert "Your role does not see events" in text
        assert (await pages.get("/overview/choices", person("partly", tenant="acme"))).status_code == 200


async def test_a_page_does_not_wait_for_many_days_of_events_but_asks_again_at_once(tmp_path: Path) -> None:
    rows = _rows()
    rows["session_hours"].append(hour(9, HOUR - 20 * DAY, team="core", spend_usd=1.0, api_requests=1))
    async with pages_over(tmp_path, **rows) as pages:
        path = "/?range=30d&by=model"
        first = (await pages.get(path)).text
        assert stats(first)["Total cost"].startswith("$5.25")
        assert "Cost by model" not in charts(first)
        assert "Reading the events of this time…" in first
        (whole,) = set(re.findall(r'<a class="unscripted" href="([^"]+)"', first))  # where no scripts run
        assert "Cost by model" in charts((await pages.get(html.unescape(whole))).text)
        assert 'hx-trigger="load, tick from:body"' in first
        again = (await pages.get(path, **{"HX-Request": "true"})).text
        assert sum(sums(charts(again)["Cost by model"]).values()) == pytest.approx(5.25)
        assert list(ranking(again)) == [EVIL, "opus", "haiku"]
        assert 'hx-trigger="tick from:body"' in again


# What is kept of closed buckets

RANGE = Filters(NOW.replace(hour=0, minute=0, second=0) - timedelta(days=9), NOW.replace(minute=0, second=0), None)
ONE = {"api_requests": 1, "tools": 0, "accepts": 0, "rejects": 0}


class _Store:
    """Tells one request a day, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.told: dict[int, int] = {number_of(RANGE.bucket, span.start): 1 for span in spans(RANGE)}

    async def ask(self, _: str, __: int) -> Answer:
        self.asked += 1
        rows = [[at, "api_request", "opus", None, n, 0.5 * n, 10 * n] for at, n in self.told.items() if n]
        return Answer((), rows, truncated=False)


def _totals(store: _Store) -> dict[int, dict[str, int]]:
    return dict.fromkeys(store.told, ONE)


async def test_what_agrees_with_the_totals_is_not_asked_again() -> None:
    store, told = _Store(), Told()
    first = await told.cells(store.ask, "scope", RANGE, SPLIT, _totals(store), NOW)
    again = await told.cells(store.ask, "scope", RANGE, SPLIT, _totals(store), NOW + timedelta(days=1))
    assert (first == again, store.asked) == (True, 1)
    await told.cells(store.ask, "another scope", RANGE, SPLIT, _totals(store), NOW)
    assert store.asked == 2


async def test_what_is_less_than_the_totals_is_asked_again_by_and_by() -> None:
    store, told = _Store(), Told()
    today = number_of(RANGE.bucket, spans(RANGE)[-1].start)
    store.told[today] = 0  # the event is still on its way
    await told.cells(store.ask, "scope", RANGE, SPLIT, _totals(store), NOW)
    store.told[today] = 1
    found = await told.cells(store.ask, "scope", RANGE, SPLIT, _totals(store), NOW + timedelta(seconds=10))
    assert found is not None
    assert (len(found[-1]), store.asked) == (1, 2)


async def test_no_more_is_kept_than_there_is_room_for() -> None:
    store, told = _Store(), Told(cells_max=4)
    for _ in range(3):
        found = await told.cells(store.ask, "scope", RANGE, SPLIT, _totals(store), NOW)
        assert found is not None
        assert all(len(cells) == 1 for cells in found)
    assert store.asked == 3


# In a browser


@pytest.mark.slow
def test_the_stack_of_models_is_the_total_of_sql(fed: Fed, window: Callable[..., Window]) -> None:
    page = window().go("/?range=30d")
    (row,) = fed.stack.sql(fed.stack.admin_key())("select sum(spend_usd) as usd from session_hours")
    drawn = json.loads(page.locator("[data-chart] script").first.inner_text())
    assert sum(sum(one["values"]) for one in drawn["series"]) == pytest.approx(row["usd"], abs=1e-6)


@pytest.mark.slow
def test_a_filter_is_chosen_from_the_values_that_occur(window: Callable[..., Window]) -> None:
    page = window().go("/?range=30d")
    page.locator("#choose > summary").press("Enter")
    page.locator("select[name=tenant]").select_option("captures")
    page.locator("#choices button").click()
    page.wait_for_url("**tenant=captures**")
    assert page.locator(".chip").inner_text().startswith("Tenant: captures")


@pytest.mark.slow
def test_a_bar_of_a_chart_leads_to_its_sessions(window: Callable[..., Window]) -> None:
    one = window()
    page = one.go("/?range=30d")
    page.wait_for_selector("canvas")
    drawn = json.loads(page.locator("[data-chart] script").first.inner_text())
    place = max(range(len(drawn["labels"])), key=lambda at: drawn["series"][0]["values"][at])
    x, y = page.evaluate(
        "([place, value]) => { const box = document.querySelector('.chart-box'), at = box.getBoundingClientRect();"
        "const [x, y] = echarts.getInstanceByDom(box).convertToPixel({seriesIndex: 0}, [place, value]);"
        "return [at.x + x, at.y + y]; }",
        [place, drawn["series"][0]["values"][place] / 2],
    )
    with page.expect_navigation():
        page.mouse.click(x, y)
    assert page.url.endswith(drawn["links"][place] + drawn["series"][0]["more"])
    one.complaints.clear()  # what that page says is not this test's
