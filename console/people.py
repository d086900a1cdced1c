"""Who is signed in: a signed cookie, and what a page may ask of it."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from itsdangerous import BadSignature, URLSafeSerializer
from starlette.requests import Request
from starlette.responses import Response

from console.ended import Ended
from schemas.roles import ADMIN, Actor

COOKIE = "millrace"
_TOUCH_S = 60.0


@dataclass(frozen=True)
class Person:
    """Someone who signed in.

    id: as the audit names them.  name: for the page.  tenant: None is every tenant.  roles: their names.
    since, seen: seconds since the epoch: of the sign-in, and of about the last request.  csrf: what a form must bring.
    """

    id: str
    name: str
    tenant: str | None
    roles: tuple[str, ...]
    since: float
    seen: float
    csrf: str

    @property
    def admin(self) -> bool:
        """Whether they may change keys, roles and policies."""
        return ADMIN in self.roles

    def actor(self, address: str | None = None) -> Actor:
        """As the SQL service and the audit know them."""
        return Actor(self.id, "person", self.tenant, self.roles, address)


def signed_in(id_: str, name: str, tenant: str | None, roles: tuple[str, ...], now: float) -> Person:
    """A person from now on."""
    return Person(id_, name, tenant, roles, now, now, secrets.token_urlsafe(24))


class Cookies:
    """Reads and writes the cookie that says who someone is; only what ended before its time is kept here."""

    def __init__(
        self,
        secret: str,
        *,
        secure: bool,
        idle_s: float,
        absolute_s: float,
        ended: Ended | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """ended: None: remembered in memory only."""
        self._signer = URLSafeSerializer(secret, salt="millrace.console.person")
        self._secure = secure
        self._idle_s = idle_s
        self._absolute_s = absolute_s
        self._clock = clock
        self._ended = ended or Ended(None, absolute_s, clock=clock)
        #: On https no other host of the domain can set a cookie of this name.
        self.name = f"__Host-{COOKIE}" if secure else COOKIE

    def read(self, request: Request) -> Person | None:
        """Who sends this request; None: nobody, or someone whose time is over."""
        text = request.cookies.get(self.name)
        if not text:
            return None
        try:
            person = _person(self._signer.loads(text))
        except (BadSignature, TypeError, KeyError):
            return None
        now = self._clock()
        if now - person.seen > self._idle_s or now - person.since > self._absolute_s:
            return None
        return None if self._ended.has(person.since, person.csrf, _everywhere(person.id)) else person

    def write(self, response: Response, person: Person) -> None:
        """Sign in."""
        response.set_cookie(
            self.name,
            self._signer.dumps(asdict(person)),
            max_age=int(self._absolute_s),
            httponly=True,
            secure=self._secure,
            samesite="lax",  # strict would greet everybody who follows a link from a chat as a stranger
        )

    def touch(self, response: Response, person: Person) -> None:
        """Note that they are still here; seldom, so that most answers set no cookie."""
        now = self._clock()
        if now - person.seen > _TOUCH_S:
            self.write(response, replace(person, seen=now))

    async def end(self, response: Response, person: Person) -> None:
        """Sign out: the cookie is taken back, and a copy of it opens nothing here any more."""
        await self._ended.end(person.csrf)
        response.delete_cookie(self.name, httponly=True, secure=self._secure, samesite="lax")

    async def end_everywhere(self, id_: str) -> None:
        """End whatever sign-ins somebody has, by their id."""
        await self._ended.end(_everywhere(id_))


def csrf_ok(person: Person, given: str | None) -> bool:
    """Whether a form or a script of our own page sends this."""
    return given is not None and hmac.compare_digest(person.csrf.encode(), given.encode("utf-8", "replace"))


def _everywhere(id_: str) -> str:
    return f"person {id_}"  # with a space, which no sign-in's own name has


def _person(said: Any) -> Person:
    """The person in a cookie that we signed, maybe as an older version of ours. Raises: TypeError; KeyError."""
    if not isinstance(said, dict) or not isinstance(said["roles"], list):
        raise TypeError("no person")
    person = Person(**{**said, "roles": tuple(said["roles"])})
    texts = (person.id, person.name, person.csrf, *person.roles, *(() if person.tenant is None else (person.tenant,)))
    if not all(isinstance(one, str) for one in texts) or not all(
        isinstance(one, int | float) for one in (person.since, person.seen)
    ):
        raise TypeError("no person")
    return person
