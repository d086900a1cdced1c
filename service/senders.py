"""The questions of who sends, in SQL: the console's Sources and `millrace doctor` ask the same ones.

A day is cheap to read, 30 days of a busy fleet are not: those are asked of sessions, which are few, and for the keys
that are still looked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from service.sql import literal, timestamp

SIGNALS = ("events", "metrics", "spans")
KNOWN = timedelta(days=30)
"""Whoever sent nothing for so long is not looked for."""
REJECTED = timedelta(days=7)
"""What was not taken is told of for so long."""
SILENT_DAYS = 7
"""A user without a session for so long is silent, unless somebody asks for another time."""

_DAY, _HOUR = timedelta(days=1), timedelta(hours=1)
_ROWS_MAX = 9_000
_NAMED_MAX = 1_000


def of_day(tables: Iterable[str], now: datetime) -> str:
    """signal, tenant, ingest_key_id, last (receipt), day, hour: what every key sent within a day."""
    hour, day = timestamp(now - _HOUR), timestamp(now - _DAY)
    return _together(
        f"SELECT '{table}' AS signal, tenant, ingest_key_id, max(received_time) AS last, count(*) AS day, "
        f"count(*) FILTER (received_time >= {hour}) AS hour FROM {table} WHERE received_time >= {day} GROUP BY ALL"
        for table in tables
    )


def before_day(
    tables: Iterable[str], keys: Sequence[str], found: Iterable[Mapping[str, Any]], now: datetime
) -> str | None:
    """The same of the keys and signals that have nothing within a day: when they last sent, within 30 days.

    Args: keys: ids of those that are looked for.  found: rows of `of_day`.  Returns: None: there are no such keys.
    """
    of_day = {(row["signal"], row["ingest_key_id"]) for row in found}
    known = timestamp(now.replace(minute=0) - KNOWN)
    parts = [
        f"SELECT '{table}' AS signal, tenant, ingest_key_id, max(received_time) AS last, 0 AS day, 0 AS hour "
        f"FROM {table} WHERE received_time >= {known} AND {_one_of(missing)} GROUP BY ALL"
        for table in tables
        if (missing := [id_ for id_ in keys if (table, id_) not in of_day])
    ]
    return _together(parts) if parts else None


def versions(now: datetime, rows_max: int) -> str:
    """service_name, app_version, app_entrypoint, sessions, users, last: clients within 30 days, most used first."""
    return (
        "SELECT service_name, app_version, app_entrypoint, count(*) AS sessions, "
        "count(DISTINCT user_key) AS users, max(last_time) AS last FROM sessions "
        f"WHERE NOT ghost AND last_time >= {timestamp(now - KNOWN)} GROUP BY ALL "
        f"ORDER BY sessions DESC, last DESC LIMIT {rows_max}"
    )


def silent_users(now: datetime, days: int, rows_max: int) -> str:
    """tenant, user_key, last, team, sessions, total (of all): who had sessions within 30 days, and none for `days`."""
    return (
        "SELECT tenant, user_key, max(last_time) AS last, max_by(team, last_time) AS team, count(*) AS sessions, "
        "count(*) OVER () AS total FROM sessions "
        f"WHERE NOT ghost AND user_key IS NOT NULL AND last_time >= {timestamp(now - KNOWN)} "
        f"GROUP BY tenant, user_key HAVING max(last_time) < {timestamp(now - timedelta(days=days))} "
        f"ORDER BY last DESC LIMIT {rows_max}"
    )


def rejections(now: datetime, rows_max: int, *, error: bool = True) -> str:
    """tenant, ingest_key_id, signal, stage, reason, week, day, last, error: what was not taken, by key and reason.

    error: whether the asker may see the error of the last one.
    """
    said = "max_by(error, received_at)" if error else "NULL::VARCHAR"
    return (
        "SELECT tenant, ingest_key_id, signal, stage, reason, count(*) AS week, "
        f"count(*) FILTER (received_at >= {timestamp(now - _DAY)}) AS day, max(received_at) AS last, "
        f"{said} AS error FROM rejected WHERE received_at >= {timestamp(now - REJECTED)} "
        f"GROUP BY tenant, ingest_key_id, signal, stage, reason ORDER BY last DESC LIMIT {rows_max}"
    )


def _together(parts: Iterable[str]) -> str:
    return f"SELECT * FROM ({' UNION ALL '.join(parts)}) ORDER BY last DESC LIMIT {_ROWS_MAX}"


def _one_of(ids: Sequence[str]) -> str:
    """A condition; of very many keys it is the cheaper question which any key is."""
    if len(ids) > _NAMED_MAX:
        return "ingest_key_id IS NOT NULL"
    return f"ingest_key_id IN ({', '.join(map(literal, ids))})"
