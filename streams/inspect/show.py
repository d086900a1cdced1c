"""`show`: the rows of one session or one user as one object."""

from __future__ import annotations

from typing import Any

from streams.inspect.databases import Here, Snapshot
from streams.inspect.decoding import decoded, record_times
from streams.inspect.errors import NoSuchRow
from streams.inspect.finding import SESSIONS, session, user, user_rows
from streams.sessions import join, state
from streams.sessions.fold import FoldSettings


def show_session(here: Here, tenant: str, session_id: str, settings: FoldSettings, epoch: int) -> dict[str, Any]:
    """What both tables have of a session.

    Returns: published: the row that they make, None where routing dropped all of it; tables: of each table how far it
             is, and its rows of the session.
    Raises:  NotOnThisMachine.  NoSuchRow.  DatabaseUnreadable.  UnknownFormat.
    """
    with session(here, tenant, session_id) as found:
        halves = join.together(found.half(state.BY_EVENTS), found.half(state.BY_POINTS), settings)
        version = sum(row.offset + 1 for row in found.halves.values() if row is not None)
        return {
            "tenant": tenant,
            "session_id": session_id,
            "partition": found.partition,
            "published": None
            if halves == (None, None)
            else record_times(join.session_row(*halves, version, epoch, settings.pause_us)),
            "tables": {
                table: {
                    **_progress(found.snapshots[table]),
                    "rows": [decoded(table, found.partition, key, row) for key, row in found.rows(table)],
                }
                for table in SESSIONS
            },
        }


def show_user(here: Here, tenant: str, user_key: str) -> dict[str, Any]:
    """A user's windows, and what of which session is counted in them.

    Raises: as show_session.
    """
    with user(here, tenant, user_key) as snapshot:
        database = snapshot.database
        rows = [
            decoded(database.table, database.partition, key, row) for key, row in user_rows(snapshot, tenant, user_key)
        ]
        if not rows:
            raise NoSuchRow(f"user {user_key} of tenant {tenant}", database.where)
        return {
            "tenant": tenant,
            "user_key": user_key,
            "partition": database.partition,
            "tables": {database.table: {**_progress(snapshot), "rows": rows}},
        }


def _progress(snapshot: Snapshot) -> dict[str, Any]:
    """How far the database is: last source offset applied, and that of the changelog; -1 for none."""
    mark = snapshot.mark
    return {
        "path": str(snapshot.database.path),
        "source": None if mark is None else mark.topic,
        "applied": -1 if mark is None else mark.applied,
        "changelog": snapshot.changelog,
    }
