"""Who sends: an ingest key as `Authorization: Bearer KEY` or `X-API-KEY: KEY`. The tenant comes from the key alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ingest_gateway.errors import Busy, Refused
from schemas.keys import KeyRecord

Authenticate = Callable[[str], KeyRecord | None]


@dataclass(frozen=True, slots=True)
class Sender:
    """Whose records a request brings.  ingest_key_id: of the key that it came with; None where none was asked for."""

    tenant: str
    ingest_key_id: str | None = None


class Credentials:
    """Args:    authenticate: finds a key in force.  ready: whether the keys are known yet."""

    def __init__(self, authenticate: Authenticate, ready: Callable[[], bool]) -> None:
        self._authenticate = authenticate
        self._ready = ready

    def sender(self, authorization: str, api_key: str) -> Sender:
        """Tenant and id of the key in a request's headers ("" for one that is not there).

        Raises: Refused (no_key, wrong_key, not_an_ingest_key); Busy before the keys are known.
        """
        if not self._ready():
            raise Busy("the gateway is starting; send it again")
        key = api_key
        if authorization:
            scheme, _, rest = authorization.partition(" ")
            if scheme.lower() != "bearer":
                raise Refused("the Authorization header must be `Bearer KEY`", reason="no_key")
            key = rest.strip()
        if not key:
            raise Refused("no key: send `Authorization: Bearer KEY` or `X-API-KEY: KEY`", reason="no_key")
        record = self._authenticate(key)
        if record is None:
            raise Refused("the key is unknown or revoked", reason="wrong_key")
        if record.kind != "ingest" or record.tenant is None:
            raise Refused(f"a key of kind {record.kind} may not send; use an ingest key", reason="not_an_ingest_key")
        return Sender(record.tenant, record.id)
