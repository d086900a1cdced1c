"""One chunk through the sessions stage, without Kafka: what to write, what to delete, what to pass on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from streams.expiry import Clock, Scan
from streams.receipt import AHEAD_US
from streams.rows import Read, Rows, Stored
from streams.sessions import join
from streams.sessions.expiry import Expired, expired
from streams.sessions.fold import Facts, FoldSettings, Touched, session_of
from streams.sessions.join import Passing
from streams.sessions.state import LAYOUT, SESSION, session_key

LOGIC = 2
"""Grows with every change that makes other rows of the same records; rows of another one are refused."""

Records = Sequence[tuple[int, bytes, Any]]
"""(offset, key, record), offsets rising."""
Fold = Callable[[Records, Rows, Callable[[bytes], Facts], FoldSettings], dict[bytes, Touched]]


SNAPSHOTS_MOST = 20_000
"""Snapshots of hours that are passed on in one go, but for a single session's: what heap and time they take."""


@dataclass(frozen=True, slots=True)
class Folded:
    """What the first records of a chunk come to, in life all of them.

    records: these, as they were given.  left: the offset of the first that is left, if any is.
    expired: what to take back and delete.  puts: rows to write, in this order.  sessions, hours: records to publish.
    redelivered: records that the rows already held.
    """

    records: Records
    left: int | None
    expired: Expired
    puts: dict[bytes, Stored]
    sessions: list[dict[str, Any]]
    hours: list[dict[str, Any]]
    redelivered: int


def fold_chunk(
    fold: Fold,
    records: Records,
    reads: tuple[Read, Read],
    *,
    own: int,
    applied: int,
    clock: Clock,
    scan: Scan,
    epoch: int,
    settings: FoldSettings,
) -> Folded:
    """Fold a chunk of events or of points, or so many of its records as pass on no more than is good.

    Args: fold: fold_events or fold_points.
          reads: the rows of events, the rows of points; only those at index ``own`` change.
          applied: everything up to this offset is in the rows, and is only passed on again; what has no row there was
          folded, and has expired since.
          clock, scan: of the table that changes.
    """

    def facts(session: bytes) -> Facts:
        key = session_key(session)
        return join.facts(*join.together(halves[0].value(key), halves[1].value(key), settings))

    left = None
    while True:
        halves = _halves(reads)
        new = [record for record in records if record[0] > applied]
        touched = fold(new, halves[own], facts, settings)
        again = [session_of(key, record) for offset, key, record in records if offset <= applied]
        halves[own].prefetch(session_key(session) for session in again)
        for session in again:
            if halves[own].get(session_key(session)) is not None:
                seen = touched[session] = touched.get(session) or Touched(facts(session))
                seen.redelivered += 1
        passing = join.passing(touched, *halves, settings)
        count = _first(records, passing)
        if count == len(records):
            break
        records, left = records[:count], records[count][0]
    sessions, hours = join.published(passing, *halves, epoch=epoch, settings=settings)
    newest = max((record.received_time for _, _, record in records), default=0)
    gone = expired(clock, scan, halves[own], halves[1 - own], newest, settings)
    redelivered = sum(seen.redelivered for seen in touched.values())
    return Folded(records, left, gone, halves[own].puts(), sessions, hours, redelivered)


def _halves(reads: tuple[Read, Read]) -> tuple[Rows, Rows]:
    return Rows(reads[0], LAYOUT), Rows(reads[1], LAYOUT)


def _first(records: Records, passing: Iterable[Passing]) -> int:
    """How many records come before the session that makes it too much, at least one."""
    of = {one.session: one.snapshots for one in passing}
    if sum(of.values()) <= SNAPSHOTS_MOST:
        return len(records)
    much = 0
    for number, (_, key, record) in enumerate(records):
        much += of.pop(session_of(key, record), 0)
        if much > SNAPSHOTS_MOST and number:
            return number
    return len(records)


class Published(NamedTuple):
    """What a published session says that the sweep must know: its first time (µs), and whether it is a pseudo-session,
    whose rows lie with its user's and not with its name."""

    start_time: int
    pseudo: bool


def unknown_sessions(messages: Mapping[bytes, Published], halves: Sequence[Read], since_us: int) -> list[bytes]:
    """Published sessions that no half row stands for, though the records of their time were all read again.

    Args:    messages: by Kafka's key.  halves: of each table.  since_us: records received from this time on were read.
    """
    keys = [key for key, said in messages.items() if said.start_time >= since_us + AHEAD_US and not said.pseudo]
    found = zip(*(read([session_key(key) for key in keys]) for read in halves), strict=True)
    return [key for key, stored in zip(keys, found, strict=True) if not any(stored)]


def whole(
    keys: Sequence[bytes], reads: tuple[Read, Read], *, epoch: int, settings: FoldSettings
) -> Iterator[tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
    """Everything that is published of some sessions, as if a record of each had been redelivered.

    Args:    keys: of their half rows.  reads: the rows of events, the rows of points.
    Yields:  (session rows, hour snapshots), of a session at a time where they are many.
    """
    halves = _halves(reads)
    for rows in halves:
        rows.prefetch(keys)
    touched = {key.removeprefix(SESSION): Touched(join.facts(None, None), redelivered=1) for key in keys}
    passing = join.passing(touched, *halves, settings)
    if sum(one.snapshots for one in passing) <= SNAPSHOTS_MOST:
        yield join.published(passing, *halves, epoch=epoch, settings=settings)
        return
    for one in passing:
        # With rows of its own, so that none of the others is kept.
        yield join.published([one], *_halves(reads), epoch=epoch, settings=settings)
