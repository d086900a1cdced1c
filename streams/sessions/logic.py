"""One chunk through the sessions stage, without Kafka: what to write, what to delete, what to pass on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from streams.expiry import Clock, Scan
from streams.receipt import AHEAD_US
from streams.rows import Read, Rows, Stored
from streams.sessions import join
from streams.sessions.expiry import Expired, expired
from streams.sessions.fold import Facts, FoldSettings, Touched, session_of
from streams.sessions.state import SESSION, session_key

LOGIC = 2
"""Grows with every change that makes other rows of the same records; rows of another one are refused."""

Fold = Callable[[Sequence[tuple[int, bytes, Any]], Rows, Callable[[bytes], Facts], FoldSettings], dict[bytes, Touched]]


@dataclass(frozen=True, slots=True)
class Folded:
    """What a chunk comes to.

    expired: what to take back and delete.  puts: rows to write, in this order.  sessions, hours: records to publish.
    redelivered: records that the rows already held.
    """

    expired: Expired
    puts: dict[bytes, Stored]
    sessions: list[dict[str, Any]]
    hours: list[dict[str, Any]]
    redelivered: int


def fold_chunk(
    fold: Fold,
    records: Sequence[tuple[int, bytes, Any]],
    halves: tuple[Rows, Rows],
    *,
    own: int,
    applied: int,
    clock: Clock,
    scan: Scan,
    epoch: int,
    settings: FoldSettings,
) -> Folded:
    """Fold a chunk of events or of points.

    Args: fold: fold_events or fold_points.  records: (offset, key, record), offsets rising.
          halves: the rows of events, the rows of points; only those at index ``own`` change.
          applied: everything up to this offset is in the rows, and is only passed on again; what has no row there was
          folded, and has expired since.
          clock, scan: of the table that changes.
    """

    def facts(session: bytes) -> Facts:
        key = session_key(session)
        return join.facts(*join.together(halves[0].value(key), halves[1].value(key), settings))

    new = [record for record in records if record[0] > applied]
    touched = fold(new, halves[own], facts, settings)
    again = [session_of(key, record) for offset, key, record in records if offset <= applied]
    halves[own].prefetch(session_key(session) for session in again)
    for session in again:
        if halves[own].get(session_key(session)) is not None:
            seen = touched[session] = touched.get(session) or Touched(facts(session))
            seen.redelivered += 1
    sessions, hours = join.published(touched, *halves, epoch=epoch, settings=settings)
    newest = max((record.received_time for _, _, record in records), default=0)
    gone = expired(clock, scan, halves[own], halves[1 - own], newest, settings)
    redelivered = sum(seen.redelivered for seen in touched.values())
    return Folded(gone, halves[own].puts(), sessions, hours, redelivered)


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
    keys: Sequence[bytes], halves: tuple[Rows, Rows], *, epoch: int, settings: FoldSettings
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Everything that is published of some sessions, as if a record of each had been redelivered.

    Args:    keys: of their half rows.  halves: the rows of events, the rows of points.
    Returns: (session rows, hour snapshots)
    """
    for rows in halves:
        rows.prefetch(keys)
    touched = {key.removeprefix(SESSION): Touched(join.facts(None, None), redelivered=1) for key in keys}
    return join.published(touched, *halves, epoch=epoch, settings=settings)
