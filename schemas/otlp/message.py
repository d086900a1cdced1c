"""What the transcoder hands to the gateway, and how records get their keys, ids and headers."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

from schemas.framing import CONTENT_TYPE
from schemas.otlp.bindings import DEFAULT_NAMES, AttributeNames
from schemas.otlp.content import LONG_NAME, REDACTED
from schemas.otlp.model import BadRecord
from schemas.otlp.values import canonical_attributes
from schemas.policy import NONE, Policy
from schemas.routing import Route, Routing
from schemas.topics import SEPARATOR, make_key

Signal = Literal["logs", "metrics", "traces"]


class Message(NamedTuple):
    """One Kafka record: short topic name, key (b"" for none), value, headers. `partition_key` picks the partition."""

    topic: str
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    partition_key: bytes


class Routed(NamedTuple):
    """Records that a routing rule took. what: their signal, or content for rows of the content topic."""

    rule: str
    route: Route
    what: str
    records: int


@dataclass(slots=True)
class Entry:
    """One OTLP log record, data point or span: its record and its content rows, stored all or none.

    routed: what routing rules took of it.  dropped: by one of them; it has no message but for its place in a sequence.
    """

    messages: tuple[Message, ...]
    routed: tuple[Routed, ...] = ()
    dropped: bool = False


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that cannot be stored. Reasons: malformed_record, invalid_id, too_large."""

    reason: str
    error: str
    original: bytes
    signal: Signal | None = None
    content_type: str | None = None


@dataclass(slots=True)
class Decoded:
    """What a request holds. Entries and rejections together are the records that the client sent.

    masked: secrets that were found in their texts, by rule.
    """

    entries: list[Entry] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    masked: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one request. Over `depth`, `records_per_request` and `request_bytes` it is refused as a whole.

    records_per_request    log records, data points or spans
    attributes_per_record  those of a record (or a resource) after these are dropped, counted and flagged
    depth                  levels of nesting in an attribute value; 1 is a plain value
    message_bytes          key and value of one Kafka record; a larger one is rejected with its entry. Below the topics'
                           limit of 1 MiB, which counts key, headers and batch as well
    request_bytes          keys and values of all Kafka records of a request. Each repeats what its resource says:
                           100 KB of OTLP can stand for a gigabyte of records
    """

    records_per_request: int = 10_000
    attributes_per_record: int = 256
    depth: int = 32
    message_bytes: int = 1_000_000
    request_bytes: int = 64 << 20


@dataclass(frozen=True, slots=True)
class Context:
    """What a request does not say itself.

    received_us: the gateway's clock, microseconds since the epoch.  identity_key: the tenant's key for user_key, 1 to
    64 bytes.  The attribute names say where team, department and cost center come from.  policy: the tenant's;
    hash_key: behind its hashes.  routing: None where no rule can take a record of this tenant.  ingest_key_id: of the
    key that the request came with; no id of a record depends on it, as a re-send may come with another key.
    """

    tenant: str
    received_us: int
    identity_key: bytes
    limits: Limits = Limits()
    team_attribute: str = DEFAULT_NAMES[0]
    department_attribute: str = DEFAULT_NAMES[1]
    cost_center_attribute: str = DEFAULT_NAMES[2]
    policy: Policy = NONE
    hash_key: bytes = b""
    routing: Routing | None = None
    ingest_key_id: str | None = None

    @property
    def attribute_names(self) -> AttributeNames:
        """As `bindings` takes them."""
        return (self.team_attribute, self.department_attribute, self.cost_center_attribute)


def digest(parts: Iterable[str]) -> str:
    """BLAKE2b-128 in hex over the parts, joined by 0x1F."""
    return blake2b(SEPARATOR.join(parts).encode(), digest_size=16).hexdigest()


def uuid_text(hex_digits: str) -> str:
    """32 hex digits in the form of a UUID."""
    return f"{hex_digits[:8]}-{hex_digits[8:12]}-{hex_digits[12:16]}-{hex_digits[16:20]}-{hex_digits[20:]}"


def user_key(identity_key: bytes, account_uuid: str | None, email: str | None, user_id: str | None) -> str | None:
    """Opaque key of a person: keyed BLAKE2b-128 of the best identity known, in hex; None without any.

    What the client holds back is no identity: all who do so would be one person.
    """
    account_uuid, email, user_id = (None if one == REDACTED else one for one in (account_uuid, email, user_id))
    if account_uuid:
        identity = f"account:{account_uuid}"
    elif email:
        identity = f"email:{email}"
    elif user_id:
        identity = f"user:{user_id}"
    else:
        return None
    return blake2b(identity.encode(), digest_size=16, key=identity_key).hexdigest()


def resource_hash(resource: dict[str, Any]) -> str:
    """What stands in a key for a resource without session and user."""
    return blake2b(canonical_attributes(resource), digest_size=16).hexdigest()


@functools.lru_cache(maxsize=4096)
def _plain_headers(event_name: str, tenant: str) -> tuple[tuple[str, bytes], ...]:
    return (("event_name", event_name.encode()), ("tenant", tenant.encode()), ("content-type", CONTENT_TYPE))


def headers(event_name: str, tenant: str, trace_id: str, span_id: str, flags: int) -> tuple[tuple[str, bytes], ...]:
    """Headers of a record; a name longer than 128 characters is cut here, never in the record."""
    plain = _plain_headers(event_name[:128], tenant)
    if not (trace_id and span_id):
        return plain
    return (*plain, ("traceparent", f"00-{trace_id}-{span_id}-{flags & 0xFF:02x}".encode()))


class Keys:
    """Message keys and user keys of one request; most of its records share them."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._users: dict[tuple[str | None, str | None, str | None], str | None] = {}
        self._keys: dict[tuple[str | None, str | None], bytes] = {}

    def user(self, account_uuid: str | None, email: str | None, user_id: str | None) -> str | None:
        """As `user_key`."""
        identity = (account_uuid, email, user_id)
        try:
            return self._users[identity]
        except KeyError:
            return self._users.setdefault(identity, user_key(self._context.identity_key, *identity))

    def key(self, session_id: str | None, user: str | None, resource: dict[str, Any]) -> bytes:
        """tenant and session, else tenant and user, else tenant and a hash of the resource.

        Raises:  BadRecord: a session id too long for a key, or with the separator of keys: `make_key` would give it the
                 key of another session.
        """
        if session_id is None and user is None:
            return make_key(self._context.tenant, resource_hash(resource))
        try:
            return self._keys[session_id, user]
        except KeyError:
            if session_id is not None and (len(session_id) > LONG_NAME or SEPARATOR in session_id):
                # Not the id itself: so long a one is a text.
                error = f"session id of {len(session_id)} characters: over {LONG_NAME}, or with 0x1F"
                raise BadRecord(error) from None
            key = make_key(self._context.tenant, session_id or user or "")
            return self._keys.setdefault((session_id, user), key)
