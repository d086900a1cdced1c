"""What a page draws, as plain values: charts.js draws it, and a table beside it says the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from console.ask import moment
from service.sql import spelled

Unit = Literal["usd", "count", "tokens", "seconds", "ms", "percent"]


@dataclass(frozen=True)
class Series:
    """One line, or one colour of bars.

    values: one for each label of its chart.  links: where a click on each goes; without them to the chart's own links,
    each followed by `more`: a further part of the query, as "&model=x".  whole: where its name leads in the table, to
    all of it, which of a long range is the only way without a mouse.
    """

    name: str
    values: Sequence[float | None]
    links: Sequence[str | None] = ()
    more: str = ""
    whole: str | None = None


@dataclass(frozen=True)
class Chart:
    """A chart.

    kind: bars (over time or names, stacked), lines (over time), rank (one horizontal bar for each label).
    labels: ISO times with `times`, else names.  note: a sentence below it.
    links: where each label goes, in the table and by a click on its bars.
    """

    title: str
    kind: Literal["bars", "lines", "rank"]
    unit: Unit
    labels: Sequence[str]
    series: Sequence[Series]
    times: bool = False
    bucket: str = "hour"
    note: str = ""
    links: Sequence[str | None] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(value for series in self.series for value in series.values)

    def link(self, series: Series, place: int) -> str | None:
        """Where a single value of a series leads, if not just where its label does."""
        own = series.links[place] if series.links else None
        label = self.links[place] if self.links else None
        return own or (label + series.more if label and series.more else None)

    def drawn(self) -> dict[str, Any]:
        """For charts.js."""
        return {
            "kind": self.kind,
            "unit": self.unit,
            "labels": list(self.labels),
            "times": self.times,
            "bucket": self.bucket,
            "links": list(self.links),
            "series": [
                {"name": one.name, "values": list(one.values), "links": list(one.links), "more": one.more}
                for one in self.series
            ],
        }


def over_time(
    title: str,
    unit: Unit,
    buckets: Sequence[datetime],
    rows: Sequence[Mapping[str, Any]],
    *,
    name: str | None = None,
    value: str,
    at: str = "at",
    most: int = 8,
    bucket: str = "hour",
    kind: Literal["bars", "lines"] = "bars",
    names: Mapping[str, str] | None = None,
) -> Chart:
    """A chart over time from rows of (at, name, value).

    Args:   rows: at: ISO time of a bucket.  name: the column whose values are the series; None: one series.
            most: series at most, the largest first; the others are added up as "other".
            names: what a series is called instead; its order is the order of the series.
    """
    places = {start.astimezone(UTC): place for place, start in enumerate(buckets)}
    sums: dict[str, list[float]] = {}
    for row in rows:
        start = moment(row[at])
        place = None if start is None else places.get(start.astimezone(UTC))
        if place is None or row[value] is None:
            continue
        key = title if name is None else str(row[name] if row[name] is not None else "(none)")
        sums.setdefault(key, [0.0] * len(places))[place] += float(row[value])
    if names is not None:
        ordered = [key for key in names if key in sums] + [key for key in sums if key not in names]
    else:
        ordered = sorted(sums, key=lambda key: -sum(sums[key]))
    if len(ordered) > most:
        rest = [sum(values) for values in zip(*(sums[key] for key in ordered[most - 1 :]), strict=True)]
        sums["other"], ordered = rest, [*ordered[: most - 1], "other"]
    series = [Series((names or {}).get(key, key), sums[key]) for key in ordered]
    labels = [spelled(start) for start in buckets]
    return Chart(title, kind, unit, labels, series, times=True, bucket=bucket)
