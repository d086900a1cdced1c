"""What an event says in a line: its kind, a title, a few facts. Pure; every value is text from outside."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from console.shown import count, ms, tokens, usd

Row = Mapping[str, Any]
Tone = Literal["", "good", "bad", "warn"]

_TEXT_MAX = 300
# Event → the kind of its row, which is also the colour of its bar.
KINDS: Mapping[str, str] = {
    "user_prompt": "prompt",
    "api_request": "request",
    "api_request_body": "request",
    "api_response_body": "answer",
    "assistant_response": "answer",
    "tool_result": "tool",
    "tool_decision": "decision",
    "permission_mode_changed": "mode",
    "hook_registered": "hook",
    "hook_execution_start": "hook",
    "hook_execution_complete": "hook",
    "hook_plugin_metrics": "hook",
    "mcp_server_connection": "MCP",
    "api_error": "error",
    "api_retries_exhausted": "error",
    "api_refusal": "refusal",
    "internal_error": "error",
    "compaction": "compaction",
    "subagent_completed": "subagent",
    "auth": "sign-in",
    "plugin_installed": "plugin",
    "plugin_loaded": "plugin",
    "skill_activated": "skill",
    "at_mention": "mention",
}


@dataclass(frozen=True)
class Words:
    """kind: a short word.  title: what it was.  facts: more, in order.  tone: whether it is good or bad news.

    held: texts of class content that may be stored for it: (what, its length or None).
    """

    kind: str
    title: str
    facts: tuple[str, ...] = ()
    tone: Tone = ""
    held: tuple[tuple[str, str], ...] = ()


def words(row: Row, decision: Row | None = None, beside: Collection[str] = ()) -> Words:
    """Of an event. Columns that the person may not see are absent.

    decision: of a tool call, what allowed it.  beside: what its spans have of class content, as TEXTS calls it.
    """
    name = str(row["event_name"])
    title, facts, tone = _SAID.get(name, _plain)(row)
    if decision is not None:
        facts = [_decided(decision), *facts]
        if decision.get("decision") == "reject":
            tone = "warn"
    said = tuple(cut(fact) for fact in facts if fact)
    return Words(KINDS.get(name, "event"), cut(title), said, tone, _held(row, beside))


def cut(text: str) -> str:
    """At most so much of a text as a line can bear."""
    return text if len(text) <= _TEXT_MAX else text[: _TEXT_MAX - 1] + "…"


Said = tuple[str, list[str], Tone]


def _prompt(row: Row) -> Said:
    facts = [_characters(row.get("prompt_length"))]
    if row.get("command_name"):
        facts.append(f"command /{row['command_name']}")
    return "Prompt", facts, ""


def _request(row: Row) -> Said:
    said = [usd(row.get("cost_usd"))] if row.get("cost_usd") is not None else []
    said.append(f"{tokens(row.get('input_tokens'))} in, {tokens(row.get('output_tokens'))} out")
    cached = (row.get("cache_read_tokens") or 0) + (row.get("cache_creation_tokens") or 0)
    if cached:
        said.append(f"{tokens(cached)} cache")
    if row.get("ttft_ms") is not None:
        said.append(f"first token after {ms(row['ttft_ms'])}")
    return str(row.get("model") or "API request"), [*said, _source(row)], ""


def _answer(row: Row) -> Said:
    return "Answer", [_characters(row.get("response_length"))], ""


def _body(row: Row) -> Said:
    title = "Request's body" if row["event_name"] == "api_request_body" else "Response's body"
    facts = [_characters(row.get("body_length")), "cut by the client" if row.get("body_truncated") else ""]
    return title, facts, ""


def _tool(row: Row) -> Said:
    facts = ["failed" if row.get("success") is False else "", _text(row, "error_type"), _text(row, "error")]
    target = next((str(row[one]) for one in ("command_line", "file_path", "url") if row.get(one)), "")
    if not target and row.get("mcp_server"):
        target = f"{row['mcp_server']} · {row.get('mcp_tool') or ''}"
    size = row.get("tool_result_size_bytes")
    facts += [target, "" if size is None else f"result of {count(size)} bytes"]
    return str(row.get("tool_name") or "Tool"), facts, "bad" if row.get("success") is False else ""


def _decision(row: Row) -> Said:
    tone: Tone = "warn" if row.get("decision") == "reject" else ""
    return str(row.get("tool_name") or "Tool"), [_decided(row)], tone


def _mode(row: Row) -> Said:
    tone: Tone = "warn" if row.get("to_mode") == "bypassPermissions" else ""
    return f"{row.get('from_mode') or '?'} → {row.get('to_mode') or '?'}", [_text(row, "trigger")], tone


def _hook(row: Row) -> Said:
    title = str(row.get("hook_name") or row.get("hook_event") or "Hook")
    facts = [{"hook_registered": "registered", "hook_execution_start": "starts"}.get(str(row["event_name"]), "")]
    facts += [_text(row, "hook_type"), _text(row, "hook_source")]
    blocked, failed = row.get("num_blocking") or 0, row.get("num_non_blocking_error") or 0
    for number, what in ((row.get("num_success"), "succeeded"), (blocked, "blocked"), (failed, "failed")):
        if number:
            facts.append(f"{count(number)} {what}")
    return title, facts, "warn" if blocked else "bad" if failed else ""


def _mcp(row: Row) -> Said:
    status = str(row.get("status") or "")
    facts = [status, _text(row, "transport_type"), _text(row, "server_scope")]
    facts += [_text(row, "error_code"), _text(row, "error")]
    return str(row.get("server_name") or "MCP server"), facts, "bad" if status == "failed" else ""


def _api_error(row: Row) -> Said:
    status = row.get("status_code")
    facts = [_text(row, "model"), f"attempt {row['attempt']}" if row.get("attempt") else "", _text(row, "error")]
    return f"API error{f' {status}' if status is not None else ''}", [*facts, _source(row)], "bad"


def _exhausted(row: Row) -> Said:
    facts = [f"{count(row.get('total_attempts'))} attempts", _text(row, "model"), _text(row, "error")]
    if row.get("total_retry_duration_ms") is not None:
        facts.insert(1, f"tried for {ms(row['total_retry_duration_ms'])}")
    return "Given up after retries", facts, "bad"


def _refusal(row: Row) -> Said:
    facts = [_text(row, "category"), _text(row, "model")]
    if row.get("server_fallback_hop"):
        facts.append("tried on another model by the API")
    return "The model refused", [*facts, _source(row)], "warn"


def _internal(row: Row) -> Said:
    return str(row.get("error_name") or "Internal error"), [_text(row, "error_code")], "bad"


def _compaction(row: Row) -> Said:
    facts = [_text(row, "trigger"), "failed" if row.get("success") is False else ""]
    if row.get("pre_tokens") is not None:
        facts.append(f"{tokens(row['pre_tokens'])} → {tokens(row.get('post_tokens'))} tokens")
    return "Context compacted", [*facts, _text(row, "error")], "bad" if row.get("success") is False else ""


def _subagent(row: Row) -> Said:
    facts = [f"{tokens(row.get('total_tokens'))} tokens", f"{count(row.get('total_tool_uses'))} tool calls"]
    return f"Subagent {row.get('agent_type') or ''} done".replace("  ", " "), [*facts, _text(row, "final_model")], ""


def _auth(row: Row) -> Said:
    failed = row.get("success") is False
    facts = ["failed" if failed else "", _text(row, "auth_method"), _text(row, "error_category")]
    return str(row.get("action") or "sign-in"), facts, "bad" if failed else ""


def _plugin(row: Row) -> Said:
    facts = [_text(row, "plugin_scope"), _text(row, "marketplace_name")]
    title = str(row.get("plugin_name") or "Plugin")
    return f"{title} {'installed' if row['event_name'] == 'plugin_installed' else 'loaded'}", facts, ""


def _skill(row: Row) -> Said:
    return str(row.get("skill_name") or "Skill"), [_text(row, "invocation_trigger"), _text(row, "plugin_name")], ""


def _mention(row: Row) -> Said:
    return str(row.get("mention_type") or "mention"), ["not found" if row.get("success") is False else ""], ""


def _plain(row: Row) -> Said:
    return str(row["event_name"]).replace("_", " "), [], ""


_SAID = {
    "user_prompt": _prompt,
    "api_request": _request,
    "assistant_response": _answer,
    "api_request_body": _body,
    "api_response_body": _body,
    "tool_result": _tool,
    "tool_decision": _decision,
    "permission_mode_changed": _mode,
    "hook_registered": _hook,
    "hook_execution_start": _hook,
    "hook_execution_complete": _hook,
    "mcp_server_connection": _mcp,
    "api_error": _api_error,
    "api_retries_exhausted": _exhausted,
    "api_refusal": _refusal,
    "internal_error": _internal,
    "compaction": _compaction,
    "subagent_completed": _subagent,
    "auth": _auth,
    "plugin_installed": _plugin,
    "plugin_loaded": _plugin,
    "skill_activated": _skill,
    "at_mention": _mention,
}


def _decided(decision: Row) -> str:
    verb = {"accept": "accepted", "reject": "rejected"}.get(str(decision.get("decision")), "decided")
    source = decision.get("source")
    return f"{verb} by {source}" if source else verb


def _characters(length: Any) -> str:
    return "" if length is None else f"{count(length)} characters"


def _source(row: Row) -> str:
    source = row.get("query_source")
    return "" if source in (None, "repl_main_thread") else f"for {source}"


def _text(row: Row, column: str) -> str:
    value = row.get(column)
    return "" if value is None else str(value)


HELD_BACK = "held back by the client"
PROMPT_FIELDS = frozenset({"prompt", "prompt_text"})
# What spans have of class content → the column of their event with its length; and what no name says more of.
TEXTS: Mapping[str, str] = {
    "tool input": "tool_input_size_bytes",
    "tool output": "tool_result_size_bytes",
    "other texts": "",
}
# Event → (what of it is content, the column with its length, its unit, the fields that the client may hold back)
_CONTENT: Mapping[str, tuple[str, str, str, frozenset[str]]] = {
    "user_prompt": ("prompt", "prompt_length", "characters", PROMPT_FIELDS),
    "assistant_response": ("answer", "response_length", "characters", frozenset({"response"})),
    "tool_result": ("tool input", "tool_input_size_bytes", "bytes", frozenset({"tool_input", "tool_parameters"})),
    "tool_decision": ("tool input", "tool_input_size_bytes", "bytes", frozenset({"tool_input", "tool_parameters"})),
    "api_request_body": ("request's body", "body_length", "characters", frozenset({"body"})),
    "api_response_body": ("response's body", "body_length", "characters", frozenset({"body"})),
}


# Events whose fields of class content are told by their name.
TOLD = frozenset(_CONTENT)


def _held(row: Row, beside: Collection[str]) -> tuple[tuple[str, str], ...]:
    held: dict[str, str] = {}
    if (found := _CONTENT.get(str(row["event_name"]))) is not None:
        what, column, unit, names = found
        held[what] = HELD_BACK if names & set(row.get("held_back") or ()) else _length(row, column, unit)
    for what, column in TEXTS.items():
        # What the event was sent without its span may have.
        if (what in beside or (not column and row.get("other_texts"))) and held.get(what, HELD_BACK) == HELD_BACK:
            held[what] = _length(row, column, "bytes")
    if row.get("other_texts", False) is None and "other texts" not in held:
        held["other texts, if there are any"] = _length(row, "", "bytes")
    return tuple(held.items())


def _length(row: Row, column: str, unit: str) -> str:
    length = row.get(column)
    return "length not said" if length is None else f"{count(length)} {unit}"
