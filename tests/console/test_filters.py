"""The time range and filters of a URL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.filters import DIMENSIONS, NONE, PRESETS, FilterFault, Filters, parse

NOW = datetime(2026, 11, 21, 18, 42, 30, tzinfo=UTC)


def read(url: str) -> Filters:
    return parse(dict(parse_qsl(url)), NOW)


def test_a_page_without_a_query_shows_the_last_24_full_hours() -> None:
    filters = read("")
    assert (filters.start, filters.end) == (
        datetime(2026, 11, 20, 19, tzinfo=UTC),
        datetime(2026, 11, 21, 19, tzinfo=UTC),
    )
    assert (filters.live, filters.bucket, len(filters.buckets())) == (True, "hour", 24)


def test_days_are_whole_ones_up_to_now() -> None:
    filters = read("range=7d")
    assert (filters.start, filters.end) == (
        datetime(2026, 11, 15, tzinfo=UTC),
        datetime(2026, 11, 21, 19, tzinfo=UTC),
    )
    assert [at.day for at in filters.buckets()] == list(range(15, 22))


def test_the_period_before_ends_where_this_one_begins_and_is_as_long() -> None:
    for preset in PRESETS:
        filters = read(f"range={preset}")
        before = filters.before
        assert (before.end, before.end - before.start) == (filters.start, filters.end - filters.start)


def test_a_range_of_ones_own_takes_in_the_hours_that_it_touches() -> None:
    filters = read("from=2026-11-01T09:30Z&to=2026-11-01T12:01:00%2B02:00")
    assert (filters.start.hour, filters.end.hour, filters.live) == (9, 11, False)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("range=1y", "there is no time range '1y'"),
        ("from=now&to=2026-11-02", "from is no time: 'now'"),
        ("from=2026-11-02&to=2026-11-01", "ends before it begins"),
        ("from=2020-01-01&to=2026-01-01", "longer than 400 days"),
        ("from=0001-01-01&to=2026-01-01", "from is no time"),
        ("team=" + "x" * 257, "the filter team is longer than 256"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(query: str, words: str) -> None:
    with pytest.raises(FilterFault, match=words):
        read(query)


texts = st.text(min_size=1, max_size=60).map(str.strip).filter(lambda text: text and "\0" not in text)


@given(
    st.dictionaries(st.sampled_from(sorted(DIMENSIONS)), texts),
    st.one_of(
        st.sampled_from(sorted(PRESETS)).map(lambda name: {"range": name}),
        st.integers(1, 300).map(lambda days: {"from": (NOW - timedelta(days=days)).isoformat(), "to": NOW.isoformat()}),
    ),
)
def test_a_page_and_its_address_say_the_same(values: dict[str, str], when: dict[str, str]) -> None:
    filters = parse({**values, **when}, NOW)
    assert read(filters.query()) == filters


def test_a_page_that_names_the_range_keeps_one_of_ones_own() -> None:
    for query in ({"from": "2026-09-10", "to": "2026-09-15"}, {"range": "7d"}, {}):
        filters = parse(query, NOW)
        again = parse(dict(parse_qsl(filters.query(range=filters.preset, team="core"))), NOW)
        assert (again.start, again.end, again.preset) == (filters.start, filters.end, filters.preset)
    assert "from" not in parse({"from": "2026-09-10"}, NOW).query(range="7d")


@pytest.mark.parametrize("value", [" padded ", "x" * 257, "", "a\0b", NONE])
def test_what_no_address_can_say_has_no_link(value: str) -> None:
    assert read("").link("/sessions", model=value) is None
    assert read("").link("/sessions", model=None) == "/sessions?model=%28none%29"
    assert read("team=x").link("/sessions", model="opus") == "/sessions?team=x&model=opus"


def test_a_text_in_a_filter_stays_a_text_in_sql() -> None:
    (condition,) = read("team=x' OR true --").conditions("s")
    assert condition == "s.team = 'x'' OR true --'"
    assert read(f"user={NONE}").conditions() == ["user_key IS NULL"]


def test_a_model_means_every_session_that_used_it() -> None:
    assert read(f"model={NONE}").conditions("s") == ["(s.model IS NULL OR s.models['unknown'] IS NOT NULL)"]
    assert read("model=opus").conditions("s") == ["(s.model = 'opus' OR s.models['opus'] IS NOT NULL)"]


def test_what_only_sessions_know_is_asked_of_sessions() -> None:
    filters = read("team=a&version=2.1")
    assert filters.conditions("h", hours=True) == ["h.team = 'a'"]
    assert filters.conditions("s", hours=False) == ["s.app_version = '2.1'"]
