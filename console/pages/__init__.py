"""Every page of the console: the one list of routes."""

from console.pages import (
    admin,
    adoption,
    cost,
    extensions,
    overview,
    reliability,
    report,
    security,
    session,
    sessions,
    signin,
    sources,
    sql,
    start,
)
from console.web import Page, with_ways_back

_PAGES = (
    *signin.PAGES,
    *admin.PAGES,
    *adoption.PAGES,
    *cost.PAGES,
    *extensions.PAGES,
    *overview.PAGES,
    *reliability.PAGES,
    *report.PAGES,
    *security.PAGES,
    *session.PAGES,
    *sessions.PAGES,
    *sources.PAGES,
    *sql.PAGES,
    *start.PAGES,
)
PAGES: tuple[Page, ...] = (*with_ways_back(_PAGES),)
