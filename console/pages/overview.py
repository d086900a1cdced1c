"""The overview: what the fleet does, at a glance."""

from __future__ import annotations

from starlette.responses import Response

from console.charts import over_time
from console.errors import AskFault
from console.filters import Filters
from console.web import Page, Visit, joined


async def overview(visit: Visit) -> Response:
    """All panels of a time range, beside the period before."""
    filters = visit.filters
    found = await visit.panels(
        now=visit.ask(_totals(filters)), before=visit.ask(_totals(filters.before)), spend=visit.ask(_spend(filters))
    )
    chart = found["spend"]
    if not isinstance(chart, AskFault):
        chart = over_time(
            "Cost over time",
            "usd",
            filters.buckets(),
            chart.objects(),
            value="spend_usd",
            bucket=filters.bucket,
        )
    return visit.render("overview.html", **{**found, "spend": chart})


def _hours(filters: Filters) -> str:
    """session_hours of the range, as `h`, joined with their sessions, as `s`, if a filter needs them."""
    of_session = filters.conditions("s", hours=False)
    join = " JOIN sessions s ON s.tenant = h.tenant AND s.session_id = h.session_id" if of_session else ""
    where = joined([filters.in_range("h.start"), *filters.conditions("h", hours=True), *of_session])
    return f"FROM session_hours h{join} WHERE {where}"


def _totals(filters: Filters) -> str:
    return (
        "SELECT sum(h.spend_usd) AS spend_usd, sum(h.input_tokens + h.output_tokens) AS tokens, "
        f"sum(h.commits) AS commits, sum(h.pull_requests) AS pull_requests {_hours(filters)}"
    )


def _spend(filters: Filters) -> str:
    return (
        f"SELECT date_trunc('{filters.bucket}', h.start) AS at, sum(h.spend_usd) AS spend_usd "
        f"{_hours(filters)} GROUP BY 1 ORDER BY 1"
    )


PAGES = (Page("/", overview),)
