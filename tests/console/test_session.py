"""One session: its turns, gaps and subagents over real SQL; its content by a click only; in a browser, by keyboard."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from html import escape, unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urljoin, urlsplit

import pytest
import pytest_asyncio
from playwright.sync_api import Page

from console.pages.session import EVENTS, TURNS, first_text, pretty
from console.shown import usd
from schemas import codec, otlp
from schemas.otlp.content import CONTENT_MARK, TREE_MARK
from schemas.roles import DEFAULTS, Condition, Grant, Role
from schemas.topics import CATALOGUE
from tests.console.arrivals import request
from tests.console.browser import Window
from tests.console.conftest import CAPTURES, Fed, Pages
from tests.console.handmade import HOSTILE, door_telling, hours_of, pages_over
from tests.console.people import person
from tests.console.proof.truth import Truth
from tests.e2e import truth
from tests.e2e.requests import Recorded, Sender, dated, load
from tests.e2e.stack import eventually
from tests.schemas.otlp import requests as otlps
from tests.sinks.query import samples

over_sql = pytest.mark.asyncio(loop_scope="session")
SECRET_WORDS = "the secret words of a prompt"
TOLD: list[Mapping[str, Any]] = []


def event(session: str, number: int, name: str, **fields: Any) -> dict[str, Any]:
    """The number-th event of a session, one a second, the sequence as the number."""
    return samples.event(
        number, **{"event_id": f"{session}-{number}", "session_id": session, "event_name": name, **fields}
    )


def session(id_: str, events: int, **fields: Any) -> dict[str, Any]:
    return samples.session(
        0, **{"session_id": id_, "start_time": samples.T0, "last_time": samples.T0 + events * samples.SECOND, **fields}
    )


USUAL = [
    event("usual", 0, "hook_registered", hook_event="Stop"),
    event("usual", 1, "mcp_server_connection", status="connected", duration_ms=691),
    event("usual", 2, "user_prompt", prompt_id="p1", prompt_length=28, prompt="<content>"),
    event("usual", 3, "api_request", prompt_id="p1", request_id="r1", cost_usd=0.2, cost_usd_micros=250_000,
          input_tokens=100, output_tokens=20, model="opus", duration_ms=800),
    event("usual", 4, "tool_decision", prompt_id="p1", tool_use_id="t1", tool_name="Task", decision="accept",
          source="config"),
    event("usual", 5, "api_request", prompt_id="p1", request_id="r2", cost_usd=0.5, cost_usd_micros=500_000,
          input_tokens=10, output_tokens=2, model="haiku"),
    event("usual", 9, "tool_result", prompt_id="p1", tool_use_id="t1", tool_name="Task", success=True,
          duration_ms=5000, tool_input_size_bytes=99),
    # no prompt_id: it belongs to the turn that is under way
    event("usual", 10, "mcp_server_connection", status="failed", error="no route"),
    event("usual", 11, "user_prompt", prompt_id="p2", prompt_length=7, command_name="compact"),
    event("usual", 12, "compaction", prompt_id="p2", trigger="manual", pre_tokens=1000, post_tokens=100, success=True),
    event("usual", 13, "permission_mode_changed", prompt_id="p2", from_mode="default", to_mode="bypassPermissions"),
    # the session is resumed by another process
    event("usual", 14, "tool_result", prompt_id="p2", tool_name="Bash", success=False, event_sequence=2,
          command_line="rm -rf build", attributes={"unknown": "kept"}, attributes_json={"deep": '{"a": [1]}'}),
]  # fmt: skip
SPANS = [
    samples.span(0, span_id="k", trace_id="t", session_id="usual", name="claude_code.tool", tool_use_id="t1",
                 tool_name="Task", subagent_type="Explore"),
    samples.span(1, span_id="s", trace_id="t", parent_span_id="k", session_id="usual", name="claude_code.llm_request",
                 request_id="r2"),
]  # fmt: skip
OLDER = [
    event("older", 0, "mcp_server_connection", event_sequence=None),
    event("older", 1, "user_prompt", event_sequence=None),
    event("older", 2, "api_request", event_sequence=None),
    event("older", 3, "user_prompt", event_sequence=None),
    event("older", 4, "api_request", event_sequence=None),
    event("older", 5, "tool_result", event_sequence=None),
]
WITHOUT_PROMPTS = [event("promptless", n, "api_request") for n in range(3)]
MANY = [
    event("many", n, "user_prompt" if n % 2 == 0 else "api_request", prompt_id=f"p{n // 2}")
    for n in range(2 * (TURNS + 20))
]
LONG = [event("long", n, "api_request" if n else "user_prompt", prompt_id="p") for n in range(2 * EVENTS + 50)]
HOSTILE_COLUMNS = (
    "tool_name", "error", "error_type", "model", "team", "user_email", "command_line", "mcp_server", "mcp_tool",
    "source", "decision", "agent_name", "query_source", "server_name", "status", "hook_name", "hook_event", "category",
    "from_mode", "to_mode", "trigger", "skill_name", "plugin_name", "error_name", "error_code", "agent_type",
    "final_model", "command_name", "prompt_id", "app_version", "terminal_type",
)  # fmt: skip
NAMES = (
    "user_prompt", "api_request", "api_error", "api_refusal", "api_retries_exhausted", "tool_result", "tool_decision",
    "permission_mode_changed", "hook_execution_complete", "mcp_server_connection", "internal_error", "compaction",
    "subagent_completed", "plugin_loaded", "skill_activated", "auth", "at_mention", HOSTILE,
)  # fmt: skip
EVIL = [
    event(
        HOSTILE, number, name, event_id=f"evil-{number}", attributes={HOSTILE: HOSTILE},
        **dict.fromkeys(HOSTILE_COLUMNS, HOSTILE),
    )
    for number, name in enumerate(NAMES)
]  # fmt: skip
ANSWER = json.dumps({"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "first answer"}]})
TEXTS = [
    samples.content(2, event_id="usual-2", session_id="usual", text=SECRET_WORDS),
    samples.content(
        3, event_id="usual-3", session_id="usual", event_name="api_response_body", field="body", text=ANSWER
    ),
    samples.content(0, event_id="evil-0", session_id=HOSTILE, text=f"{HOSTILE} in a prompt"),
]
RESENT = [
    event("resent", 0, "user_prompt", prompt_id="p1"),
    event("resent", 1, "api_request", prompt_id="p1", model="opus"),
    event("resent", 2, "tool_decision", prompt_id="p1", tool_use_id="u", tool_name="Read", decision="accept"),
    event("resent", 3, "tool_result", prompt_id="p1", tool_use_id="u", tool_name="Read", success=True),
    event("resent", 4, "user_prompt", prompt_id="p2"),
]
RECORDS: dict[str, list[dict[str, Any]]] = {
    # The request came three times, the decision twice.
    "events": [*RESENT, RESENT[1], RESENT[2], RESENT[1], *USUAL, *OLDER, *WITHOUT_PROMPTS, *MANY, *LONG, *EVIL],
    "spans": SPANS,
    "content": TEXTS,
    "sessions": [
        session(
            "usual", 14, sequence_gaps=3, resends=2, tools=2, prompts=2, spend_usd=0.75, input_tokens=110,
            output_tokens=22, user_email="ada@example.com", retries_exhausted=0, errors=1,
        ),
        session("older", 5),
        session("resent", 5, resends=3),
        session("promptless", 2),
        session("many", 2 * (TURNS + 20)),
        session("long", 2 * EVENTS + 50),
        session(HOSTILE, 20, team=HOSTILE, user_email=HOSTILE, model=HOSTILE, models={HOSTILE: 1.0, "b": 1.0},
                permission_mode=HOSTILE, flags=[HOSTILE]),
        session("metrics only", 0),
    ],
}  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def opened(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pages]:
    async with pages_over(tmp_path_factory.mktemp("session"), door_telling(TOLD), **RECORDS) as pages:
        yield pages


async def text_of(pages: Pages, path: str, who: Any = None) -> str:
    answer = await pages.get(path, who)
    assert answer.status_code == 200, answer.text[:600]
    return answer.text


def flat(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def turns(html: str) -> dict[str, list[str]]:
    """Title → the titles of its rows; what is nested is indented by a dot."""
    out: dict[str, list[str]] = {}
    for part in html.split('<section class="turn"')[1:]:
        title = re.search(r"<h3>(.*?)</h3>", part, re.DOTALL)
        assert title is not None
        depth, found = -1, []
        for match in re.finditer(
            r'(?P<open><ol class="entries)|(?P<close></ol>)|<span class="what">(?P<what>.*?)</span>', part
        ):
            if match["open"]:
                depth += 1
            elif match["close"]:
                depth -= 1
            else:
                found.append("." * depth + match["what"])
        out[flat(title[1]).strip()] = found
    return out


@over_sql
@pytest.mark.parametrize(
    ("later", "tag"), [(0, '<span class="tag good">open</span>'), (1, '<span class="tag">closed</span>')]
)
async def test_a_session_that_is_closed_is_asked_for_as_one_that_is_open(
    opened: Pages, monkeypatch: pytest.MonkeyPatch, later: int, tag: str
) -> None:
    """It may be resumed, or flushed late."""
    now = opened.console.now() + timedelta(hours=later)
    monkeypatch.setattr(opened.console, "now", lambda: now)
    text = await text_of(opened, "/sessions/acme/usual")
    live = text[text.index('id="session-live"') :]
    assert 'hx-trigger="tick from:body"' in live[:300]
    assert tag in live


@over_sql
async def test_the_timeline_is_by_turn_with_subagents_below_their_call(opened: Pages) -> None:
    assert turns(await text_of(opened, "/sessions/acme/usual")) == {
        "Before the first prompt": ["Stop", "MCP server"],
        "Turn 1 · prompt of 28 characters": ["Prompt", "opus", "Task", ".Explore", "..haiku", "MCP server"],
        "Turn 2 · /compact · prompt of 7 characters": [
            "Prompt",
            "Context compacted",
            "default → bypassPermissions",
            "Bash",
        ],
    }


@over_sql
async def test_subagents_are_nested_however_many_spans_the_session_has(tmp_path: Path) -> None:
    """And where it has not all spans of the events that are shown, it says so."""
    records: dict[str, list[dict[str, Any]]] = {"events": [], "spans": [], "sessions": []}
    for id_, use in (("others", "of no event here"), ("own", "first")):
        records["sessions"].append(session(id_, 13))
        records["events"] += [
            event(id_, 0, "user_prompt", prompt_id="p0"),
            event(id_, 1, "tool_result", prompt_id="p0", tool_use_id="first", tool_name="Bash"),
            event(id_, 10, "user_prompt", prompt_id="p1"),
            event(id_, 12, "api_request", prompt_id="p1", request_id="r", model="haiku"),
            event(id_, 13, "tool_result", prompt_id="p1", tool_use_id="t", tool_name="Task"),
        ]
        many = [{"span_id": f"{n:016x}", "tool_use_id": use} for n in range(5001)]
        records["spans"] += [samples.span(1, trace_id=id_, session_id=id_, **one) for one in many]
        # The one between the call and what it did is of no event.
        above = [{"span_id": "k", "tool_use_id": "t", "tool_name": "Task"}, {"span_id": "m", "parent_span_id": "k"}]
        above.append({"span_id": "r", "parent_span_id": "m", "request_id": "r"})
        records["spans"] += [samples.span(11, trace_id=id_, session_id=id_, **one) for one in above]
    async with pages_over(tmp_path, **records) as pages:
        others, own, last = [
            await text_of(pages, f"/sessions/acme/{below}") for below in ("others", "own", "own/turn?turn=p1")
        ]
    for text in (others, last):
        assert '<span class="what">subagent</span>' in text
        assert "Not all spans" not in text
    assert "Not all spans of these events could be read" in own


@over_sql
async def test_a_turn_has_its_tokens_and_cost_and_the_session_its_numbers(opened: Pages) -> None:
    text = flat(await text_of(opened, "/sessions/acme/usual"))
    assert "$0.75 · 132 tokens · 1 tool call · 3 missing" in text
    for words in ("Cost $0.75", "Re-sends 2", "Missing events 3", "User ada@example.com", "Duration"):
        assert words in text


@over_sql
async def test_a_gap_and_a_resumed_process_are_marked_where_they_are(opened: Pages) -> None:
    text = flat(await text_of(opened, "/sessions/acme/usual"))
    assert text.index("3 events are missing here.") < text.index("Task · accepted by config")
    assert text.index("Another process of the client goes on here") < text.index("rm -rf build")
    assert text.count("Another process of the client") == 1


@over_sql
@pytest.mark.parametrize("role", ["admin", "viewer"])
async def test_an_event_that_came_again_is_marked_where_it_is_and_no_other(opened: Pages, role: str) -> None:
    who = person(role, tenant=None if role == "admin" else "acme")
    html = await text_of(opened, "/sessions/acme/resent", who)
    said = [
        re.sub(r"\s+", " ", flat(one)).strip()
        for one in re.findall(r'<span class="said">(.*?)</span>\s*<svg', html, re.S)
    ]
    marked = [(what.split()[0], re.findall(r"(?:its decision )?came \d+ times , counted once", what)) for what in said]
    assert marked == [
        ("Prompt", []),
        ("opus", ["came 3 times , counted once"]),
        ("Read", ["its decision came 2 times , counted once"]),
        ("Prompt", []),
    ]
    text = flat(html)
    assert "Re-sends 3 came again, counted once" in text
    assert text.count(" re-sent") == 1
    assert "3 re-sent · 4 events" in text
    assert 'class="again"' not in await text_of(opened, "/sessions/acme/usual", who)


@over_sql
async def test_an_event_of_its_own_says_how_often_it_came_again(opened: Pages) -> None:
    again, once = [await text_of(opened, f"/sessions/acme/resent/events/resent-{n}") for n in (1, 0)]
    assert "&#34;resends&#34;: 2" in again
    assert "came 3 times , counted once" in flat(again)
    assert "resends" not in once
    assert 'class="again"' not in once


@over_sql
async def test_bars_are_drawn_to_scale(opened: Pages) -> None:
    text = await text_of(opened, "/sessions/acme/usual")
    # Turn 1 goes from second 2 to 10 (the request of 0.8 s ends at 3): its call of 5 s ends at second 9.
    bars = re.findall(r'<rect class="k-tool" x="([\d.]+)" y="0" width="([\d.]+)"', text)
    assert bars[0] == ("250.0", "625.0")


@over_sql
async def test_older_clients_without_prompt_ids_and_sequences_have_turns_too(opened: Pages) -> None:
    assert turns(await text_of(opened, "/sessions/acme/older")) == {
        "Before the first prompt": ["MCP server"],
        "Turn 1": ["Prompt", "API request"],
        "Turn 2": ["Prompt", "API request", "Tool"],
    }


@over_sql
async def test_a_session_without_any_prompt_is_one_part(opened: Pages) -> None:
    assert turns(await text_of(opened, "/sessions/acme/promptless")) == {"Before the first prompt": ["API request"] * 3}


@over_sql
async def test_a_session_without_events_says_why(opened: Pages) -> None:
    text = await text_of(opened, "/sessions/acme/metrics%20only")
    assert "No event of this session is in the query tables" in text


@over_sql
async def test_many_turns_come_in_pages(opened: Pages) -> None:
    first, second = [turns(await text_of(opened, f"/sessions/acme/many?turns={page}")) for page in (1, 2)]
    assert (len(first), len(second)) == (TURNS, 20)
    assert next(iter(second)) == f"Turn {TURNS + 1}"
    assert turns(await text_of(opened, "/sessions/acme/many?turns=99")) == second


@over_sql
async def test_a_session_that_goes_on_opens_at_its_last_turns_and_stays_there(
    opened: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, numbers = "/sessions/acme/many", [f"Turn {number}" for number in range(1, TURNS + 21)]
    going_on = await text_of(opened, path)
    assert list(turns(going_on)) == numbers[-TURNS:]
    assert f"The last {TURNS} of {TURNS + 20} turns" in flat(going_on)
    earlier = re.search(r'href="([^"]+)"[^>]*>Earlier turns<', going_on)
    assert earlier is not None
    assert list(turns(await text_of(opened, unescape(earlier[1])))) == numbers[:TURNS]
    live = re.search(r'id="session-live" hx-get="([^"]+)"', going_on)
    assert live is not None
    now = opened.console.now() + timedelta(hours=1)
    monkeypatch.setattr(opened.console, "now", lambda: now)
    assert list(turns(await text_of(opened, unescape(live[1])))) == numbers[-TURNS:]
    closed = await text_of(opened, path)
    assert list(turns(closed)) == numbers[:TURNS]
    monkeypatch.undo()
    live = re.search(r'id="session-live" hx-get="([^"]+)"', closed)
    assert live is not None
    assert list(turns(await text_of(opened, unescape(live[1])))) == numbers[:TURNS], "it goes on again"
    monkeypatch.setattr(opened.console, "now", lambda: now)
    latest = re.search(r'href="([^"]+)"[^>]*>Latest<', closed)
    assert latest is not None
    assert list(turns(await text_of(opened, unescape(latest[1])))) == numbers[-TURNS:]


@over_sql
async def test_the_last_turns_grow_under_who_reads_them_up_to_twice_as_many(
    opened: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, many = "/sessions/acme/many", TURNS + 20
    text = await text_of(opened, path)
    assert f"turns=last&amp;since={many - TURNS + 1}" in text
    for since, first in ((many - TURNS + 1, many - TURNS + 1), (10, 10), (many, many - TURNS + 1), (1, 1)):
        text = await text_of(opened, f"{path}?turns=last&since={since}")
        assert list(turns(text)) == [f"Turn {number}" for number in range(first, many + 1)], since
        assert (f"The last {many - first + 1} of {many} turns" in flat(text)) is (first > 1)
    monkeypatch.setattr("console.pages.session.TURNS", 30)
    text = await text_of(opened, f"{path}?turns=last&since=1")
    assert list(turns(text)) == [f"Turn {number}" for number in range(many - 60 + 1, many + 1)]


@over_sql
async def test_a_link_to_a_page_of_turns_or_to_an_event_is_of_that_while_the_session_goes_on(opened: Pages) -> None:
    for query in ("turns=1", f"event={MANY[0]['event_id']}", f"turns=last&event={MANY[0]['event_id']}"):
        assert next(iter(turns(await text_of(opened, f"/sessions/acme/many?{query}")))) == "Turn 1", query


@over_sql
async def test_a_link_to_an_event_opens_the_page_of_turns_that_has_it(opened: Pages) -> None:
    last = MANY[-1]["event_id"]
    text = await text_of(opened, f"/sessions/acme/many?event={last}")
    assert len(turns(text)) == 20
    assert text.count("data-chosen") == 1
    shown = re.search(r'<li class="entry" id="(e-\w+)" data-chosen>', text)
    assert shown is not None
    assert f"event={last}#{shown[1]}" in text
    assert f"&#34;event_id&#34;: &#34;{last}&#34;" in text


@over_sql
async def test_a_link_to_an_event_that_is_not_there_says_so(opened: Pages) -> None:
    for session, event in (("usual", "gone"), ("usual", "older-1"), ("metrics%20only", "gone")):
        text = await text_of(opened, f"/sessions/acme/{session}?event={event}")
        assert "The event that this link leads to is not here" in text
        assert "data-chosen" not in text
    for query in ("", "?event=usual-3", "?event="):
        assert "this link leads to" not in await text_of(opened, f"/sessions/acme/usual{query}")


@over_sql
async def test_a_turn_is_shown_by_its_last_events_and_from_its_first_on_demand(opened: Pages) -> None:
    text = await text_of(opened, "/sessions/acme/long")
    (rows,) = turns(text).values()
    assert rows == ["API request"] * EVENTS
    assert f"From the first event of this turn ({EVENTS + 50} before these)" in flat(text)
    seen = []
    while (more := re.search(r'href="([^"]+)" data-more>(?:From|The next)', text)) is not None:
        text = await text_of(opened, unescape(more[1]))
        seen += re.findall(r"sequence (\d+)", text)
        text = text[text.index('<div id="turn">') :]
    assert seen == [str(number) for number in range(2 * EVENTS + 50)]
    chosen = await text_of(opened, f"/sessions/acme/long?event=long-{EVENTS + 7}")
    assert chosen.count("data-chosen") == 1


@over_sql
async def test_the_turn_before_the_last_keeps_its_events_when_a_new_one_begins(tmp_path: Path) -> None:
    """Of all turns with many events the last ones have theirs at once, and the others on demand."""
    lengths = (EVENTS, EVENTS, EVENTS - 1, 1)
    prompts = [f"p{turn}" for turn, length in enumerate(lengths) for _ in range(length)]
    events = [event("turned", number, "api_request", prompt_id=prompt) for number, prompt in enumerate(prompts)]
    async with pages_over(tmp_path, events=events, sessions=[session("turned", len(events))]) as pages:
        text = await text_of(pages, "/sessions/acme/turned")
    assert [len(rows) for rows in turns(text).values()] == [0, EVENTS, EVENTS - 1, 1]
    assert f"Show its {EVENTS} events" in text


@over_sql
async def test_a_turn_keeps_itself_up_to_date(opened: Pages) -> None:
    path = "/sessions/acme/long/turn?turn=p&after=0"
    assert set(re.findall(r'hx-trigger="([^"]+)"', await text_of(opened, path))) == {"tick from:body"}


@over_sql
async def test_an_event_is_shown_whole_with_its_attributes_as_one(opened: Pages) -> None:
    text = await text_of(opened, "/sessions/acme/usual/events/usual-14")
    shown = re.search(r"<code id[^>]*>(.*?)</code>", text, re.DOTALL)
    assert shown is not None
    row = json.loads(shown[1].replace("&#34;", '"'))
    assert row["attributes"] == {"unknown": "kept", "deep": {"a": [1]}}
    assert row["command_line"] == "rm -rf build"
    assert None not in row.values()


@over_sql
async def test_what_is_not_there_is_not_found(opened: Pages) -> None:
    for path in (
        "/sessions/acme/nothing",
        "/sessions/globex/usual",
        "/sessions/acme/usual/events/nothing",
        "/sessions/acme/usual/events/older-1",
        "/sessions/acme/usual/turn?turn=nothing",
    ):
        assert (await opened.get(path)).status_code == 404, path
    assert (await opened.get("/sessions/acme/usual", person("analyst", tenant="globex"))).status_code == 404
    assert (await opened.get("/sessions/acme/usual?turns=x")).status_code == 400


@over_sql
async def test_who_sees_usage_only_has_the_timeline_without_details(opened: Pages) -> None:
    viewer = person("viewer", tenant="acme", id_="somebody")
    text = await text_of(opened, "/sessions/acme/usual", viewer)
    assert len(turns(text)["Turn 2 · /compact · prompt of 7 characters"]) == 4
    assert "rm -rf" not in text
    assert "ada@example.com" not in text
    assert "no route" not in text
    assert "an admin can grant the class detail" in text
    whole = await text_of(opened, "/sessions/acme/usual/events/usual-14", viewer)
    assert "rm -rf" not in whole
    assert "unknown" not in whole


@over_sql
async def test_content_is_read_by_a_click_of_who_may_and_told_to_the_audit(opened: Pages) -> None:
    admin = person("admin", id_="root@example.com")
    TOLD.clear()
    page = await text_of(opened, "/sessions/acme/usual", admin)
    event_page = await text_of(opened, "/sessions/acme/usual/events/usual-2", admin)
    assert SECRET_WORDS not in page + event_page
    assert "Read the prompt (written to the audit)" in page
    assert TOLD == []
    answer = await opened.post("/sessions/acme/usual/events/usual-2/content", {}, admin)
    assert SECRET_WORDS in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert [(one["action"], one["actor"], one["target"], one["outcome"]) for one in TOLD] == [
        ("content.read", "root@example.com", "content", "done")
    ]


@over_sql
async def test_nobody_else_reads_content_but_sees_that_it_exists_and_who_may(opened: Pages) -> None:
    TOLD.clear()
    for role in ("viewer", "analyst", "security"):
        who = person(role, tenant="acme")
        page = flat(await text_of(opened, "/sessions/acme/usual", who))
        assert "Prompt: 28 characters. To read it takes a role with class content on `content`" in page
        assert "Read the" not in page
        answer = await opened.post("/sessions/acme/usual/events/usual-2/content", {}, who)
        assert answer.status_code == 403
        assert SECRET_WORDS not in answer.text
    assert TOLD == []


def of_team(id_: str, team: str) -> dict[str, list[dict[str, Any]]]:
    """A session of a team with one prompt."""
    return {
        "events": [event(id_, 0, "user_prompt", prompt_id="p", prompt_length=9, prompt="<content>", team=team)],
        "content": [samples.content(0, event_id=f"{id_}-0", session_id=id_, team=team, text=f"words of {id_}")],
        "sessions": [session(id_, 1, team=team)],
    }


@over_sql
@pytest.mark.parametrize("beside", [(), (Grant("usage", ("content",)),)], ids=["rows", "texts"])
async def test_who_may_read_one_teams_content_reads_it_and_of_another_is_told_who_may(
    tmp_path: Path, beside: tuple[Grant, ...]
) -> None:
    """Beside: whether they know of the rows of others, without their texts."""
    mine = Grant("content", ("content",), (Condition("team", ("core",)),))
    roles = {"lead": Role("lead", (*DEFAULTS["analyst"].grants, mine, *beside))}
    lead = person("lead", tenant="acme", id_="lead@example.com")
    told: list[Mapping[str, Any]] = []
    own, others = of_team("own", "core"), of_team("others", "infra")
    records = {topic: own[topic] + others[topic] for topic in own}
    async with pages_over(tmp_path, door_telling(told, roles.get), **records) as pages:
        for id_ in ("own", "others"):
            assert "Read the prompt (written to the audit)" in await text_of(pages, f"/sessions/acme/{id_}", lead)
        answers = {
            id_: (await pages.post(f"/sessions/acme/{id_}/events/{id_}-0/content", {}, lead)).text
            for id_ in ("own", "others")
        }
    who_may = "takes a role with class content on `content`; an admin can grant it"
    assert "words of own" in answers["own"]
    assert who_may not in answers["own"]
    assert "words of" not in answers["others"]
    assert who_may in flat(answers["others"])
    assert [(one["actor"], one["action"], one["outcome"]) for one in told] == [
        ("lead@example.com", "content.read", "done")
    ] * 2


PRINTED, ASKED, NOTE = "what the command printed", "what the model was told " * 20, "what nobody has a field for " * 20


def sent_by_a_client() -> dict[str, list[dict[str, Any]]]:
    """A session whose spans have content, and one event where no name tells of it, as the gateway takes them.

    A call that printed something and one that did not, a request, and a mention.
    """
    ids = {"session.id": "spoken", "prompt.id": "p"}
    said = [
        {"event.name": "tool_result", "tool_name": "Bash", "tool_use_id": "t1", "tool_result_size_bytes": 1234},
        {"event.name": "tool_result", "tool_name": "Edit", "tool_use_id": "t2", "tool_result_size_bytes": 56},
        {"event.name": "api_request", "request_id": "r1", "model": "opus"},
        {"event.name": "at_mention", "an.unknown.note": NOTE},
    ]
    output = {"name": "tool.output", "timeUnixNano": str(otlps.TIME_NS)}
    spans = [
        otlps.span(
            ids | {"tool_use_id": use, "tool_name": "Bash"},
            spanId=f"{number:016x}",
            events=[output | {"attributes": otlps.attributes(put_out)}],
        )
        for number, (use, put_out) in enumerate({"t1": {"output": PRINTED}, "t2": {"file_path": "a.py"}}.items(), 1)
    ]
    spans.append(otlps.span(ids | {"request_id": "r1", "unknown": ASKED}, "claude_code.llm_request"))
    records: dict[str, list[dict[str, Any]]] = {"events": [], "spans": [], "content": []}
    for signal, document in (
        ("logs", otlps.logs(*(otlps.log(ids | one | {"event.sequence": n}) for n, one in enumerate(said)))),
        ("traces", otlps.spans(*spans)),
    ):
        for entry in otlp.transcode(signal, "application/json", otlps.as_json(document), otlps.CONTEXT).entries:
            for one in entry.messages:
                records[one.topic].append(codec.decode(CATALOGUE[one.topic].record, one.value))
    times = {"start_time": otlps.TIME_US, "last_time": otlps.TIME_US + samples.SECOND}
    return records | {"sessions": [samples.session(0, session_id="spoken", **times)]}


@over_sql
async def test_the_texts_of_an_events_spans_are_told_to_all_and_read_by_a_click_of_who_may(tmp_path: Path) -> None:
    told: list[Mapping[str, Any]] = []
    records = sent_by_a_client()
    events = {str(one["event_name"]) + str(one["tool_use_id"] or ""): one["event_id"] for one in records["events"]}
    mine = Grant("content", ("content",), (Condition("team", ("core",)),))
    roles = {**DEFAULTS, "lead": Role("lead", (*DEFAULTS["analyst"].grants, mine))}
    path = "/sessions/acme/spoken"
    async with pages_over(tmp_path, door_telling(told, roles.get), **records) as pages:
        viewer, analyst = [
            flat(await text_of(pages, path, person(role, tenant="acme"))) for role in ("viewer", "analyst")
        ]
        for page in (viewer, analyst):
            assert "Tool output: 1,234 bytes. To read it takes a role with class content on `content`" in page
            assert "Read the" not in page
        assert analyst.count("Other texts: length not said. To read it takes") == 2
        # Without class detail nobody sees whether the output of a call is stored, only that it may be.
        assert ("Tool output: 56 bytes" in viewer, "Tool output: 56 bytes" in analyst) == (True, False)
        page = flat(await text_of(pages, path))
        assert page.count("Read the tool input and tool output (written to the audit)") == 1
        assert page.count("Read the other texts (written to the audit)") == 2
        for name, offered in (("tool_resultt1", "tool input and tool output"), ("api_request", "other texts")):
            alone = flat(await text_of(pages, f"{path}/events/{events[name]}"))
            assert f"Read the {offered} (written to the audit)" in alone
        assert told == []
        texts = {"tool_resultt1": PRINTED, "tool_resultt2": None, "api_request": ASKED, "at_mention": NOTE}
        for name, text in texts.items():
            read = (await pages.post(f"{path}/events/{events[name]}/content", {})).text
            assert [one for one in (PRINTED, ASKED, NOTE) if one in read] == [one for one in (text,) if one], name
        assert [(one["action"], one["target"], one["outcome"]) for one in told] == [
            ("content.read", "content", "done")
        ] * len(texts)
        url = f"{path}/events/{events['tool_resultt1']}/content"
        assert (await pages.post(url, {}, person("analyst", tenant="acme"))).status_code == 403
        assert PRINTED not in (await pages.post(url, {}, person("lead", tenant="acme"))).text
        assert "of the span claude_code.tool" in flat((await pages.post(url, {})).text)


DECIDED, CALLED = "what the rule that allowed it says", "what the call said of itself"
READ = re.compile(r'hx-post="([^"]+)".*?<button[^>]*>(Read the .*?)</button>', re.S)


@over_sql
async def test_a_click_reads_what_its_button_says_and_no_text_of_a_span_with_a_decision(tmp_path: Path) -> None:
    """A call and its decision have one span, whose texts are the call's."""
    call: dict[str, Any] = {"prompt_id": "p", "tool_use_id": "t", "tool_name": "Bash", "team": "core"}
    decision = event("s", 0, "tool_decision", decision="accept", attributes={"note": CONTENT_MARK}, **call)
    result = event("s", 1, "tool_result", success=True, tool_input_size_bytes=9, **call)
    ids = {"trace_id": "a" * 32, "span_id": "b" * 16}
    put_out = {"name": "claude_code.tool", "tool_use_id": "t", "events_json": f'[{{"output": "{TREE_MARK}"}}]'}
    records = {
        "events": [decision, result],
        "spans": [samples.span(0, session_id="s", team="core", **ids, **put_out)],
        "content": [
            *(
                samples.content(0, event_id=one["event_id"], session_id="s", team="core", field="note", text=text)
                for one, text in ((decision, DECIDED), (result, CALLED))
            ),
            samples.content(0, event_id=None, session_id="s", team="core", field="output", text=PRINTED, **ids),
        ],
        "sessions": [session("s", 2, team="core")],
    }
    told: list[Mapping[str, Any]] = []
    async with pages_over(tmp_path, door_telling(told), **records) as pages:
        buttons = {flat(said): unescape(url) for url, said in READ.findall(await text_of(pages, "/sessions/acme/s"))}
        read = {said: (await pages.post(url, {})).text for said, url in buttons.items()}
    assert {said: [one for one in (DECIDED, CALLED, PRINTED) if one in text] for said, text in read.items()} == {
        "Read the tool input and tool output (written to the audit)": [CALLED, PRINTED],
        "Read the tool input and other texts of the decision (written to the audit)": [DECIDED],
    }
    assert [(one["outcome"], json.loads(one["detail"])["rows"]) for one in told] == [("done", 2), ("done", 1)]


@over_sql
async def test_the_button_at_the_head_of_a_turn_reads_the_prompt_alone(tmp_path: Path) -> None:
    asked = event("s", 0, "user_prompt", prompt_id="p", prompt_length=9, attributes={"note": CONTENT_MARK})
    texts = [
        samples.content(0, event_id=asked["event_id"], session_id="s", field=field, text=text)
        for field, text in (("prompt", DECIDED), ("note", CALLED))
    ]
    told: list[Mapping[str, Any]] = []
    records = {"events": [asked], "content": texts, "sessions": [session("s", 1)]}
    async with pages_over(tmp_path, door_telling(told), **records) as pages:
        buttons = {flat(said): unescape(url) for url, said in READ.findall(await text_of(pages, "/sessions/acme/s"))}
        read = {said: (await pages.post(url, {})).text for said, url in buttons.items()}
    assert {said: [one for one in (DECIDED, CALLED) if one in text] for said, text in read.items()} == {
        "Read the prompt (written to the audit)": [DECIDED],
        "Read the prompt and other texts (written to the audit)": [CALLED, DECIDED][::-1],
    }
    assert [json.loads(one["detail"])["rows"] for one in told] == [1, 2]


@over_sql
async def test_the_texts_of_a_decision_are_told_and_asked_for_beside_its_json_though_its_call_stands_for_it(
    tmp_path: Path,
) -> None:
    call: dict[str, Any] = {"prompt_id": "p", "tool_use_id": "t", "tool_name": "Bash", "team": "core"}
    decision = event("s", 0, "tool_decision", decision="accept", attributes={"note": CONTENT_MARK}, **call)
    result = event("s", 1, "tool_result", success=True, tool_input_size_bytes=9, **call)
    texts = [
        samples.content(0, event_id=one["event_id"], session_id="s", team="core", field="note", text=text)
        for one, text in ((decision, DECIDED), (result, CALLED))
    ]
    records = {"events": [decision, result], "content": texts, "sessions": [session("s", 2, team="core")]}
    of_core, of_infra = (
        Role(team, (*DEFAULTS["analyst"].grants, Grant("content", ("content",), (Condition("team", (team,)),))))
        for team in ("core", "infra")
    )
    told: list[Mapping[str, Any]] = []
    roles = {**DEFAULTS, "core": of_core, "infra": of_infra}
    async with pages_over(tmp_path, door_telling(told, roles.get), **records) as pages:
        for role, words in (
            ("viewer", "Other texts of the decision, if there are any: length not said. To read it takes"),
            ("analyst", "Other texts of the decision: length not said. To read it takes"),
            ("core", "Read the tool input and other texts of the decision (written to the audit)"),
            ("infra", "Read the tool input and other texts of the decision (written to the audit)"),
            ("admin", "Read the tool input and other texts of the decision (written to the audit)"),
        ):
            who = person(role, tenant="acme")
            for path in ("/sessions/acme/s", "/sessions/acme/s/turn?turn=p"):
                page = flat(await text_of(pages, path, who))
                assert (words in page, "Full JSON of the decision" in page) == (True, True), (role, path, page)
                assert page.index("Full JSON ") < page.index(words) < page.index("Full JSON of the decision")
        assert told == []
        read = {}
        for role in ("viewer", "analyst", "core", "infra", "admin"):
            answer = await pages.post("/sessions/acme/s/events/s-0/content", {}, person(role, tenant="acme"))
            read[role] = (answer.status_code, DECIDED in answer.text, CALLED in answer.text)
        assert read == {
            **dict.fromkeys(("viewer", "analyst"), (403, False, False)),
            **dict.fromkeys(("core", "admin"), (200, True, False)),
            "infra": (200, False, False),
        }
        assert [(one["action"], one["outcome"]) for one in told] == [("content.read", "done")] * 3


@over_sql
async def test_who_may_not_know_of_other_texts_is_told_of_every_event_that_it_may_have_some(tmp_path: Path) -> None:
    """And of none that it has: with and without, an event says the same."""
    notes = ({"note": CONTENT_MARK}, {"note": "short"}, {})
    events = [event("noted", n, "at_mention", prompt_id="p", attributes=note) for n, note in enumerate(notes)]
    known, unsure = "Other texts: length not said. To read", "Other texts, if there are any: length not said. To read"
    reader = Role("reader", (Grant("usage", ("sessions", "events")), Grant("content", ("content",))))
    records = {"events": events, "sessions": [session("noted", 3)]}
    async with pages_over(tmp_path, door_telling([], {**DEFAULTS, "reader": reader}.get), **records) as pages:

        async def said(role: str) -> list[tuple[bool, bool]]:
            """Of each event, in its session and on its own page."""
            who, path = person(role, tenant="acme"), "/sessions/acme/noted"
            whole = flat(await text_of(pages, path, who))
            alone = [flat(await text_of(pages, f"{path}/events/noted-{n}", who)) for n in range(len(notes))]
            found = [(known in one, unsure in one) for one in alone]
            assert [whole.count(known), whole.count(unsure)] == [sum(column) for column in zip(*found, strict=True)]
            return found

        assert await said("viewer") == [(False, True)] * 3
        assert await said("analyst") == [(True, False), (False, False), (False, False)]
        page = flat(await text_of(pages, "/sessions/acme/noted", person("reader", tenant="acme")))
        assert page.count("Read the other texts, if there are any (written to the audit)") == 3
        page = flat(await text_of(pages, "/sessions/acme/noted"))
        assert page.count("Read the other texts (written to the audit)") == 1
        assert "if there are any" not in page


@over_sql
async def test_who_reads_content_but_sees_no_events_reads_what_an_event_said(tmp_path: Path) -> None:
    grants = (Grant("usage", ("sessions",)), Grant("content", ("content",)))
    roles = {"listener": Role("listener", grants)}
    async with pages_over(tmp_path, door_telling([], roles.get), **of_team("own", "core")) as pages:
        answer = await pages.post("/sessions/acme/own/events/own-0/content", {}, person("listener", tenant="acme"))
    assert "words of own" in answer.text


@over_sql
async def test_of_many_texts_the_first_are_shown_and_the_page_says_so(tmp_path: Path) -> None:
    texts = [samples.content(0, event_id="s-0", session_id="s", field=f"f{n:02}") for n in range(21)]
    records = {"events": [event("s", 0, "user_prompt")], "content": texts, "sessions": [session("s", 1)]}
    told: list[Mapping[str, Any]] = []
    async with pages_over(tmp_path, door_telling(told), **records) as pages:
        text = (await pages.post("/sessions/acme/s/events/s-0/content", {})).text
    assert text.count("<pre ") == 20
    assert [json.loads(one["detail"])["rows"] for one in told] == [20]
    assert "These are the first 20 texts" in text


@over_sql
async def test_content_is_not_read_by_a_link_nor_without_the_forms_token(opened: Pages) -> None:
    TOLD.clear()
    path = "/sessions/acme/usual/events/usual-2/content"
    answer = await opened.get(f"{path}?team=core")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sessions/acme/usual/events/usual-2?team=core")
    assert (await opened.post(path, {"csrf": "wrong"})).status_code == 403
    assert TOLD == []


@over_sql
async def test_the_answer_is_the_first_block_of_text_of_the_response(opened: Pages) -> None:
    text = (await opened.post("/sessions/acme/usual/events/usual-3/content", {})).text
    assert '<pre tabindex="0" role="group" aria-label="The answer">first answer</pre>' in text


def test_the_first_text_is_found_also_in_a_body_that_was_cut() -> None:
    assert first_text(ANSWER) == "first answer"
    assert first_text('{"content":[{"type":"text","text":"as far as \\"it\\" goe') == 'as far as "it" goe'
    assert first_text('{"content":[{"type":"text","text":"ends in an escape \\') == "ends in an escape "
    for cut in ("\\", "\\u", "\\u00", "\\u00e", "\\ud83d", "\\ud83d\\ude0"):
        assert first_text('{"content":[{"type":"text","text":"line\\n\\"two\\" ' + cut) == 'line\n"two" '
    for text in ("[]", "{}", '{"content": 1}', "no json", '{"content":[{"type":"text"}]}'):
        assert first_text(text) is None


def test_json_that_is_none_stays_a_text() -> None:
    assert json.loads(pretty({"attributes": None, "attributes_json": {"a": "{no", "b": "1"}, "n": None})) == {
        "attributes": {"a": "{no", "b": 1}
    }


@over_sql
async def test_an_event_without_stored_text_says_so(opened: Pages) -> None:
    text = (await opened.post("/sessions/acme/usual/events/usual-12/content", {})).text
    assert "No text is stored for this event" in text


@over_sql
async def test_script_in_any_field_of_a_session_is_text(opened: Pages) -> None:
    path = f"/sessions/acme/{quote(HOSTILE, safe='')}"
    text = await text_of(opened, path)
    assert len(next(iter(turns(text).values()))) >= len(NAMES) - 2
    pages = [text, await text_of(opened, f"{path}?event=evil-5")]
    pages += [await text_of(opened, f"{path}/events/evil-{number}") for number in range(len(NAMES))]
    pages.append(await text_of(opened, f"{path}/turn?turn={quote(HOSTILE, safe='')}"))
    pages.append((await opened.post(f"{path}/events/evil-0/content", {})).text)
    for one in pages:
        assert "<script>alert" not in one
        assert "<img src=x" not in one
        assert "&lt;script&gt;alert(1)" in one


@over_sql
async def test_the_way_back_knows_the_list(opened: Pages) -> None:
    text = await text_of(opened, "/sessions/acme/usual?team=core&sort=-cost&only=errors&range=7d")
    assert 'href="/sessions?range=7d&amp;team=core&amp;sort=-cost&amp;only=errors" data-close' in text


# In a browser, over the running stack

WIDE = {"width": 1600, "height": 1000}
BASIC = "c54ffd22-14d1-4413-a75f-0c3236da3f91"
RESUMED = "07681851-8ed4-4caf-9a2c-f03113291e8e"


@pytest.mark.slow
def test_every_event_of_the_captures_is_in_its_timeline(fed: Fed, window: Callable[..., Window]) -> None:
    want = truth.truth(CAPTURES)["sessions"]
    one = window()
    for id_ in (BASIC, RESUMED):
        page = one.go(f"/sessions/captures/{id_}")
        counts = want[id_]["event_counts"]
        # A call is one row with its decision.
        rows = sum(counts.values()) - min(counts["tool_decision"], counts["tool_result"])
        assert page.locator(".entry").count() == rows
        assert page.locator(".turn").count() == want[id_]["prompts"] + (1 if "hook_registered" in counts else 0)


@pytest.mark.slow
def test_what_a_subagent_did_lies_below_the_call_that_started_it_as_its_spans_tell(
    fed: Fed, window: Callable[..., Window]
) -> None:
    sent = Truth("local", [fed.demo])
    agents: dict[str, set[str | None]] = {}
    for span in sent.spans:
        if agent := span["agent_id"]:
            agents.setdefault(agent, set()).add(span["request_id"] or span["tool_use_id"])
    assert agents
    for did in agents.values():
        requests = [one for one in sent.events if one["request_id"] and one["request_id"] in did]
        answers = sum(one.name == "assistant_response" for one in requests)
        rows = len(did) + answers + 1  # a call is one row with its decision; and that it was done
        page = window().go(f"/sessions/local/{requests[0].session}")
        inside = page.locator(".entry:has(> ol.inside)").filter(has_text=f"{rows} events")
        assert inside.count() == 1
        assert inside.locator("> details > summary .what").inner_text() == "Agent"
        assert inside.locator("ol.inside .entry").count() == rows
        cost = sum(one.usd for one in requests)
        assert usd(cost) in inside.locator("> ol.inside > .agent > details > summary").inner_text()


@pytest.mark.slow
def test_the_skip_link_leaves_a_page_and_a_drawer_as_they_are(window: Callable[..., Window]) -> None:
    page = window(viewport=WIDE).go(f"/sessions/captures/{BASIC}")
    page.evaluate("window.before = 1")
    page.get_by_role("link", name="Skip to the content").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**#main")
    page.go_back()
    assert page.evaluate("window.before") == 1, "the page was not loaded again"
    page = window(viewport=WIDE).go("/sessions?tenant=captures&range=7d")
    page.locator("tr[data-row]").nth(1).locator("td").nth(3).click()
    page.wait_for_selector("#drawer #session")
    page.get_by_role("link", name="Skip to the content").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**#main")
    assert page.locator("#drawer #session").is_visible()
    page.keyboard.press("Escape")
    page.wait_for_selector("#drawer", state="hidden")
    assert page.url.endswith("/sessions?tenant=captures&range=7d")


@pytest.mark.slow
def test_a_click_opens_the_drawer_and_back_closes_it(fed: Fed, window: Callable[..., Window]) -> None:
    page = window(viewport=WIDE).go("/sessions?tenant=captures&range=7d")
    row = page.locator("tr[data-row]").nth(1)
    row.locator("td").nth(3).click()
    page.wait_for_selector("#drawer #session")
    assert "/sessions/captures/" in page.url
    assert page.evaluate("document.getElementById('drawer').contains(document.activeElement)")
    page.go_back()
    page.wait_for_selector("#drawer", state="hidden")
    assert page.url.endswith("/sessions?tenant=captures&range=7d")
    assert page.locator("tr[data-row]").count() > 1
    page.go_forward()
    page.wait_for_selector("#drawer #session")
    page.keyboard.press("Escape")
    page.wait_for_selector("#drawer", state="hidden")
    assert page.url.endswith("/sessions?tenant=captures&range=7d")


@pytest.mark.slow
def test_on_a_phone_a_session_is_a_page_of_its_own(window: Callable[..., Window]) -> None:
    page = window(viewport={"width": 390, "height": 800}).go("/sessions?tenant=captures&range=7d")
    page.locator("tr[data-row] a").first.click()
    page.wait_for_selector("h1.session-title")
    page.go_back()
    page.wait_for_selector("tr[data-row]")


@pytest.mark.slow
def test_without_script_everything_is_a_link(window: Callable[..., Window]) -> None:
    one = window(java_script_enabled=False)
    page = one.go("/sessions?tenant=captures&range=7d")
    page.locator("tr[data-row] a").first.click()
    assert page.locator("h1.session-title").count() == 1
    page.locator(".entry summary").first.click()
    page.get_by_text("Full JSON").first.click()
    assert '"event_id"' in page.locator("pre").inner_text()


@pytest.mark.slow
def test_by_keyboard_alone_from_the_overview_to_the_json_of_one_event(window: Callable[..., Window]) -> None:
    page = window(viewport=WIDE).go("/?range=7d&tenant=captures")

    def to(selector: str, most: int = 120) -> None:
        for _ in range(most):
            page.keyboard.press("Tab")
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"Tab does not reach {selector}")

    to("#menu a[href^='/sessions']")
    page.keyboard.press("Enter")
    page.wait_for_selector("tr[data-row]")
    to("a[data-drawer]")
    page.keyboard.press("Enter")
    page.wait_for_selector("#drawer #session")
    to("#drawer .turn > details > summary")
    page.evaluate("window.before = document.querySelectorAll('.json-box').length")
    to("#drawer .entry > details > summary")
    page.keyboard.press("Enter")
    page.wait_for_selector("#drawer .json-box")
    to("#drawer .json-box pre")
    assert '"event_id"' in page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Escape")
    page.wait_for_selector("#drawer", state="hidden")
    assert page.evaluate("document.activeElement.matches('a[data-drawer]')")


@pytest.mark.slow
def test_a_prompt_is_read_in_its_place_and_the_audit_has_who_read_it(fed: Fed, window: Callable[..., Window]) -> None:
    sql = fed.stack.sql(fed.stack.admin_key())
    (stored,) = sql(
        "select tenant, session_id, event_id, text from content where event_name = 'user_prompt' and tenant = 'local' "
        "order by event_time limit 1"
    )
    reader = person("admin", id_="reader@example.com")
    page = window(reader).go(f"/sessions/local/{stored['session_id']}?event={stored['event_id']}")
    form = page.locator(f"form[data-content][action*='{stored['event_id']}']").first
    form.get_by_role("button").click()
    shown = page.locator(".texts pre").first
    shown.wait_for()
    assert shown.inner_text() == stored["text"]
    done: list[Any] = []
    for _ in range(40):
        done = sql("select action, target, outcome from audit where actor = 'reader@example.com'")
        if done:
            break
        page.wait_for_timeout(500)
    assert done == [{"action": "content.read", "target": "content", "outcome": "done"}]


@pytest.mark.slow
def test_a_drawer_and_an_event_without_an_answer_say_so_and_can_be_opened_again(
    fed: Fed, window: Callable[..., Window]
) -> None:
    one = window(viewport=WIDE)
    page = one.go("/sessions?tenant=captures&range=30d")
    page.get_by_role("button", name="Pause").click()
    page.route("**/sessions/captures/**", lambda route: route.abort())
    page.locator("a[data-drawer]").first.click()
    page.locator("#drawer").get_by_text("This session cannot be shown now").wait_for()
    page.unroute("**/sessions/captures/**")
    page.locator("#drawer").get_by_role("link", name="Close").click()
    page.locator("a[data-drawer]").first.click()
    entry = page.locator("#drawer .entry > details:visible").first
    page.route("**/events/**", lambda route: route.abort())
    entry.locator("summary").first.click()
    page.wait_for_timeout(500)
    page.unroute("**/events/**")
    entry.locator("summary").first.click()
    entry.locator("summary").first.click()
    entry.locator("pre").first.wait_for()
    one.complaints.clear()


@pytest.mark.slow
def test_a_session_appears_and_grows_by_itself_and_keeps_what_is_open(
    fed: Fed, window: Callable[..., Window], tmp_path: Path
) -> None:
    (folder,) = [one for one in CAPTURES if one.name == "grpc-interactive"]
    (id_, recorded) = next(iter(truth.truth([folder])["sessions"].items()))
    now_ns = int(datetime.now(UTC).timestamp() * 1e9)
    requests = load(dated(folder, tmp_path / "now", now_ns - recorded["start_ns"] - 60 * 10**9))
    logs = [place for place, one in enumerate(requests) if one.signal == "logs"]
    half = logs[len(logs) // 2] + 1
    page = window(viewport=WIDE).go("/sessions?tenant=growing")
    assert "No session in this time range" in page.locator("#sessions").inner_text()
    page.evaluate("window.same = true")

    ports = fed.stack.ports
    with Sender(ports["GATEWAY_GRPC"], ports["GATEWAY_HTTP"], fed.stack.key("growing")) as sender:
        for one in requests[:half]:
            sender.send(one)
        page.locator("tr[data-row] a").click()
        page.wait_for_selector("#drawer .entry")
        page.locator("#drawer .entry > details > summary").first.click()
        shown = page.locator("#drawer .json-box code")
        shown.wait_for()
        text, before = shown.inner_text(), page.locator("#drawer .entry").count()
        for one in requests[half:]:
            sender.send(one)
    counts = recorded["event_counts"]
    rows = sum(counts.values()) - min(counts["tool_decision"], counts["tool_result"])
    page.wait_for_function("n => document.querySelectorAll('#drawer .entry').length >= n", arg=rows)
    assert before < rows
    assert page.evaluate("window.same")
    assert id_ in page.url
    assert shown.inner_text() == text
    assert page.locator("#drawer .entry > details[open]").count() == 1


@pytest.mark.slow
def test_json_that_was_opened_stays_below_content_that_came_later_with_a_span(
    fed: Fed, window: Callable[..., Window]
) -> None:
    tenant, id_, ports, now_ns = "belated", str(uuid.uuid4()), fed.stack.ports, time.time_ns()
    ids = {"session.id": id_, "user.id": "u", "request_id": "r1"}
    log = otlps.log(ids | {"event.name": "api_request", "model": "opus"}, timeUnixNano=str(now_ns))
    times = {"startTimeUnixNano": str(now_ns), "endTimeUnixNano": str(now_ns + 10**6)}
    span = otlps.span(ids | {"an.unknown.note": NOTE}, "claude_code.llm_request", **times)
    resource = {"service.name": "claude-code"}
    with Sender(ports["GATEWAY_GRPC"], ports["GATEWAY_HTTP"], fed.stack.key(tenant)) as sender:
        sender.send(Recorded("http", "logs", "json", otlps.as_json(otlps.logs(log, resource=resource))))
        page = window().go(f"/sessions?tenant={tenant}")
        page.locator("tr[data-row] a").first.click()
        entry = page.locator("#drawer .entry").first
        entry.locator("summary").first.click()
        shown = entry.locator(".json code")
        shown.wait_for()
        text = shown.inner_text()
        assert entry.locator(".content").count() == 0
        sender.send(Recorded("http", "traces", "json", otlps.as_json(otlps.spans(span, resource=resource))))
    entry.get_by_role("button", name="Read the other texts (written to the audit)").wait_for()
    assert shown.all_inner_texts() == [text]
    places = "one => [...one.querySelectorAll('.content, .json')].map(place => place.className)"
    assert entry.locator(".entry-body").evaluate(places) == ["content", "json"]


@pytest.mark.slow
def test_texts_of_a_decision_stay_beside_its_json_when_its_call_has_texts_too(
    fed: Fed, window: Callable[..., Window]
) -> None:
    tenant, id_, ports, now_ns = "decided", str(uuid.uuid4()), fed.stack.ports, time.time_ns()
    ids = {"session.id": id_, "user.id": "u", "tool_use_id": "t1", "tool_name": "Bash"}
    decision = ids | {"event.name": "tool_decision", "decision": "accept", "event.sequence": 0, "an.unknown.note": NOTE}
    result = ids | {"event.name": "tool_result", "event.sequence": 1, "tool_input": "<REDACTED>"}
    logs = [otlps.log(one, timeUnixNano=str(now_ns + number)) for number, one in enumerate((decision, result))]
    times = {"startTimeUnixNano": str(now_ns), "endTimeUnixNano": str(now_ns + 10**6)}
    span = otlps.span(ids | {"an.unknown.note": ASKED}, "claude_code.tool", **times)
    resource = {"service.name": "claude-code"}
    with Sender(ports["GATEWAY_GRPC"], ports["GATEWAY_HTTP"], fed.stack.key(tenant)) as sender:
        sender.send(Recorded("http", "logs", "json", otlps.as_json(otlps.logs(*logs, resource=resource))))
        page = window().go(f"/sessions?tenant={tenant}")
        page.locator("tr[data-row] a").first.click()
        entry = page.locator("#drawer .entry").first
        entry.locator("summary").first.click()
        entry.locator(".json code").nth(1).wait_for()
        entry.get_by_role("button", name="Read the tool input and other texts of the decision").click()
        entry.locator(".texts pre").wait_for()
        sender.send(Recorded("http", "traces", "json", otlps.as_json(otlps.spans(span, resource=resource))))
    entry.get_by_role("button", name="Read the other texts (written to the audit)").wait_for()
    places = """one => [...one.querySelectorAll(".content, .json")].map(place => {
      const name = place.matches(".json") ? JSON.parse(place.querySelector("code").textContent).event_name : "content";
      return [name, place.querySelectorAll(".texts pre").length];
    })"""
    assert entry.locator(".entry-body").evaluate(places) == [
        *(["content", 0], ["content", 0], ["tool_result", 0]),
        *(["content", 1], ["tool_decision", 0]),
    ]


# Whether just the events with these numbers are shown, in their order.
SHOWS = r"""([first, last]) => {
  const are = [...document.querySelectorAll(".entry")].map(one => Number(/sequence (\d+)/.exec(one.textContent)[1]));
  return are.length === last - first + 1 && are.every((number, place) => number === first + place);
}"""


@pytest.mark.slow
def test_who_watches_a_long_turn_sees_what_happens_in_it(fed: Fed, window: Callable[..., Window]) -> None:
    tenant, id_, ports = "lengthy", str(uuid.uuid4()), fed.stack.ports
    sql = fed.stack.sql(fed.stack.admin_key())
    seen = f"select event_id from events where session_id = '{id_}' and event_sequence = "
    with Sender(ports["GATEWAY_GRPC"], ports["GATEWAY_HTTP"], fed.stack.key(tenant)) as sender:

        def shown(page: Page, first: int, last: int) -> None:
            page.wait_for_function(SHOWS, arg=[first, last])

        def sent(first: int, last: int) -> None:
            sender.send(request(id_, *range(first, last + 1)))

        sent(1, EVENTS + 60)
        eventually(lambda: len(sql(f"{seen}{EVENTS + 60}")) != 1)
        eventually(lambda: len(sql(f"select 1 from sessions where session_id = '{id_}'")) != 1)
        last, first = [window().go(f"/sessions/{tenant}/{id_}") for _ in range(2)]
        linked = window().go(f"/sessions/{tenant}/{id_}?event={sql(f'{seen}1')[0]['event_id']}")
        for page in (last, first, linked):
            page.evaluate("window.same = true")
        shown(last, 61, EVENTS + 60)
        first.get_by_role("link", name="From the first event of this turn").click()
        for page in (first, linked):
            shown(page, 1, EVENTS)
        sent(EVENTS + 61, EVENTS + 75)
        shown(last, 76, EVENTS + 75)
        for page in (first, linked):
            page.get_by_role("link", name="The next 75 of 75 more events").click()
            shown(page, 1, EVENTS + 75)
        sent(EVENTS + 76, EVENTS + 90)
        shown(last, 91, EVENTS + 90)
        for page in (first, linked):
            shown(page, 1, EVENTS + 90)
        sent(EVENTS + 91, 2 * EVENTS + 5)
        for page in (first, linked):
            page.get_by_role("link", name="The next 5 of 5 more events").wait_for()
            shown(page, 1, 2 * EVENTS)
        sent(2 * EVENTS + 6, 2 * EVENTS + 10)
        for page in (first, linked):
            page.get_by_role("link", name="The next 10 of 10 more events").click()
            shown(page, 1, 2 * EVENTS + 10)
        shown(last, EVENTS + 11, 2 * EVENTS + 10)
        for page in (last, first, linked):
            assert page.evaluate("window.same") is True


@over_sql
async def test_a_session_is_found_by_whatever_its_client_called_it(tmp_path: Path) -> None:
    ids = ("abc", "abc/turn", "abc/events/x", "abc/events/x/content", "..", ".", "../..", "a?b#c", "%2F%", "=..", "=a")
    made = [
        (
            samples.session(number, session_id=id_, start_time=samples.T0, last_time=samples.T0 + samples.SECOND),
            samples.event(0, session_id=id_, event_id=f"e/{number}", prompt_id=f"p/{number}", cost_usd=0.125),
        )
        for number, id_ in enumerate(ids)
    ]
    sessions, events = ([one[place] for one in made] for place in (0, 1))
    hours = [hour for session in sessions for hour in hours_of(session)]
    async with pages_over(tmp_path, sessions=sessions, events=events, session_hours=hours) as pages:
        listed = re.findall(r'class="row-link" href="([^"]+)"', await text_of(pages, "/sessions"))
        assert len(listed) == len(set(listed)) == len(ids)
        found = set()
        for url in map(unescape, listed):
            assert urljoin("http://console", url) == f"http://console{url}"  # as a browser resolves it
            text = await text_of(pages, url)
            (number,) = set(re.findall(r"/events/e%2F(\d+)", text))
            found.add(ids[int(number)])
            below, _, query = url.partition("?")
            last = "turns=last&since=1"  # where one that goes on is asked for again
            assert f'hx-get="{escape(f"{url}&{last}" if query else f"{url}?{last}")}"' in text or "hx-get" not in text
            assert f"e/{number}" in await text_of(pages, f"{below}/events/e%2F{number}?{query}")
            assert "e%2F" + number in await text_of(pages, f"{below}/turn?turn=p%2F{number}")
            assert (await pages.post(f"{below}/events/e%2F{number}/content", {})).status_code == 200
            # A sign-in leads back to it.
            away = await pages.http.get(url)
            assert parse_qs(urlsplit(away.headers["location"]).query)["next"] == [url]
        assert found == set(ids)
        for path in ("/sessions/acme", "/sessions/acme/abc/turn/x", "/sessions/acme/abc/events", "/sessions/acme/"):
            assert (await pages.get(path)).status_code == 404, path
