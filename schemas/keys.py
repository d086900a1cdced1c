"""API keys: mlr_<kind>_<id>_<secret>. Only a hash is ever stored, and a key is shown once, when it is made.

The secret has 256 random bits, so a plain SHA-256 is enough: there is nothing to guess, and checking stays cheap on the
ingest path. The id is no secret; it finds the stored hash.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from dataclasses import dataclass
from typing import Any, Literal, cast

from schemas.errors import CodecError, KeyFormatError

Kind = Literal["ingest", "query", "admin"]
KINDS: tuple[Kind, ...] = ("ingest", "query", "admin")
CONTROL_KIND = "key"

_KEY = re.compile(r"mlr_(ingest|query|admin)_([0-9a-f]{16})_([0-9a-f]{64})")
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class ParsedKey:
    """The parts of a key's text, which is not kept."""

    kind: Kind
    id: str


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key as the control topic has it; for an admin key `tenant` is None and means every tenant.

    roles: names of roles that a query key acts in; none: what schemas.roles.actor_of says.
    """

    id: str
    kind: Kind
    tenant: str | None
    hash: str
    name: str
    deleted: bool = False
    roles: tuple[str, ...] = ()

    def verify(self, key: str) -> bool:
        """Whether `key` is this key and in force, in constant time."""
        return hmac.compare_digest(self.hash, key_hash(key)) and not self.deleted


def valid_tenant(tenant: str) -> bool:
    """Whether a tenant may be called so: 1 to 64 letters, digits, dots, dashes, underscores."""
    return _TENANT.fullmatch(tenant) is not None


def new_key(kind: Kind) -> tuple[str, str]:
    """A fresh key: its text, to be shown once, and its id."""
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}")
    key_id = secrets.token_hex(8)
    return f"mlr_{kind}_{key_id}_{secrets.token_hex(32)}", key_id


def parse_key(key: str) -> ParsedKey:
    """Kind and id of a key's text, which proves nothing yet. Raises: KeyFormatError."""
    match = _KEY.fullmatch(key)
    if match is None:
        raise KeyFormatError("not an API key: expected mlr_<kind>_<id>_<secret>")
    return ParsedKey(kind=cast(Kind, match[1]), id=match[2])


def key_hash(key: str) -> str:
    """SHA-256 of the key's text, in hex."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def control_value(record: KeyRecord, *, updated_at: int, updated_by: str) -> dict[str, Any]:
    """The Control record of a key. updated_at: microseconds since the epoch."""
    body = {"hash": record.hash, "key_kind": record.kind, "name": record.name, "roles": record.roles}
    return {
        "kind": CONTROL_KIND,
        "id": record.id,
        "tenant": record.tenant,
        "body": json.dumps(body, sort_keys=True),
        "deleted": record.deleted,
        "updated_at": updated_at,
        "updated_by": updated_by,
    }


def from_control(value: dict[str, Any]) -> KeyRecord:
    """The key of a Control record of kind `key`. Raises: CodecError(malformed_record)."""
    try:
        body = json.loads(value["body"])
        record = KeyRecord(
            id=value["id"],
            kind=body["key_kind"],
            tenant=value["tenant"],
            hash=body["hash"],
            name=body["name"],
            deleted=value["deleted"],
            roles=tuple(body.get("roles", ())),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise CodecError(f"control: key {value.get('id')}: {error}", record="control") from error
    if record.kind not in KINDS or not isinstance(record.hash, str):
        raise CodecError(f"control: key {record.id}: unknown kind or no hash", record="control")
    if not isinstance(body.get("roles", []), list) or not all(isinstance(role, str) for role in record.roles):
        raise CodecError(f"control: key {record.id}: its roles are no names", record="control")
    return record
