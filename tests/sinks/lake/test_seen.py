"""What the lake remembers to find re-sends."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.lake.seen import Seen

MINUTE = 60_000_000


def strings(*ids: str) -> pa.Array:
    return pa.array(ids, pa.string())


def seen(*, horizon_us: int = 60 * MINUTE, ids_max: int = 1000) -> Seen:
    return Seen(horizon_us=horizon_us, ids_max=ids_max)


def test_an_id_is_fresh_once_in_its_partition() -> None:
    memory = seen()
    assert memory.fresh(0, strings("a", "b", "a")).to_pylist() == [True, True, False]
    memory.add(0, strings("a", "b"), first_us=0, last_us=0)
    assert memory.fresh(0, strings("c", "a", "c", "b")).to_pylist() == [True, False, False, False]
    assert memory.fresh(1, strings("a")).to_pylist() == [True]


def test_asking_remembers_nothing() -> None:
    memory = seen()
    memory.fresh(0, strings("a"))
    assert memory.fresh(0, strings("a")).to_pylist() == [True]


def test_ids_are_forgotten_after_the_horizon_of_their_own_partition() -> None:
    memory = seen()
    memory.add(0, strings("old"), first_us=0, last_us=0)
    memory.add(1, strings("old"), first_us=0, last_us=0)
    memory.add(0, strings("at the edge"), first_us=10 * MINUTE, last_us=10 * MINUTE)
    memory.add(0, strings("new"), first_us=70 * MINUTE, last_us=70 * MINUTE)
    assert memory.fresh(0, strings("old", "at the edge", "new")).to_pylist() == [True, False, False]
    assert memory.fresh(1, strings("old")).to_pylist() == [False]
    assert len(memory) == 3


def test_a_clock_that_jumps_back_forgets_nothing() -> None:
    memory = seen()
    memory.add(0, strings("a"), first_us=100 * MINUTE, last_us=100 * MINUTE)
    memory.add(0, strings("b"), first_us=0, last_us=0)
    assert memory.fresh(0, strings("a")).to_pylist() == [False]


def test_the_bound_holds_over_all_partitions_and_drops_the_oldest(caplog: pytest.LogCaptureFixture) -> None:
    memory = seen(ids_max=4)
    memory.add(0, strings("a", "b"), first_us=0, last_us=20 * MINUTE)
    memory.add(1, strings("c", "d"), first_us=0, last_us=10 * MINUTE)
    memory.add(0, strings("e"), first_us=30 * MINUTE, last_us=30 * MINUTE)
    assert len(memory) == 3
    assert memory.fresh(0, strings("a", "b", "e")).to_pylist() == [False, False, False]
    assert memory.fresh(1, strings("c", "d")).to_pylist() == [True, True]
    assert "MILLRACE_LAKE_DEDUP_IDS_MAX=4" in caplog.text


def test_many_small_commits_are_kept_as_few_runs() -> None:
    memory = seen(ids_max=10_000)
    for number in range(500):
        memory.add(0, strings(f"id-{number}"), first_us=number, last_us=number)
    assert len(memory._runs[0]) == 1
    assert memory.fresh(0, strings("id-0", "id-499", "id-500")).to_pylist() == [False, False, True]


@given(st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30)), max_size=8), max_size=12))
def test_within_the_horizon_it_is_a_set_per_partition(commits: list[list[tuple[int, int]]]) -> None:
    memory, model = seen(), {0: set[str](), 1: set[str](), 2: set[str]()}
    for commit in commits:
        for partition in model:
            ids = [f"id-{number}" for where, number in commit if where == partition]
            expected = [id_ not in model[partition] and id_ not in ids[:i] for i, id_ in enumerate(ids)]
            fresh = memory.fresh(partition, strings(*ids))
            assert fresh.to_pylist() == expected
            kept = strings(*ids).filter(fresh)
            if len(kept):
                memory.add(partition, kept, first_us=0, last_us=0)
            model[partition] |= set(ids)
    assert len(memory) == sum(map(len, model.values()))
