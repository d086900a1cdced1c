"""A cumulative series that falls has begun anew without saying so: its session says that something is not counted."""

from __future__ import annotations

import itertools
import random
import uuid
from typing import Any

import pytest

from streams.sessions.points import Point
from tests.streams.records import HOUR, START, a_point
from tests.streams.simulation import World
from tests.streams.test_stages import log


def a_series(*values: float, apart_us: int, **said: Any) -> list[Point]:
    """Points that end one after the other."""
    first = a_point(random.Random(1), "s", START)._replace(
        metric="claude_code.cost.usage",
        type=None,
        temporality="cumulative",
        monotonic=True,
        **{"start_time": START, **said},
    )
    return [
        first._replace(value=value, event_time=START + n * apart_us, point_id=str(uuid.UUID(int=n << 64)))
        for n, value in enumerate(values, 1)
    ]


@pytest.mark.parametrize("start", [None, START])
@pytest.mark.parametrize("apart_us", [1_000_000, HOUR])
def test_a_series_that_falls_counts_with_its_last_value_and_is_flagged(start: int | None, apart_us: int) -> None:
    row = World([], log(a_series(10.0, 100.0, 5.0, 8.0, apart_us=apart_us, start_time=start)), 1).run().sessions["s"]
    assert (row["metric_cost_usd"], row["flags"]) == (8.0, ["series_fell"])


@pytest.mark.parametrize("apart_us", [1_000_000, HOUR])
def test_a_fall_is_seen_in_whatever_order_its_points_come_as_long_as_the_last_is_less_than_another(
    apart_us: int,
) -> None:
    for points in itertools.permutations(a_series(10.0, 100.0, 5.0, 8.0, apart_us=apart_us)):
        row = World([], log(list(points)), 1).run().sessions["s"]
        assert (row["metric_cost_usd"], row["flags"]) == (8.0, ["series_fell"])


@pytest.mark.parametrize("apart_us", [1_000_000, HOUR])
def test_a_series_that_grows_or_rests_is_not_flagged_in_any_order(apart_us: int) -> None:
    for points in itertools.permutations(a_series(1.0, 2.0, 2.0, 7.0, apart_us=apart_us)):
        row = World([], log(list(points)), 1).run().sessions["s"]
        assert (row["metric_cost_usd"], row["flags"]) == (7.0, [])


def test_a_sum_that_may_fall_is_not_flagged() -> None:
    points = [point._replace(monotonic=False) for point in a_series(10.0, 5.0, apart_us=HOUR)]
    assert World([], log(points), 1).run().sessions["s"]["flags"] == []
