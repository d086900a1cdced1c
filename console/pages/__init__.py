"""Every page of the console: the one list of routes."""

from console.pages import admin, overview, signin
from console.web import Page

PAGES: tuple[Page, ...] = (*signin.PAGES, *overview.PAGES, *admin.PAGES)
