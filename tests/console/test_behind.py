"""A number leads to as many rows as it says, and nowhere where no address can say what it is of."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest
import pytest_asyncio

from console.filters import NONE
from console.shown import NOT_TOLD, NOTHING
from tests.console.conftest import PATIENCE_S, Pages, console_over, pages_of
from tests.console.handmade import hours_of, pages_over
from tests.console.incidents import CHAPTERS, HOUR_S, Diary, sessions, shown
from tests.console.people import person
from tests.console.test_overview import charts, sums
from tests.console.test_security import PATHS, kind
from tests.sinks.query import samples

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROOT = person("admin")
# What the tables group events by; and hook_name, which they do not for what is registered.
GROUPED: Mapping[str, tuple[str, ...]] = {
    "api_error": ("model", "status_code"),
    "api_refusal": ("category", "model"),
    "api_retries_exhausted": ("model", "status_code"),
    "auth": ("action", "auth_method", "error_category", "status_code"),
    "hook_execution_complete": ("hook_name", "hook_source"),
    "hook_registered": ("hook_event", "hook_name", "hook_source", "hook_type", "plugin_name"),
    "internal_error": ("error_code", "error_name", "service_version"),
    "mcp_server_connection": ("error_code", "server_name", "status", "transport_type"),
    "plugin_loaded": ("enabled_via", "event_name", "marketplace_name", "plugin_name", "plugin_scope", "plugin_version"),
    "skill_activated": ("invocation_trigger", "plugin_name", "skill_name", "skill_source"),
    "tool_decision": ("decision", "source", "tool_name", "user_key"),
    "tool_result": ("command_executable", "tool_name"),
}
OTHER = {"event_name": "plugin_installed", "status_code": 418}
# Numbers that count something else than the rows that they lead to, which their links say: (table, column) → why.
ELSEWHERE: Mapping[str, Mapping[tuple[str, str], str]] = {
    "/reliability": {("models", "Requests done"): "requests that went well are not listed; the sessions are"},
    "/reliability/latency": {("requests-by-model", "Requests"): "the same"},
    "/security/extensions": {("hook-runs", "Blocked"): "counts hooks, of which one run has several"},
    "/security/mcp": {("mcp-servers", "Calls"): "leads to the tools, each with its calls"},
}
# Pages with lists alone.
WITHOUT = ("/security",)


def twins(diary: Diary) -> None:
    """Each event once more for every column that it is grouped by, with another value in this one alone."""
    for event in tuple(diary.events):
        for column in GROUPED.get(event["event_name"], ()):
            id_ = f"{diary.tenant}/{len(diary.events)}"
            diary.events.append({**event, "event_id": id_, column: OTHER.get(column, f"another {column}")})


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def alike(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pages]:
    """Pages over a store in which every group has others that differ in one column; two tenants name users alike."""
    diary, same = Diary(), Diary("globex")
    for chapter in CHAPTERS:
        chapter(diary)
        chapter(same)
    twins(diary)
    hours = [hour for one in sessions() for hour in hours_of(one)]
    events = [*diary.events, *same.events]
    folder = tmp_path_factory.mktemp("alike")
    async with pages_over(folder, events=events, sessions=sessions(), session_hours=hours) as pages:
        # Nothing is written any more, and most questions of a page are the same whatever is chosen on it.
        console = console_over(pages.sql.base, "root-key", kept_s=HOUR_S, sql_timeout_s=PATIENCE_S)
        async with pages_of(console) as keeping:
            yield keeping


# What a page may write for what is not told, and what is not told.
UNTOLD = (None, "", NOT_TOLD, NONE, NOTHING)
# Columns of text that tables have a row for each value of, beside those of GROUPED.
ALSO = {
    "api_request": ("model",),
    "compaction": ("trigger",),
    "permission_mode_changed": ("from_mode", "to_mode", "trigger"),
    "tool_result": ("mcp_server", "mcp_tool"),
}
OF_SESSIONS = ("app_version", "service_name", "app_entrypoint", "terminal_type", "team", "department", "cost_center")
NO_TEXT = {"event_name", "status_code", "user_key"}


def untold(record: Mapping[str, Any], id_: str, columns: Iterable[str]) -> Iterator[dict[str, Any]]:
    """A record once more for each of these columns and values.  id_: the column of its own id."""
    for column in columns:
        for place, value in enumerate(UNTOLD):
            yield {**record, id_: f"{record[id_]}/{column}/{place}", column: value}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def silent(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pages]:
    """Pages over a store in which every name is also not told, empty, or what is written where none is told."""
    diary = Diary()
    for chapter in CHAPTERS:
        chapter(diary)
    every = [
        again
        for event in diary.events
        for columns in [{*GROUPED.get(event["event_name"], ()), *ALSO.get(event["event_name"], ())} - NO_TEXT]
        for again in (event, *untold(event, "event_id", columns))
    ]
    said = [again for one in sessions() for again in (one, *untold(one, "session_id", OF_SESSIONS))]
    hours = [hour for one in said for hour in hours_of(one)]
    folder = tmp_path_factory.mktemp("silent")
    async with pages_over(folder, events=every, sessions=said, session_hours=hours) as pages:
        yield pages


async def rows_behind(pages: Pages, href: str) -> int:
    """How many rows a list has, on all of its pages."""
    path, _, anchor = href.partition("#")
    if path.startswith("/sessions"):
        return (await pages.get(path, ROOT)).text.count("data-row>")
    page, count, number = await shown(pages, path, ROOT), 0, 1
    while True:
        assert not page.rows(anchor) or page.tables[anchor][0][0] == "When", f"{href} is no list"
        count += len(page.rows(anchor))
        older = [link for link in page.links if f"page={number}" in link and link.endswith(f"#{anchor}")]
        if not older:
            return count
        page, number = await shown(pages, older[0], ROOT), number + 1


@pytest.mark.parametrize("path", PATHS)
async def test_a_number_leads_to_as_many_rows_as_it_says(alike: Pages, path: str) -> None:
    """On the page as it is, and once more as each kind of its own links leads to it."""
    chosen = {kind(one.href): one.href for one in (await shown(alike, path, ROOT)).numbers}
    behind: dict[str, int] = {}
    elsewhere, wrong = set(), []
    for address in (path, *(href for (of, _), href in chosen.items() if of == path)):
        for one in (await shown(alike, address, ROOT)).numbers:
            if one.to:
                elsewhere.add((one.table, one.column))
                continue
            if one.href not in behind:
                behind[one.href] = await rows_behind(alike, one.href)
            if one.value != f"{behind[one.href]:,}":
                wrong.append((address, one, behind[one.href]))
    assert wrong == []
    assert elsewhere == ELSEWHERE.get(path, {}).keys()
    assert bool(behind) == (path not in WITHOUT)


@pytest.mark.parametrize("path", [*PATHS, "/?by=user", "/cost?by=user", "/sources"])
async def test_no_two_rows_have_one_id_though_two_tenants_name_their_users_alike(alike: Pages, path: str) -> None:
    ids = re.findall(r'\sid="([^"]*)"', (await alike.get(path, ROOT)).text)
    assert sorted(ids) == sorted(set(ids))


@pytest.mark.parametrize(
    "path",
    [
        *(*PATHS, "/sources", "/adoption?range=7d"),
        *(f"{page}?by={by}" for page in ("/", "/cost") for by in ("team", "version")),
    ],
)
async def test_no_two_rows_have_one_id_though_one_is_called_as_what_is_not_told(silent: Pages, path: str) -> None:
    ids = re.findall(r'\sid="([^"]*)"', (await silent.get(path, ROOT)).text)
    assert sorted(ids) == sorted(set(ids))


async def test_a_row_keeps_its_id_when_its_numbers_change(tmp_path: Path) -> None:
    """All models are one row, which is no model of this name."""
    ids: list[dict[str, str]] = []
    for times in (1, 2):
        requests = [samples.event(-place, event_name="api_request", model="all models") for place in range(times)]
        async with pages_over(tmp_path / str(times), events=requests) as pages:
            text = (await pages.get("/reliability/latency", ROOT)).text
        found = re.findall(r'<tr id="(requests-by-model-\w+)">.*?<(?:a|span)[^>]*>([^<]+)<', text, re.DOTALL)
        assert [name for _, name in found] == ["all models"] * 2
        ids.append(dict(found))
        assert len(ids[-1]) == 2
    assert ids[0] == ids[1]


async def test_a_row_keeps_its_id_when_its_place_changes(tmp_path: Path) -> None:
    """What is focused in it stays where it is, while others go by."""
    names, found = ("ada", "bob"), []
    for spent in ((1.0, 2.0), (2.0, 1.0)):
        records: dict[str, list[Any]] = {topic: [] for topic in ("events", "sessions", "session_hours", "user_windows")}
        for number, (name, usd) in enumerate(zip(names, spent, strict=True)):
            who = {"user_key": name, "team": name, "session_id": name}
            asked = {"event_name": "api_request", "model": name, "cost_usd": usd, "cost_usd_micros": int(usd * 1e6)}
            used = {"event_name": "tool_result", "tool_name": name}
            uses = [{**asked, **who}, *([{**used, **who}] * int(usd))]
            records["events"] += [samples.event(10 * number + n, **one) for n, one in enumerate(uses)]
            records["sessions"].append(samples.session(number, cost_usd=usd, spend_usd=usd, **who))
            records["session_hours"] += hours_of(records["sessions"][-1])
            day = {"grain": "day", "start": samples.T0 - samples.T0 % (24 * samples.HOUR), "team": name}
            users = [f"{name} {n}" for n in range(int(usd))]
            records["user_windows"] += [samples.user_window(number, user_key=user, **day) for user in users]
        async with pages_over(tmp_path / str(spent[0]), **records) as pages:
            text = "".join([(await pages.get(path, ROOT)).text for path in ("/cost?by=team", "/adoption?range=7d")])
        rows = re.findall(r'<tr id="((by|top|cache|group|feature)-\w+)">.*?<th[^>]*>(.*?)</th>', text, re.DOTALL)
        found.append([(table, re.sub(r"<[^>]+>", "", name).strip(), id_) for id_, table, name in rows])
    assert {table for table, *_ in found[0]} == {"by", "top", "cache", "group", "feature"}
    assert found[0] != found[1]
    assert sorted(found[0]) == sorted(found[1])


async def test_rows_of_sources_and_of_silent_users_are_not_taken_for_each_other(tmp_path: Path) -> None:
    pairs = (("a", "b-c"), ("a-b", "c"))
    ten_days = 10 * 24 * samples.HOUR
    events = [samples.event(n, tenant, service_name=name) for n, (tenant, name) in enumerate(pairs)]
    old = {"start_time": samples.T0 - ten_days, "last_time": samples.T0 - ten_days}
    sessions = [samples.session(n, tenant=tenant, user_key=key, **old) for n, (tenant, key) in enumerate(pairs)]
    async with pages_over(tmp_path, events=events, sessions=sessions) as pages:
        text = (await pages.get("/sources", ROOT)).text
    for table in ("source", "silent"):
        ids = re.findall(rf'<tr id="({table}-[^"]*)"', text)
        assert 1 < len(ids) == len(set(ids)), table


async def test_a_name_that_no_address_can_say_leads_nowhere(tmp_path: Path) -> None:
    names = ("", " padded ", "x" * 300, "pdf")
    events = [samples.event(-place, event_name="skill_activated", skill_name=name) for place, name in enumerate(names)]
    async with pages_over(tmp_path, events=events) as pages:
        page = await shown(pages, "/security/extensions", ROOT)
        assert len(page.rows("skills")) == 4
        (number,) = page.numbers
        assert (await shown(pages, number.href, ROOT)).column("latest", "Name") == ["pdf"]


# What teams, models and tools may be called; only of the last two an address can say which of them it is about.
NAMES = ("x" * 300, " padded ", NONE, "", None, "good")
SAID = {NONE, "good"}
NAMED = ("team", "department", "cost_center", "model", "version", "entrypoint")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def named(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pages]:
    """A session of each name, of which everything that has a name has it; with one request, tool call and decision."""
    records: dict[str, list[dict[str, object]]] = {
        "sessions": [],
        "session_hours": [],
        "user_windows": [],
        "events": [],
    }
    for place, name in enumerate(NAMES):
        start = samples.T0 - place * samples.HOUR
        who = {"user_key": f"user-{place}", "team": name, "department": name, "cost_center": name}
        told = {"model": name, "models": {} if name is None else {name: 1.0}, "app_version": name}
        told |= {"app_entrypoint": name, "spend_usd": 1.0, "tools": 1, "start_time": start, "last_time": start}
        session = samples.session(place, **who, **told)
        records["sessions"].append(session)
        records["session_hours"] += [{**hour, "api_requests": 1, "accepts": 1} for hour in hours_of(session)]
        day = samples.T0 - samples.T0 % (24 * samples.HOUR)
        records["user_windows"].append(samples.user_window(place, grain="day", start=day, **who))
        said = {"api_request": {"model": name, "cost_usd": 1.0, "vcs_repository_name": name}}
        said |= {"tool_result": {"tool_name": name}, "tool_decision": {"decision": "accept", "source": name}}
        for number, (event_name, fields) in enumerate(said.items()):
            at = {"event_time": start + number, "received_time": start + number, "session_id": session["session_id"]}
            id_ = f"{place}-{number}"
            records["events"].append(samples.event(0, event_id=id_, event_name=event_name, **at, **who, **fields))
    async with pages_over(tmp_path_factory.mktemp("named"), **records) as pages:
        yield pages


def hrefs_with(text: str, *names: str) -> dict[str, set[str]]:
    """The links of a page that say one of these parameters → the values of these."""
    links = map(unescape, re.findall(r'href="([^"]+)"', text))
    said = {link: parse_qs(link.partition("?")[2].partition("#")[0]) for link in links}
    return {
        link: {one[name][0] for name in names if name in one} for link, one in said.items() if set(names) & set(one)
    }


@pytest.mark.parametrize(
    "path",
    [
        *(f"/?range=7d&by={by}" for by in (*NAMED, "repository")),
        *(f"/adoption?range=7d&by={by}" for by in ("team", "department", "cost_center")),
        *(f"/cost?range=7d&by={by}" for by in ("team", "department", "cost_center", "version", "entrypoint")),
    ],
)
async def test_each_value_has_a_line_of_its_own_and_a_link_only_if_an_address_can_say_it(
    named: Pages, path: str
) -> None:
    text = (await named.get(path, ROOT)).text
    ids = re.findall(r'\sid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    lines = re.findall(r'<tr id="(?:by|group)-[^"]*">\s*<th[^>]*>(?:<(?:a|span)[^>]*>)?([^<]*)', text)
    assert sorted(map(unescape, lines)) == sorted(name or (NONE if name is None else "") for name in NAMES)
    links = hrefs_with(text, *NAMED, "repository", "asked", "tool")
    assert set().union(*links.values()) == SAID
    for link in links:
        answer = await named.get(link, ROOT)
        assert answer.status_code == 200
        assert not link.startswith("/sessions") or answer.text.count("data-row>") == 1, link


async def test_a_decision_of_an_empty_source_is_one_of_none(named: Pages) -> None:
    """As the list of sessions has it."""
    text = (await named.get("/?range=7d", ROOT)).text
    found = sums(charts(text)["Accept and reject decisions"])
    assert found == {"accept": 2, **{f"accept: {name}": 1 for name in NAMES if name}}
    (link,) = [link for link, said in hrefs_with(text, "decision").items() if said == {"accept"} and "range=7d" in link]
    assert (await named.get(link, ROOT)).text.count("data-row>") == 2


async def test_only_what_an_address_can_say_is_offered_as_a_filter(named: Pages) -> None:
    text = (await named.get("/overview/choices?range=7d", ROOT)).text
    for name in NAMED:
        (select,) = re.findall(rf'<select name="{name}">(.*?)</select>', text, re.DOTALL)
        offered = re.findall(r'<option value="([^"]+)">[^<]* \(1\)</option>', select)
        assert sorted(offered) == sorted(SAID)
        for value in offered:
            listed = await named.get(f"/sessions?{urlencode({'range': '7d', name: value})}", ROOT)
            assert listed.text.count("data-row>") == 1


async def test_a_report_is_offered_of_the_cost_centers_that_it_finds(named: Pages) -> None:
    text = (await named.get("/report?month=2026-09", ROOT)).text
    (select,) = re.findall(r'<select name="cost_center">(.*?)</select>', text, re.DOTALL)
    offered = re.findall(r'<option value="([^"]+)">', select)
    assert sorted(offered) == sorted(SAID)
    for center in offered:
        file = await named.get(f"/report.csv?{urlencode({'month': '2026-09', 'cost_center': center})}", ROOT)
        assert len(re.findall(r"^user,", file.text, re.MULTILINE)) == 1
