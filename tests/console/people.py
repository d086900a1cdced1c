"""People who are signed in, as their cookies."""

from __future__ import annotations

import time
from dataclasses import replace

from starlette.responses import Response

from console.people import COOKIE, Cookies, Person, signed_in
from schemas.roles import DEFAULTS, Grant, Role

# A role that an admin could make: the only one below the admin's that reads content.
READER = Role("reader", (*DEFAULTS["viewer"].grants, Grant("content", ("content",))))


def person(*roles: str, tenant: str | None = None, id_: str = "someone@example.com", ago_s: float = 0.0) -> Person:
    """Somebody in these roles who signed in so long ago, and has done nothing since."""
    now = time.time()
    return replace(signed_in(id_, id_.split("@")[0], tenant, roles, now), since=now - ago_s, seen=now - ago_s)


def cookie(secret: str, who: Person) -> dict[str, str]:
    """The cookie of a person at the console with this secret."""
    response = Response()
    Cookies(secret, secure=False, idle_s=3600, absolute_s=3600).write(response, who)
    return {COOKIE: response.headers["set-cookie"].partition(";")[0].partition("=")[2]}


def headers_of(secret: str, who: Person) -> dict[str, str]:
    """What a browser of theirs sends to the console with this secret."""
    return {"cookie": "; ".join(f"{name}={value}" for name, value in cookie(secret, who).items())}
