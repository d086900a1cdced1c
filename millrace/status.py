"""The state of every process of a stack, asked of the processes themselves, and what the supervisor noted of them."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from millrace import notes, preflight
from millrace.settings import StackSettings
from millrace.supervisor import KAFKA, ask_health
from schemas.errors import MillraceError
from service.cluster import describe
from service.settings import kafka_kwargs

_POLL_S = 0.5
# The table's head, and what of a row stands below it.
_COLUMNS = {
    "process": "process",
    "ready": "ready",
    "lag": "lag_total",
    "behind": "lag_s",
    "newest": "event_age_s",
    "rows": "state_rows",
    "bytes": "state_bytes",
    "restarts": "restarts",
    "state": "why",
    "last error": "last_error",
}


def collect(settings: StackSettings) -> list[dict[str, Any]]:
    """One row for each process, in the order of the flow: process, ready, why, since, pid, lag, restarts, last_error, …

    lag_s, event_age_s, state_rows and state_bytes are those of a streams worker; details: whatever else a process says
    of itself.
    What nobody knows is None: the lag of a process that does not answer, the restarts where no stack runs.
    """
    stack_runs = preflight.stack_runs(settings.data)
    rows = [_row(KAFKA, _kafka(settings), settings, None if settings.external_kafka else stack_runs)]
    for name, port in (
        ("gateway", settings.gateway_health_port),
        *streams_ports(settings, stack_runs).items(),
        ("sinks", settings.sinks_health_port),
        ("console", settings.console_health_port),
    ):
        rows.append(_row(name, ask_health(f"http://{settings.health_host}:{port}/readyz"), settings, stack_runs))
    return rows


def streams_ports(settings: StackSettings, stack_runs: bool | None) -> dict[str, int]:
    """Health port of every streams worker by name: those that run here, whatever this shell's settings say."""
    return (notes.read_streams(settings.data) if stack_runs else None) or settings.streams_ports()


def wait(settings: StackSettings, seconds: float) -> list[dict[str, Any]]:
    """The same, as soon as all are ready, or after so many seconds."""
    deadline = time.monotonic() + seconds
    rows = collect(settings)
    while not all(row["ready"] for row in rows) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        rows = collect(settings)
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text for people; below them what rules dropped, how streams work, how far standbys are."""
    lines = [list(_COLUMNS), *([_text(head, row[key]) for head, key in _COLUMNS.items()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines
    )
    text += "".join(_dropped(row["process"], row["details"].get("dropped_by_rule") or {}) for row in rows)
    text += "".join(_work(row["process"], row["details"]) for row in rows if "fenced" in row["details"])
    return text + "".join(_standbys(row["process"], row["details"].get("tables") or {}) for row in rows)


def _dropped(process: str, by_rule: dict[str, dict[str, int]]) -> str:
    """A line for each rule, since the process was started."""
    return "".join(
        f"{process}: rule {rule} dropped " + ", ".join(f"{n} {what}" for what, n in sorted(counts.items())) + "\n"
        for rule, counts in sorted(by_rule.items())
    )


def _work(process: str, details: dict[str, Any]) -> str:
    """A line for each source that was read since the process was started, and one for what all have in common."""
    lines = [
        f"{process}: {topic}: {source['chunks']} chunks of {source['records'] / source['chunks']:.0f} records in "
        f"{source['chunk_s'] or 0:.3f} s each, {source['duplicates']} records again, {source['late']} late\n"
        for topic, source in sorted(details["sources"].items())
        if source["chunks"]
    ]
    repaired = sum(table["repaired_rows"] for table in details["tables"].values())
    lines.append(
        f"{process}: commit {details['commit_age_s']:.1f} s old, {repaired} rows repaired, "
        f"{details['rebalances']} rebalances, {details['fenced']} times fenced, "
        f"recovered in {details['recovery_s']:.1f} s\n"
    )
    return "".join(lines)


def _standbys(process: str, tables: dict[str, dict[str, Any]]) -> str:
    """A line for each table of which partitions are kept warm for other workers."""
    lines = []
    for name, table in tables.items():
        kept = [
            f"[{partition}] {'ready' if one['ready'] else 'NOT ready'}"
            + ("" if one["unread"] is None else f" with {one['unread']} records to read")
            for partition, one in (table.get("standbys") or {}).items()
        ]
        if kept:
            lines.append(f"{process}: standby of {name} {', '.join(kept)}\n")
    return "".join(lines)


def _text(head: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if value is None:
        return "?" if head == "lag" else ""
    if head in ("behind", "newest"):
        return f"{value:.1f} s"
    if head == "bytes":
        return f"{value / 1e6:.1f} MB"
    return " ".join(str(value).split())  # some errors have several lines


def _kafka(settings: StackSettings) -> dict[str, Any]:
    kafka = {**kafka_kwargs(settings), "bootstrap_servers": settings.kafka_address, "request_timeout_ms": 3000}
    try:
        asyncio.run(describe(kafka, []))
    except MillraceError as error:
        return {"ready": False, "why": str(error)}
    return {"ready": True, "why": ""}


def _row(process: str, health: dict[str, Any], settings: StackSettings, stack_runs: bool | None) -> dict[str, Any]:
    ready = bool(health.get("ready"))
    why = health.get("why") or ""
    if stack_runs is False and not ready and "pid" not in health:
        why = f"{why}; the stack is stopped (make run)"
    lag = health.get("lag") or ({} if ready else None)
    note = notes.read(settings.data, process)
    details = health.get("details") or {}
    error, error_at = health.get("last_error"), health.get("last_error_at")
    if note is not None and (error is None or note.at > (error_at or "")):
        error, error_at = note.text, note.at
    return {
        "process": process,
        "ready": ready,
        "why": why,
        "since": health.get("since"),
        "pid": health.get("pid"),
        "lag": lag,
        "lag_total": None if lag is None else sum(lag.values()),
        **{name: details.get(name) for name in ("lag_s", "event_age_s", "state_rows", "state_bytes")},
        "restarts": note.restarts if note is not None else 0 if stack_runs else None,
        "last_error": error,
        "last_error_at": error_at,
        "details": details,
    }
