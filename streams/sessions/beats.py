"""Beats: when each event of a session happened and which number it carried.

Sequence gaps and running time depend on neighbours in (event_time, sequence) order, and an event may come late, into
the middle. So the beats of every ten minutes (a slot) are kept sorted in a row of their own, eight bytes each, and the
session row keeps one summary a slot: summaries of neighbouring slots join to the summary of both. Both results are
therefore the same whatever the order of arrival.

A run ends when the sequence falls; the holes between neighbours of a run are gaps (DESIGN.md, rule 10). Running time is
the time between neighbours, without pauses longer than the one allowed. A beat without a sequence is no neighbour to
gaps. A beat of an event that routing dropped is one to gaps only: it has a place in the sequence, and no time.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort

import msgspec

SLOT_US = 600_000_000
BEATS_PER_SLOT = 16_384
"""A slot keeps no more: 128 KiB. Later beats of a fuller slot are not looked at, and the session is flagged."""
SLOTS = 1024
"""Slots kept apart by a session row (about 30 bytes each); beyond, the two oldest are joined for good."""
_SEQUENCE = 0xFFFFFFFF
_DROPPED = 1 << 63
_PLACE = _DROPPED - 1


class Beats(msgspec.Struct, array_like=True, frozen=True):
    """The summary of the slots ``slot`` to ``last_slot``: times in µs (-1: only dropped events), sequences one higher
    than the client's (0: none)."""

    slot: int
    last_slot: int
    first: int
    first_sequence: int
    last: int
    last_sequence: int
    gaps: int
    run_us: int


def packed(time: int, sequence: int | None, *, dropped: bool = False) -> int:
    """A beat as one number; without its highest bit, which says that it was dropped, it sorts by (time in its slot,
    sequence)."""
    beat = (time % SLOT_US) << 32 | (0 if sequence is None else min(max(sequence + 1, 0), _SEQUENCE))
    return beat | _DROPPED if dropped else beat


def _order(beat: int) -> int:
    return beat & _PLACE


def insert(beats: array[int], beat: int) -> bool:
    """Add a beat to a slot's sorted beats; False when the slot is full."""
    if len(beats) >= BEATS_PER_SLOT:
        return False
    if not beats or beat & _PLACE >= beats[-1] & _PLACE:
        beats.append(beat)
    else:
        insort(beats, beat, key=_order)
    return True


def _missing(before: int, sequence: int) -> int:
    """Sequence numbers missing between two neighbours."""
    return sequence - before - 1 if 0 < before < sequence else 0


def _running(before: int, time: int, pause_us: int) -> int:
    """µs of running between two neighbours in time; -1 is none."""
    elapsed = time - before
    return elapsed if before >= 0 and time >= 0 and elapsed <= pause_us else 0


def summary(slot: int, beats: array[int], pause_us: int) -> Beats:
    """What a slot's beats (sorted, at least one) amount to."""
    gaps = run_us = 0
    first = last = -1
    before = beats[0] & _SEQUENCE
    for beat in beats:
        sequence = beat & _SEQUENCE
        gaps += _missing(before, sequence)
        before = sequence
        if beat < _DROPPED:
            time = beat >> 32
            run_us += _running(last, time, pause_us)
            last = time
            if first < 0:
                first = time
    base = slot * SLOT_US
    return Beats(
        slot,
        slot,
        base + first if first >= 0 else -1,
        beats[0] & _SEQUENCE,
        base + last if last >= 0 else -1,
        before,
        gaps,
        run_us,
    )


def joined(older: Beats, newer: Beats, pause_us: int) -> Beats:
    """Two neighbouring summaries as one."""
    return Beats(
        older.slot,
        newer.last_slot,
        older.first if older.first >= 0 else newer.first,
        older.first_sequence,
        newer.last if newer.last >= 0 else older.last,
        newer.last_sequence,
        older.gaps + newer.gaps + _missing(older.last_sequence, newer.first_sequence),
        older.run_us + newer.run_us + _running(older.last, newer.first, pause_us),
    )


def place(summaries: list[Beats], new: Beats, pause_us: int) -> bool:
    """Put a slot's summary among the session's, in order, in place of its former one.

    Returns: False when the slot lies in a stretch that was already joined: what came late there is not looked at.
    """
    at = bisect_left(summaries, new.slot, key=lambda kept: kept.last_slot)
    if at == len(summaries):
        summaries.append(new)
    elif summaries[at].slot > new.slot:
        summaries.insert(at, new)
    elif summaries[at].slot == summaries[at].last_slot:
        summaries[at] = new
    else:
        return False
    if len(summaries) > SLOTS:
        summaries[0:2] = [joined(summaries[0], summaries[1], pause_us)]
    return True


def whole(summaries: list[Beats], pause_us: int) -> Beats | None:
    """The summary of the whole session, or None without any beat."""
    if not summaries:
        return None
    out = summaries[0]
    for following in summaries[1:]:
        out = joined(out, following, pause_us)
    return out
