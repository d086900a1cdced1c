"""Every page of the console: the one list of routes."""

from console.pages import (
    adoption,
    cost,
    extensions,
    overview,
    reliability,
    report,
    security,
    signin,
    sources,
    sql,
    start,
)
from console.web import Page

PAGES: tuple[Page, ...] = (
    *signin.PAGES,
    *adoption.PAGES,
    *cost.PAGES,
    *extensions.PAGES,
    *overview.PAGES,
    *reliability.PAGES,
    *report.PAGES,
    *security.PAGES,
    *sources.PAGES,
    *sql.PAGES,
    *start.PAGES,
)
