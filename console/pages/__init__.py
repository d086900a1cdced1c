"""Every page of the console: the one list of routes."""

from console.pages import overview, signin
from console.web import Page

PAGES: tuple[Page, ...] = (*signin.PAGES, *overview.PAGES)
