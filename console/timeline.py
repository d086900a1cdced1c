"""A session as a timeline: its events and spans as what happened in a turn, joined, nested and to scale. Pure.

Rows come in the session's order (time, sequence, event_id) and say `missing` and `restarted` of the place before them,
`started_us` and `ended_us` of themselves; see console/pages/session.py.

How an event is known to be a subagent's, best first:
    its own attribute agent_id; the agent_id of the span with its request_id or tool_use_id;
    the tool call among that span's ancestors that started a subagent; agent.name on its request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from console.wording import TEXTS, Words, words

Row = Mapping[str, Any]
# What tells that a span is of an event: the same of both.
JOINS = ("request_id", "tool_use_id")
# What a span's row says it has of class content: column → as `words` calls it.
KEPT = {f"has_{what.replace(' ', '_')}": what for what in TEXTS}

# A bar of less would not be seen. Of SCALE.
_BAR_MIN = 4.0
SCALE = 1000.0
# Tools that start a subagent, in clients before and after the rename.
_STARTING = {"Task", "Agent"}
_ANCESTORS_MAX = 50


@dataclass(frozen=True)
class Turn:
    """A prompt with all that it caused, in numbers; without a key: what was before the first prompt.

    place: from 1, in the session.  started_us, ended_us: since the epoch.  prompt: a few columns of
    its event, if it is there.  missing: sequence numbers that are not there.
    """

    key: str
    place: int
    started_us: int
    ended_us: int
    events: int
    numbers: Row
    prompt: Row | None
    missing: int

    @property
    def seconds(self) -> float:
        """From its first to its last moment."""
        return max(0, self.ended_us - self.started_us) / 1e6


@dataclass(frozen=True)
class Entry:
    """One thing that happened.

    row: its event.  decision: of a tool call, the event that allowed or refused it.  inside: what a subagent did that
    this tool call started.
    """

    row: Row
    words: Words
    decision: Row | None = None
    inside: tuple[Agent, ...] = ()

    @property
    def id(self) -> str:
        """Of its event."""
        return str(self.row["event_id"])

    @property
    def held_by_decision(self) -> tuple[tuple[str, str], ...]:
        """As Words.held, of its decision alone: what spans have of a call goes with its result."""
        return () if self.decision is None else words(self.decision).held

    @property
    def started_us(self) -> int:
        """Since the epoch."""
        return int(self.row["started_us"])

    @property
    def ended_us(self) -> int:
        """Since the epoch."""
        return int(self.row["ended_us"])

    @property
    def missing(self) -> int:
        """Sequence numbers that are not there just before it, or before its decision."""
        return int(self.row.get("missing") or 0) + int((self.decision or {}).get("missing") or 0)

    @property
    def again(self) -> tuple[tuple[str, int], ...]:
        """What of it came more than once: what it is called, and how often it came. It counts once."""
        came = (("", self.row), ("its decision ", self.decision or {}))
        return tuple((what, 1 + int(row["resends"])) for what, row in came if row.get("resends"))

    @property
    def restarted(self) -> bool:
        """Whether another process of the client begins here: the sequence fell."""
        return bool(self.row.get("restarted") or (self.decision or {}).get("restarted"))


@dataclass(frozen=True)
class Agent:
    """What a subagent did, at the place of the first of it.  key: of no meaning."""

    key: str
    name: str
    items: tuple[Entry | Agent, ...]

    @property
    def entries(self) -> list[Entry]:
        """All of it, that of its own subagents included."""
        return list(entries(self.items))

    @property
    def started_us(self) -> int:
        """Since the epoch."""
        return min(one.started_us for one in self.entries)

    @property
    def ended_us(self) -> int:
        """Since the epoch."""
        return max(one.ended_us for one in self.entries)

    def total(self, *columns: str) -> float:
        """A sum over all its requests, which alone are counted."""
        requests = [one.row for one in self.entries if one.row["event_name"] == "api_request"]
        return sum(float(row.get(column) or 0) for row in requests for column in columns)


Item = Entry | Agent


@dataclass
class _Group:
    key: str
    name: str
    parent_agent: str | None = None
    parent_tool: str | None = None
    items: list[Entry | _Group] = field(default_factory=list)


def turn(row: Row) -> Turn:
    """Of a row of the outline."""
    prompt = None
    if row["prompt_event"] is not None:
        prompt = {name: row[f"prompt_{name}"] for name in ("event", "length", "command")} | {
            "held_back": bool(row["prompt_held_back"])
        }
    return Turn(
        row["turn"] or "",
        int(row["place"]),
        int(row["started_us"]),
        int(row["ended_us"]),
        int(row["events"]),
        row,
        prompt,
        int(row["missing"] or 0),
    )


def items(rows: Sequence[Row], spans: Sequence[Row] = ()) -> list[Item]:
    """What happened, in order; tool calls with their decisions, subagents nested."""
    index = _Spans(spans)
    joined = _joined(rows, index)
    homes = _homes(joined, index)
    top: list[Entry | _Group] = []
    groups: dict[str, _Group] = {}
    calls = {entry.row.get("tool_use_id"): entry.id for entry in joined if entry.row.get("tool_use_id")}
    for entry in joined:
        home = homes.get(entry.id)
        if home is None:
            top.append(entry)
            continue
        group = groups.get(home.key)
        if group is None:
            group = groups[home.key] = replace(home, items=[])
        group.parent_agent = group.parent_agent or home.parent_agent
        group.parent_tool = group.parent_tool or home.parent_tool
        group.items.append(entry)
    of_calls = _placed(top, groups, calls, homes)
    order = {entry.id: place for place, entry in enumerate(joined)}
    return list(_ordered(top, of_calls, order))


def entries(of: Sequence[Item]) -> Iterator[Entry]:
    """All of them, however nested."""
    for item in of:
        if isinstance(item, Agent):
            yield from entries(item.items)
        else:
            yield item
            for agent in item.inside:
                yield from entries(agent.items)


def bar(started_us: int, ended_us: int, of: Turn) -> tuple[float, float]:
    """Where a bar begins and how long it is within a turn, of SCALE; never out of it, never too short to see."""
    whole = max(1, of.ended_us - of.started_us)
    start = min(max(0.0, (started_us - of.started_us) / whole * SCALE), SCALE - _BAR_MIN)
    length = max(_BAR_MIN, (ended_us - max(started_us, of.started_us)) / whole * SCALE)
    return round(start, 1), round(min(length, SCALE - start), 1)


def _joined(rows: Sequence[Row], index: _Spans) -> list[Entry]:
    """An entry for each row; but a tool call's decision goes with its result, at the place of the first of both."""
    results = {row["tool_use_id"]: row for row in rows if row["event_name"] == "tool_result" and row.get("tool_use_id")}
    taken: dict[str, Row] = {}
    for row in rows:
        use = row.get("tool_use_id")
        if row["event_name"] == "tool_decision" and use is not None and use in results:
            taken.setdefault(use, row)
    out: list[Entry] = []
    done: set[str] = set()
    for row in rows:
        use = row.get("tool_use_id")
        decision = taken.get(use) if use else None
        if decision is not None and row["event_name"] in ("tool_decision", "tool_result"):
            result = results[use]
            if row["event_id"] in (decision["event_id"], result["event_id"]):
                if result["event_id"] not in done:
                    done.add(result["event_id"])
                    out.append(Entry(result, words(result, decision, index.texts(result)), decision))
                continue
        out.append(Entry(row, words(row, beside=index.texts(row))))
    return out


class _Spans:
    """Spans by what joins them to events."""

    def __init__(self, spans: Sequence[Row]) -> None:
        self._by_id = {(one.get("trace_id"), one["span_id"]): one for one in spans}
        self._by_request = {one["request_id"]: one for one in spans if one.get("request_id")}
        # The tool's own span rather than the waiting or running below it.
        self._by_use: dict[str, Row] = {}
        for one in spans:
            if (use := one.get("tool_use_id")) and (use not in self._by_use or one["name"] == "claude_code.tool"):
                self._by_use[use] = one
        self._texts: dict[tuple[str, Any], set[str]] = {}
        for one in spans:
            kept = {what for column, what in KEPT.items() if one.get(column)}
            for join in JOINS:
                if kept and one.get(join):
                    self._texts.setdefault((join, one[join]), set()).update(kept)
        self.parents = {
            one["agent_id"]: one["parent_agent_id"]
            for one in spans
            if one.get("agent_id") and one.get("parent_agent_id")
        }

    def of(self, row: Row) -> Row | None:
        """The span of an event."""
        return self._by_request.get(row.get("request_id")) or self._by_use.get(row.get("tool_use_id"))  # type: ignore[arg-type]

    def texts(self, row: Row) -> set[str]:
        """What all spans of an event have of class content, as `words` calls it."""
        return set().union(*(self._texts.get((join, row.get(join)), ()) for join in JOINS))

    def starter(self, span: Row) -> Row | None:
        """The nearest tool call above a span that started a subagent."""
        at: Row | None = span
        for _ in range(_ANCESTORS_MAX):
            at = None if at is None else self._by_id.get((at.get("trace_id"), at.get("parent_span_id")))
            if at is None:
                return None
            if at.get("tool_use_id") and (at.get("subagent_type") or at.get("tool_name") in _STARTING):
                return None if at is span or at.get("tool_use_id") == span.get("tool_use_id") else at
        return None


def _homes(joined: Sequence[Entry], index: _Spans) -> dict[str, _Group]:
    """Event id → the subagent that it is of."""
    found: dict[str, _Group] = {}
    by_request: dict[str, _Group] = {}
    for entry in joined:
        home = _home(entry.row, index)
        if home is not None:
            found[entry.id] = home
            if request := entry.row.get("request_id"):
                by_request[request] = home
    # An answer names no agent; its request does.
    for entry in joined:
        request = entry.row.get("request_id")
        if entry.id not in found and request in by_request:
            found[entry.id] = by_request[request]
    _completions(joined, found)
    return found


def _home(row: Row, index: _Spans) -> _Group | None:
    if row["event_name"] == "user_prompt":
        return None
    span = index.of(row)
    agent = row.get("agent_id") or (span or {}).get("agent_id")
    starter = index.starter(span) if span is not None else None
    kind = row.get("agent_name") or (starter or {}).get("subagent_type")
    tool = None if starter is None else starter["tool_use_id"]
    if agent:
        parent = row.get("parent_agent_id") or index.parents.get(agent)
        return _Group(f"agent {agent}", str(kind or "subagent"), f"agent {parent}" if parent else None, tool)
    if tool is not None:
        return _Group(f"tool {tool}", str(kind or "subagent"), None, tool)
    if row.get("agent_name"):
        return _Group(f"name {row['agent_name']}", str(row["agent_name"]))
    return None


def _completions(joined: Sequence[Entry], found: dict[str, _Group]) -> None:
    """The end of a subagent belongs to the only one of its type; where several could be meant, to none."""
    names: dict[str, dict[str, _Group]] = {}
    for home in found.values():
        names.setdefault(home.name, {})[home.key] = home
    for entry in joined:
        if entry.row["event_name"] == "subagent_completed" and entry.id not in found:
            same = names.get(str(entry.row.get("agent_type")), {})
            if len(same) == 1:
                found[entry.id] = next(iter(same.values()))


def _placed(
    top: list[Entry | _Group], groups: Mapping[str, _Group], calls: Mapping[Any, str], homes: Mapping[str, _Group]
) -> dict[str, list[_Group]]:
    """Put every group where it belongs: below the call that started it, into its parent, else on top.

    Returns: event id of a tool call → the groups below it.
    """
    above: dict[str, str] = {}
    of_calls: dict[str, list[_Group]] = {}
    for group in groups.values():
        call = calls.get(group.parent_tool) if group.parent_tool else None
        around = homes[call].key if call is not None and call in homes else None
        parent = group.parent_agent
        if call is not None and not _circle(group.key, around, above):
            of_calls.setdefault(call, []).append(group)
            if around is not None:
                above[group.key] = around
        elif parent is not None and parent in groups and not _circle(group.key, parent, above):
            groups[parent].items.append(group)
            above[group.key] = parent
        else:
            top.append(group)
    return of_calls


def _circle(key: str, parent: str | None, above: Mapping[str, str]) -> bool:
    """Whether a group would come to lie within itself."""
    at = parent
    while at is not None:
        if at == key:
            return True
        at = above.get(at)
    return False


def _first(item: Entry | _Group, order: Mapping[str, int]) -> int:
    if isinstance(item, Entry):
        return order[item.id]
    return min((_first(one, order) for one in item.items), default=len(order))


def _ordered(
    of: Sequence[Entry | _Group], of_calls: Mapping[str, list[_Group]], order: Mapping[str, int]
) -> Iterator[Item]:
    for item in sorted(of, key=lambda one: _first(one, order)):
        if isinstance(item, _Group):
            yield Agent(item.key, item.name, tuple(_ordered(item.items, of_calls, order)))
        else:
            inside = tuple(_ordered(of_calls.get(item.id, ()), of_calls, order))
            yield replace(item, inside=tuple(one for one in inside if isinstance(one, Agent)))
