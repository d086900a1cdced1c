"""Every page of the console: the one list of routes."""

from console.pages import (
    cost,
    extensions,
    overview,
    reliability,
    security,
    signin,
    sources,
    start,
)
from console.web import Page

PAGES: tuple[Page, ...] = (
    *signin.PAGES,
    *cost.PAGES,
    *extensions.PAGES,
    *overview.PAGES,
    *reliability.PAGES,
    *security.PAGES,
    *sources.PAGES,
    *start.PAGES,
)
