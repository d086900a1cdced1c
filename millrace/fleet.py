"""A synthetic fleet of Claude Code clients: seeded, pure, in the shapes that the real client sends.

A `Fleet` makes OTLP/JSON requests as dicts. The same seed and clock give the same requests. Used by `millrace demo`,
by the tests and by the bench. Shapes follow recordings of client 2.1.197: attribute names, types (numbers as text in
one event, as integers in another), delta sums, `event.sequence` per process, `<REDACTED>` where a gate is shut.
"""

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

Signal = Literal["logs", "metrics", "traces"]

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
VERSION = "2.1.197"
_DELTA = 1

# (department, team, cost center): finance asks by these.
TEAMS = (
    ("engineering", "platform", "eng-123"),
    ("engineering", "payments", "eng-140"),
    ("engineering", "mobile", "eng-155"),
    ("data", "insights", "dat-020"),
    ("security", "red-team", "sec-007"),
)
NAMES = ("ada", "barbara", "carol", "dana", "edsger", "frances", "grace", "hedy", "ida", "jean", "kathleen", "lise")
# USD per million tokens: input, output, cache read, cache creation.
MODELS = {
    "claude-sonnet-4-6": (3.0, 15.0, 0.30, 3.75),
    "claude-opus-4-6": (5.0, 25.0, 0.50, 6.25),
    "claude-haiku-4-5-20251001": (1.0, 5.0, 0.10, 1.25),
}
TERMINALS = ("xterm-256color", "iTerm.app", "vscode", "tmux", "WarpTerminal")
LANGUAGES = {"py": "Python", "ts": "TypeScript", "go": "Go", "md": "Markdown"}
PROMPTS = (
    "make the login page remember the last user",
    "why does the nightly export take two hours?",
    "write a test for the retry loop and run it",
    "rename the billing module and fix all imports",
    "explain what this stack trace means",
    "bump the dependencies and open a pull request",
)
COMMANDS = (
    "pytest -q",
    "git status",
    "npm run build",
    "rg -n TODO src",
    "git commit -m 'mend the retry loop'",
    "ls -la",
)
AGENT = "general-purpose"
REPOSITORIES = ("billing", "web", "exports")
MCP = (("github", "create_pull_request"), ("jira", "search_issues"), ("postgres", "query"))


@dataclass(frozen=True)
class Request:
    """One export request.  body: OTLP/JSON.  records: how many events, points or spans are in it."""

    signal: Signal
    body: dict[str, Any]
    records: int


@dataclass
class User:
    """A client installation and the person at it."""

    id: str
    email: str
    account_uuid: str
    account_id: str
    organization_id: str
    team: tuple[str, str, str]
    model: str
    terminal: str
    os: tuple[str, str, str]
    repository: str
    logs_prompts: bool
    logs_details: bool
    traces: bool
    session: "Session | None" = None
    last_ns: int = 0


@dataclass
class Session:
    """One session of a user, and the process that runs it now."""

    id: str
    turns_left: int
    sequence: int = 0
    fresh: bool = True
    events: list[dict[str, Any]] = field(default_factory=list)
    sums: dict[tuple[str, tuple[tuple[str, str], ...]], float] = field(default_factory=dict)
    spans: list[dict[str, Any]] = field(default_factory=list)
    exported_ns: int = 0
    prompt_id: str = ""


@dataclass(frozen=True)
class At:
    """Where in a trace something happens.

    span_id: within which; None: it is the root.  agent: the id of the subagent that does it; None: nobody's.
    """

    trace_id: str
    span_id: str | None = None
    agent: str | None = None


class Fleet:
    """Clients that work.

    Args: seed: the same gives the same.  users: how many clients.  events_per_request: at most so many events in one
        request of logs (the real client's batch is what gathered in 5 seconds).
    """

    def __init__(self, seed: int, *, users: int = 12, events_per_request: int = 100) -> None:
        self._random = random.Random(seed)
        self._events_per_request = events_per_request
        organization = self._uuid()
        self.users = [self._user(number, organization) for number in range(users)]

    def turns(self, count: int, *, start_ns: int, step_ns: int = 2 * NS_PER_S) -> Iterator[Request]:
        """The requests of so many turns on a clock of their own: turn i ends at start_ns + i x step_ns."""
        for turn in range(count):
            yield from self.turn(start_ns + turn * step_ns)

    def turn(self, now_ns: int) -> list[Request]:
        """One prompt of one user and all that follows, ending now: requests of logs, metrics and perhaps traces."""
        user = self._random.choice(self.users)
        # A client's clock goes on: its next event is later than its last one.
        clock = _Clock(max(now_ns - self._random.randint(3, 40) * NS_PER_S, user.last_ns + NS_PER_MS), now_ns)
        session = user.session
        if session is None:
            session = user.session = Session(self._uuid(), self._random.randint(1, 8), exported_ns=clock.now)
            self._open(user, session, clock)
        elif self._random.random() < 0.05:  # resumed by another process, which counts from 0 again
            session.sequence = 0
            self._add(session, "session.count", 1, start_type="resume")
            self._event(user, session, clock, "mcp_server_connection", **self._mcp_connection(user, clock))
        self._prompt(user, session, clock)
        session.turns_left -= 1
        if session.turns_left == 0:
            user.session = None
        user.last_ns = clock.now
        return self._export(user, session, max(now_ns, clock.now))

    # One turn, event by event -------------------------------------------------------------------------------------

    def _open(self, user: User, session: Session, clock: "_Clock") -> None:
        self._add(session, "session.count", 1, start_type="fresh")
        self._event(
            user, session, clock, "hook_registered",
            hook_event="Stop", hook_type="command", hook_source="projectSettings", safe_mode="false",
        )  # fmt: skip
        self._event(user, session, clock, "mcp_server_connection", **self._mcp_connection(user, clock))

    def _prompt(self, user: User, session: Session, clock: "_Clock") -> None:
        rng = self._random
        session.prompt_id = self._uuid()
        began = clock.now
        prompt = rng.choice(PROMPTS)
        shown = prompt if user.logs_prompts else "<REDACTED>"
        self._event(user, session, clock, "user_prompt", prompt_length=str(len(prompt)), prompt=shown)
        self._add(session, "active_time.total", rng.randint(2, 40) * 0.5, type="user")
        dice = rng.random()
        if dice < 0.03:
            self._api_errors(user, session, clock)
        elif dice < 0.05:
            self._event(
                user, session, clock, "api_refusal",
                model=user.model, request_id=self._request_id(), speed="normal", attempt=1, server_fallback_hop=False,
                query_source="repl_main_thread", effort="high", has_category=False, has_explanation=False,
            )  # fmt: skip
        else:
            at = At(self._hex(16), self._hex(8))
            for _ in range(rng.randint(1, 4)):
                self._api_request(user, session, clock, at)
                if rng.random() < 0.8:
                    self._tool(user, session, clock, at)
            if rng.random() < 0.04:
                self._compaction(user, session, clock)
            if rng.random() < 0.06:
                self._subagent(user, session, clock, at)
            self._span(
                user, session, "interaction", At(at.trace_id), (began, clock.now), at.span_id, user_prompt=shown,
                user_prompt_length=len(prompt), **{"interaction.duration_ms": (clock.now - began) // NS_PER_MS},
            )  # fmt: skip
        if rng.random() < 0.03:
            self._event(user, session, clock, "internal_error", error_name="TypeError")
        if rng.random() < 0.08:
            self._event(
                user,
                session,
                clock,
                "permission_mode_changed",
                from_mode="default",
                to_mode="acceptEdits",
                trigger="shift_tab",
            )

    def _api_request(self, user: User, session: Session, clock: "_Clock", at: At) -> int:
        """Returns: tokens in and out."""
        rng = self._random
        model = user.model if rng.random() < 0.85 else "claude-haiku-4-5-20251001"
        tokens = (
            rng.randint(3, 4000),
            rng.randint(20, 1500),
            rng.randrange(0, 90_000, 7),
            rng.choice((0, 0, rng.randint(100, 9000))),
        )
        # Whole micros, as the client reports them: cost_usd is the same number.
        micros = round(sum(count * price for count, price in zip(tokens, MODELS[model], strict=True)))
        request_id, began = self._request_id(), clock.now
        duration_ms = clock.pass_ms(rng.randint(300, 20_000))
        names = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_creation_tokens")
        source = {"query_source": "repl_main_thread", "effort": "high"}
        if at.agent is not None:
            source |= {"query_source": AGENT, "agent.name": AGENT}
        ttft_ms = rng.randint(1, duration_ms)
        self._event(
            user, session, clock, "api_request",
            model=model, **dict(zip(names, tokens, strict=True)), cost_usd=micros / 1e6, cost_usd_micros=micros,
            duration_ms=duration_ms, ttft_ms=ttft_ms, request_id=request_id, speed="normal", **source,
        )  # fmt: skip
        self._event(
            user, session, clock, "assistant_response",
            response_length=tokens[1] * 4, response="Done." if user.logs_prompts else "<REDACTED>",
            request_id=request_id, model=model, query_source=source["query_source"],
        )  # fmt: skip
        by = {"model": model, "query_source": "main" if at.agent is None else "subagent", "effort": "high"}
        self._add(session, "cost.usage", micros / 1e6, **by)
        for kind, count in zip(("input", "output", "cacheRead", "cacheCreation"), tokens, strict=True):
            if count:
                self._add(session, "token.usage", count, **by, type=kind)
        self._add(session, "active_time.total", duration_ms / 1000, type="cli")
        self._span(
            user, session, "llm_request", at, (began, clock.now), model=model, duration_ms=duration_ms,
            ttft_ms=ttft_ms, input_tokens=tokens[0], output_tokens=tokens[1], request_id=request_id, attempt=1,
            success=True, stop_reason="tool_use",
        )  # fmt: skip
        return tokens[0] + tokens[1]

    def _api_errors(self, user: User, session: Session, clock: "_Clock") -> None:
        by = {"model": user.model, "error": "Overloaded", "status_code": 529, "speed": "normal"}
        by |= {"query_source": "repl_main_thread", "effort": "high"}
        attempts, began = self._random.randint(1, 3), clock.now
        for attempt in range(1, attempts + 1):
            self._event(
                user, session, clock, "api_error", **by, duration_ms=clock.pass_ms(self._random.randint(20, 900)),
                attempt=attempt, request_id=self._request_id(),
            )  # fmt: skip
        if attempts == 3:
            self._event(
                user, session, clock, "api_retries_exhausted", **by, total_attempts=attempts,
                total_retry_duration_ms=(clock.now - began) // NS_PER_MS,
            )  # fmt: skip

    def _tool(self, user: User, session: Session, clock: "_Clock", at: At) -> None:
        rng = self._random
        tool, parameters, tool_input = self._tool_use(user)
        use = {"tool_name": tool, "tool_use_id": f"toolu_{self._hex(11)}"}
        details: dict[str, Any] = {}
        if user.logs_details:
            details = {"tool_parameters": json.dumps(parameters), "tool_input": json.dumps(tool_input)}
        rejected = rng.random() < 0.07
        source = (
            "user_reject" if rejected else rng.choice(("config", "config", "user_temporary", "user_permanent", "hook"))
        )
        decision = "reject" if rejected else "accept"
        asked = {"tool_parameters": details["tool_parameters"]} if details else {}
        self._event(user, session, clock, "tool_decision", decision=decision, source=source, **use, **asked)
        if tool in ("Edit", "Write"):
            language = LANGUAGES.get(str(tool_input["file_path"]).rsplit(".", 1)[-1], "unknown")
            self._add(
                session,
                "code_edit_tool.decision",
                1,
                decision=decision,
                source=source,
                tool_name=tool,
                language=language,
            )
        if rejected:
            return
        failed = rng.random() < 0.09
        began = clock.now
        duration_ms = clock.pass_ms(rng.randint(2, 4000))
        self._span(user, session, "tool", at, (began, clock.now), duration_ms=duration_ms, **use)
        outcome: dict[str, Any] = {"success": "false" if failed else "true", "duration_ms": str(duration_ms)}
        if failed:
            outcome |= {"error_type": "ShellError" if tool == "Bash" else "Error"}
            outcome |= {"error": "Exit code 1"} if user.logs_details else {}
        outcome |= {
            "decision_type": "accept",
            "decision_source": source,
            "tool_input_size_bytes": str(len(json.dumps(tool_input))),
        }
        outcome |= {} if failed else {"tool_result_size_bytes": str(rng.randint(0, 20_000))}
        outcome |= {"mcp_server_scope": "project"} if tool.startswith("mcp") else {}
        self._event(user, session, clock, "tool_result", **use, **outcome, **details)
        if failed:
            return
        if tool in ("Edit", "Write"):
            self._add(session, "lines_of_code.count", rng.randint(1, 120), type="added", model=user.model)
            self._add(session, "lines_of_code.count", rng.randint(0, 60), type="removed", model=user.model)
        if "git commit" in str(parameters.get("full_command", "")):
            self._add(session, "commit.count", 1)
        if parameters.get("mcp_tool_name") == "create_pull_request":
            self._add(session, "pull_request.count", 1)

    def _tool_use(self, user: User) -> tuple[str, dict[str, Any], dict[str, Any]]:
        rng = self._random
        tool = rng.choice(("Bash", "Bash", "Bash", "Edit", "Edit", "Write", "Read", "Read", "Grep", "WebFetch", "mcp"))
        name, ending = rng.choice(("billing", "login", "export")), rng.choice(tuple(LANGUAGES))
        file_path = f"/home/{user.email.split('@')[0]}/src/{name}.{ending}"
        if tool == "Bash":
            command = rng.choice(COMMANDS)
            parameters = {"bash_command": command.split()[0], "full_command": command, "description": "run it"}
            if command.startswith("git commit"):
                parameters["git_commit_id"] = self._hex(20)
            return tool, parameters, {"command": command, "description": "run it"}
        if tool == "mcp":
            server, name = rng.choice(MCP)
            shown = f"mcp__{server}__{name}" if user.logs_details else "mcp_tool"
            return shown, {"mcp_server_name": server, "mcp_tool_name": name}, {"query": "open"}
        if tool == "WebFetch":
            return tool, {}, {"url": "https://docs.example.com/guide", "prompt": "what changed?"}
        if tool == "Grep":
            return tool, {}, {"pattern": "retry", "path": "src"}
        return tool, {}, {"file_path": file_path}

    def _compaction(self, user: User, session: Session, clock: "_Clock") -> None:
        self._event(
            user, session, clock, "compaction",
            trigger="auto", success="true", duration_ms=str(clock.pass_ms(self._random.randint(900, 9000))),
            pre_tokens="155000", post_tokens="21000", precompute_reuse="miss_not_ready",
        )  # fmt: skip

    def _subagent(self, user: User, session: Session, clock: "_Clock", at: At) -> None:
        use = {"tool_name": "Agent", "tool_use_id": f"toolu_{self._hex(11)}"}
        inside = At(at.trace_id, self._hex(8), self._hex(8))
        self._event(user, session, clock, "tool_decision", decision="accept", source="config", **use)
        began, tokens, tools = clock.now, 0, self._random.randint(0, 3)
        for number in range(tools + 1):
            tokens += self._api_request(user, session, clock, inside)
            if number < tools:
                self._tool(user, session, clock, inside)
        took = (clock.now - began) // NS_PER_MS
        times = began, clock.now
        self._span(user, session, "tool", at, times, inside.span_id, duration_ms=took, subagent_type=AGENT, **use)
        self._event(
            user, session, clock, "subagent_completed",
            agent_type=AGENT, is_built_in=True, is_async=False, total_tokens=tokens, total_tool_uses=tools,
            duration_ms=took, model=user.model,
        )  # fmt: skip
        self._event(
            user, session, clock, "tool_result", **use, success="true", duration_ms=str(took), decision_type="accept",
            decision_source="config", tool_input_size_bytes="180", tool_result_size_bytes="2048",
        )  # fmt: skip

    def _mcp_connection(self, user: User, clock: "_Clock") -> dict[str, Any]:
        failed = self._random.random() < 0.1
        return {
            "status": "failed" if failed else "connected",
            "transport_type": "stdio",
            "server_scope": "project",
            "duration_ms": str(clock.pass_ms(self._random.randint(5, 900))),
            "is_plugin": False,
            **({"error_code": "-32000"} if failed else {}),
            **({"server_name": self._random.choice(MCP)[0]} if user.logs_details else {}),
        }

    # What is sent --------------------------------------------------------------------------------------------------

    def _event(self, user: User, session: Session, clock: "_Clock", name: str, **attributes: Any) -> None:
        clock.pass_ms(self._random.randint(1, 40))
        common = _identity(user, session)
        common |= {"event.name": name, "event.timestamp": _iso(clock.now), "event.sequence": session.sequence}
        if session.prompt_id:
            common["prompt.id"] = session.prompt_id
        session.sequence += 1
        session.events.append({
            "timeUnixNano": str(clock.now), "observedTimeUnixNano": str(clock.now),
            "body": {"stringValue": f"claude_code.{name}"}, "attributes": _attributes(common | attributes),
            "droppedAttributesCount": 0,
        })  # fmt: skip

    def _add(self, session: Session, metric: str, value: float, **attributes: str) -> None:
        key = (metric, tuple(attributes.items()))
        session.sums[key] = session.sums.get(key, 0.0) + value

    def _span(
        self,
        user: User,
        session: Session,
        kind: str,
        at: At,
        times_ns: tuple[int, int],
        span_id: str | None = None,
        **attributes: Any,
    ) -> None:
        """What happened from one time to another.  at: where.  span_id: of what others happen in."""
        if not user.traces:
            return
        told = _identity(user, session) | {"span.type": kind} | attributes
        if at.agent is not None:
            told |= {"agent_id": at.agent}
        above = {} if at.span_id is None else {"parentSpanId": at.span_id}
        start_ns, end_ns = times_ns
        session.spans.append({
            "traceId": at.trace_id, "spanId": span_id or self._hex(8), **above, "name": f"claude_code.{kind}",
            "kind": 1, "startTimeUnixNano": str(start_ns), "endTimeUnixNano": str(end_ns),
            "attributes": _attributes(told), "status": {"code": 0},
        })  # fmt: skip

    def _export(self, user: User, session: Session, now_ns: int) -> list[Request]:
        resource = {"attributes": _attributes(_resource(user)), "droppedAttributesCount": 0}
        requests = []
        for first in range(0, len(session.events), self._events_per_request):
            events = session.events[first : first + self._events_per_request]
            scope = {"name": "com.anthropic.claude_code.events", "version": VERSION}
            body = {"resourceLogs": [{"resource": resource, "scopeLogs": [{"scope": scope, "logRecords": events}]}]}
            requests.append(Request("logs", body, len(events)))
        metrics = self._metrics(user, session, now_ns)
        scope = {"name": "com.anthropic.claude_code", "version": VERSION}
        body = {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"scope": scope, "metrics": metrics}]}]}
        requests.append(Request("metrics", body, sum(len(metric["sum"]["dataPoints"]) for metric in metrics)))
        if session.spans:
            scope = {"name": "com.anthropic.claude_code.tracing", "version": VERSION}
            body = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": session.spans}]}]}
            requests.append(Request("traces", body, len(session.spans)))
        session.events, session.sums, session.spans, session.exported_ns = [], {}, [], now_ns
        return requests

    def _metrics(self, user: User, session: Session, now_ns: int) -> list[dict[str, Any]]:
        points: dict[str, list[dict[str, Any]]] = {}
        for (metric, attributes), value in session.sums.items():
            points.setdefault(metric, []).append({
                "attributes": _attributes(_identity(user, session) | dict(attributes)),
                "startTimeUnixNano": str(session.exported_ns), "timeUnixNano": str(now_ns), "asDouble": value,
            })  # fmt: skip
        units = {"cost.usage": "USD", "token.usage": "tokens", "active_time.total": "s"}
        return [
            {
                "name": f"claude_code.{metric}",
                "description": "",
                "unit": units.get(metric, ""),
                "sum": {"aggregationTemporality": _DELTA, "isMonotonic": True, "dataPoints": found},
            }
            for metric, found in points.items()
        ]

    # Made from the seed ----------------------------------------------------------------------------------------------

    def _user(self, number: int, organization: str) -> User:
        rng = self._random
        name = NAMES[number % len(NAMES)] + (str(number // len(NAMES)) if number >= len(NAMES) else "")
        account = self._uuid()
        return User(
            id=hashlib.sha256(f"{account}/{number}".encode()).hexdigest(),
            email=f"{name}@example.com",
            account_uuid=account,
            account_id=f"user_{account.replace('-', '')[:24]}",
            organization_id=organization,
            team=TEAMS[number % len(TEAMS)],
            model=rng.choice(("claude-sonnet-4-6", "claude-sonnet-4-6", "claude-opus-4-6")),
            terminal=rng.choice(TERMINALS),
            os=rng.choice(
                (("linux", "6.8.0", "amd64"), ("darwin", "25.1.0", "arm64"), ("windows", "10.0.26100", "amd64"))
            ),
            repository=REPOSITORIES[number % len(REPOSITORIES)],
            logs_prompts=number % 3 == 0,
            logs_details=number % 2 == 0,
            traces=number % 4 == 0,
        )

    def _uuid(self) -> str:
        return str(UUID(int=self._random.getrandbits(128), version=4))

    def _hex(self, size: int) -> str:
        return self._random.randbytes(size).hex()

    def _request_id(self) -> str:
        return f"req_{self._hex(10)}"


@dataclass
class _Clock:
    """Time within a turn: never standing still, and beyond its end only where a turn has no time left at all."""

    now: int
    end: int

    def pass_ms(self, milliseconds: int) -> int:
        """So long, but at most half of what is left of the turn. Returns: how long, as a client would measure it."""
        passed = max(min(milliseconds, (self.end - self.now) // (2 * NS_PER_MS)), 1)
        self.now += passed * NS_PER_MS
        return passed


def _identity(user: User, session: Session) -> dict[str, Any]:
    code = {"vcs.owner.name": "example", "vcs.repository.name": user.repository} if user.logs_details else {}
    return {
        **_team(user),
        **code,
        "user.id": user.id,
        "session.id": session.id,
        "organization.id": user.organization_id,
        "user.email": user.email,
        "user.account_uuid": user.account_uuid,
        "user.account_id": user.account_id,
        "terminal.type": user.terminal,
    }


def _team(user: User) -> dict[str, str]:
    department, team, cost_center = user.team
    return {"department": department, "team.id": team, "cost_center": cost_center}


def _resource(user: User) -> dict[str, str]:
    os_type, os_version, arch = user.os
    host = {"host.arch": arch, "os.type": os_type, "os.version": os_version}
    return {**_team(user), **host, "service.name": "claude-code", "service.version": VERSION}


def _attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _any_value(value)} for key, value in values.items()]


def _any_value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": value}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}


def _iso(time_ns: int) -> str:
    """As JavaScript's Date writes it: milliseconds, Z."""
    return (
        datetime.fromtimestamp(time_ns // NS_PER_MS / 1000, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )
