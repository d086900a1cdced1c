"""Joining the two halves of a session: the published session row, and the snapshots of its hours.

A session row's version is the sum of both halves' offsets (each one higher, so that none counts 0): it grows with every
record of either half. Snapshots of hours carry it too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

from streams import exact
from streams.rows import Rows, Working
from streams.sessions import beats, events, points
from streams.sessions.fold import NAMES, Facts, FoldSettings, Touched, kept_hours
from streams.sessions.state import FLAGS, HOUR_US, Half, Hour, Identity, hour_key, session_key

_E = events.AT
_NO_COUNTS = dict.fromkeys(events.COUNTS, 0)
_NO_METRICS: dict[str, int | float] = {name: 0 if name in points.WHOLE else 0.0 for name in points.MONEY}
_TENANT_ONLY = Facts("", frozenset(), True, False, None, None, None)


def facts(by_events: Half | None, by_points: Half | None) -> Facts:
    """What of a session decides how its hours count. The user is the best identity known, the latest of the best."""
    known = identities(by_events, by_points)
    if not known:
        return _TENANT_ONLY
    named = by_events or by_points
    assert named is not None
    at = NAMES.index("team")
    team, department, cost_center = (None if name is None else name.value for name in named.names[at : at + 3])
    counts = by_events.counts if by_events else None
    return Facts(
        max(known, key=lambda who: who.rank).user,
        frozenset((who.level, who.user) for who in known),
        ghost(by_events),
        bool(counts and counts[_E["api_requests"]]),
        team,
        department,
        cost_center,
    )


def together(by_events: Half | None, by_points: Half | None, settings: FoldSettings) -> tuple[Half | None, Half | None]:
    """The halves that belong together: one last heard of so long before the other has expired, deleted or not.

    A half of nothing but dropped events, which has no time, is none.
    """
    if by_events is not None and by_events.first < 0 and not by_events.resends:
        by_events = None
    if by_events is not None and by_points is not None:
        apart = by_events.received - by_points.received
        if abs(apart) > settings.keep.sessions_us:
            return (by_events, None) if apart > 0 else (None, by_points)
    return by_events, by_points


def identities(by_events: Half | None, by_points: Half | None) -> list[Identity]:
    return [who for half in (by_events, by_points) if half is not None for who in half.identities]


def ghost(by_events: Half | None) -> bool:
    """A session without prompt, request, API error or tool result."""
    if by_events is None or by_events.pseudo:
        return True
    counts = by_events.counts
    return not any(counts[_E[name]] for name in ("prompts", "api_requests", "api_errors", "tools"))


def version(*halves: Working | None) -> int:
    return sum(row.offset + 1 for row in halves if row is not None)


def _sums(
    counts: Sequence[list[int]],
    money: Sequence[list[list[float]]],
    metric_money: Sequence[list[list[float]]],
    *,
    spent_by_events: bool,
) -> dict[str, int | float]:
    """The sums of DESIGN.md, of any number of rows of both halves."""
    out: dict[str, int | float] = {**_NO_COUNTS, **_NO_METRICS}
    if counts:
        out.update(zip(events.COUNTS, map(exact.whole, map(sum, zip(*counts, strict=True))), strict=True))
    out["cost_usd"] = exact.total(partial for amounts in money for partial in amounts[0])
    if metric_money:
        for name, partials in zip(points.MONEY, zip(*metric_money, strict=True), strict=True):
            value = exact.total(chain.from_iterable(partials))
            out[name] = exact.whole(value) if name in points.WHOLE else value
    out["spend_usd"] = out["cost_usd"] if spent_by_events else out["metric_cost_usd"]
    out["errors"] = out["api_errors"] + out["tool_failures"] + out["internal_errors"]
    return out


def session_row(
    by_events: Half | None,
    by_points: Half | None,
    version: int,
    epoch: int,
    pause_us: int,
    known: Facts | None = None,
) -> dict[str, Any]:
    """The published row of a session (record `session`).  known: the facts of these halves, where somebody has them."""
    named = by_events or by_points
    assert named is not None
    known = known or facts(by_events, by_points)
    halves = [half for half in (by_events, by_points) if half is not None]
    models = {name: exact.total(partials) for name, partials in by_events.sums.items()} if by_events else {}
    whole = beats.whole(by_events.beats, pause_us) if by_events else None
    row = _sums(
        [by_events.counts] if by_events else [],
        [by_events.money] if by_events else [],
        [by_points.money] if by_points else [],
        spent_by_events=known.spent_by_events,
    )
    return {
        "tenant": named.tenant,
        "session_id": named.session,
        "user_key": known.user,
        **{field: None if name is None else name.value for field, name in zip(NAMES, named.names, strict=True)},
        "model": min(models.keys() - {events.UNNAMED}, key=lambda model: (-models[model], model), default=None),
        "models": models,
        "start_time": named.first,
        "last_time": named.last,
        "duration_s": (named.last - named.first) / 1e6,
        "run_s": whole.run_us / 1e6 if whole else 0.0,
        **row,
        "event_counts": by_events.maps if by_events else {},
        "metric_totals": {k: exact.total(partials) for k, partials in by_points.sums.items()} if by_points else {},
        "sequence_gaps": whole.gaps if whole else 0,
        "resends": sum(half.resends for half in halves),
        "late": sum(half.late for half in halves),
        "ghost": known.ghost,
        "pseudo": named.pseudo,
        "flags": _flags(halves),
        "received_time": max(half.received for half in halves),
        "epoch": epoch,
        "version": version,
    }


def _flags(halves: list[Half]) -> list[str]:
    bits = 0
    for half in halves:
        bits |= half.flags
    return [name for bit, name in FLAGS.items() if bits & bit]


def hour_rows(
    by_events: Half | None,
    by_points: Half | None,
    hour: int,
    rows: Iterable[tuple[Identity, Hour | None, Hour | None]],
    version: int,
    epoch: int,
    known: Facts,
) -> list[dict[str, Any]]:
    """The published snapshots of one hour (record `session_hour`): one for every identity that the session ever named.

    What a lesser identity did counts for the session's user; who no longer has a share gets zeros, so that usage that
    moved to another user leaves nothing behind.

    Args:    rows: (identity, its hour row of events, its hour row of points), for every identity of both halves.
             known: the facts of the halves.
    """
    named = by_events or by_points
    assert named is not None
    best = max((who.level for who in identities(by_events, by_points)), default=0)
    shares: dict[str, tuple[list[Hour], list[Hour]]] = {}
    for who, of_events, of_points in rows:
        shares.setdefault(who.user, ([], []))
        share = shares.setdefault(who.user if who.level == best else known.user, ([], []))
        if of_events is not None:
            share[0].append(of_events)
        if of_points is not None:
            share[1].append(of_points)
    received = max(half.received for half in (by_events, by_points) if half is not None)
    return [
        {
            "tenant": named.tenant,
            "session_id": named.session,
            "user_key": user,
            "team": known.team,
            "department": known.department,
            "cost_center": known.cost_center,
            "start": hour * HOUR_US,
            "active": not known.ghost and any(row.records for row in of_events),
            **_sums(
                [row.counts for row in of_events],
                [row.money for row in of_events],
                [row.money for row in of_points],
                spent_by_events=known.spent_by_events,
            ),
            "epoch": epoch,
            "version": version,
            "received_time": received,
        }
        for user, (of_events, of_points) in shares.items()
    ]


class Passing(NamedTuple):
    """A session that is passed on.  hours: those of which.  version: see above."""

    session: bytes
    by_events: Half | None
    by_points: Half | None
    hours: set[int]
    version: int
    facts: Facts

    @property
    def snapshots(self) -> int:
        """How many there are of its hours, at most: few in life, 720 hours of 32 identities each if somebody tries."""
        return len(self.hours) * (len(self.facts.identities) + 1)


def passing(touched: dict[bytes, Touched], by_events: Rows, by_points: Rows, settings: FoldSettings) -> list[Passing]:
    """What of a chunk's sessions is passed on, in the order in which they were touched.

    Only the hours that changed, unless something changed that decides how all of them count, or a record was
    redelivered: then what was passed on before the crash is unknown, and everything is passed on again.
    """
    wanted: list[Passing] = []
    for session, seen in touched.items():
        key = session_key(session)
        halves = together(by_events.value(key), by_points.value(key), settings)
        if halves == (None, None):
            continue
        known = facts(*halves)
        hours = seen.hours
        if seen.redelivered or seen.before != known:
            there = [half for half in halves if half is not None]
            received = max(half.received for half in there)
            hours = hours.union(*(kept_hours(half.hours, received, settings) for half in there))
        wanted.append(Passing(session, *halves, hours, version(by_events.get(key), by_points.get(key)), known))
    return wanted


def published(
    wanted: Sequence[Passing], by_events: Rows, by_points: Rows, *, epoch: int, settings: FoldSettings
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows that these sessions pass on.

    Returns: (session rows, hour snapshots)
    """
    sessions = [
        session_row(of_e, of_p, number, epoch, settings.pause_us, known) for _, of_e, of_p, _, number, known in wanted
    ]
    keys = {
        (session, hour, who.level, who.user): hour_key(session, hour, who.level, who.user)
        for session, of_e, of_p, hours, _, _ in wanted
        for hour in hours
        for who in identities(of_e, of_p)
    }
    by_events.prefetch(keys.values())
    by_points.prefetch(keys.values())
    snapshots: list[dict[str, Any]] = []
    for session, of_e, of_p, hours, number, known in wanted:
        who_is = {(who.level, who.user): who for who in identities(of_e, of_p)}
        for hour in sorted(hours):
            rows = []
            for (level, user), who in who_is.items():
                key = keys[session, hour, level, user]
                rows.append((who, by_events.value(key), by_points.value(key)))
            if all(of_events is None and of_points is None for _, of_events, of_points in rows):
                continue  # it has expired
            snapshots += hour_rows(of_e, of_p, hour, rows, number, epoch, known)
    return sessions, snapshots
