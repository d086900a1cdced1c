"""Comparing what SQL says with what the ledger says."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.oracle import ledger

Sql = Callable[[str], list[dict[str, Any]]]
SUMS = (
    "prompts",
    "api_requests",
    "cost_usd",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_creation_tokens",
    "tools",
    "tool_failures",
    "api_errors",
    "internal_errors",
    "retries_exhausted",
    "refusals",
    "accepts",
    "rejects",
)
NAMES = (
    "model",
    "user_id",
    "user_email",
    "user_account_uuid",
    "organization_id",
    "terminal_type",
    "app_version",
    "app_entrypoint",
    "service_name",
    "team",
    "department",
    "cost_center",
    "ghost",
)


def truth(folders: Iterable[Path]) -> dict[str, Any]:
    return ledger.ledger([str(folder) for folder in folders])


def micros(text: str) -> int:
    """ISO 8601 UTC as µs since the epoch."""
    elapsed = datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)
    return (elapsed.days * 86_400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds


def close(left: float | None, right: float | None) -> bool:
    return left is not None and right is not None and math.isclose(left, right, rel_tol=0, abs_tol=1e-6)


def differences(sql: Sql, want: dict[str, Any]) -> list[str]:
    """Every way in which the query tables of one tenant differ from the ledger; empty when they agree."""
    out: list[str] = []
    rows = {row["session_id"]: row for row in sql("select * from sessions")}
    if rows.keys() != want["sessions"].keys():
        out.append(f"sessions: {sorted(rows)} instead of {sorted(want['sessions'])}")
    for session, expected in want["sessions"].items():
        row = rows.get(session)
        if row is not None:
            out += [f"{session}: {text}" for text in _session(row, expected)]
    unique = want["unique"]
    for table, count in (("events", unique["events"]), ("metrics", unique["points"]), ("spans", unique["spans"])):
        got = sql(f"select count(*) as n from {table}")[0]["n"]
        if got != count:
            out.append(f"{table}: {got} rows instead of {count}")
    for table in ("user_hours", "session_hours"):
        out += [f"{table}: {text}" for text in _hours(sql(f"select * from {table}"), want["hours"])]
    return out


def _session(row: dict[str, Any], want: dict[str, Any]) -> list[str]:
    wrong = [name for name in (*SUMS, "errors") if not close(row[name], want[name])]
    wrong += [name for name in NAMES if row[name] != want[name]]
    out = [f"{name} {row[name]!r} instead of {want[name]!r}" for name in wrong]
    if row["event_counts"] != want["event_counts"]:
        out.append(f"event_counts {row['event_counts']} instead of {want['event_counts']}")
    totals = row["metric_totals"]
    if totals.keys() != want["metric_totals"].keys() or not all(
        close(totals[k], v) for k, v in want["metric_totals"].items()
    ):
        out.append(f"metric_totals {totals} instead of {want['metric_totals']}")
    for name, key in (("start_time", "start_ns"), ("last_time", "last_ns")):
        if micros(row[name]) != want[key] // 1000:
            out.append(f"{name} {row[name]} instead of {want[key]} ns")
    return out


def _hours(rows: list[dict[str, Any]], want: dict[str, dict[str, float]]) -> list[str]:
    sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for row in rows:
        hour = sums[str(micros(row["start"]) * 1000)]
        for name in SUMS:
            hour[name] += row[name]
        hour["sessions"] += row["sessions"] if "sessions" in row else row["active"]
    out = []
    for hour in sorted(sums.keys() | want.keys()):
        for name in (*SUMS, "sessions"):
            got, expected = sums[hour][name], want.get(hour, {}).get(name, 0.0)
            if not close(got, expected):
                out.append(f"hour {hour}: {name} {got} instead of {expected}")
    return out
