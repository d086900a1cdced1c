"""Signing in and out."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from urllib.parse import urlencode

from starlette.responses import Response

from console import oidc
from console.attempts import Attempts
from console.errors import SignInFault
from console.pages.start import landing
from console.people import Person, signed_in
from console.web import Page, Visit
from schemas.errors import MillraceError
from schemas.roles import ADMIN
from service import audit, links

logger = logging.getLogger(__name__)

_TARGET_MAX = 4000


async def sign_in(visit: Visit) -> Response:
    """How to get in."""
    target = local_target(visit.request.query_params.get("next"))
    if visit.known is not None:
        return visit.go(target)
    return _page(visit, target=target)


async def by_link(visit: Visit) -> Response:
    """A one-time link of the machine that this runs on."""
    if visit.request.method != "GET" or "prefetch" in visit.request.headers.get("sec-purpose", ""):
        return _page(visit)  # who only looks where it leads does not use it up

    # A good link lets in however many bad ones came before: nobody can guess one, but any page can send bad ones.
    fault = visit.console.links.use(visit.request.query_params.get("token", ""))
    if fault is None:
        person = signed_in("local", "local admin", None, (ADMIN,), time.time())
        return await _welcome(visit, person, "/")

    async def refuse() -> Response:
        raise SignInFault(f"{fault[:1].upper()}{fault[1:]}.", reason="bad_link", status=403)

    return await _attempted(visit, refuse)


async def begin(visit: Visit) -> Response:
    """To the identity provider."""
    provider = visit.console.oidc
    if provider is None:
        return visit.go("/signin")

    async def attempt() -> Response:
        visit.console.begun.count(visit.address)
        url, cookie = await provider.begin(local_target(visit.request.query_params.get("next")))
        response = visit.go(url)
        provider.remember(response, cookie)
        return response

    return await _attempted(visit, attempt, visit.console.begun)


async def finish(visit: Visit) -> Response:
    """Back from the identity provider."""
    provider = visit.console.oidc
    if provider is None:
        return visit.go("/signin")

    async def attempt() -> Response:
        found, target = await provider.finish(visit.request)
        person = signed_in(found.id, found.name, found.tenant, found.roles, time.time())
        return await _welcome(visit, person, local_target(target))

    response = await _attempted(visit, attempt)
    provider.forget(response)
    return response


async def sign_out(visit: Visit) -> Response:
    """Forget who this is."""
    response = visit.go("/signin")
    await visit.console.cookies.end(response, visit.person)
    return response


async def _attempted(visit: Visit, attempt: Callable[[], Awaitable[Response]], *more: Attempts) -> Response:
    """A try to get in, unless there were too many; who fails is shown why, and is counted.  more: counted so far."""
    attempts, address = visit.console.attempts, visit.address
    wait_s = math.ceil(max(one.wait_s(address) for one in (attempts, *more)))
    if wait_s > 0:
        until = visit.console.now() + timedelta(seconds=wait_s)
        return _page(visit, status=429, until=until, wait_s=wait_s, headers={"Retry-After": str(wait_s)})
    try:
        return await attempt()
    except SignInFault as fault:
        if fault.status < 500:
            attempts.count(address)
            await _tell(visit, "unknown", None, "refused", fault.reason)
        return _page(visit, status=fault.status, fault=str(fault))


async def _welcome(visit: Visit, person: Person, target: str) -> Response:
    """In, to the page that they were on their way to; who only came in is led to where to begin."""
    await _tell(visit, person.id, person.tenant, "done", None)
    response = visit.go(await landing(visit.console, person, visit.address) if target == "/" else target)
    visit.console.cookies.write(response, person)
    return response


async def _tell(visit: Visit, who: str, tenant: str | None, outcome: str, reason: str | None) -> None:
    """Tell the audit. Without it one still gets in: to see what is wrong, and what it protects needs it again."""
    entry = audit.entry(
        "signin",
        actor=who,
        actor_kind="person",
        tenant=tenant,
        outcome=outcome,
        reason=reason,
        client_address=visit.address,
    )
    try:
        await visit.console.audit.write([entry])
    except MillraceError as error:
        logger.warning("the audit cannot be told of a sign-in (%s, %s): %s", who, outcome, error)


def _page(
    visit: Visit,
    *,
    status: int = 200,
    target: str = "/",
    fault: str = "",
    headers: dict[str, str] | None = None,
    **more: object,
) -> Response:
    provider = visit.console.oidc
    href = None if provider is None else f"{oidc.BEGIN_PATH}?{urlencode({'next': target})}"
    said = {"until": None, "wait_s": 0, **more}
    return visit.render("signin.html", status=status, headers=headers, fault=fault, provider=href, **said)


def local_target(target: str | None) -> str:
    """A page of ours to go to after the sign-in; anything else is the overview."""
    if target is None or not target.startswith("/") or target.startswith("//") or len(target) > _TARGET_MAX:
        return "/"
    # Browsers take \ for /, and leave tabs and line ends out.
    return target if target.isprintable() and "\\" not in target else "/"


PAGES = (
    Page("/signin", sign_in, need="nobody"),
    Page(links.PATH, by_link, need="nobody"),
    Page(oidc.BEGIN_PATH, begin, need="nobody"),
    Page(oidc.CALLBACK_PATH, finish, need="nobody"),
    Page("/signout", sign_out, changes=True),
)
