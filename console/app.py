"""The ASGI application: every route with who may use it, and what holds for all of them."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import parse_qsl, urlencode

from starlette.applications import Starlette
from starlette.datastructures import FormData, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console import people
from console.errors import AskFault
from console.filters import FilterFault
from console.pages import PAGES
from console.static import PREFIX
from console.there import while_there
from console.web import Console, Page, Visit

logger = logging.getLogger("console")

# What app.js says of a request that no person made.
_TICK = "x-millrace-tick"
_FORM = "application/x-www-form-urlencoded"
_FORM_FIELDS_MAX = 500
_FORM_BYTES_MAX = 1 << 20
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


def application(console: Console, pages: Sequence[Page] = PAGES) -> ASGIApp:
    """The whole console."""

    async def failed(request: Request, error: Exception) -> Response:
        number = secrets.token_hex(4)
        logger.error("a page failed (%s): %s: %r", number, request.url.path, error, exc_info=error)
        return refusal(console, request, 500, "This page failed", f"It is our fault. The log has it under {number}.")

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException), "registered for this type only"
        title = {404: "There is no such page", 405: "This is not how it is asked"}.get(error.status_code, "Refused")
        return refusal(console, request, error.status_code, title, error.detail if error.status_code != 404 else "")

    async def left(_: Request, __: Exception) -> Response:
        return Response(status_code=499)

    app = Starlette(
        routes=[
            Route(PREFIX + "{name:path}", console.static.serve, methods=["GET"]),
            *(Route(page.path, _door(console, page), methods=[page.method]) for page in pages),
        ],
        middleware=[Middleware(GZipMiddleware, compresslevel=5)],  # 9 takes thrice as long for some percent
        exception_handlers={HTTPException: refused, ClientDisconnect: left, 500: failed},
    )
    app.router.redirect_slashes = False  # it would send people to whatever host the request names
    # Around all of it: Starlette answers what fails outside of its middleware.
    return _Headers(app, secure=console.settings.base_url.startswith("https:"))


def refusal(console: Console, request: Request, status: int, title: str, text: str, *, again: bool = False) -> Response:
    """A page that says why there is none.  again: trying again may help."""
    visit = Visit(console, request, console.cookies.read(request))
    return visit.render("refusal.html", status=status, title=title, text=text, again=again)


def _door(console: Console, page: Page) -> Callable[[Request], Awaitable[Response]]:
    """A page's handler behind its checks: who asks, and whether a change comes from our own form."""

    async def enter(request: Request) -> Response:
        person = console.cookies.read(request)
        if page.need != "nobody" and person is None:
            return _sign_in_first(console, request, page)
        if page.need in ("admin", "root") and person is not None and not person.admin:
            return refusal(console, request, 403, "For admins", "This page needs the role admin.")
        if page.need == "root" and person is not None and person.tenant is not None:
            text = f"This is of all tenants, and you are an admin of {person.tenant}."
            return refusal(console, request, 403, "For admins of all tenants", text)
        form = FormData()
        if page.changes:
            if not _same_origin(request):
                return refusal(console, request, 403, "Refused", "The request comes from another site.")
            form = await _form(request)
            given = request.headers.get("x-csrf-token") or form.get("csrf")
            if person is not None and not people.csrf_ok(person, given if isinstance(given, str) else None):
                text = "The form is not of this sign-in. Go back, reload the page, and send it again."
                return refusal(console, request, 403, "Refused", text)
        visit = Visit(console, request, person, form)
        try:
            if page.sees is not None and not (await visit.visible()).has(page.sees):
                text = f"None of your roles gives you anything of {page.sees}. An admin can grant it to one of them."
                return refusal(console, request, 403, "Not for your role", text)
            response = await _answered(page, visit)
        except FilterFault as fault:
            return refusal(console, request, 400, "This address makes no sense", str(fault))
        except AskFault as fault:
            return _no_answer(console, request, fault)
        # A page that keeps itself up to date is no sign that somebody is there.
        alone = request.headers.get(_TICK) is not None
        if person is not None and not alone and console.cookies.name not in response.headers.get("set-cookie", ""):
            console.cookies.touch(response, person)
        return response

    return enter


async def _answered(page: Page, visit: Visit) -> Response:
    """A page that only shows something is for who waits for it; a change or a sign-in is carried through."""
    if page.file:
        made = visit.console.downloads.made(visit.person.id, lambda: page.handler(visit))
        return await while_there(visit.request, made)
    handled = page.handler(visit)
    return await (handled if page.changes or page.need == "nobody" else while_there(visit.request, handled))


def _no_answer(console: Console, request: Request, fault: AskFault) -> Response:
    if fault.status == 403:
        return refusal(console, request, 403, "Not for your role", str(fault))
    if fault.status == 429:
        return refusal(console, request, 429, "Too much at once", str(fault), again=True)
    status = 503 if fault.passing else 502
    return refusal(console, request, status, "No answer from the store", str(fault), again=True)


def _sign_in_first(console: Console, request: Request, page: Page) -> Response:
    visit = Visit(console, request, None)
    if page.changes or request.headers.get("hx-request"):
        # A fragment cannot show a sign-in page: the whole page is loaded again.
        text = "Your sign-in has ended. Sign in, go back, and send it again."
        headers = {"HX-Refresh": "true"}
        return visit.render("refusal.html", status=401, title="Sign in again", text=text, again=False, headers=headers)
    return visit.go(f"/signin?{urlencode({'next': visit.here})}")


def _same_origin(request: Request) -> bool:
    """What browsers say of where a request comes from; who says nothing is no browser."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or origin.split("://")[-1] == request.headers.get("host")


async def _form(request: Request) -> FormData:
    """The fields of a form as browsers send ours. Raises: HTTPException(400, 413, 415)."""
    length, kind = request.headers.get("content-length", ""), request.headers.get("content-type", _FORM)
    if not length.isdigit() or int(length) > _FORM_BYTES_MAX:
        raise HTTPException(413, f"A form may have {_FORM_BYTES_MAX >> 20} MiB, and must say its length.")
    # Others let the sender choose how texts are decoded, and some of these ways take minutes for a megabyte.
    if kind.partition(";")[0].strip().lower() != _FORM:
        raise HTTPException(415, f"A form is sent as {_FORM}.")
    try:
        text = (await request.body()).decode("ascii", "replace")
        fields = parse_qsl(text, keep_blank_values=True, max_num_fields=_FORM_FIELDS_MAX)
    except ValueError as error:
        raise HTTPException(400, f"A form has {_FORM_FIELDS_MAX} fields at most.") from error
    return FormData([*fields])


class _Headers:
    """Sets what protects every answer, and keeps what a person saw out of caches."""

    def __init__(self, app: ASGIApp, *, secure: bool) -> None:
        self._app = app
        self._headers = dict(_HEADERS)
        if secure:
            self._headers["strict-transport-security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
                if "cache-control" not in headers:
                    headers["cache-control"] = "no-store"
            await send(message)

        await self._app(scope, receive, sent if scope["type"] == "http" else send)
