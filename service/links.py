"""One-time sign-in links to the console, for who can read its secret: the stack and its command line."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from urllib.parse import urlencode

from itsdangerous import BadSignature, URLSafeSerializer

PATH = "/signin/link"
VALID_S = 600.0
_USED_MAX = 10_000
_SALT = "millrace.console.link"


def link(base_url: str, secret: str, now: float | None = None) -> str:
    """A link that signs its first user in as admin of everything, within ten minutes."""
    said = {"made": time.time() if now is None else now, "nonce": secrets.token_urlsafe(16)}
    return f"{base_url}{PATH}?{urlencode({'token': URLSafeSerializer(secret, salt=_SALT).dumps(said)})}"


class Links:
    """Which links are still good. The used ones are only in memory, so links from before this start are none."""

    def __init__(self, secret: str, clock: Callable[[], float] = time.time) -> None:
        self._signer = URLSafeSerializer(secret, salt=_SALT)
        self._clock = clock
        self._began = clock()
        self._used: dict[str, float] = {}

    def use(self, token: str) -> str | None:
        """Take a link's token. Returns why it is not good; None: it is, and never again."""
        try:
            said = self._signer.loads(token)
            made, nonce = float(said["made"]), str(said["nonce"])
        except (BadSignature, KeyError, TypeError, ValueError):
            return "this is no sign-in link of this console"
        now = self._clock()
        if nonce in self._used:
            return "this link was used already; each is good for one sign-in"
        if not now - VALID_S <= made <= now + 60:
            return "this link is older than ten minutes"
        if made < self._began:
            return "this link is from before the console's last start"
        if len(self._used) >= _USED_MAX:
            self._used = {one: at for one, at in self._used.items() if at > now - VALID_S}
        self._used[nonce] = made
        return None
