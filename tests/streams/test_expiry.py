"""What expires, what stays, and that it matters to no number when somebody looked."""

from __future__ import annotations

import itertools
import random
import uuid
from collections import Counter
from typing import Any

import pytest

from streams.engine.outbox import partition_of
from streams.receipt import Receipt
from streams.sessions.events import Event
from streams.sessions.state import DAY_US, HOUR_US
from tests.streams.records import START, a_point, a_series, an_event
from tests.streams.simulation import HOURS, World
from tests.streams.test_stages import log


def a_prompt(session: str, day: float, sequence: int = 1, **more: Any) -> Event:
    time = START + round(day * DAY_US)
    event = an_event(random.Random(f"{session} {day} {sequence}"), session, sequence, time)
    who = {"user_account_uuid": "anna", "user_key": "0c" * 16, "team": None}
    return event._replace(event_name="user_prompt", received_time=time + 1_000_000, **(who | more))


def a_cost(session: str, day: float, **more: Any) -> Any:
    time = START + round(day * DAY_US)
    point = a_point(random.Random(f"{session} {day}"), session, time)
    who = {"user_account_uuid": "anna", "user_key": "0c" * 16, "team": None}
    return point._replace(metric="claude_code.cost.usage", type=None, value=1.0, received_time=time, **(who | more))


def ticks(since: int, until: int) -> tuple[list[Any], list[Any]]:
    """A session that goes on and on, so that time passes in both sources."""
    days = range(since, until)
    return [a_prompt("last", day, sequence=day) for day in days], [a_cost("last", day) for day in days]


def one_in(partition: int, partitions: int, name: str) -> str:
    """A name like this one whose key stands in a partition."""
    names = (f"{name} {n}" for n in itertools.count())
    return next(name for name in names if partition_of(f"t\x1f{name}".encode(), partitions) == partition)


def kinds(world: World) -> Counter[str]:
    return Counter(key[:1].decode() for table in (world.of_events, world.of_points, world.users) for key in table.rows)


def test_a_session_goes_400_days_after_it_was_last_heard_of_with_everything_published_of_it() -> None:
    events = [a_prompt(f"s{day}", day) for day in range(0, 500, 10)]
    points = [a_cost(f"s{day}", day) for day in range(0, 500, 10)]
    more = ticks(500, 600)
    world = World(log(events + more[0]), log(points + more[1]), 1).run()
    assert world.sessions.keys() == {f"s{day}" for day in range(170, 500, 10)} | {"last"}
    assert kinds(world)["s"] == 2 * len(world.sessions)
    assert kinds(world)["e"] == kinds(world)["s"] + 2 * 99


def test_hours_go_after_60_days_and_the_days_of_users_stay_as_long_as_sessions() -> None:
    events = [a_prompt("s", day, sequence=day) for day in range(500)]
    world = World(log(events), log([]), 1).run()
    last = START + 499 * DAY_US
    grains = Counter(row["grain"] for row in world.windows.values())
    assert grains["hour"] <= 98
    assert 435 <= grains["day"] <= 438
    assert min(row["start"] for row in world.windows.values() if row["grain"] == "hour") >= last - 98 * DAY_US
    assert kinds(world)["h"] <= 98
    assert kinds(world)["t"] <= 98
    assert world.sessions["s"]["prompts"] == 500
    (row,) = (world.of_events.rows[key] for key in world.of_events.rows if key[:1] == b"s")
    assert len(row[1]) < 20_000


@pytest.mark.parametrize(("pause", "prompts"), [(399.0, 2), (401.0, 1), (440.0, 1), (900.0, 1)])
def test_a_session_that_comes_back_goes_on_or_begins_anew(pause: float, prompts: int) -> None:
    first, second = a_prompt("s", 0), a_prompt("s", pause, sequence=2)
    alone = World(log([first, second]), log([]), 1).run()
    # Others move the partition's time: the row is deleted before it comes back.
    among = World(log([first, a_prompt("other", pause - 0.01), second]), log([]), 1).run(largest_chunk=1)
    for world in (alone, among):
        assert world.sessions["s"]["prompts"] == prompts
        assert world.sessions["s"]["start_time"] == (first if prompts == 2 else second).event_time


def test_a_session_lives_as_long_as_either_half_is_heard_of() -> None:
    points = [a_cost("s", day) for day in range(0, 700, 20)]
    events = [a_prompt("s", 0), *(a_prompt("other", day, sequence=day) for day in range(1, 380, 20))]
    world = World(log(events), log(points), 3).run()
    assert world.sessions["s"]["metric_cost_usd"] == len(points)


def test_a_cumulative_series_that_comes_back_after_so_long_counts_from_nothing() -> None:
    series = a_series(random.Random(5), "s", START)
    while len(series) < 3:
        series += a_series(random.Random(6), "s", START)
    first, second = series[0], series[-1]
    later = START + 500 * DAY_US
    second = second._replace(series=first.series, start_time=first.start_time, value=7.0)
    second = second._replace(event_time=later, received_time=later, metric=first.metric, type=first.type)
    events = [a_prompt("s", day, sequence=day) for day in range(0, 501, 100)]
    world = World(log(events), log([first._replace(value=5.0), second]), 1).run()
    assert sum(world.sessions["s"]["metric_totals"].values()) == 7.0


def a_count(day: float, value: float, series: str = "5e" * 16) -> Any:
    """A point of a cumulative series of the session s that began on day 0."""
    point = a_cost("s", day, temporality="cumulative", series=series, start_time=START)
    return point._replace(value=value, point_id=str(uuid.UUID(int=round(day * 10) << 64)))


def series_kept(world: World) -> int:
    return sum(key.startswith(b"c") for key in world.of_points.rows)


@pytest.mark.parametrize("silent", [300, 420, 800])
def test_a_cumulative_series_counts_once_however_long_it_was_silent_in_a_session_that_lives(silent: int) -> None:
    lives = [a_cost("s", day) for day in range(0, silent, 50)]
    points = [a_count(0, 5.0), *lives, a_count(silent, 7.0), a_count(silent + 1, 8.0)]
    for chunk in (1, 40):
        calm = World(log([]), log(points), 1).run(largest_chunk=chunk)
        wild = World(log([]), log(points), 2).run(largest_chunk=chunk, crashes=10)
        for world in (calm, wild):
            assert world.sessions["s"]["metric_cost_usd"] == len(lives) + 8.0
            assert series_kept(world) == 1


def test_a_cumulative_series_goes_with_its_session() -> None:
    points = [a_count(0, 5.0), *(a_cost("s", day) for day in range(10, 700, 100)), *ticks(1100, 1150)[1]]
    world = World(log([]), log(points), 1).run(largest_chunk=5)
    assert world.sessions.keys() == {"last"}
    assert series_kept(world) == 0
    assert kinds(world)["e"] == 50


@pytest.mark.parametrize("looked", [True, False])
def test_a_series_of_a_session_that_began_anew_counts_from_nothing_whether_its_row_was_deleted_or_not(
    looked: bool,
) -> None:
    again = [a_cost("s", 410), a_count(411, 7.0), a_cost("s", 600), a_count(850, 8.0)]
    others = [a_cost("other", day) for day in (409, 450, 849)] if looked else []
    world = World(log([]), log(sorted([a_count(0, 5.0), *again, *others], key=lambda p: p.received_time)), 1)
    world.run(largest_chunk=1)
    assert world.sessions["s"]["metric_cost_usd"] == 2 + 8.0
    assert series_kept(world) == 1


@pytest.mark.parametrize("seed", range(6))
def test_whatever_dies_and_however_it_is_cut_the_same_rows_are_left(seed: int) -> None:
    rnd = random.Random(seed)
    partitions, workers = 1 + seed % 4, rnd.randint(1, 3)
    events, points = [], []
    for day in range(0, 900, 3):
        session = f"s{rnd.randrange(12)}" if rnd.random() < 0.9 else f"once{day}"
        moment, who = day + rnd.random(), {"user_key": f"user {rnd.randrange(4)}"}
        events.append(a_prompt(session, moment, sequence=day, team=rnd.choice([None, "core"]), **who))
        if rnd.random() < 0.6:
            points.append(a_cost(session, moment, **who))
    for day in range(900, 1060, 4):  # time passes in every partition
        for n in range(partitions):
            last, who = one_in(n, partitions, "last"), {"user_key": one_in(n, partitions, "user")}
            events.append(a_prompt(last, day, sequence=day, **who))
            points.append(a_cost(last, day, **who))
    logs = (log(events), log(points))
    calm = World(*logs, seed, partitions=partitions).run(largest_chunk=10, apart_us=10 * DAY_US)
    wild = World(*logs, seed + 1, partitions=partitions, workers=workers)
    wild.run(crashes=20, largest_chunk=3, apart_us=20 * DAY_US)

    def seen(world: World) -> Any:
        sums = ("prompts", "metric_cost_usd", "start_time", "last_time")
        return {key: [row[name] for name in sums] for key, row in world.sessions.items()}

    def used(world: World) -> Any:
        rows = ((key, row["prompts"], row["metric_cost_usd"], row["sessions"]) for key, row in world.windows.items())
        return {key: sums for key, *sums in rows if any(sums)}

    assert seen(calm) == seen(wild)
    assert used(calm) == used(wild)
    assert kinds(calm)["s"] == kinds(wild)["s"]
    oldest = START + (1056 - 95) * DAY_US - HOUR_US
    for world in (calm, wild):
        assert kinds(world)["w"] == len(world.windows)
        hours = [row for row in world.windows.values() if row["grain"] == "hour"]
        assert min(row["start"] for row in [*hours, *world.output(HOURS).values()]) >= oldest


def test_a_clock_ten_years_off_counts_when_it_was_received_and_says_so() -> None:
    good = a_prompt("s", 0)
    ahead = a_prompt("s", 0.01, sequence=2, clock_suspect=True)
    ahead = ahead._replace(event_time=ahead.event_time + 3650 * DAY_US)
    again = ahead._replace(received_time=ahead.received_time + HOUR_US // 2)
    world = World(log([good, ahead, again, again]), log([]), 1).run()
    row = world.sessions["s"]
    assert (row["prompts"], row["resends"], row["sequence_gaps"]) == (2, 2, 0)
    assert row["last_time"] == ahead.received_time
    assert row["flags"] == ["clock_suspect"]
    assert {row["start"] // DAY_US for row in world.windows.values()} == {START // DAY_US}
    assert all(row["prompts"] for row in world.windows.values())


def test_a_million_wrong_clocks_leave_no_rows_behind() -> None:
    rnd = random.Random(9)
    events = [
        a_prompt("s", n / 1000, sequence=n, clock_suspect=True)._replace(
            event_time=rnd.randrange(-(2**62), 2**62), event_id=str(uuid.UUID(int=rnd.getrandbits(128)))
        )
        for n in range(1000)
    ]
    world = World(log(events + ticks(90, 120)[0]), log([]), 1).run(largest_chunk=10)
    assert world.sessions["s"]["prompts"] == 1000
    assert not [key for key in world.of_events.rows if key[:1] in b"th" and key.endswith(b"\x1fs")]
    assert {row["session_id"] for row in world.sessions.values()} == {"s", "last"}


def test_points_of_one_request_with_a_wrong_clock_are_ordered_by_that_clock() -> None:
    series = a_series(random.Random(5), "s", START)
    first = series[0]._replace(value=1.0, clock_suspect=True, received_time=START + 100 * DAY_US)
    later = first._replace(value=5.0, event_time=first.event_time + 1, point_id=str(uuid.UUID(int=7 << 64)))
    world = World(log([]), log([first, later]), 1).run()
    assert list(world.sessions["s"]["metric_totals"].values()) == [5.0]


def test_a_resend_over_midnight_without_a_session_and_with_a_wrong_clock_counts_once() -> None:
    event = a_prompt("s", 0, clock_suspect=True)._replace(session_id=None)
    midnight = (event.received_time // DAY_US + 1) * DAY_US
    copies = [event._replace(received_time=midnight + minutes * 60_000_000) for minutes in (-5, 5)]
    world = World([(b"t\x1f" + b"0c" * 16, copy) for copy in copies], [], 1).run()
    assert sum(row["prompts"] for row in world.sessions.values()) == 1
    assert sum(row["resends"] for row in world.sessions.values()) == 1
    assert sum(row["prompts"] for row in world.windows.values() if row["grain"] == "day") == 1


def test_a_received_time_counts_as_far_as_the_clock_of_the_broker_bears_it_out() -> None:
    receipt = Receipt(("received_time", "clock_suspect", "event_time"))
    for said, counts in ((START, 0), (START + 300_000_000, 300), (START + DAY_US, 300), (0, -300)):
        assert receipt.borne_out((said, False, START), START // 1000) == (START + counts * 1_000_000, False, START)


def test_a_time_that_the_gateway_let_pass_is_asked_again_where_its_own_does_not_count() -> None:
    receipt = Receipt(("received_time", "clock_suspect", "event_time"))
    wrong, counts = START - 3650 * DAY_US, START - 300_000_000

    def suspect(time: int, received: int, said: bool | None = None) -> Any:
        return receipt.borne_out((received, said, time), START // 1000)[1]

    assert suspect(wrong, wrong) is True
    assert suspect(counts - 30 * DAY_US - 1, wrong) is True
    assert suspect(counts + 600_000_001, wrong) is True
    # What the gateway called suspect stays so; what is no farther off than a client's clock may be is believed.
    assert suspect(START, wrong, said=True) is True
    for time in (START, counts - 30 * DAY_US, counts + 600_000_000):
        assert suspect(time, wrong) is False
    # Its word counts, and so does what it says of the client.
    for said in (None, False, True):
        assert suspect(wrong, START, said) is said


@pytest.mark.parametrize("years", [-10, 10])
@pytest.mark.parametrize("crashes", [0, 10])
def test_what_comes_through_a_wrong_clock_counts_when_the_broker_had_it_and_a_neighbour_sees_nothing_of_it(
    years: int, crashes: int
) -> None:
    """Gateway and client on one host, whose clock both of them go by."""
    apart = years * 365 * DAY_US
    minutes = [n / 1440 for n in range(0, 300, 10)]

    def shifted(record: Any) -> Any:
        moved = {"event_time": record.event_time + apart, "received_time": record.received_time + apart}
        if not isinstance(record, Event):
            moved["start_time"] = record.start_time + apart
        return record._replace(**moved)

    def appended(record: Any) -> int:
        wrong = abs(record.received_time - START) > 1000 * DAY_US
        return int(record.received_time - apart if wrong else record.received_time)

    anna = {"user_key": "0a" * 16, "team": None, "user_account_uuid": "anna"}
    bert = {"user_key": "0b" * 16, "team": None, "user_account_uuid": "bert"}
    events, points = [], []
    for n, day in enumerate(minutes):
        for name, who, moved in (("wrong", anna, shifted), ("right", bert, lambda record: record)):
            events.append(moved(a_prompt(name, day, sequence=n, **who)))
            points.append(moved(a_cost(name, day, **who)))
            series = {"temporality": "cumulative", "series": name[0].encode().hex() * 16, "start_time": START}
            points.append(moved(a_cost(name, day + 1 / 2880, **who | series)._replace(value=float(n + 1))))
    # Time passes for both: what is thought to be old would go.
    others = [a_prompt("other", day, **bert) for day in (0.5, 1, 2)]
    costs = [a_cost("other", day, **bert) for day in (0.5, 1, 2)]
    world = World(log(events + others), log(points + costs), 1, appended=appended)
    world.run(largest_chunk=3, crashes=crashes)
    honest = World(
        log([record for record in events + others if record.session_id != "wrong"]),
        log([record for record in points + costs if record.session_id != "wrong"]),
        1,
    ).run(largest_chunk=3)

    wrong, right = world.sessions["wrong"], world.sessions["right"]
    assert wrong["flags"] == ["clock_suspect"]
    assert (wrong["prompts"], wrong["metric_cost_usd"]) == (30, 60.0)
    assert START - HOUR_US < wrong["start_time"] < wrong["last_time"] < START + 6 * HOUR_US
    used: dict[Any, list[float]] = {}
    for row in world.windows.values():
        sums = used.setdefault((row["user_key"], row["grain"]), [0, 0])
        sums[0] += row["prompts"]
        sums[1] += row["metric_cost_usd"]
        assert abs(row["start"] - START) < 4 * DAY_US
    assert used["0a" * 16, "hour"] == used["0a" * 16, "day"] == [30, 60.0]
    assert used["0b" * 16, "hour"] == used["0b" * 16, "day"] == [33, 63.0]

    def sums(row: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in row.items() if name not in ("version", "received_time")}

    assert sums(right) == sums(honest.sessions["right"])
    berts = {key: sums(row) for key, row in world.windows.items() if key[1] == "0b" * 16}
    assert berts == {key: sums(row) for key, row in honest.windows.items()}
