"""A small store whose every sum is known, with hostile words in every field that a page shows."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from sinks.query.service import Door
from tests.console.conftest import Pages
from tests.console.handmade import pages_over
from tests.sinks.query import samples
from tests.sinks.query.conftest import DOOR

SCRIPT = "<script>alert(1)</script>\"'</script>"
FORMULA = "=cmd|' /C calc'!A0"
HOUR_US = samples.HOUR
DAY_US = 24 * HOUR_US
HOUR = samples.T0 - samples.T0 % HOUR_US
DAY = samples.T0 - samples.T0 % DAY_US
# USD a token. The requests of OPUS cost what these say, by the weights of console.prices; those of ODD do not.
OPUS, ODD = "opus", "odd-model"
INPUT_USD, OUTPUT_USD = 5e-6, 25e-6

_COUNTS = """
    prompts api_requests input_tokens output_tokens cache_read_tokens cache_creation_tokens tools tool_failures
    api_errors internal_errors retries_exhausted refusals errors accepts rejects lines_added lines_removed commits
    pull_requests compactions subagents
""".split()  # noqa: SIM905 - one block reads better than twenty lines
_MONEY = ("cost_usd", "metric_cost_usd", "spend_usd", "active_user_s", "active_cli_s")
_NO_SUMS = {**dict.fromkeys(_COUNTS, 0), **dict.fromkeys(_MONEY, 0.0)}


def cost_of(plain: int, output: int, read: int, written: int) -> float:
    return INPUT_USD * (plain + 0.1 * read + 1.25 * written) + OUTPUT_USD * output


def requests() -> list[dict[str, Any]]:
    """The API requests of the sessions a (six of them) and b (six)."""
    found = []
    for number in range(6):
        plain, output, read, written = 1000 + 300 * number, 200 + 70 * number**2, 20_000 * number, 900 * (6 - number)
        found.append(
            samples.event(
                number, session_id="a", user_key="user-a", team="core", cost_center="cc-1", model=OPUS,
                user_email="a@example.com", query_source="repl_main_thread",
                skill_name="pdf" if number < 2 else None,
                input_tokens=plain, output_tokens=output, cache_read_tokens=read, cache_creation_tokens=written,
                cost_usd=cost_of(plain, output, read, written),
            )
        )  # fmt: skip
        found.append(
            samples.event(
                100 + number, session_id="b", user_key="user-b", team=SCRIPT, cost_center=FORMULA, model=ODD,
                user_email=f"b{SCRIPT}@example.com", query_source=SCRIPT, agent_name=FORMULA, plugin_name=SCRIPT,
                mcp_server_name=SCRIPT, tool_name=SCRIPT,
                input_tokens=100 * (number % 3 + 1), output_tokens=10 * number, cost_usd=0.01 * (number % 2 + 1),
            )
        )  # fmt: skip
    return found


A_USD = sum(e["cost_usd"] for e in requests() if e["session_id"] == "a")
PDF_USD = sum(e["cost_usd"] for e in requests() if e.get("skill_name") == "pdf")
B_USD = sum(e["cost_usd"] for e in requests() if e["session_id"] == "b")
# What a routing rule kept out of the tables, and is counted all the same; cost by metrics alone; that of yesterday.
ARCHIVED_USD, METRIC_USD, PSEUDO_USD, BEFORE_USD = 0.125, 0.5, 0.25, 1.5
TOTAL_USD = A_USD + ARCHIVED_USD + B_USD + METRIC_USD + PSEUDO_USD


def _hour(session: str, user: str, at: int, **fields: Any) -> dict[str, Any]:
    spend = fields.get("cost_usd") or fields.get("metric_cost_usd") or 0.0
    return samples.session_hour(
        1, session_id=session, user_key=user, start=at, **{**_NO_SUMS, "spend_usd": spend, **fields}
    )  # fmt: skip


def hours() -> list[dict[str, Any]]:
    a = {"team": "core", "department": "eng", "cost_center": "cc-1"}
    b = {"team": SCRIPT, "department": SCRIPT, "cost_center": FORMULA}
    tokens = [sum(e[n] or 0 for e in requests() if e["session_id"] == "a") for n in ("input_tokens", "output_tokens")]
    return [
        _hour(
            "a", "user-a", HOUR, cost_usd=A_USD + ARCHIVED_USD, metric_cost_usd=A_USD + ARCHIVED_USD - 0.01,
            api_requests=7, prompts=3, commits=2, pull_requests=1, lines_added=400, lines_removed=20,
            input_tokens=tokens[0], output_tokens=tokens[1], active_user_s=1800.0, active_cli_s=3600.0, **a,
        ),
        _hour("b", "user-b", HOUR, cost_usd=B_USD, api_requests=6, prompts=1, **b),
        _hour("c", "user-c", HOUR, metric_cost_usd=METRIC_USD, active=False, team="core"),
        _hour("pseudo", "user-c", HOUR, metric_cost_usd=PSEUDO_USD, active=False, team="core"),
        _hour("old", "user-a", HOUR - 30 * HOUR_US, cost_usd=BEFORE_USD, api_requests=1, commits=1, **a),
    ]  # fmt: skip


def _session(name: str, user: str, at: int, **fields: Any) -> dict[str, Any]:
    return samples.session(
        1, session_id=name, user_key=user, **{**_NO_SUMS, "start_time": at, "last_time": at + HOUR_US // 2, **fields}
    )


def sessions() -> list[dict[str, Any]]:
    return [
        _session(
            "a", "user-a", samples.T0, team="core", cost_center="cc-1", model=OPUS, app_version="2.1.0",
            app_entrypoint="cli", terminal_type="tmux", user_email="a@example.com", subagents=2,
            event_counts={"api_request": 7, "mcp_server_connection": 1}, models={OPUS: A_USD},
        ),
        _session(
            "b", "user-b", samples.T0, team=SCRIPT, cost_center=FORMULA, model=ODD, app_version=SCRIPT,
            app_entrypoint=SCRIPT, terminal_type=SCRIPT, user_email=f"b{SCRIPT}@example.com",
        ),
        _session("c", "user-c", samples.T0, team="core", ghost=True, spend_usd=METRIC_USD),
        _session("pseudo", "user-c", samples.T0, team="core", ghost=True, pseudo=True),
        _session("old", "user-a", samples.T0 - 30 * HOUR_US, team="core", cost_center="cc-1", model=OPUS),
    ]  # fmt: skip


def _day(user: str, day: int, **fields: Any) -> dict[str, Any]:
    values = {**_NO_SUMS, "user_key": user, "grain": "day", "start": DAY - day * DAY_US, "sessions": 0, **fields}
    return samples.user_window(1, **values)


def days() -> list[dict[str, Any]]:
    """user-a: today, yesterday, 6, 7, 35 and 36 days ago; user-b: today and 20 days ago; user-c: never active."""
    a = {"team": "core", "department": "eng", "cost_center": "cc-1", "sessions": 1, "prompts": 2}
    b = {"team": SCRIPT, "department": SCRIPT, "cost_center": FORMULA, "sessions": 1, "prompts": 1}
    c = {"team": "core", "cost_center": None, "department": None}
    return [
        _day(
            "user-a", 0, **{**a, "prompts": 3}, spend_usd=A_USD + ARCHIVED_USD, cost_usd=A_USD + ARCHIVED_USD, commits=2
        ),
        _day("user-a", 1, **a, spend_usd=BEFORE_USD, cost_usd=BEFORE_USD, commits=1),
        *(_day("user-a", number, **a) for number in (6, 7, 35, 36)),
        _day("user-b", 0, **b, spend_usd=B_USD, cost_usd=B_USD),
        _day("user-b", 20, **b, received_time=samples.T0 + 15 * DAY_US),
        _day("user-c", 0, **c, spend_usd=METRIC_USD + PSEUDO_USD, metric_cost_usd=METRIC_USD + PSEUDO_USD),
    ]


def records() -> dict[str, list[dict[str, Any]]]:
    """Topic → values."""
    others = [
        samples.event(200, event_name="permission_mode_changed", session_id="a", user_key="user-a", to_mode="plan"),
        samples.event(201, event_name="tool_result", session_id="a", user_key="user-a", tool_name="Bash"),
        samples.event(202, event_name="tool_result", session_id="b", user_key="user-b", tool_name=SCRIPT),
        *(
            samples.event(number, event_name="mcp_server_connection", session_id="a", user_key="user-a", status=status)
            for number, status in ((203, "connected"), (204, "failed"))
        ),
    ]
    points = [
        samples.point(
            1,
            session_id="c",
            user_key="user-c",
            value=METRIC_USD,
            temporality="delta",
            query_source="auxiliary",
            model=OPUS,
        ),
        # Of a session that sent events this is the same money once more.
        samples.point(2, session_id="a", user_key="user-a", value=A_USD, temporality="delta", query_source="main"),
    ]
    return {
        "events": [*requests(), *others],
        "metrics": points,
        "session_hours": hours(),
        "sessions": sessions(),
        "user_windows": days(),
    }


def spending(folder: Path, door: Door = DOOR) -> AbstractAsyncContextManager[Pages]:
    """A console over this store."""
    return pages_over(folder, door, **records())
