"""The list of sessions: chosen, sorted, filtered, searched and paged in the store; as CSV, too.

/sessions and /sessions.csv take, besides the time range and the filters of console/filters.py (range, from, to, tenant,
team, department, cost_center, user, model, version, entrypoint), so that other pages can link here:

    only       names of ONLY, comma separated or repeated: errors, refusals, failed, gaps, …: sessions with any of that
               in the hours of the range, and of several all
    outcome    open, idle, closed (by the time since the last event) or failed (retries exhausted, or an internal error)
    mode       the permission mode, e.g. bypassPermissions; (none): not said
    tool       sessions with a call of this tool in the range, as the overview names them; (none): of one not named
    decision   sessions with such a permission decision in the range: accept or reject, and by whom, as `accept: config`
    repository sessions with a request in the range whose client told this repository, as owner/name; (none): no one
    q          the beginning of a session's id, or a part of the user's e-mail, team, model, version, …
    sort       a name of COLUMNS, with - before it for the highest first; start: the newest first by default
    columns    names of COLUMNS, comma separated or repeated
    page       from 1

Which sessions are of a range and its filters is said in console/usage.py, for all pages: those that were active in an
hour that matches. Ghosts (sessions in which nothing was asked) never are. The sums are of those hours; a row is the
whole session.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from starlette.responses import Response

from console import listing as lists
from console import usage
from console.ask import Answer, Visible
from console.download import csv_file, cut_after
from console.errors import AskFault
from console.filters import NONE
from console.listing import COLUMNS, HAVING, MODES, ONLY, OUTCOMES, PAGE_ROWS, PAGES_MAX, Column, Listing, state
from console.turns import mark, session_url
from console.web import Page, Visit

CSV_ROWS_MAX = 100_000
# With all columns 300 bytes a session; beyond 64 MiB the service itself cuts an answer, and says so.
_CSV_BYTES_MAX = 80 << 20


async def sessions(visit: Visit) -> Response:
    """The list."""
    visible, asked = await visit.visible(), lists.listing(visit.request.query_params, visit.filters)
    if not visible.has("sessions", "session_id", "start_time", "last_time"):
        raise AskFault("sessions are not for your role", reason="forbidden", status=403)
    _check(asked, visible)
    shown = lists.shown(visible, asked)
    asked = replace(asked, columns=tuple(one.name for one in shown))
    now = lists.minute(visit.console.now())
    questions = {
        "rows": visit.ask(lists.rows_sql(asked, shown, visible, now), limit=PAGE_ROWS),
        "sums": visit.ask(lists.sums_sql(asked, visible, now)),
    }
    user = asked.filters.values.get("user", NONE)
    if user != NONE and visible.has("people", "user_email"):
        questions["people"] = visit.ask(usage.emails([user]))
    found = await visit.panels(**questions)
    rows = [] if isinstance(found["rows"], AskFault) else [_row(one, asked, visit) for one in found["rows"].objects()]
    people = found.get("people")
    return visit.render(
        "sessions.html",
        asked=asked,
        shown=shown,
        rows=rows,
        fault=next((found[name] for name in ("rows", "sums") if isinstance(found[name], AskFault)), None),
        sums=None if isinstance(found["sums"], AskFault) else found["sums"].one(),
        summed=lists.summed(asked, visible),
        names=dict(people.rows) if isinstance(people, Answer) else {},
        available=[one for one in COLUMNS.values() if visible.has("sessions", *one.needs)],
        only={name: one.words for name, one in ONLY.items() if visible.has("sessions", *one.counts)},
        modes=[*MODES, NONE],
        outcomes=OUTCOMES,
        having=HAVING,
        emails=visible.has("sessions", "user_email"),
        page_rows=PAGE_ROWS,
        pages_max=PAGES_MAX,
        csv_rows_max=CSV_ROWS_MAX,
        short_of_hours=asked.filters.start < usage.kept_from(now),
        session_url=session_url,
    )


async def exported(visit: Visit) -> Response:
    """The list as CSV: all of its rows up to a bound, in the order of the page."""
    visible, asked = await visit.visible(), lists.listing(visit.request.query_params, visit.filters)
    _check(asked, visible)
    shown = lists.shown(visible, asked)
    if "session" not in asked.columns:
        shown = [*shown, COLUMNS["session"]]
    now = lists.minute(visit.console.now())
    sql = lists.rows_sql(replace(asked, page=1), shown, visible, now, rows=CSV_ROWS_MAX + 1)
    answer = await visit.ask_now(sql, limit=CSV_ROWS_MAX, bytes_max=_CSV_BYTES_MAX)
    name = f"sessions-{asked.filters.start:%Y%m%d}-{asked.filters.end:%Y%m%d}"
    return csv_file(name, [one.name for one in shown], _lines(answer, shown, now))


def _check(asked: Listing, visible: Visible) -> None:
    """Raises: AskFault."""
    if (name := lists.refused(asked, visible)) is not None:
        raise AskFault(f"your role does not see the {name} of an event", reason="forbidden", status=403)


def _lines(answer: Answer, shown: Sequence[Column], now: datetime) -> Iterator[Sequence[Any]]:
    for row in answer.objects():
        yield [_cell(one, row, now) for one in shown]
    yield from cut_after(answer)


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


PAGES = (Page("/sessions", sessions), Page("/sessions.csv", exported, file=True))
