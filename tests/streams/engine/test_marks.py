"""What a worker refuses, told from the mark of its rows."""

from __future__ import annotations

import pytest

from streams.engine import AlreadyPublished, LogicChanged, SourceCut, StateLost, StateMismatch, WrongRow, rows
from streams.engine.marks import Mark, check_progress, check_source

MARK = Mark(cluster_id="c1", topic="t", topic_id="id-1", partitions=4, epoch=1, applied=99)


def test_a_packed_mark_unpacks_to_itself() -> None:
    assert Mark.unpack(MARK.pack()) == MARK
    assert Mark.unpack(MARK._replace(applied=-1).pack()).applied == -1
    in_shadow = MARK._replace(epoch=2, logic=3, published=False)
    assert Mark.unpack(in_shadow.pack()) == in_shadow


def test_a_mark_of_before_epochs_in_shadow_is_of_the_first_logic_and_published() -> None:
    mark = Mark.unpack(rows.pack(1, 99, b'["c1","t","id-1",4,1,99]'))
    assert mark == MARK
    assert (mark.logic, mark.published) == (1, True)


def test_the_mark_of_what_was_published_meanwhile_wins_over_the_one_before() -> None:
    before, after = MARK._replace(published=False).pack(), MARK.pack()
    assert rows.merge([(rows.MARK_KEY, after, b"")], lambda keys: [before]).puts == {rows.MARK_KEY: after}


def test_the_farther_mark_wins_as_rows_do() -> None:
    near, far = MARK.pack(), MARK._replace(applied=100).pack()
    assert rows.merge([(rows.MARK_KEY, far, b""), (rows.MARK_KEY, near, b"")], lambda keys: [None]).puts == {
        rows.MARK_KEY: far
    }


def test_a_mark_of_a_newer_release_is_an_error() -> None:
    with pytest.raises(WrongRow, match="cannot be read; start the release that wrote it, or rebuild with a higher"):
        Mark.unpack(rows.pack(1, 99, b'["c1"]'))


def test_rows_of_the_same_source_are_accepted() -> None:
    check_source("here", MARK, MARK._replace(applied=-1))
    check_source("here", MARK, MARK._replace(applied=-1, epoch=2))


@pytest.mark.parametrize(
    ("ours", "words"),
    [
        ({"cluster_id": "c2"}, "rows were made in Kafka cluster c1, this cluster is c2"),
        ({"topic_id": "id-2"}, r"topic t was deleted and made again since \(its id was id-1, is id-2\)"),
        ({"topic": "u"}, "rows were made from topic t, now fed by u"),
        ({"partitions": 8}, "rows were made from 4 partitions of t, it has 8"),
    ],
)
def test_rows_of_something_else_are_refused(ours: dict[str, object], words: str) -> None:
    advice = r"start with a higher epoch \(MILLRACE_STREAMS_EPOCH=2 MILLRACE_STREAMS_SHADOW=true\) to rebuild"
    with pytest.raises(StateMismatch, match=f"^here: {words}; {advice}"):
        check_source("here", MARK, MARK._replace(**ours))


def test_rows_of_a_newer_epoch_are_refused() -> None:
    with pytest.raises(StateMismatch, match="rows are of epoch 2, this worker has epoch 1"):
        check_source("here", MARK._replace(epoch=2), MARK)


@pytest.mark.parametrize("logic", [1, 3])
def test_rows_of_another_logic_are_refused_with_the_way_to_roll_it_out(logic: int) -> None:
    words = f"^here: rows were made by logic {logic}, this release has logic 2; start it with MILLRACE_STREAMS_EPOCH=2 "
    with pytest.raises(LogicChanged, match=words + "MILLRACE_STREAMS_SHADOW=true beside the old workers, then switch"):
        check_source("here", MARK._replace(logic=logic), MARK._replace(logic=2))


def test_published_rows_are_not_worked_on_in_shadow() -> None:
    rebuilt = MARK._replace(epoch=2)
    check_source("here", rebuilt._replace(published=False), rebuilt)
    check_source("here", rebuilt._replace(published=False), rebuilt._replace(published=False))
    with pytest.raises(AlreadyPublished, match=r"^here: the rows of epoch 2 are published; start without MILLRACE_"):
        check_source("here", rebuilt, rebuilt._replace(published=False))


@pytest.mark.parametrize(
    ("mark", "committed", "end"), [(None, None, 50), (MARK, 100, 100), (MARK, 80, 200), (MARK, None, 100)]
)
def test_rows_at_or_ahead_of_the_commit_are_accepted(mark: Mark | None, committed: int | None, end: int) -> None:
    check_progress("here", mark, epoch=1, committed=committed, end=end)


@pytest.mark.parametrize(("mark", "committed"), [(None, 0), (None, 100), (MARK, 101)])
def test_rows_behind_the_commit_are_lost_state(mark: Mark | None, committed: int) -> None:
    with pytest.raises(StateLost, match=r"^here: the changelog .*MILLRACE_STREAMS_EPOCH=2"):
        check_progress("here", mark, epoch=1, committed=committed, end=1_000)


def test_a_mark_keeps_the_leader_epoch_and_one_of_before_it_has_none() -> None:
    assert Mark.unpack(MARK._replace(leader_epoch=7).pack()).leader_epoch == 7
    assert Mark.unpack(rows.pack(1, 99, b'["c1","t","id-1",4,1,99,1,true]')) == MARK
    assert MARK.leader_epoch == -1


def test_rows_whose_last_record_the_source_still_has_are_accepted() -> None:
    """The epoch of that record ends beyond it; or, where Kafka cannot be asked, nobody knows."""
    for kept in (100, 5_000, None):
        check_progress("here", MARK, epoch=1, committed=50, end=5_000, kept=kept)


@pytest.mark.parametrize("kept", [0, 70, 99])
def test_rows_of_records_that_others_stand_in_the_place_of_are_refused(kept: int) -> None:
    words = rf"^here: rows are made of records up to offset 99, but t was cut at {kept} and written on .* others stand"
    with pytest.raises(SourceCut, match=words + r".*start with a higher epoch \(MILLRACE_STREAMS_EPOCH=2 "):
        check_progress("here", MARK, epoch=1, committed=50, end=5_000, kept=kept)


def test_rows_beyond_the_end_of_the_source_are_refused() -> None:
    with pytest.raises(StateMismatch, match="t ends at 99: records were lost"):
        check_progress("here", MARK, epoch=1, committed=50, end=99)
