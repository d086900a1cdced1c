"""`explain user`: the snapshots of sessions' hours that one window of a user is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from schemas import codec
from schemas.errors import CodecError
from schemas.records import record
from schemas.topics import SEPARATOR, make_key
from streams.engine.chunk import Record
from streams.inspect.databases import Here, Snapshot
from streams.inspect.decoding import instant, value
from streams.inspect.errors import NoSuchRow
from streams.inspect.explanation import Explanation, Step, changes, check_fields, only
from streams.inspect.finding import user
from streams.inspect.source import Say, Stretch, reread
from streams.rows import Stored
from streams.users import logic
from streams.users.logic import HOUR_US, Users

_RECORD = record("user_window")
DEFAULT_FIELDS = ("sessions", *_RECORD.sums)
_HOURS = {"hour": 1, "day": 24}


async def explain_user(
    here: Here,
    kafka: Mapping[str, Any],
    tenant: str,
    user_key: str,
    grain: str,
    start: datetime,
    fields: Sequence[str],
    say: Say,
) -> Explanation:
    """Which snapshots of which sessions made a user's windows (one for each team and cost centre) what they are.

    Args:    grain: hour or day.  start: of the window, aware; what lies within the hour or day counts as its start.
             fields: of the record `user_window`; empty: sessions and all sums.
    Raises:  as explain_session.
    """
    check_fields(fields, DEFAULT_FIELDS)
    fields = tuple(fields) or DEFAULT_FIELDS
    hour = int(start.timestamp()) // 3600
    hour -= hour % _HOURS[grain]
    with user(here, tenant, user_key) as snapshot:
        window = _Window(snapshot, tenant, user_key, grain, hour, fields)
        if window.upto < 0:
            raise NoSuchRow(f"{grain} {instant(hour * HOUR_US)} of user {user_key}", snapshot.database.where)
        stretch = await reread(kafka, snapshot, window.upto, window.holds, say)
    assert stretch is not None
    where = f"partition {stretch.partition}"
    explanation = Explanation(f"{grain} {instant(hour * HOUR_US)} of user {user_key}, tenant {tenant}, {where}")
    if stretch.expired:
        explanation.missing.append(
            f"{stretch.topic}[{stretch.partition}] begins at offset {stretch.first}; 0 to {stretch.first - 1} are gone"
        )
    if stretch.compacted:
        explanation.missing.append(
            f"{stretch.compacted} offsets of {stretch.topic}[{stretch.partition}] were compacted away: "
            "a later snapshot of the same hour stands for each"
        )
    explanation.steps = window.steps(stretch)
    explanation.explained, explanation.stored = window.again(), window.stored
    return explanation


class _Window:
    """The user's windows of one hour or day: as stored, and folded again from nothing."""

    def __init__(
        self, snapshot: Snapshot, tenant: str, user_key: str, grain: str, hour: int, fields: Sequence[str]
    ) -> None:
        self._hours = range(hour, hour + _HOURS[grain])
        self._grain, self._fields = grain, fields
        self._owner = make_key(tenant, user_key) + SEPARATOR.encode()
        prefix = logic.window_key(grain, hour, tenant, user_key, ("", ""))[: -len(SEPARATOR)]
        found = list(snapshot.scan(prefix))
        #: Offset of the last snapshot folded into any of them; -1 where there is none.
        self.upto = max((row.offset for _, row in found), default=-1)
        #: Snapshots of another one are left alone, as the stage does it.
        self._epoch = max((row.epoch for _, row in found), default=1)
        self.stored = self._chosen(
            logic.window_row(key, row.offset, value(logic.TABLE, key, row), row.epoch) for key, row in found
        )
        #: What was folded again so far: the table's rows, and the published windows.
        self._kept: dict[bytes, Stored] = {}
        self._windows: dict[tuple[str, str], dict[str, Any]] = {}

    def holds(self, key: bytes) -> bool:
        """Whether a snapshot with this key is of the user and of these hours."""
        start = key.rpartition(SEPARATOR.encode())[2]
        return key.startswith(self._owner) and start.isdigit() and int(start) // HOUR_US in self._hours

    def again(self) -> dict[str, Any]:
        """The chosen fields of the windows that were folded again."""
        return self._chosen(self._windows.values())

    def steps(self, stretch: Stretch) -> list[Step]:
        """One for every snapshot of a stretch of session-hours."""
        read = codec.reader("session_hour", logic.FIELDS)
        return [self._step(stretch, read, record) for record in stretch.records]

    def _step(self, stretch: Stretch, read: codec.Reader, record: Record) -> Step:
        at = (stretch.topic, stretch.partition, record.offset)
        if not record.value:
            return Step(*at, None, "tombstone", "-", {}, "the hour has expired")
        try:
            new = logic.Snapshot.of(read([record.value])[0])
        except CodecError as error:
            return Step(*at, None, "unreadable", "-", {}, f"{error.reason}: see the topic rejected")
        before = self.again()
        users = Users(lambda keys: [self._kept.get(key) for key in keys], self._epoch)
        users.fold([(record.offset, new)], applied=-1)
        self._kept |= users.puts()
        for row in users.published():
            if row["grain"] == self._grain and row["start"] == self._hours.start * HOUR_US:
                self._windows[row["team"] or "", row["cost_center"] or ""] = row
        changed = changes(before, self.again())
        changed = {name: values for name, values in changed.items() if values[0] is not None or values[1]}
        why = "not newer than what was counted" if users.duplicates else "as it was counted before"
        what = f"session {new.session}"
        return Step(*at, instant(new.hour * HOUR_US), what, f"version {new.version}", changed, "" if changed else why)

    def _chosen(self, rows: Any) -> dict[str, Any]:
        """Fields of the windows; under team and cost centre where they have one."""
        out: dict[str, Any] = {}
        for row in rows:
            group = "/".join(part or "-" for part in (row["team"], row["cost_center"]))
            name = "" if group == "-/-" else f"{group} "
            out |= {f"{name}{field}": amount for field, amount in only(row, self._fields).items()}
        return out
