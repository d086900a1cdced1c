"""Signing in and out."""

from __future__ import annotations

import time

from starlette.responses import Response

from console.people import signed_in
from console.web import Page, Visit
from schemas.roles import ADMIN
from service import links


async def sign_in(visit: Visit) -> Response:
    """How to get in."""
    if visit.known is not None:
        return visit.go(local_target(visit.request.query_params.get("next")))
    return visit.render("signin.html", fault="")


async def by_link(visit: Visit) -> Response:
    """A one-time link of the machine that this runs on."""
    fault = visit.console.links.use(visit.request.query_params.get("token", ""))
    if fault is not None:
        return visit.render("signin.html", status=403, fault=fault)
    response = visit.go("/")
    person = signed_in("local", "local admin", None, (ADMIN,), time.time())
    visit.console.cookies.write(response, person)
    return response


async def sign_out(visit: Visit) -> Response:
    """Forget who this is."""
    response = visit.go("/signin")
    visit.console.cookies.clear(response)
    return response


def local_target(target: str | None) -> str:
    """A page of ours to go to after the sign-in; anything else is the overview."""
    if target is None or not target.startswith("/") or target.startswith(("//", "/\\")) or "\\" in target:
        return "/"
    return target if target.isprintable() else "/"


PAGES = (
    Page("/signin", sign_in, need="nobody"),
    Page(links.PATH, by_link, need="nobody"),
    Page("/signout", sign_out, changes=True),
)
