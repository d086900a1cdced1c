"""Questions about events: those of a range and its filters, where a single one is shown, and who people are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from console import clock, turns
from console.filters import DIMENSIONS, NONE, Filters, joined
from console.web import Visit
from service.sql import literal, timestamp

# The dimensions that only some events carry: what an event says itself, else what its session says.
_OWN: Mapping[str, str] = {
    "model": "{e}.model",
    "version": "coalesce({e}.app_version, {e}.service_version)",
    "entrypoint": "{e}.app_entrypoint",
}
# When an event counts, which is when it is shown to have been.
WHEN = clock.when("e")
VERSION = "coalesce(e.app_version, e.service_version)"
_NAMES_MAX = 1000


def of_range(filters: Filters, *more: str, since: datetime | None = None, table: str = "events") -> str:
    """FROM and WHERE: the events of the range and the filters, as `e`; the time range comes first.

    Args: more: conditions.  since: begins earlier, or later, than the filters.  table: or spans.
    """
    filters = filters if since is None else replace(filters, start=since)
    own = "start_time" if table == "spans" else "event_time"
    when = clock.within("e", filters.start, filters.end, own)
    return f"FROM {table} e WHERE {joined([when, *more, *conditions(filters)])}"


def latest(filters: Filters, columns: str, *more: str, rows: int, skip: int = 0) -> str:
    """SELECT the latest events of the range and the filters, with what a list of them needs and these columns of `e`.

    In two parts, each in the order of one column: then DuckDB stops at the newest blocks and reads the other columns
    of what it shows only. Of ten million events that takes 15 ms instead of 1 s.

    Columns: event_id, tenant, session_id, user_key, happened (when it counts), then the others.
    """
    parts = []
    for which, at in (("NOT e.clock_suspect", "e.event_time"), ("e.clock_suspect", "e.received_time")):
        where = joined([filters.in_range(at), which, *more, *conditions(filters)])
        parts.append(
            f"(SELECT e.event_id, e.tenant, e.session_id, e.user_key, {at} AS happened, {columns} FROM events e "
            f"WHERE {where} ORDER BY {at} DESC, e.event_id LIMIT {rows + skip})"
        )
    return f"SELECT * FROM ({' UNION ALL '.join(parts)}) ORDER BY happened DESC, event_id LIMIT {rows} OFFSET {skip}"


def conditions(filters: Filters) -> list[str]:
    """Conditions of the filters on events or spans `e`."""
    return [
        *filters.conditions("e", hours=True),
        *(_own(name, filters) for name in filters.values if not DIMENSIONS[name].hours),
    ]


def _own(name: str, filters: Filters) -> str:
    own = _OWN[name].format(e="e")
    value = filters.values[name]
    (of_session,) = filters.only(name).conditions("s")
    session = f"(e.tenant, e.session_id) IN (SELECT (s.tenant, s.session_id) FROM sessions s WHERE {of_session})"
    said = "false" if value == NONE else f"{own} = {literal(value)}"
    return f"({said} OR ({own} IS NULL AND {session}))"


def grouped(sets: Sequence[Sequence[str]], sums: Mapping[str, str], source: str, **distinct: str) -> str:
    """The same aggregates by several groupings, one below the other; `part` is the number of the grouping, from 0.

    DuckDB makes joins of a DISTINCT beside other aggregates, or in GROUPING SETS, and overestimates them so far that
    the SQL service refuses the query over some hundred thousand events. So what is distinct is counted by itself.

    Args: sets: of each grouping the columns of the source; one that a grouping lacks is null in its rows.
          sums: name → aggregate.  source: a table, best a materialized one: it is read for each of them.
          distinct: name → columns, of which the different ones are counted, those that are null in all left out.
    """
    names = list(dict.fromkeys(name for one in sets for name in one))
    parts = []
    for number, one in enumerate(sets):
        columns = [name if name in one else f"NULL AS {name}" for name in names]
        by = f" GROUP BY {', '.join(one)}" if one else ""
        listed = [f"{sql} AS {name}" for name, sql in sums.items()] + [f"NULL AS {name}" for name in distinct]
        parts.append(f"SELECT {', '.join([*columns, f'{number} AS part', *listed])} FROM {source}{by}")
        for counted, of in distinct.items():
            listed = [f"NULL AS {name}" for name in sums]
            listed += [f"{'count(*)' if name == counted else 'NULL'} AS {name}" for name in distinct]
            told = " OR ".join(f"{column} IS NOT NULL" for column in of.split(", "))
            different = (
                f"SELECT DISTINCT {', '.join(dict.fromkeys([*one, *of.split(', ')]))} FROM {source} WHERE {told}"
            )
            parts.append(f"SELECT {', '.join([*columns, f'{number} AS part', *listed])} FROM ({different}){by}")
    shown = [*names, "part", *(f"any_value({name}) AS {name}" for name in sums)]
    shown += [f"coalesce(any_value({name}), 0) AS {name}" for name in distinct]
    return f"SELECT {', '.join(shown)} FROM ({' UNION ALL '.join(parts)}) GROUP BY {', '.join([*names, 'part'])}"


def named(*names: str) -> str:
    """Condition: the event is one of these."""
    return f"e.event_name IN ({', '.join(map(literal, names))})"


def since(filters: Filters) -> str:
    """For totals beside those of the period before, in one pass over both: condition that an event is of the range."""
    return f"{WHEN} >= {timestamp(filters.start)}"


def is_value(column: str, value: str) -> str:
    """Condition: a column is this; NONE: null."""
    return f"{column} IS NULL" if value == NONE else f"{column} = {literal(value)}"


def session_url(row: Mapping[str, Any], filters: Filters) -> str | None:
    """Where the session of a row of (tenant, session_id, event_id) is shown, at that event; None without a session.

    Args: filters: of the sessions to go back to.
    """
    if not row.get("tenant") or not row.get("session_id"):
        return None
    return turns.session_url(row["tenant"], row["session_id"], filters.query(event=row.get("event_id")))


async def emails(visit: Visit, *answers: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """The e-mails behind rows with (tenant, user_key), as far as the person may see them. Raises: AskFault."""
    keys = sorted({(row["tenant"], row["user_key"]) for rows in answers for row in rows if row["user_key"]})
    if not keys or not (await visit.visible()).has("people", "user_email"):
        return {}
    listed = ", ".join(literal(key) for key in sorted({key for _, key in keys[:_NAMES_MAX]}))
    sql = f"SELECT tenant, user_key, user_email FROM people WHERE user_key IN ({listed}) AND user_email IS NOT NULL"
    found = await visit.ask(sql, limit=_NAMES_MAX)
    return {(tenant, key): email for tenant, key, email in found.rows}
