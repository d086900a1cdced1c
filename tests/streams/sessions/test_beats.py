"""Gaps and running time from beats."""

from __future__ import annotations

from array import array
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from streams.sessions import beats
from streams.sessions.beats import SLOT_US

SECOND = 1_000_000
PAUSE = 1800 * SECOND


def told(pairs: list[tuple[int, int | None]]) -> tuple[int, int]:
    """(gaps, µs of running) of (time, sequence) pairs that come in this order."""
    slots: dict[int, array[int]] = {}
    summaries: list[beats.Beats] = []
    for time, sequence in pairs:
        slot = time // SLOT_US
        beats.insert(slots.setdefault(slot, array("Q")), beats.packed(time, sequence))
        assert beats.place(summaries, beats.summary(slot, slots[slot], PAUSE), PAUSE)
    whole = beats.whole(summaries, PAUSE)
    assert whole is not None
    return whole.gaps, whole.run_us


def test_holes_between_neighbours_of_a_run_are_gaps_and_its_start_is_none() -> None:
    assert told([(0, 5), (1, 6), (2, 9), (3, 10)]) == (2, 3)


def test_a_run_ends_when_the_sequence_falls() -> None:
    #       process 1 ......   resumed .......
    assert told([(0, 4), (1, 5), (2, 3), (3, 4)]) == (0, 3)


def test_dropped_beats_fill_gaps_and_have_no_time() -> None:
    slot = array("Q")
    for time, sequence, dropped in ((0, 1, False), (5, 4, False), (5, 2, True), (5, 3, True), (9, 5, True)):
        assert beats.insert(slot, beats.packed(time, sequence, dropped=dropped))
    whole = beats.summary(0, slot, PAUSE)
    assert (whole.gaps, whole.run_us, whole.first, whole.last) == (0, 5, 0, 5)


def test_a_slot_of_dropped_beats_stops_no_clock_and_starts_none() -> None:
    summaries: list[beats.Beats] = []
    for slot, dropped in enumerate((True, False, True, False, True)):
        beat = array("Q", [beats.packed(slot * SLOT_US, slot, dropped=dropped)])
        assert beats.place(summaries, beats.summary(slot, beat, PAUSE), PAUSE)
    whole = beats.whole(summaries, PAUSE)
    assert whole is not None
    assert (whole.gaps, whole.run_us, whole.first, whole.last) == (0, 2 * SLOT_US, SLOT_US, 3 * SLOT_US)


def test_pauses_do_not_run() -> None:
    assert told([(0, 0), (10 * SECOND, 1), (10 * SECOND + PAUSE + 1, 2)]) == (0, 10 * SECOND)
    assert told([(0, 0), (PAUSE, 1)]) == (0, PAUSE)


def test_beats_without_a_sequence_make_no_gaps() -> None:
    assert told([(0, None), (1, 7), (2, None), (3, 9)]) == (0, 3)


@given(
    st.lists(st.tuples(st.integers(0, 40 * SLOT_US), st.integers(0, 50)), min_size=1, max_size=60),
    st.randoms(),
)
def test_any_order_of_arrival_gives_what_the_sorted_order_gives(pairs: list[tuple[int, int]], random: object) -> None:
    ordered = sorted(pairs)
    gaps = sum(max(0, b - a - 1) for (_, a), (_, b) in pairwise(ordered))
    run = sum(b - a for (a, _), (b, _) in pairwise(ordered) if b - a <= PAUSE)
    shuffled: list[tuple[int, int | None]] = list(pairs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert told(shuffled) == (gaps, run)


def test_a_session_of_many_slots_keeps_a_bounded_list_and_exact_totals() -> None:
    summaries: list[beats.Beats] = []
    count = beats.SLOTS + 500
    for slot in range(count):
        beat = array("Q", [beats.packed(slot * SLOT_US, slot * 2)])
        assert beats.place(summaries, beats.summary(slot, beat, PAUSE), PAUSE)
    whole = beats.whole(summaries, PAUSE)
    assert len(summaries) <= beats.SLOTS
    assert whole is not None
    assert (whole.gaps, whole.run_us) == (count - 1, (count - 1) * SLOT_US)


def test_what_comes_late_into_a_joined_stretch_is_refused() -> None:
    summaries: list[beats.Beats] = []
    for slot in range(0, 2 * (beats.SLOTS + 1), 2):
        beats.place(summaries, beats.summary(slot, array("Q", [beats.packed(slot * SLOT_US, 1)]), PAUSE), PAUSE)
    assert not beats.place(summaries, beats.summary(1, array("Q", [beats.packed(SLOT_US, 1)]), PAUSE), PAUSE)


def test_a_slot_is_bounded() -> None:
    full = array("Q", range(beats.BEATS_PER_SLOT))
    assert not beats.insert(full, 5)
    assert len(full) == beats.BEATS_PER_SLOT
