"""How values look on a page: numbers, money, durations, times. charts.js writes them in the same way."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from console.ask import moment

NOTHING = "–"
NOT_TOLD = "(not told)"
# Less is what adding in another order leaves.
_DUST_USD = 1e-9


def usd(value: float | None) -> str:
    """$1,234.50; small amounts with the digits that matter."""
    if value is None:
        return NOTHING
    if abs(value) < _DUST_USD:
        return "$0.00"
    sign = "−" if value < 0 else ""
    if abs(value) < 0.0001:
        return f"{sign}<$0.0001"
    if abs(value) < 0.01:
        return f"{sign}${abs(value):.4f}"
    return f"{sign}${abs(value):,.2f}"


def count(value: float | None) -> str:
    """1,234."""
    return NOTHING if value is None else f"{value:,.0f}"


def tokens(value: float | None) -> str:
    """987, 12.3 k, 4.56 M, 7.89 G."""
    if value is None:
        return NOTHING
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.{2 if abs(value) < 10 * size else 1}f} {unit}"
    return f"{value:,.0f}"


def seconds(value: float | None) -> str:
    """450 ms, 12.3 s, 4 min 5 s, 3 h 20 min, 2 d 4 h."""
    if value is None:
        return NOTHING
    if value < 1:
        return f"{value * 1000:.0f} ms" if value else "0 s"
    if value < 60:
        return f"{value:.1f} s"
    whole = round(value)
    for size, unit, less, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // less
            return f"{whole // size:,} {unit}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


def ms(value: float | None) -> str:
    """As seconds, from milliseconds."""
    return NOTHING if value is None else seconds(value / 1000)


def percent(value: float | None) -> str:
    """Of a share from 0 to 1: 12.3 %."""
    return NOTHING if value is None else f"{value * 100:.1f} %"


UNITS = {"usd": usd, "count": count, "tokens": tokens, "seconds": seconds, "ms": ms, "percent": percent}


def by_unit(value: float | None, unit: str) -> str:
    """A value in the words of its unit."""
    return UNITS[unit](value)


def change(now: float | None, before: float | None) -> str:
    """How a number differs from the period before: +12 %, −3 %, new, or nothing to compare."""
    if not before:
        return "new" if now else ""
    share = ((now or 0) - before) / before
    if abs(share) < 0.0005:
        return "±0 %"
    return f"{'+' if share > 0 else '−'}{abs(share) * 100:.{0 if abs(share) >= 0.1 else 1}f} %"


def time(value: str | datetime | None, form: str = "minute", *, whole: bool = False) -> Markup:
    """A time as <time>: UTC here, the viewer's zone once app.js has run, UTC on hover.

    form: minute, second; day: a day of UTC, which it is in every zone.  whole: on hover to the last microsecond.
    """
    at = moment(value) if isinstance(value, str) else value
    if at is None:
        return Markup(NOTHING)
    at = at.astimezone(UTC).replace(tzinfo=None)
    # strftime writes a year of less than four digits, which is none to a browser.
    day, second = at.date().isoformat(), at.isoformat(" ", "seconds")
    text = {"minute": second[:-3], "second": second, "day": day}[form]
    iso = day if form == "day" else at.isoformat(timespec="milliseconds") + "Z"
    title = day if form == "day" else at.isoformat(" ") if whole else second
    return Markup('<time datetime="{}" data-form="{}" title="{} UTC">{}</time>').format(iso, form, title, text)


def short(text: Any, length: int = 12) -> str:
    """The beginning of an id."""
    shown = str(text)
    return shown if len(shown) <= length else shown[: length - 1] + "…"
