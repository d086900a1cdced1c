"""How numbers, money, durations and times look."""

from __future__ import annotations

import pytest

from console import shown
from console.charts import over_time
from console.filters import parse
from tests.console.test_filters import NOW


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        ("usd", 1234.5, "$1,234.50"),
        ("usd", 0.00123, "$0.0012"),
        ("usd", -0.000007, "−<$0.0001"),
        ("usd", -1e-15, "$0.00"),
        ("usd", 0, "$0.00"),
        ("count", 1234567, "1,234,567"),
        ("tokens", 987, "987"),
        ("tokens", 12_345, "12.3 k"),
        ("tokens", 4_560_000, "4.56 M"),
        ("seconds", 0.45, "450 ms"),
        ("seconds", 59.94, "59.9 s"),
        ("seconds", 245, "4 min 5 s"),
        ("seconds", 12_000, "3 h 20 min"),
        ("seconds", 187_200, "2 d 4 h"),
        ("ms", 2500, "2.5 s"),
        ("percent", 0.1234, "12.3 %"),
        ("usd", None, "–"),
    ],
)
def test_a_number_has_the_words_of_its_unit(unit: str, value: float | None, text: str) -> None:
    assert shown.by_unit(value, unit) == text


@pytest.mark.parametrize(
    ("now", "before", "text"),
    [
        (112, 100, "+12 %"),
        (97, 100, "−3.0 %"),
        (100, 100, "±0 %"),
        (5, 0, "new"),
        (5, None, "new"),
        (0, 0, ""),
        (None, 4, "−100 %"),
    ],
)
def test_a_change_is_told_in_per_cent(now: float | None, before: float | None, text: str) -> None:
    assert shown.change(now, before) == text


def test_a_time_carries_its_zone_and_utc() -> None:
    assert shown.time("2026-11-21T09:30:15.25Z") == (
        '<time datetime="2026-11-21T09:30:15.250Z" data-form="minute" title="2026-11-21 09:30:15 UTC">'
        "2026-11-21 09:30</time>"
    )
    assert shown.time("2026-11-21T00:00:00Z", "day") == (
        '<time datetime="2026-11-21" data-form="day" title="2026-11-21 UTC">2026-11-21</time>'
    )
    assert 'datetime="0001-01-01" data-form="day" title="0001-01-01 UTC"' in shown.time("0001-01-01T00:00:00Z", "day")
    assert shown.time(None) == "–"


def test_a_chart_over_time_has_a_place_for_every_hour_and_adds_up_to_its_rows() -> None:
    filters = parse({}, NOW)
    rows = [{"at": "2026-11-21T18:00:00.000000Z", "model": f"m{n}", "usd": float(n), "odd": None} for n in range(1, 12)]
    chart = over_time("Cost", "usd", filters.buckets(), rows, name="model", value="usd", most=4)
    assert [one.name for one in chart.series] == ["m11", "m10", "m9", "other"]
    assert len(chart.labels) == 24
    assert sum(value or 0 for one in chart.series for value in one.values) == sum(range(1, 12))
    assert chart.labels[-1] == "2026-11-21T18:00:00Z"
    assert over_time("Cost", "usd", filters.buckets(), rows, value="odd").empty
