"""Folding metric points into the sessions' metrics half: delta sums are added, cumulative ones replace what they said
before.

Gauges and histograms are stored as they are and not added. A cumulative series counts with the value at its latest end;
each hour gets what the series grew by up to its own latest end, so a late point corrects two hours and nothing else.

Both corrections are booked under the identity of the point that brings them. A series has one identity, but where that
stands on the resource and changes within a session. There, late points divide the growth otherwise between the two than
points in order do, with the same sum in every hour: a row keeps no more of an hour's end than its time and value.

A series that falls was begun anew by a client that did not say so with another start time. What it counted before is
then not counted: points come in any order, and only all of them together would tell where it fell. The session says so
(FLAG_FELL), as soon as a point contradicts one that is kept.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import NamedTuple

from streams import exact
from streams.rows import Rows
from streams.sessions import fold, state
from streams.sessions.fold import Facts, FoldSettings, Place, Touched
from streams.sessions.state import Half, Hour, Series

MONEY = (
    "metric_cost_usd",
    "active_user_s",
    "active_cli_s",
    "lines_added",
    "lines_removed",
    "commits",
    "pull_requests",
)
"""What Half.money and Hour.money of this half hold, in this order; it has no integer counts."""
WHOLE = frozenset(name for name in MONEY if not name.endswith(("_usd", "_s")))
"""Those that are whole numbers."""
LABELS = {
    "claude_code.cost.usage": 0,
    "claude_code.active_time.total/user": 1,
    "claude_code.active_time.total/cli": 2,
    "claude_code.lines_of_code.count/added": 3,
    "claude_code.lines_of_code.count/removed": 4,
    "claude_code.commit.count": 5,
    "claude_code.pull_request.count": 6,
}
"""`metric` or `metric/type` → index in MONEY."""
SERIES_HOURS = 1024
"""Hours that a cumulative series remembers; the oldest are dropped beyond (their growth stays counted)."""


class Point(NamedTuple):
    """The fields of a MetricPoint that are folded; ``reader`` gives them in this order."""

    tenant: str
    session_id: str | None
    user_key: str | None
    user_account_uuid: str | None
    user_email: str | None
    user_id: str | None
    point_id: str
    metric: str
    type: str | None
    kind: str | None
    temporality: str | None
    value: float | None
    value_int: int | None
    series: str
    start_time: int | None
    event_time: int
    received_time: int
    clock_suspect: bool | None
    organization_id: str | None
    terminal_type: str | None
    app_version: str | None
    service_version: str | None
    app_entrypoint: str | None
    service_name: str | None
    team: str | None
    department: str | None
    cost_center: str | None
    monotonic: bool | None

    @property
    def since(self) -> int | None:
        """When the series of a cumulative point began, 0 where it does not say; None of another one."""
        return (self.start_time or 0) if self.temporality == "cumulative" else None


FIELDS = Point._fields


def label(point: Point) -> str:
    return f"{point.metric}/{point.type}" if point.type else point.metric


def amount(point: Point) -> float | None:
    """What the point's value is, if it is one that is added up and can be meant; else None."""
    if point.kind != "sum" or point.temporality not in ("delta", "cumulative"):
        return None
    value = exact.bounded(point.value if point.value is not None else point.value_int)
    if value is not None and abs(value) > exact.LARGEST_WHOLE:  # rarely: most points need no look at their name
        index = LABELS.get(label(point))
        if index is not None and MONEY[index] in WHOLE:
            return None
    return value


Shares = list[tuple[int, tuple[float, ...]]]
"""(hour, addends): what a point adds to which hour; a cumulative one takes away what the series said before."""


def falls(series: Series, hour: int, end: int, value: float) -> bool:
    """Whether the point is less than a kept one that ended before it, or more than one that ended after it."""
    at = bisect_left(series.points, hour, key=lambda kept: kept[0])
    beside = series.points[max(at - 1, 0) : at + 2]
    return any(value < kept if end > kept_end else value > kept for _, kept_end, kept in beside if end != kept_end)


def grow(series: Series, hour: int, end: int, value: float) -> Shares:
    """Fold one cumulative point into its series and say which hours' shares change by what."""
    points = series.points
    at = bisect_left(points, hour, key=lambda kept: kept[0])
    if at == 0 and series.dropped and (not points or points[0][0] != hour):
        return []
    if at < len(points) and points[at][0] == hour:
        if end <= points[at][1]:
            return []
        old = points[at][2]
        points[at] = (hour, end, value)
    else:
        old = points[at - 1][2] if at else 0.0
        points.insert(at, (hour, end, value))
    shares: Shares = [(hour, (value, -old))]
    if at + 1 < len(points):
        shares.append((points[at + 1][0], (old, -value)))
    if len(points) > SERIES_HOURS:
        del points[0]
        series.dropped = True
    return shares


def _series_key(at: Place, point: Point) -> bytes:
    return state.series_key(at.session, point.series, min(max(point.start_time or 0, 0), fold.LATEST_US))


def _shares(
    rows: Rows, half: Half, at: Place, offset: int, point: Point, value: float, settings: FoldSettings
) -> Shares:
    if point.temporality == "delta":
        return [(at.hour, (value,))]
    key = _series_key(at, point)
    row = rows.change(key, lambda: Series([], False))
    if offset <= row.offset:
        return []
    row.offset = offset
    series: Series = row.value
    if fold.of_before(half, series, settings):
        series = row.value = Series([], False)
    received = max(series.received, point.received_time)
    fold.note_day(rows, key, offset, series.received, received)
    series.received = received
    if point.monotonic is not False and falls(series, at.hour, point.event_time, value):
        half.flags |= state.FLAG_FELL
    # By the client's own clock: points of one request are received at once.
    return grow(series, at.hour, point.event_time, value)


def _touch_again(rows: Rows, at: Place, point: Point) -> None:
    """Have every row written again that a redelivered point went into."""
    hours = [at.hour]
    if point.temporality == "cumulative":
        key = _series_key(at, point)
        rows.touch(key)
        series = rows.get(key)
        if series is not None:
            hours += [kept[0] for kept in series.value.points if kept[0] > at.hour][:1]
    for hour in hours:
        rows.touch(state.hour_key(at.session, hour, at.level, at.user))


def _fold_half(half: Half, at: Place, point: Point, shares: Shares, settings: FoldSettings) -> None:
    names = (
        point.user_id,
        point.user_email,
        point.user_account_uuid,
        point.organization_id,
        point.terminal_type,
        point.app_version or point.service_version,
        point.app_entrypoint,
        point.service_name,
        point.team,
        point.department,
        point.cost_center,
        None,
    )
    fold.see(half, at, point, names, settings)
    name = label(point)
    index = LABELS.get(name)
    for _, addends in shares:
        for addend in addends:
            fold.add_to_sums(half.sums, name, addend)
            if index is not None:
                exact.add(half.money[index], addend)


def fold_points(
    points: Sequence[tuple[int, bytes, Point]],
    rows: Rows,
    facts: Callable[[bytes], Facts],
    settings: FoldSettings,
) -> dict[bytes, Touched]:
    """Fold a chunk of metric points into the rows, in order.

    Args:    points: (offset, key, point), offsets rising.  facts: what is known of a session before the chunk.
    Returns: the sessions touched.
    """
    places = [fold.place(key, point, point.point_id, None) for _, key, point in points]
    rows.prefetch(fold.row_keys(places, settings, beats=False))
    touched: dict[bytes, Touched] = {}
    for (offset, _, point), seen_at in zip(points, places, strict=True):
        seen = touched.get(seen_at.session) or Touched(facts(seen_at.session))
        row = fold.half_of(rows, point, seen_at, offset, 0, len(MONEY), settings)
        half: Half = row.value
        at = fold.identified(half, seen_at)
        seen.redelivered += offset <= row.offset
        touched[at.session] = seen
        if fold.known(rows, at, offset, settings):
            if offset > row.offset:
                half.resends += 1
                row.offset = offset
            _touch_again(rows, at, point)
            continue
        value = amount(point)
        shares = [] if value is None else _shares(rows, half, at, offset, point, value, settings)
        if offset > row.offset:
            _fold_half(half, at, point, shares, settings)
            if value is None and point.kind == "sum" and point.temporality:
                half.flags |= state.FLAG_VALUE
            row.offset = offset
        index = LABELS.get(label(point))
        for hour_at, addends in shares or [(at.hour, ())]:
            hour = rows.change(
                state.hour_key(at.session, hour_at, at.level, at.user), lambda: fold.new_hour(0, len(MONEY))
            )
            if offset > hour.offset:
                kept: Hour = hour.value
                for addend in addends if index is not None else ():
                    exact.add(kept.money[index or 0], addend)
                kept.records += hour_at == at.hour
                hour.offset = offset
            seen.hours.add(hour_at)
    return touched
