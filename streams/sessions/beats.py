"""Beats: when each event of a session happened and which number it carried.

Sequence gaps and running time depend on neighbours in (event_time, sequence) order, and an event may come late, into
the middle. So the beats of every ten minutes (a slot) are kept sorted in a row of their own, eight bytes each, and the
session row keeps one summary a slot: summaries of neighbouring slots join to the summary of both. Both results are
therefore the same whatever the order of arrival.

A run ends when the sequence falls; the holes between neighbours of a run are gaps (DESIGN.md, rule 10). Running time is
the time between neighbours, without pauses longer than the one allowed. A beat without a sequence is no neighbour to
gaps.
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


class Beats(msgspec.Struct, array_like=True, frozen=True):
    """The summary of the slots ``slot`` to ``last_slot``: times in µs, sequences one higher than the client's (0:
    none)."""

    slot: int
    last_slot: int
    first: int
    first_sequence: int
    last: int
    last_sequence: int
    gaps: int
    run_us: int


def packed(time: int, sequence: int | None) -> int:
    """A beat as one number that sorts by (time in its slot, sequence)."""
    return (time % SLOT_US) << 32 | (0 if sequence is None else min(max(sequence + 1, 0), _SEQUENCE))


def insert(beats: array[int], beat: int) -> bool:
    """Add a beat to a slot's sorted beats; False when the slot is full."""
    if len(beats) >= BEATS_PER_SLOT:
        return False
    if not beats or beat >= beats[-1]:
        beats.append(beat)
    else:
        insort(beats, beat)
    return True


def _step(before_time: int, before: int, time: int, sequence: int, pause_us: int) -> tuple[int, int]:
    """(missing sequence numbers, µs of running) between two neighbours."""
    elapsed = time - before_time
    return (sequence - before - 1 if 0 < before < sequence else 0), (elapsed if elapsed <= pause_us else 0)


def summary(slot: int, beats: array[int], pause_us: int) -> Beats:
    """What a slot's beats (sorted, at least one) amount to."""
    gaps = run_us = 0
    previous = beats[0]
    for beat in beats[1:]:
        missing, running = _step(previous >> 32, previous & _SEQUENCE, beat >> 32, beat & _SEQUENCE, pause_us)
        gaps += missing
        run_us += running
        previous = beat
    base, first = slot * SLOT_US, beats[0]
    return Beats(
        slot,
        slot,
        base + (first >> 32),
        first & _SEQUENCE,
        base + (previous >> 32),
        previous & _SEQUENCE,
        gaps,
        run_us,
    )


def joined(older: Beats, newer: Beats, pause_us: int) -> Beats:
    """Two neighbouring summaries as one."""
    gaps, run_us = _step(older.last, older.last_sequence, newer.first, newer.first_sequence, pause_us)
    return Beats(
        older.slot,
        newer.last_slot,
        older.first,
        older.first_sequence,
        newer.last,
        newer.last_sequence,
        older.gaps + newer.gaps + gaps,
        older.run_us + newer.run_us + run_us,
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
