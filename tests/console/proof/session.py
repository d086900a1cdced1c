"""The statistics of one session, and the numbers beside each of its turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from console import shown
from tests.console.proof.truth import LATE_US, Record, Row, Truth
from tests.e2e.truth import micros

PAUSE_US = 30 * 60_000_000
COUNTED = (
    "prompts", "api_requests", "tools", "tool_failures", "errors", "api_errors", "internal_errors",
    "retries_exhausted", "refusals", "accepts", "rejects", "input_tokens", "output_tokens", "cache_read_tokens",
    "cache_creation_tokens",
)  # fmt: skip
NAMED = ("model", "app_version", "app_entrypoint", "terminal_type", "team", "department", "cost_center", "service_name")
METRICS = {
    "active_user_s": "claude_code.active_time.total/user",
    "active_cli_s": "claude_code.active_time.total/cli",
    "lines_added": "claude_code.lines_of_code.count/added",
    "lines_removed": "claude_code.lines_of_code.count/removed",
    "commits": "claude_code.commit.count",
    "pull_requests": "claude_code.pull_request.count",
}
STORED = (
    "tenant", "session_id", "start_time", "last_time", "user_email", "user_key", "models", "permission_mode",
    "spend_usd", "duration_s", "run_s", "compactions", "subagents", "sequence_gaps", "resends", "late",
    *COUNTED, *NAMED, *METRICS,
)  # fmt: skip


def in_order(t: Truth, id_: str) -> list[Record]:
    """The events of a session."""
    return sorted(
        (one for one in t.events if one.session == id_), key=lambda one: (one.at, one.number("event.sequence"))
    )


def missing(events: Sequence[Record]) -> int:
    """Numbers that a process of the client has left out."""
    numbers = [int(one.number("event.sequence") or 0) for one in events]
    return sum(max(0, after - before - 1) for before, after in pairwise(numbers) if after > before)


def counted(t: Truth, id_: str) -> Row:
    """What is known of a session, under the names that SQL has for it."""
    one: Mapping[str, Any] = t.ledger["sessions"][id_]
    events = in_order(t, id_)
    sums, named = one["metric_totals"], one["event_counts"]
    models: dict[str, float] = {}
    for request in events:
        if request.name == "api_request":
            models[str(request["model"])] = models.get(str(request["model"]), 0.0) + request.usd
    pauses = [after.at - before.at for before, after in pairwise(events)]
    records = [*events, *(point for point in t.points if point.session == id_)]
    modes = [event["to_mode"] for event in events if event.name == "permission_mode_changed"]
    return {
        **{name: one[name] for name in (*COUNTED, *NAMED)},
        **{name: sums.get(metric, 0) for name, metric in METRICS.items()},
        "tenant": t.tenant,
        "session_id": id_,
        "start_time": one["start_ns"] // 1000,
        "last_time": one["last_ns"] // 1000,
        "user_email": one["user_email"],
        "user_key": t.names[str(t.user_of(one))],
        "models": models,
        "permission_mode": modes[-1] if modes else None,
        "spend_usd": sum(models.values()) if models else sums.get("claude_code.cost.usage", 0),
        "duration_s": sum(pauses) / 1e6,
        "run_s": sum(pause for pause in pauses if pause <= PAUSE_US) / 1e6,
        "compactions": named.get("compaction", 0),
        "subagents": named.get("subagent_completed", 0),
        "sequence_gaps": missing(events),
        "resends": sum(record.session == id_ for record in t.again),
        "late": sum(record.at < t.sent - LATE_US for record in records),
    }


def plain(row: Row) -> Row:
    """A row of SQL's, to compare with the truth's."""
    return {**row, **{name: micros(row[name]) for name in ("start_time", "last_time")}}


def facts(row: Row) -> dict[str, list[str]]:
    """What the page says of a session: of this row of SQL's."""
    n = {name: shown.count(value) for name, value in row.items() if isinstance(value, int)}
    into, out = shown.tokens(row["input_tokens"]), shown.tokens(row["output_tokens"])
    time = {name: row[name].replace("T", " ")[:19] for name in ("start_time", "last_time")}
    email, key = row["user_email"], row["user_key"]
    said = {
        "User": email or f"{key[:12]}…",
        "Model": row["model"],
        "Version": row["app_version"],
        "Entrypoint": row["app_entrypoint"],
        "Terminal": row["terminal_type"],
        "Team": row["team"],
        "Department": row["department"],
        "Cost center": row["cost_center"],
        "Permission mode": row["permission_mode"],
        "Program": row["service_name"],
        "Tenant": row["tenant"],
        "Began": time["start_time"],
        "Last event": time["last_time"],
        "Cost by model": ", ".join(f"{name} {shown.usd(cost)}" for name, cost in row["models"].items())
        if len(row["models"]) > 1
        else None,
        "Session": row["session_id"],
        "Cost": f"{shown.usd(row['spend_usd'])} estimated",
        "Tokens": f"{shown.tokens(row['input_tokens'] + row['output_tokens'])} {into} in, {out} out",
        "Cache tokens": shown.tokens(row["cache_read_tokens"] + row["cache_creation_tokens"]),
        "Prompts": n["prompts"],
        "API requests": n["api_requests"],
        "Tool calls": n["tools"] + (f" {n['tool_failures']} failed" if row["tool_failures"] else ""),
        "Errors": n["errors"]
        + (
            f" {n['api_errors']} of the API, {n['tool_failures']} of tools, {n['internal_errors']} inside"
            if row["errors"]
            else ""
        ),
        "Given up after retries": n["retries_exhausted"] if row["retries_exhausted"] else None,
        "Refusals": n["refusals"] if row["refusals"] else None,
        "Decisions": shown.count(row["accepts"] + row["rejects"])
        + (f" {n['rejects']} rejected" if row["rejects"] else ""),
        "Duration": f"{shown.seconds(row['duration_s'])} wall clock",
        "Without long pauses": shown.seconds(row["run_s"]),
        "Lines": f"+{shown.count(row['lines_added'])} −{shown.count(row['lines_removed'])}",
        "Commits": shown.count(row["commits"]),
        "Pull requests": shown.count(row["pull_requests"]),
        "Compactions": n["compactions"] if row["compactions"] else None,
        "Subagents": n["subagents"] if row["subagents"] else None,
        "Missing events": f"{n['sequence_gaps']} never arrived" if row["sequence_gaps"] else None,
        "Re-sends": f"{n['resends']} came again, counted once" if row["resends"] else None,
        "Late": n["late"] if row["late"] else None,
    }
    active = [
        f"{shown.seconds(row[f'active_{who}_s'])} of the {name}" for who, name in (("user", "user"), ("cli", "client"))
    ]
    return {term: [text] for term, text in said.items() if text is not None} | {"Active time": active}


def turns(t: Truth, id_: str) -> list[str]:
    """The numbers of each turn: a prompt with all that it caused, what was before the first prompt first."""
    events = in_order(t, id_)
    found: dict[str, list[int]] = {}
    turn = ""
    for number, one in enumerate(events):
        turn = one["prompt.id"] or (str(number) if one.name == "user_prompt" else turn)
        found.setdefault(turn, []).append(number)
    ordered = sorted(found.items(), key=lambda item: (item[0] != "", events[item[1][0]].at))
    return [
        _numbers(t, [events[number] for number in numbers], [_left_out(events, number) for number in numbers])
        for _, numbers in ordered
    ]


def _left_out(events: Sequence[Record], number: int) -> int:
    return missing(events[max(0, number - 1) : number + 1])


def _numbers(t: Truth, events: Sequence[Record], left_out: Sequence[int]) -> str:
    known = [(one.session, one.name, one.at) for one in events]
    again = sum((one.session, one.name, one.at) in known for one in t.again)
    requests = [one for one in events if one.name == "api_request"]
    tools = [one for one in events if one.name == "tool_result"]
    errors = sum(
        one.name in ("api_error", "internal_error") or (one.name == "tool_result" and one.failed) for one in events
    )
    took = ("duration_ms", "total_duration_ms", "total_retry_duration_ms")
    began = [one.at - 1000 * max([0, *(one.number(name) or 0 for name in took)]) for one in events]
    parts = [shown.seconds((max(one.at for one in events) - min(began)) / 1e6)]
    if requests:
        parts.append(shown.usd(sum(one.usd for one in requests)))
        parts.append(f"{shown.tokens(sum(one.tokens for one in requests))} tokens")
    parts += [f"{n} {word}{'s' if n > 1 else ''}" for n, word in ((len(tools), "tool call"), (errors, "error")) if n]
    parts += ["refused"] if any(one.name == "api_refusal" for one in events) else []
    parts += [f"{n} {word}" for n, word in ((sum(left_out), "missing"), (again, "re-sent")) if n]
    return " · ".join([*parts, f"{len(events)} event{'s' if len(events) > 1 else ''}"])
