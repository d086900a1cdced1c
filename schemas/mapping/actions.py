"""What an event says was done: action, category and outcome, by its name and a few of its fields. One table, EVENTS.

action     the event's name; where one event stands for several things, a dot and a finer word follow: auth.login
category   one of ECS's: api, authentication, configuration, file, iam, network, package, process, session, web
outcome    success, failure or unknown; None where an event has none
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Outcome = Callable[[Mapping[str, Any]], str | None]


class Case(NamedTuple):
    """One thing that an event can stand for.  word: what follows the event's name, "" for nothing."""

    word: str
    category: str | None
    outcome: Outcome


class Event(NamedTuple):
    """One event.  usual: what it stands for unless `choose` names one of `cases`."""

    usual: Case
    choose: Callable[[Mapping[str, Any]], str | None] | None = None
    cases: Mapping[str, Case] = {}


class Done(NamedTuple):
    """What was done."""

    action: str
    category: str | None
    outcome: str | None


def _always(word: str | None) -> Outcome:
    return lambda values: word


def _by_success(values: Mapping[str, Any]) -> str:
    found = values.get("success")
    return "unknown" if found is None else "success" if found else "failure"


def _by_hooks(values: Mapping[str, Any]) -> str:
    if values.get("num_non_blocking_error") or values.get("num_blocking"):
        return "failure"
    return "unknown" if values.get("num_hooks") is None or values.get("num_cancelled") else "success"


def _by_errors(values: Mapping[str, Any]) -> str:
    count = values.get("error_count")
    return "unknown" if count is None else "failure" if count else "success"


def _by_error_type(values: Mapping[str, Any]) -> str:
    return "failure" if values.get("error_type") else "success"


NONE, SUCCESS, FAILURE, UNKNOWN = _always(None), _always("success"), _always("failure"), _always("unknown")

# tool_name → kind of tool; every other tool is known by what its JSON holds, else it is only a tool.
TOOLS: Mapping[str, str] = {
    **dict.fromkeys(("Bash", "PowerShell", "BashOutput", "KillShell", "KillBash", "Monitor"), "command"),
    **dict.fromkeys(("Read", "Glob", "Grep", "LS", "NotebookRead", "LSP"), "file_read"),
    **dict.fromkeys(("Edit", "Write", "MultiEdit", "NotebookEdit"), "file_write"),
    **dict.fromkeys(("Agent", "Task", "TaskOutput", "SendMessage"), "agent"),
    "WebFetch": "web_fetch",
    "WebSearch": "web_search",
    "Skill": "skill",
    "mcp_tool": "mcp",
    "ListMcpResourcesTool": "mcp",
    "ReadMcpResourceTool": "mcp",
}


def _tool(values: Mapping[str, Any]) -> str | None:
    name = values.get("tool_name") or ""
    kind = TOOLS.get(name)
    if kind is None:
        if "mcp_server" in values or name.startswith("mcp__"):
            return "mcp"
        if "command_line" in values:
            return "command"
    return kind


def _member(field: str) -> Callable[[Mapping[str, Any]], str | None]:
    return lambda values: values.get(field)


def _first_set(**words: str) -> Callable[[Mapping[str, Any]], str | None]:
    """The word of the first field that says something."""
    pairs = tuple(words.items())
    return lambda values: next((word for field, word in pairs if values.get(field)), None)


def _only(category: str | None, outcome: Outcome) -> Event:
    return Event(Case("", category, outcome))


EVENTS: Mapping[str, Event] = {
    "user_prompt": Event(
        Case("", "session", NONE), _first_set(command_name="command"), {"command": Case("command", "session", NONE)}
    ),
    "assistant_response": _only("api", NONE),
    "tool_result": Event(
        Case("", "process", _by_success),
        _tool,
        {
            "command": Case("command", "process", _by_success),
            "file_read": Case("file_read", "file", _by_success),
            "file_write": Case("file_write", "file", _by_success),
            "web_fetch": Case("web_fetch", "web", _by_success),
            "web_search": Case("web_search", "web", _by_success),
            "mcp": Case("mcp", "api", _by_success),
            "agent": Case("agent", "process", _by_success),
            "skill": Case("skill", "process", _by_success),
        },
    ),
    # Written when a request has been answered; one that failed is an api_error.
    "api_request": _only("api", SUCCESS),
    "api_error": _only("api", FAILURE),
    "api_refusal": _only("api", FAILURE),
    "api_retries_exhausted": _only("api", FAILURE),
    "api_request_body": _only("api", NONE),
    "api_response_body": _only("api", NONE),
    "tool_decision": Event(
        Case("", "iam", UNKNOWN),
        _member("decision"),
        {"accept": Case("accept", "iam", SUCCESS), "reject": Case("reject", "iam", FAILURE)},
    ),
    "permission_mode_changed": Event(
        Case("", "configuration", SUCCESS),
        _member("to_mode"),
        {"bypassPermissions": Case("bypass", "configuration", SUCCESS)},
    ),
    "auth": Event(
        Case("", "authentication", _by_success),
        _member("action"),
        {
            "login": Case("login", "authentication", _by_success),
            "logout": Case("logout", "authentication", _by_success),
        },
    ),
    "mcp_server_connection": Event(
        Case("", "network", UNKNOWN),
        _member("status"),
        {
            "connected": Case("connected", "network", SUCCESS),
            "failed": Case("failed", "network", FAILURE),
            # Nothing says whether it was closed or lost.
            "disconnected": Case("disconnected", "network", UNKNOWN),
        },
    ),
    "internal_error": _only("process", FAILURE),
    "plugin_installed": _only("package", SUCCESS),
    "plugin_loaded": _only("package", SUCCESS),
    "skill_activated": _only("process", NONE),
    "at_mention": Event(
        Case("", "session", _by_success),
        _member("mention_type"),
        {
            "file": Case("file", "file", _by_success),
            "directory": Case("directory", "file", _by_success),
            "mcp_resource": Case("mcp_resource", "api", _by_success),
            "agent": Case("agent", "process", _by_success),
        },
    ),
    "hook_registered": _only("configuration", NONE),
    "hook_execution_start": _only("process", NONE),
    "hook_execution_complete": Event(
        Case("", "process", _by_hooks),
        _first_set(num_blocking="blocked"),
        {"blocked": Case("blocked", "process", FAILURE)},
    ),
    "hook_plugin_metrics": _only("process", NONE),
    "compaction": _only("session", _by_success),
    "subagent_completed": _only("process", UNKNOWN),
    "feedback_survey": _only("session", NONE),
    "retention_sweep": Event(
        Case("", "file", _by_errors), _first_set(skip_reason="skipped"), {"skipped": Case("skipped", "file", NONE)}
    ),
    "managed_settings_resolved": _only("configuration", _by_error_type),
    # Sent by clients, but in no documentation.
    "system_prompt": _only("session", NONE),
    "summary": _only("session", NONE),
    "tool": _only("process", NONE),
}


class _Resolved(NamedTuple):
    """A case with its whole action; `always` is its answer where the outcome is always the same."""

    action: str
    case: Case
    always: Done | None


def _resolve(name: str, case: Case) -> _Resolved:
    action = f"{name}.{case.word}" if case.word else name
    constant = case.outcome in _CONSTANT
    return _Resolved(action, case, Done(action, case.category, case.outcome({})) if constant else None)


_CONSTANT = (NONE, SUCCESS, FAILURE, UNKNOWN)
_EVENTS = {
    name: (_resolve(name, event.usual), event.choose, {k: _resolve(name, case) for k, case in event.cases.items()})
    for name, event in EVENTS.items()
}
ACTIONS: tuple[str, ...] = tuple(
    dict.fromkeys(found.action for usual, _, cases in _EVENTS.values() for found in (usual, *cases.values()))
)
"""Every action that `done` can give to a known event."""


def done(name: str, values: Mapping[str, Any]) -> Done:
    """What was done.

    Args:    name: the event's, without prefix.  values: its fields; absent or None where they say nothing.
    Returns: for a name that is not in EVENTS its name as the action, and nothing else.
    """
    known = _EVENTS.get(name)
    if known is None:
        return Done(name, None, None)
    found, choose, cases = known
    if choose is not None:
        found = cases.get(choose(values) or "", found)
    action, case, always = found
    return Done(action, case.category, case.outcome(values)) if always is None else always
