"""One meaning of "the sessions of a range": a number of the overview is that of the list behind its link."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import AsyncIterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio

from console import shown
from console.filters import DIMENSIONS, NONE, UNNAMED
from console.shown import NOT_TOLD
from streams.sessions.events import UNNAMED as STREAMS_UNNAMED
from tests.console.conftest import Pages
from tests.console.handmade import pages_over
from tests.console.people import person
from tests.console.test_overview import charts, ranking, stats, sums
from tests.sinks.query import samples

over_sql = pytest.mark.asyncio(loop_scope="module")
HOUR = samples.T0 - samples.T0 % samples.HOUR  # 14:00, the hour of now
DAY = 24 * samples.HOUR
RANGES = ("range=24h", "range=7d", "from=2026-09-16T00:00Z&to=2026-09-19T00:00Z")


def _session(number: int, model: str | None, *hours: Mapping[str, Any], **fields: Any) -> tuple[Any, list[Any]]:
    """A session as the sum of its hours, with what the last one of them says of it."""
    last = {name: hours[-1].get(name) for name in ("team", "department", "cost_center", "user_key")}
    sums = {
        name: sum(hour.get(name, 0) for hour in hours)
        for name in ("prompts", "errors", "refusals", "commits", "spend_usd", "input_tokens", "tools")
    }
    ends = {"start_time": hours[0]["start"], "last_time": hours[-1]["start"] + 50 * samples.SECOND}
    told = {"model": model, "models": {} if model is None else {model: 1.0}}
    session = samples.session(number, **{**last, **sums, **ends, **told, **fields})
    return session, [
        samples.session_hour(number, **{"prompts": 0, "active": not session["ghost"], **hour}) for hour in hours
    ]


def _hour(days_ago: int, team: str | None, **fields: Any) -> dict[str, Any]:
    usage = {"prompts": 2, "spend_usd": 0.25, "input_tokens": 100, "tools": 1}
    return {"start": HOUR - days_ago * DAY, "team": team, "user_key": f"user-of-{team}", **usage, **fields}


MADE = (
    # It changed its team, its user and its cost center, and failed while it was of the first.
    _session(
        1,
        "opus",
        _hour(4, "old", cost_center="cc-1", department="research", errors=2, refusals=1),
        _hour(0, "core", cost_center="cc-2", department="products", commits=1),
        models={"opus": 1.0, "haiku": 0.5},
        app_version="2.1.1",
        app_entrypoint="cli",
    ),
    # It paused for days, and its errors and its commit are outside of the last day.
    _session(2, "haiku", _hour(6, "core", errors=1, commits=1), _hour(0, "core"), app_version="2.1.2"),
    # A commit that only metrics tell, in an hour without an event.
    _session(3, "opus", _hour(0, "core"), _hour(0, "core", start=HOUR - samples.HOUR, active=False, commits=1)),
    _session(4, None, _hour(3, None, errors=4)),
    _session(5, "opus", _hour(0, "core", prompts=0, errors=1), ghost=True, app_version="2.1.1"),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pages]:
    sessions = [session for session, _ in MADE]
    hours = [hour for _, of_one in MADE for hour in of_one]
    hours.append(samples.session_hour(9, session_id="points", **{**_hour(0, "core"), "prompts": 0}, active=False))
    requests = [
        samples.event(number, event_time=hour["start"] + 1, received_time=hour["start"] + 2, model=model, cost_usd=0.25)
        | {name: hour.get(name) for name in ("user_key", "team", "department", "cost_center")}
        | {"session_id": session_id}
        for number, (model, session_id, hour) in enumerate(
            (one["model"], one["session_id"], hour) for one, of_one in MADE for hour in of_one
        )
    ]
    days = [
        samples.user_window(number, grain="day", start=hour["start"] - hour["start"] % DAY, spend_usd=hour["spend_usd"])
        | {name: hour.get(name) for name in ("user_key", "team", "department", "cost_center")}
        for number, hour in enumerate(hours)
    ]
    folder = tmp_path_factory.mktemp("told")
    async with pages_over(folder, sessions=sessions, session_hours=hours, events=requests, user_windows=days) as pages:
        yield pages


async def _file(pages: Pages, url: str) -> list[dict[str, str]]:
    answer = await pages.get(url)
    assert answer.status_code == 200, (url, answer.text[:300])
    return list(csv.DictReader(io.StringIO(answer.text)))


async def _listed(pages: Pages, url: str) -> tuple[int, dict[str, str]]:
    """How many sessions a list has, and its sums by what they are of."""
    answer = await pages.get(url)
    assert answer.status_code == 200, url
    assert 'class="fault"' not in answer.text, url
    line = re.search(r'<p class="sums">(.*?)</p>', answer.text)
    if line is None:
        return 0, {}
    first, *rest = re.sub("<[^>]+>", "", line[1]).split(" · ")
    sums = {words.partition(" ")[2] or "usd": words.partition(" ")[0] for words in rest}
    assert answer.text.count("data-row>") == int(first.split()[0]), url
    return int(first.split()[0]), sums


def _values(name: str) -> set[str]:
    """Of a dimension: all that occur in sessions or in their hours, and none."""
    column = DIMENSIONS[name].column
    rows = [row for session, hours in MADE for row in (session, *hours)]
    return {str(row[column]) for row in rows if row.get(column)} | {NONE}


FILTERS = [{}, *({name: value} for name in DIMENSIONS for value in sorted(_values(name)))]


def _tiles(text: str) -> dict[str, str]:
    """Title → where it leads."""
    found = re.findall(r'<div class="stat">\s*<h2><a href="([^"]+)">(.*?)</a>', text)
    return {title: html.unescape(url) for url, title in found}


@over_sql
@pytest.mark.parametrize("range_", RANGES)
@pytest.mark.parametrize("filters", FILTERS, ids=repr)
async def test_every_tile_has_the_number_of_the_list_behind_it(
    told: Pages, range_: str, filters: dict[str, str]
) -> None:
    text = (await told.get(f"/?{range_}&{urlencode(filters)}")).text
    if "Nothing matches these filters" in text:
        assert (await _listed(told, f"/sessions?{range_}&{urlencode(filters)}"))[0] == 0
        return
    links, numbers = _tiles(text), {title: words.split()[0] for title, words in stats(text).items()}
    assert links.keys() == numbers.keys()
    assert str((await _listed(told, links["Sessions"]))[0]) == numbers["Sessions"]
    for title, of in (("Errors", "errors"), ("Commits", "commits")):
        _, listed = await _listed(told, links[title])
        assert listed.get(of, "0") == numbers[title], title


@over_sql
@pytest.mark.parametrize(("range_", "by"), list(product(RANGES, DIMENSIONS)))
async def test_every_bar_of_the_ranking_has_the_number_of_the_list_behind_it(told: Pages, range_: str, by: str) -> None:
    headers = {"HX-Request": "true"}  # what the page asks for by itself, with the models of many days
    text = (await told.get(f"/?{range_}&by={by}", **headers)).text
    links = re.findall(r'<tr id="by-[^"]+">\s*<th scope="row"><a href="([^"]+)">(.*?)</a>', text)
    assert len(links) == len(ranking(text)) > 0
    for url, label in links:
        sessions = ranking(text)[html.unescape(label)][6]
        assert str((await _listed(told, html.unescape(url)))[0]) == sessions.replace("–", "0"), label


@over_sql
async def test_a_session_that_changed_its_team_is_of_both_each_with_its_own_hours(told: Pages) -> None:
    for team, number, errors, usd in (("old", 1, "2", "$0.25"), ("core", 3, "1", "$1.25")):
        found = await _listed(told, f"/sessions?range=7d&team={team}")
        assert (found[0], found[1]["errors"], found[1]["usd"]) == (number, errors, usd)


@over_sql
async def test_the_file_has_the_rows_of_the_list(told: Pages) -> None:
    for query, number in (("", 3), ("range=7d&team=old", 1), ("range=7d&only=errors&model=haiku", 2)):
        answer = await told.get(f"/sessions.csv?{query}")
        assert len(list(csv.DictReader(io.StringIO(answer.text)))) == number, query
        assert (await _listed(told, f"/sessions?{query}"))[0] == number, query


@over_sql
async def test_errors_outside_of_the_range_are_none(told: Pages) -> None:
    assert await _listed(told, "/sessions?only=errors") == (0, {})
    assert (await _listed(told, "/sessions?range=7d&only=errors"))[0] == 3
    assert (await _listed(told, "/sessions?range=7d&only=errors&team=core"))[0] == 1


@over_sql
async def test_the_choices_count_what_the_list_then_shows(told: Pages) -> None:
    for name in DIMENSIONS:
        form = (await told.get(f"/overview/choices?of=/sessions&range=7d&{urlencode({'tenant': 'acme'})}")).text
        select = re.search(rf'<select name="{name}">(.*?)</select>', form, re.DOTALL)
        assert select is not None
        offered = re.findall(r'<option value="([^"]+)"[^>]*>[^<]*\((\d+)\)</option>', select[1])
        assert offered, name
        for value, count in offered:
            query = urlencode({"tenant": "acme", name: html.unescape(value)})
            assert str((await _listed(told, f"/sessions?range=7d&{query}"))[0]) == count, (name, value)


@over_sql
async def test_cost_tokens_prompts_and_refusals_are_those_of_the_list_too(told: Pages) -> None:
    text = (await told.get("/?range=7d&team=old")).text
    numbers = {title: words.split()[0] for title, words in stats(text).items()}
    for title, of in (
        ("Total cost", "usd"),
        ("Total tokens", "tokens"),
        ("Prompts", "prompts"),
        ("Refusals", "refusals"),
    ):
        assert (await _listed(told, _tiles(text)[title]))[1][of] == numbers[title] != "0", title


@over_sql
async def test_what_no_session_spent_is_told_beside_the_sums(told: Pages) -> None:
    text = (await told.get("/sessions?tenant=acme")).text
    assert "$0.50 more were spent in this time by no session" in text  # points without a session, and a ghost


@over_sql
async def test_what_is_older_than_its_hours_is_listed_by_when_it_ran(tmp_path_factory: pytest.TempPathFactory) -> None:
    start = HOUR - 70 * DAY
    old = samples.session(1, start_time=start, last_time=start + DAY, team="core", errors=1)
    new, hours = _session(2, "opus", _hour(0, "core"))
    made = {"sessions": [old, new], "session_hours": hours}
    async with pages_over(tmp_path_factory.mktemp("old"), **made) as pages:
        for query, number in (
            ("range=90d", 2),
            ("range=90d&team=core", 2),
            ("range=90d&team=old", 0),
            ("range=90d&only=errors", 1),
            ("range=30d", 1),
            ("from=2026-07-14T00:00Z&to=2026-07-15T00:00Z", 1),
            ("from=2026-07-15T00:00Z&to=2026-07-16T00:00Z", 0),
        ):
            assert (await _listed(pages, f"/sessions?{query}"))[0] == number, query
        text = (await pages.get("/?range=90d")).text
        assert stats(text)["Sessions"].startswith("1 ")
        assert (await _listed(pages, _tiles(text)["Sessions"]))[0] == 1


def _models(text: str) -> dict[str, str]:
    """Model → cost, of the ranking of the overview; without what no request names."""
    return {name: cells[0] for name, cells in ranking(text).items() if name != NONE and cells[0] != "–"}


@over_sql
@pytest.mark.parametrize("range_", RANGES)
@pytest.mark.parametrize("filters", FILTERS, ids=repr)
async def test_cost_by_model_is_that_of_the_overview(told: Pages, range_: str, filters: dict[str, str]) -> None:
    query = f"{range_}&{urlencode(filters)}"
    text = (await told.get(f"/?{query}&by=model", **{"HX-Request": "true"})).text
    rows = await _file(told, f"/cost.csv?table=by&by=model&{query}")
    assert {
        row["model"]: shown.usd(float(row["cost_usd"])) for row in rows if row["key"] and float(row["cost_usd"])
    } == ({} if "Nothing matches these filters" in text else _models(text))
    assert all(float(row["cost_usd"]) >= 0 for row in rows)


@over_sql
async def test_cost_of_a_team_counts_no_hours_of_another(told: Pages) -> None:
    for by in ("model", "team", "version"):
        rows = await _file(told, f"/cost.csv?table=by&by={by}&team=old&range=7d")
        assert [float(row["cost_usd"]) for row in rows if float(row["cost_usd"])] == [0.25], by


@over_sql
@pytest.mark.parametrize(("center", "models"), [("cc-1", {"opus": 0.25}), ("cc-2", {"opus": 0.25})])
async def test_the_month_of_a_cost_center_has_its_own_requests(
    told: Pages, center: str, models: dict[str, float]
) -> None:
    rows = await _file(told, f"/report.csv?month=2026-09&cost_center={center}")
    assert {row["name"]: float(row["cost_usd"]) for row in rows if row["section"] == "model"} == models
    assert {row["name"]: float(row["cost_usd"]) for row in rows if row["section"] == "total"} == {"": 0.25}


@over_sql
async def test_a_session_that_moved_counts_where_its_hours_do(tmp_path_factory: pytest.TempPathFactory) -> None:
    """As the streams publish it: all its hours are of the cost center that it has now, its events as they were sent."""
    days, now = (1, 0), {"cost_center": "cc-2", "user_key": "ada"}
    session, hours = _session(1, "opus", *(_hour(day, "core", api_requests=1) | now for day in days))
    events = [
        samples.event(day, event_time=HOUR - day * DAY, received_time=HOUR, model="opus", cost_usd=0.2)
        | {"session_id": session["session_id"], "user_key": "ada", "team": "core", "cost_center": center}
        | {"cost_usd_micros": 250_000}  # which is the more exact one
        for day, center in zip(days, ("cc-1", "cc-2"), strict=True)
    ]
    window = {"grain": "day", "start": HOUR - HOUR % DAY, "spend_usd": 0.5, "team": "core", "input_tokens": 0}
    made = {"sessions": [session], "session_hours": hours, "events": events}
    made["user_windows"] = [samples.user_window(1, **window, **now)]
    async with pages_over(tmp_path_factory.mktemp("moved"), **made) as pages:
        for center, expected in (("cc-2", {"opus": 0.5}), ("cc-1", {})):
            rows = await _file(pages, f"/report.csv?month=2026-09&cost_center={center}")
            assert {row["name"]: float(row["cost_usd"]) for row in rows if row["section"] == "model"} == expected
            rows = await _file(pages, f"/cost.csv?table=by&by=model&range=7d&cost_center={center}")
            assert {row["model"]: float(row["cost_usd"]) for row in rows} == expected
            drawn = charts((await pages.get(f"/?range=7d&cost_center={center}")).text)
            assert ("Cost by model" in drawn and sums(drawn["Cost by model"])) == (expected or False)


@over_sql
async def test_what_was_sent_before_somebody_signed_in_counts_for_them(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """And where two signed in one after the other, what each of them sent counts for each."""
    session, hours = _session(1, "opus", _hour(0, "core", api_requests=2, spend_usd=0.5) | {"user_key": "ada"})
    hours.append(hours[0] | {"user_key": "bob", "api_requests": 1, "spend_usd": 0.25})
    events = [
        samples.event(number, event_time=HOUR + number, received_time=HOUR + 9, model="opus", cost_usd=0.25)
        | {"session_id": session["session_id"], "user_key": user, "team": "core"}
        for number, user in enumerate(("install-1", "ada", "bob"))
    ]
    made = {"sessions": [session], "session_hours": hours, "events": events}
    async with pages_over(tmp_path_factory.mktemp("signed-in"), **made) as pages:
        for user, requests in (("ada", {"opus": 1 + 1}), ("bob", {"opus": 1})):
            drawn = charts((await pages.get(f"/?range=24h&user={user}")).text)
            assert sums(drawn["API requests by model"]) == requests


@over_sql
@pytest.mark.parametrize("chosen", ["", "&team=core", "&user=ada", "&tenant=acme", "&team=other", "&model=opus"])
async def test_what_names_no_session_counts_for_who_sent_it(
    tmp_path_factory: pytest.TempPathFactory, chosen: str
) -> None:
    """Its hours are under a session that is made up, one a day and user."""
    usage = {"team": "core", "user_key": "ada", "api_requests": 1, "spend_usd": 0.25, "active": False}
    hour = samples.session_hour(1, **usage, start=HOUR, session_id=f"~ada~{HOUR // DAY}")
    event = samples.event(1, event_time=HOUR + 1, received_time=HOUR + 9, model="opus", cost_usd=0.25)
    event |= {"session_id": None, "user_key": "ada", "team": "core"}
    async with pages_over(tmp_path_factory.mktemp("alone"), session_hours=[hour], events=[event]) as pages:
        drawn = charts((await pages.get(f"/?range=24h{chosen}")).text)
        counts = chosen not in ("&team=other", "&model=opus")  # a model is a session's
        assert ("API requests by model" in drawn and sums(drawn["API requests by model"])) == (counts and {"opus": 1})


DID: tuple[tuple[str, dict[str, Any]], ...] = (
    ("Bash", {"event_name": "tool_result", "tool_name": "Bash"}),
    ("it's <Tool>&only=x", {"event_name": "tool_result", "tool_name": "it's <Tool>&only=x"}),
    ("jira", {"event_name": "tool_result", "tool_name": "mcp__jira__search"}),
    ("unnamed", {"event_name": "tool_result"}),
    ("yes", {"event_name": "tool_decision", "decision": "accept", "source": "config"}),
    ("once", {"event_name": "tool_decision", "decision": "accept", "source": "user_temporary"}),
    ("no", {"event_name": "tool_decision", "decision": "reject", "source": "user_reject"}),
    ("repo", {"vcs_owner_name": "acme", "vcs_repository_name": "shop"}),
    ("no repo", {}),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def did(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pages]:
    """A session for each of DID, with that alone; some hours before another tool was called in all of them."""
    sessions, hours, events = [], [], []
    for number, (name, fields) in enumerate(DID):
        counts = {"yes": {"accepts": 1}, "once": {"accepts": 1}, "no": {"rejects": 1}}.get(name, {})
        tools, requests = int(fields.get("event_name") == "tool_result"), int("event_name" not in fields)
        now = _hour(0, "core", api_requests=requests, tools=tools, spend_usd=0.0, **counts)
        session, of_one = _session(number, "opus", _hour(0, "core", start=HOUR - 5 * samples.HOUR), now)
        sessions.append(session | {"session_id": name})
        hours += [hour | {"session_id": name} for hour in of_one]
        before = {"event_time": HOUR - 5 * samples.HOUR, "event_name": "tool_result", "tool_name": "Before"}
        for at, said in ((0, before), (1, {"event_time": HOUR + 1, **fields})):
            of = {"session_id": name, "user_key": "user-of-core", "team": "core", "event_id": f"{name}-{at}"}
            events.append(samples.event(0, **{**said, "received_time": said["event_time"] + 1, **of}))
    made = {"sessions": sessions, "session_hours": hours, "events": events}
    async with pages_over(tmp_path_factory.mktemp("did"), **made) as pages:
        yield pages


async def _ids(pages: Pages, url: str) -> set[str]:
    path, _, query = url.partition("?")
    assert path == "/sessions"
    assert 'class="fault"' not in (await pages.get(url)).text
    return {row["session"] for row in await _file(pages, f"/sessions.csv?{query}")}


@over_sql
@pytest.mark.parametrize("team", ["", "&team=core"])
async def test_a_bar_of_tools_or_decisions_leads_to_the_sessions_behind_it(did: Pages, team: str) -> None:
    found = charts((await did.get(f"/?{team}")).text)
    tools, decisions = found["Tool calls"], found["Accept and reject decisions"]
    assert {name: await _ids(did, tools["links"][-1] + more) for name, more in _more(tools).items()} == {
        "Bash": {"Bash"},
        "it's <Tool>&only=x": {"it's <Tool>&only=x"},
        "MCP tools": {"jira"},
        "(none)": {"unnamed"},
        "Before": set(),
    }
    # And all of each, from its name: the only way without a mouse where a range has many buckets.
    for days in ("24h", "90d"):
        text = (await did.get(f"/?range={days}{team}", **{"HX-Request": "true"})).text
        whole = dict(map(reversed, re.findall(r'<th scope="col" class="number"><a href="([^"]+)">(.*?)</a>', text)))
        found_by = {html.unescape(name): await _ids(did, html.unescape(url)) for name, url in whole.items()}
        assert found_by.pop("Input") == {name for name, _ in DID}
        assert [found_by.pop(name) for name in ("Output", "Cache read", "Cache creation")] == [set()] * 3
        assert found_by == {
            "Bash": {"Bash"},
            "it's <Tool>&only=x": {"it's <Tool>&only=x"},
            "MCP tools": {"jira"},
            "(none)": {"unnamed"},
            "Before": {name for name, _ in DID},
            "accept: config": {"yes"},
            "accept: user_temporary": {"once"},
            "reject: user_reject": {"no"},
        }
    before = tools["links"][-6] + _more(tools)["Before"]
    assert await _ids(did, before) == {name for name, _ in DID}
    assert {name: await _ids(did, decisions["links"][-1] + more) for name, more in _more(decisions).items()} == {
        "accept: config": {"yes"},
        "accept: user_temporary": {"once"},
        "reject: user_reject": {"no"},
    }


def _more(chart: Mapping[str, Any]) -> dict[str, str]:
    assert not any(one["links"] for one in chart["series"])
    return {one["name"]: one["more"] for one in chart["series"] if one["name"] != NOT_TOLD}


ASKED = {"early": ("haiku", "opus"), "late": ("opus", "haiku"), "never told": ("opus", None)}


async def test_a_bar_of_a_model_leads_to_the_sessions_that_asked_it_then(tmp_path: Path) -> None:
    """Not to those that asked it at another time."""
    sessions, hours, events = [], [], []
    for number, (name, models) in enumerate(ASKED.items()):
        each = [
            _hour(0, "core", start=HOUR - ago * samples.HOUR, api_requests=1, tools=0, spend_usd=0.25) for ago in (5, 0)
        ]
        session, of_one = _session(number, "opus", *each, models={model or UNNAMED: 0.25 for model in models})
        sessions.append(session | {"session_id": name})
        hours += [hour | {"session_id": name} for hour in of_one]
        events += [
            samples.event(0, event_time=hour["start"], received_time=HOUR, event_id=f"{name}-{model}", cost_usd=0.25)
            | {"session_id": name, "user_key": "user-of-core", "team": "core", "model": model}
            for model, hour in zip(models, each, strict=True)
        ]
    async with pages_over(tmp_path, sessions=sessions, session_hours=hours, events=events) as pages:
        text = (await pages.get("/?by=model")).text
        for title in ("Cost by model", "API requests by model"):
            chart = charts(text)[title]
            assert {name: await _ids(pages, chart["links"][-1] + more) for name, more in _more(chart).items()} == {
                "opus": {"early"},
                "haiku": {"late"},
                NONE: {"never told"},
            }
        # A row is of the whole range, and counts those that it leads to.
        rows = re.findall(r'<th scope="row"><a href="(/sessions\?model=[^"]+)">(.*?)</a>', text)
        led = {html.unescape(name): await _ids(pages, html.unescape(url)) for url, name in rows}
        assert led == {"opus": set(ASKED), "haiku": {"early", "late"}, NONE: {"never told"}}
        assert {name: cells[6] for name, cells in ranking(text).items()} == {"opus": "3", "haiku": "2", NONE: "1"}


def test_a_request_without_a_model_is_called_as_the_streams_call_it() -> None:
    assert UNNAMED == STREAMS_UNNAMED


@over_sql
async def test_a_repository_leads_to_the_sessions_with_its_requests(did: Pages) -> None:
    text = (await did.get("/?by=repository", **{"HX-Request": "true"})).text
    links = {
        html.unescape(label): html.unescape(url)
        for url, label in re.findall(r'<th scope="row"><a href="(/sessions[^"]+repository=[^"]+)">(.*?)</a>', text)
    }
    assert {name: await _ids(did, url) for name, url in links.items()} == {"acme/shop": {"repo"}, NONE: {"no repo"}}
    page = (await did.get(links["acme/shop"])).text
    assert "Repository: acme/shop" in page
    assert 'name="repository" value="acme/shop"' in page  # the forms of the page keep it


@over_sql
async def test_who_does_not_see_a_tool_cannot_choose_by_it(did: Pages) -> None:
    nobody = person("nothing of events", tenant="acme")
    assert (await did.get("/sessions?tool=Bash", nobody)).status_code == 403
