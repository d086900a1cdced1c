"""The time range and the filters of a page: from its URL, into SQL, and back into a URL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from urllib.parse import urlencode

from console.ask import Visible
from service.sql import literal, spelled, timestamp

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
PRESETS: Mapping[str, tuple[str, int]] = MappingProxyType(
    {"24h": ("24 hours", 1), "7d": ("7 days", 7), "30d": ("30 days", 30), "90d": ("90 days", 90)}
)
DEFAULT_PRESET = "24h"
_RANGE_MAX = 400 * DAY
_TEXT_MAX = 256


@dataclass(frozen=True)
class Dimension:
    """Something to filter and group by.

    name: of the URL's parameter.  column: of `sessions`.  hours: whether `session_hours` has it, too.
    """

    name: str
    column: str
    hours: bool
    label: str


DIMENSIONS: Mapping[str, Dimension] = MappingProxyType(
    {
        one.name: one
        for one in (
            Dimension("tenant", "tenant", True, "Tenant"),
            Dimension("team", "team", True, "Team"),
            Dimension("department", "department", True, "Department"),
            Dimension("cost_center", "cost_center", True, "Cost center"),
            Dimension("user", "user_key", True, "User"),
            Dimension("model", "model", False, "Model"),
            Dimension("version", "app_version", False, "Version"),
            Dimension("entrypoint", "app_entrypoint", False, "Entrypoint"),
        )
    }
)
# The value of a filter that means: has none.
NONE = "(none)"
UNNAMED = "unknown"
"""What the streams call, among the models of a session, that of requests which name none."""


class FilterFault(ValueError):
    """A time range or a filter in a URL that makes no sense; its text is for people."""


@dataclass(frozen=True)
class Filters:
    """What a page is asked about.

    start, end: half open, UTC, on full hours.  preset: of PRESETS, None for a range of one's own.
    values: dimension → what it must be; NONE: null.
    """

    start: datetime
    end: datetime
    preset: str | None = DEFAULT_PRESET
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def before(self) -> Filters:
        """The period just before, as long."""
        return replace(self, start=self.start - (self.end - self.start), end=self.start, preset=None)

    @property
    def live(self) -> bool:
        """Whether the range goes on as time does."""
        return self.preset is not None

    @property
    def bucket(self) -> str:
        """What DuckDB's date_trunc takes for a chart over time of this length: hour, day or week."""
        length = self.end - self.start
        return "hour" if length <= 3 * DAY else "day" if length <= 120 * DAY else "week"

    def buckets(self) -> list[datetime]:
        """The starts of all buckets of the range."""
        return list(_buckets(self.start, self.end, self.bucket))

    def query(self, **changes: str | None) -> str:
        """As the query of a URL.

        changes: parameters to set, or with None to leave out; a range takes the place of that which these have.
        """
        said: dict[str, str] = {}
        if self.preset is None:
            said |= {"from": spelled(self.start), "to": spelled(self.end)}
        elif self.preset != DEFAULT_PRESET:
            said["range"] = self.preset
        said |= self.values
        merged = {**said, **changes}
        if changes.get("range") is not None:
            merged |= {"from": None, "to": None}
        kept = {name: value for name, value in merged.items() if value is not None}
        return urlencode(kept)

    def url(self, path: str, **changes: str | None) -> str:
        """A page with these filters."""
        query = self.query(**changes)
        return f"{path}?{query}" if query else path

    def link(self, path: str, /, **values: str | None) -> str | None:
        """A page with these filters, and others that are exactly these values, of which None is one.

        Returns: None: no address can say one of them.
        """
        said = exactly(values)
        return None if said is None else self.url(path, **said)

    def in_range(self, column: str) -> str:
        """Condition: a time lies in the range."""
        return f"{column} >= {timestamp(self.start)} AND {column} < {timestamp(self.end)}"

    def only(self, *names: str) -> Filters:
        """These of the filters."""
        return replace(self, values={name: value for name, value in self.values.items() if name in names})

    def without(self, *names: str) -> Filters:
        """The others of the filters."""
        return self.only(*(self.values.keys() - set(names)))

    def conditions(self, table: str = "", *, hours: bool | None = None) -> list[str]:
        """Conditions of the filters on the columns of `sessions`.

        Args: table: its alias.  hours: only those that session_hours has (True) or has not (False); None: all.
        """
        dot = f"{table}." if table else ""
        asked = [(DIMENSIONS[name], value) for name, value in self.values.items()]
        return [
            _condition(f"{dot}{one.column}", value, models=f"{dot}models" if one.name == "model" else None)
            for one, value in asked
            if hours is None or one.hours == hours
        ]


def parse(query: Mapping[str, str], now: datetime) -> Filters:
    """The filters of a URL's query; what it does not name is the default. Raises: FilterFault."""
    values = {}
    for name in DIMENSIONS:
        if value := query.get(name, "").strip():
            if len(value) > _TEXT_MAX or "\0" in value:
                raise FilterFault(f"the filter {name} is longer than {_TEXT_MAX} characters, or not a text")
            values[name] = value
    if "from" in query or "to" in query:
        end = _floor(now) + HOUR if "to" not in query else _moment(query["to"], "to")
        start = end - DAY if "from" not in query else _moment(query["from"], "from")
        if not start < end:
            raise FilterFault("the time range ends before it begins")
        if end - start > _RANGE_MAX:
            raise FilterFault(f"the time range is longer than {_RANGE_MAX.days} days")
        return Filters(_floor(start), end if end == _floor(end) else _floor(end) + HOUR, None, values)
    preset = query.get("range", DEFAULT_PRESET)
    if preset not in PRESETS:
        raise FilterFault(f"there is no time range {preset[:20]!r}; there are {', '.join(PRESETS)}, or from and to")
    return Filters(*preset_range(preset, now), preset, values)


def sayable(value: str) -> bool:
    """Whether a parameter of a URL is read as it was written."""
    return 0 < len(value) <= _TEXT_MAX and value == value.strip() and "\0" not in value


def exactly(values: Mapping[str, str | None]) -> dict[str, str] | None:
    """As parameters of a URL, null as NONE. None: no URL can say one of them."""
    if all(value is None or (value != NONE and sayable(value)) for value in values.values()):
        return {name: NONE if value is None else value for name, value in values.items()}
    return None


def page_number(text: str, *, first: int, most: int, cure: str) -> int:
    """The number of a page in a URL. Raises: FilterFault, with what to do instead."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and first <= int(text) <= most):
        raise FilterFault(f"page is a number from {first} to {most}, not {text[:20]!r}; {cure}")
    return int(text)


def preset_range(preset: str, now: datetime) -> tuple[datetime, datetime]:
    """Start and end: full hours to the end of this one, full days (UTC) for more than one day."""
    end = _floor(now) + HOUR
    days = PRESETS[preset][1]
    if days == 1:
        return end - DAY, end
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - (days - 1) * DAY, end


def shown_dimensions(visible: Visible) -> list[Dimension]:
    """Those that this person may filter and group by."""
    return [one for one in DIMENSIONS.values() if visible.has("sessions", one.column)]


def joined(conditions: Iterable[str]) -> str:
    """Conditions as one that can stand after WHERE."""
    return " AND ".join(conditions) or "true"


def _condition(column: str, value: str, models: str | None) -> str:
    if value == NONE:
        if models is not None:
            return f"({column} IS NULL OR {models}[{literal(UNNAMED)}] IS NOT NULL)"
        return f"{column} IS NULL"
    if models is not None:  # a session that used it beside others is meant, too
        return f"({column} = {literal(value)} OR {models}[{literal(value)}] IS NOT NULL)"
    return f"{column} = {literal(value)}"


def _moment(text: str, name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        if not 2000 <= moment.year <= 9000:
            raise ValueError("out of reach")
        return moment
    except (ValueError, OverflowError) as error:
        raise FilterFault(f"{name} is no time: {text[:40]!r}; write 2026-11-21T09:00Z") from error


def _floor(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _buckets(start: datetime, end: datetime, bucket: str) -> Iterator[datetime]:
    step = {"hour": HOUR, "day": DAY, "week": 7 * DAY}[bucket]
    at = start
    if bucket != "hour":
        at = at.replace(hour=0)
    if bucket == "week":
        at -= at.weekday() * DAY
    while at < end:
        yield at
        at += step
