"""The state of every process of a stack, asked of the processes themselves."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from millrace.settings import StackSettings
from millrace.supervisor import ask_health
from schemas.errors import MillraceError
from service.cluster import describe
from service.settings import kafka_kwargs

_POLL_S = 0.5
_COLUMNS = ("process", "ready", "lag_total", "why", "last_error")


def collect(settings: StackSettings) -> list[dict[str, Any]]:
    """One row for each process, in the order of the flow: process, ready, why, since, pid, lag, last_error, …"""
    rows = [_kafka(settings)]
    for name, port in (
        ("gateway", settings.gateway_health_port),
        ("streams", settings.streams_health_port),
        ("sinks", settings.sinks_health_port),
    ):
        rows.append(_row(name, ask_health(f"http://{settings.health_host}:{port}/readyz")))
    return rows


def wait(settings: StackSettings, seconds: float) -> list[dict[str, Any]]:
    """The same, as soon as all are ready, or after so many seconds."""
    deadline = time.monotonic() + seconds
    rows = collect(settings)
    while not all(row["ready"] for row in rows) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        rows = collect(settings)
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text for people."""
    cells = [
        ["yes" if value is True else "NO" if value is False else _text(value) for value in _cells(row)] for row in rows
    ]
    head = ["process", "ready", "lag", "state", "last error"]
    widths = [max(len(line[i]) for line in [head, *cells]) for i in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [head, *cells]
    ]
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any]) -> list[Any]:
    return [row[column] for column in _COLUMNS]


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _kafka(settings: StackSettings) -> dict[str, Any]:
    kafka = {**kafka_kwargs(settings), "bootstrap_servers": settings.kafka_address, "request_timeout_ms": 3000}
    try:
        asyncio.run(describe(kafka, []))
    except MillraceError as error:
        return _row("kafka", {"ready": False, "why": str(error)})
    return _row("kafka", {"ready": True, "why": ""})


def _row(process: str, health: dict[str, Any]) -> dict[str, Any]:
    lag = health.get("lag") or {}
    return {
        "process": process,
        "ready": bool(health.get("ready")),
        "why": health.get("why") or "",
        "since": health.get("since"),
        "pid": health.get("pid"),
        "lag": lag,
        "lag_total": health.get("lag_total", sum(lag.values())),
        "last_error": health.get("last_error"),
        "last_error_at": health.get("last_error_at"),
    }
