"""The list of sessions: chosen, sorted, filtered, searched and paged in the store; as CSV, too.

/sessions and /sessions.csv take, besides the time range and the filters of console/filters.py (range, from, to, tenant,
team, department, cost_center, user, model, version, entrypoint), so that other pages can link here:

    only       names of ONLY, comma separated or repeated: errors, refusals, failed, gaps, …: sessions with any of that,
               and of several all
    outcome    open, idle, closed (by the time since the last event) or failed (retries exhausted, or an internal error)
    mode       the permission mode, e.g. bypassPermissions; (none): not said
    q          the beginning of a session's id, or a part of the user's e-mail, team, model, version, …
    sort       a name of COLUMNS, with - before it for the highest first; start: the newest first by default
    columns    names of COLUMNS, comma separated or repeated
    page       from 1

A session is in a range when some of it is: it began before the end, and its last event is not before the start. Ghosts
(sessions in which nothing was asked) are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from console import listing as lists
from console.ask import Answer
from console.download import csv_file
from console.errors import AskFault
from console.filters import NONE, shown_dimensions
from console.listing import COLUMNS, ONLY, OUTCOMES, PAGE_ROWS, PAGES_MAX, Column, Listing, state
from console.turns import mark, session_url
from console.web import Page, Visit

CSV_ROWS_MAX = 50_000


async def sessions(visit: Visit) -> Response:
    """The list."""
    visible, asked = await visit.visible(), lists.listing(visit.request.query_params, visit.filters)
    if not visible.has("sessions", "session_id", "start_time", "last_time"):
        raise AskFault("sessions are not for your role", reason="forbidden", status=403)
    shown = lists.shown(visible, asked)
    asked = replace(asked, columns=tuple(one.name for one in shown))
    live = visit.request.headers.get("hx-target") == "sessions"
    now = _minute(visit)
    where = lists.where(asked, visible, now)
    questions = {
        "rows": visit.ask(lists.rows_sql(asked, shown, visible, where), limit=PAGE_ROWS),
        "sums": visit.ask(lists.sums_sql(visible, where)),
    }
    if not live:
        questions["choices"] = visit.ask(lists.choices_sql(asked.filters, visible))
    found = await visit.panels(**questions)
    rows = [] if isinstance(found["rows"], AskFault) else [_row(one, asked, visit) for one in found["rows"].objects()]
    choices = _choices(found.get("choices"))
    return visit.render(
        "sessions.html",
        asked=asked,
        shown=shown,
        rows=rows,
        fault=next((found[name] for name in ("rows", "sums") if isinstance(found[name], AskFault)), None),
        sums=None if isinstance(found["sums"], AskFault) else found["sums"].one(),
        choices=choices,
        names=_names(choices, rows),
        filterable=[one for one in shown_dimensions(visible) if one.name in choices],
        available=[one for one in COLUMNS.values() if visible.has("sessions", *one.needs)],
        only={name: said[0] for name, said in ONLY.items() if visible.has("sessions", *said[2])},
        outcomes=OUTCOMES,
        emails=visible.has("sessions", "user_email"),
        page_rows=PAGE_ROWS,
        pages_max=PAGES_MAX,
        csv_rows_max=CSV_ROWS_MAX,
        none=NONE,
        session_url=session_url,
    )


async def exported(visit: Visit) -> Response:
    """The list as CSV: all of its rows up to a bound, in the order of the page."""
    visible, asked = await visit.visible(), lists.listing(visit.request.query_params, visit.filters)
    shown = lists.shown(visible, asked)
    if "session" not in asked.columns:
        shown = [*shown, COLUMNS["session"]]
    now = _minute(visit)
    sql = lists.rows_sql(
        replace(asked, page=1), shown, visible, lists.where(asked, visible, now), rows=CSV_ROWS_MAX + 1
    )
    answer = await visit.ask_now(sql, limit=CSV_ROWS_MAX + 1)
    name = f"sessions-{asked.filters.start:%Y%m%d}-{asked.filters.end:%Y%m%d}"
    return csv_file(name, [one.name for one in shown], _lines(answer, shown, visit.console.now()))


def _lines(answer: Answer, shown: Sequence[Column], now: datetime) -> Iterator[Sequence[Any]]:
    rows = answer.objects()
    for row in rows[:CSV_ROWS_MAX]:
        yield [_cell(one, row, now) for one in shown]
    if len(rows) > CSV_ROWS_MAX or answer.truncated:
        yield [f"cut after {min(len(rows), CSV_ROWS_MAX)} sessions; filter more, or take a shorter time range"]


def _cell(column: Column, row: Mapping[str, Any], now: datetime) -> Any:
    if column.kind == "user":
        return row.get("user_email") or row["user"]
    if column.kind == "outcome":
        return " ".join(_outcome(row, now))
    value = row[column.name]
    return round(value, 6) if isinstance(value, float) else value


def _outcome(row: Mapping[str, Any], now: datetime) -> list[str]:
    """open, idle or closed; and failed."""
    return [state(row["last_time"], now), *(["failed"] if row.get("failed") else [])]


def _row(row: Mapping[str, Any], asked: Listing, visit: Visit) -> dict[str, Any]:
    """A row as the template shows it."""
    now = visit.console.now()
    return {
        "user_email": None,
        **row,
        "mark": mark(row["tenant"], row["session_id"]),
        "url": session_url(row["tenant"], row["session_id"], asked.query(**asked.said)),
        "outcome": _outcome(row, now),
        "is_open": state(row["last_time"], now) == "open",
    }


def _choices(answer: Any) -> dict[str, list[dict[str, Any]]]:
    """Dimension → its values as options, by name."""
    found: dict[str, list[dict[str, Any]]] = {}
    if not isinstance(answer, Answer):
        return found
    for row in answer.objects():
        value = NONE if row["value"] is None else row["value"]
        label = row["label"] or (value[:12] if row["dimension"] == "user" and value != NONE else value)
        found.setdefault(row["dimension"], []).append({"value": value, "label": label, "sessions": row["sessions"]})
    for options in found.values():
        options.sort(key=lambda one: (one["value"] == NONE, str(one["label"]).lower()))
    return found


def _names(choices: Mapping[str, list[dict[str, Any]]], rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """user_key → what to call them."""
    named = {one["value"]: one["label"] for one in choices.get("user", [])}
    return named | {row["user"]: row["user_email"] for row in rows if row.get("user_email") and row["user"]}


def _minute(visit: Visit) -> datetime:
    """The time, coarse enough that several people ask the same question."""
    return visit.console.now().astimezone(UTC).replace(second=0, microsecond=0)


PAGES = (Page("/sessions", sessions), Page("/sessions.csv", exported))
