"""What the pages must say, counted the slow and obvious way from the requests themselves, with nothing of the product.

Records, identities and sessions are those of the ledger (tests/oracle/ledger.py), which has no list of its records to
give out: they are read again here by its own functions, and there must be as many as it has counted.
"""

from __future__ import annotations

import copy
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from tests.oracle import ledger

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
LATE_US = 600_000_000
"""A record that is sent so long after it happened is late."""
NOBODY = "nobody named"
# USD a million input tokens, as the price list has it.
INPUT_USD = {"claude-sonnet-4-6": 3.0, "claude-opus-4-6": 5.0, "claude-haiku-4-5-20251001": 1.0}
_DELTA = 1
_SHELLS = ("Bash",)
_WRAPPERS = ("sudo", "env")

Row = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Record:
    """An event, or a point of a metric with its value and type.  at: µs; a point's end.  said: its attributes."""

    name: str
    at: int
    said: Mapping[str, Any]
    value: float = 0.0

    def __getitem__(self, name: str) -> str | None:
        """An attribute as text; what is empty is not said."""
        value = self.said.get(name)
        return None if value in (None, "") else str(value)

    def number(self, name: str) -> float | None:
        """An attribute as a number."""
        return None if self[name] is None else float(self.said[name])

    def yes(self, name: str) -> bool | None:
        """An attribute as yes or no."""
        text = self[name]
        return None if text is None else text.lower() == "true"

    @property
    def user(self) -> str | None:
        """The best identity known."""
        return self["user.account_uuid"] or self["user.email"] or self["user.id"]

    @property
    def session(self) -> str | None:
        """Of the client."""
        return self["session.id"]

    @property
    def version(self) -> str | None:
        """Of the client."""
        return self["app.version"] or self["service.version"]

    @property
    def broken(self) -> bool:
        """Whether its JSON is none."""
        try:
            json.loads(self["tool_parameters"] or "{}")
        except ValueError:
            return True
        return False

    def parameter(self, name: str) -> str | None:
        """Of a tool, as far as the client sends them."""
        return None if self.broken else json.loads(self["tool_parameters"] or "{}").get(name)

    @property
    def usd(self) -> float:
        """The cost of a request: in millionths, where the client says it so."""
        micros = self.number("cost_usd_micros")
        return (self.number("cost_usd") or 0.0) if micros is None else micros / 1e6

    @property
    def tokens(self) -> int:
        """In and out."""
        return int((self.number("input_tokens") or 0) + (self.number("output_tokens") or 0))

    @property
    def program(self) -> str | None:
        """The program of a command that ran."""
        words = (self.parameter("full_command") or "").split()
        return next((word.rpartition("/")[2] for word in words if word not in _WRAPPERS), None)

    @property
    def server(self) -> str | None:
        """The MCP server that it is about."""
        name = (self["tool_name"] or "").split("__")
        return self["server_name"] or self.parameter("mcp_server_name") or (name[1] if len(name) > 2 else None)

    @property
    def called(self) -> str | None:
        """The tool of an MCP server."""
        name = (self["tool_name"] or "").split("__")
        return self.parameter("mcp_tool_name") or (name[2] if len(name) > 2 else self["tool_name"])

    @property
    def failed(self) -> bool:
        """Whether it says so."""
        return self.yes("success") is False


@dataclass
class Hour:
    """What a session did in an hour.  at: its start.  sums: by name.  session: made up, for points without one."""

    at: int
    session: str
    user: str | None
    team: str | None
    department: str | None
    cost_center: str | None
    active: bool = False
    sums: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def __getitem__(self, name: str) -> float:
        return self.sums[name]


_METRICS = {
    "claude_code.cost.usage": "metric_cost",
    "claude_code.commit.count": "commits",
    "claude_code.pull_request.count": "pull_requests",
    "claude_code.lines_of_code.count/added": "lines_added",
    "claude_code.lines_of_code.count/removed": "lines_removed",
    "claude_code.active_time.total/user": "active_user_s",
    "claude_code.active_time.total/cli": "active_cli_s",
}


class Truth:
    """What was sent as one tenant.

    sent: when, in µs.  again: records that came again.
    names: identity → key of a person, which only the product can tell; shown in part where no e-mail is known.
    """

    def __init__(self, tenant: str, folders: Iterable[Path]) -> None:
        paths = [str(folder) for folder in folders]
        self.tenant = tenant
        self.sent = max(path.stat().st_mtime_ns for path in ledger.files(paths)) // 1000
        self.ledger: Mapping[str, Any] = ledger.ledger(paths)
        self.names: Mapping[str, str] = {}
        self.events: list[Record] = []
        self.points: list[Record] = []
        self.spans: list[Record] = []
        self.again: list[Record] = []
        self._seen: set[tuple[Any, ...]] = set()
        for path in ledger.files(paths):
            request = ledger.load(path)
            self._read_events(request)
            self._read_points(request)
            self._read_spans(request)
        kinds = {"events": self.events, "points": self.points, "spans": self.spans}
        assert {kind: len(found) for kind, found in kinds.items()} == self.ledger["unique"]

    def _read_events(self, request: Mapping[str, Any]) -> None:
        for name, time, at, own in ledger.events(request):
            sequence = at.get("event.sequence")
            key = (at.get("session.id"), name, time, sequence, at.get("tool_use_id"), at.get("request_id"))
            told_apart = (_texts(own),) if sequence in (None, "") else ()
            self._keep(self.events, ("event", *key, *told_apart), Record(name, time // 1000, at))

    def _read_points(self, request: Mapping[str, Any]) -> None:
        for metric, start, end, temporality, value, at, own in ledger.points(request):
            assert temporality == _DELTA, "cumulative sums are the ledger's own to add"
            label = metric + (f"/{at['type']}" if at.get("type") else "")
            key = ("point", metric, start, end, _texts(own))
            self._keep(self.points, key, Record(label, end // 1000, at, value))

    def _read_spans(self, request: Mapping[str, Any]) -> None:
        for part in request.get("resourceSpans", []):
            outer = ledger.attributes(part.get("resource", {}))
            for span in (one for scope in part["scopeSpans"] for one in scope["spans"]):
                key = ("span", span["traceId"], span["spanId"])
                began = int(span["startTimeUnixNano"]) // 1000
                self._keep(self.spans, key, Record(span["name"], began, outer | ledger.attributes(span)))

    def _keep(self, kept: list[Record], key: tuple[Any, ...], one: Record) -> None:
        (self.again if key in self._seen else kept).append(one)
        self._seen.add(key)

    def only(self, ids: Collection[str | None], alone: Callable[[Record], bool] | None = None) -> Truth:
        """What is left of it. ids: of the sessions that stay.  alone: of records without one that stay, too."""
        found = copy.copy(self)
        known = self.ledger["sessions"]
        kept = {id_: one for id_, one in known.items() if id_ in ids}

        def stays(one: Record) -> bool:
            return one.session in kept if one.session in known else alone is not None and alone(one)

        found.ledger = {**self.ledger, "sessions": kept}
        found.events, found.points = list(filter(stays, self.events)), list(filter(stays, self.points))
        found.emails = self.emails
        for name in ("sessions", "hours"):
            found.__dict__.pop(name, None)
        return found

    def named(self, *names: str) -> list[Record]:
        """The events of these names."""
        return [one for one in self.events if one.name in names]

    def who(self, user: str | None, length: int = 12) -> str:
        """What the pages call somebody."""
        return NOBODY if user is None else self.emails.get(user) or f"{self.names[user][: length - 1]}…"

    @cached_property
    def emails(self) -> dict[str, str]:
        """Identity → e-mail, as far as it was ever said."""
        return {one.user: email for one in (*self.events, *self.points) if one.user and (email := one["user.email"])}

    @property
    def commands(self) -> list[Record]:
        """Commands that ran."""
        return [one for one in self.named("tool_result") if one["tool_name"] in _SHELLS]

    @property
    def calls(self) -> list[Record]:
        """Calls of tools of MCP servers."""
        tools = self.named("tool_result")
        return [one for one in tools if (one["tool_name"] or "").startswith("mcp__") or one["tool_name"] == "mcp_tool"]

    @cached_property
    def sessions(self) -> dict[str, Mapping[str, Any]]:
        """Those that count: no ghosts."""
        return {id_: one for id_, one in self.ledger["sessions"].items() if not one["ghost"]}

    def user_of(self, session: Mapping[str, Any]) -> str | None:
        """Whose a session is."""
        found: str | None = session["user_account_uuid"] or session["user_email"] or session["user_id"]
        return found

    @cached_property
    def hours(self) -> list[Hour]:
        """What every session did in every hour of it; points without a session stand under one a day and user."""
        found: dict[tuple[str, int], Hour] = {}
        for one in self.events:
            hour = self._hour(found, one)
            hour.active = hour.active or one.session in self.sessions
            for name, value in _counted(one).items():
                hour.sums[name] += value
        for one in self.points:
            if one.name in _METRICS:
                self._hour(found, one).sums[_METRICS[one.name]] += one.value
        asked = {one.session for one in self.named("api_request")}
        for hour in found.values():
            hour.sums["usd"] = hour["cost" if hour.session in asked else "metric_cost"]
        return list(found.values())

    def _hour(self, found: dict[tuple[str, int], Hour], one: Record) -> Hour:
        start, known = one.at // HOUR_US * HOUR_US, self.ledger["sessions"].get(one.session)
        if known is None:
            session, user = f"~{one.user}~{one.at // DAY_US}", one.user
            of = (one["team.id"], one["department"], one["cost_center"])
        else:
            session, user = str(one.session), self.user_of(known)
            of = (known["team"], known["department"], known["cost_center"])
        return found.setdefault((session, start), Hour(start, session, user, *of))


def _texts(values: Mapping[str, Any]) -> str:
    """Attributes as what tells records apart."""
    return json.dumps({name: str(value) for name, value in values.items()}, sort_keys=True)


def _counted(one: Record) -> dict[str, float]:
    """What an event adds to its hour."""
    match one.name:
        case "user_prompt":
            return {"prompts": 1}
        case "api_request":
            kinds = ("input", "output", "cache_read", "cache_creation")
            told = {kind: one.number(f"{kind}_tokens") or 0 for kind in kinds}
            cache = told["cache_read"] + told["cache_creation"]
            return {"requests": 1, "cost": one.usd, "tokens": one.tokens, "cache": cache, **told}
        case "tool_result" if one.failed:
            return {"errors": 1, "tool_failures": 1}
        case "api_error" | "internal_error":
            return {"errors": 1, f"{one.name}s": 1}
    return {}


def grouped(
    rows: Iterable[T], key: Mapping[str, Callable[[T], Any]], sums: Mapping[str, Callable[[list[T]], Any]]
) -> list[Row]:
    """GROUP BY: what rows share, and what is said of those that share it."""
    found: dict[tuple[Any, ...], list[T]] = defaultdict(list)
    for one in rows:
        found[tuple(of(one) for of in key.values())].append(one)
    return [
        dict(zip(key, shared, strict=True)) | {name: of(some) for name, of in sums.items()}
        for shared, some in found.items()
    ]


def users(rows: Iterable[Record]) -> int:
    """How many different ones are named."""
    return len({one.user for one in rows} - {None})


def sessions(rows: Iterable[Record]) -> int:
    """How many different ones are named."""
    return len({one.session for one in rows} - {None})


def last(rows: Iterable[Record]) -> int:
    """When the last one was."""
    return max(one.at for one in rows)


def share(part: float, whole: float) -> float | None:
    """Of nothing there is none."""
    return part / whole if whole else None


def within(values: Iterable[float | None], part: float) -> float | None:
    """So much of the values is no more than this; between two of them, in proportion."""
    found = sorted(value for value in values if value is not None)
    if not found:
        return None
    place = part * (len(found) - 1)
    low = int(place)
    high = min(low + 1, len(found) - 1)
    return found[low] + (found[high] - found[low]) * (place - low)


def mean(values: Sequence[float | None]) -> float | None:
    """Of those that are there."""
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else None
