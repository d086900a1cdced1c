"""A tenant's privacy policy: what is kept, dropped or hashed of what arrives, before it gets to Kafka.

It is a control record of kind `policy`; its id is the tenant, or `*` for every tenant without one of its own. Its body:

    version   counts from 1; stands on every record that the policy was applied to
    classes   usage, person, detail, content → keep | drop | hash; keep where nothing is said
    fields    the same for single fields, by the name in the .avsc, and for single attributes without a field, as
              `attributes.<wire name>` or `resource_attributes.<wire name>`; stronger than the class
    mask      detail, content → whether secrets in their texts are masked; true where nothing is said
    hash_key  id of the key of hashes, "identity" where nothing is said (see HashKeys)

drop: as if it had not been sent. hash: of texts a keyed BLAKE2b-128, `h:<key id>:<hex>`, the same for the same text of
one tenant under one key; of maps each value; what is no text is dropped. A new key begins new hashes: what was hashed
before can no longer be joined with what comes after.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from schemas import records
from schemas.errors import PermanentError
from schemas.records import CLASSES, Class

Action = Literal["keep", "hash", "drop"]
ACTIONS: tuple[Action, ...] = ("keep", "hash", "drop")
"""From the mildest to the strictest."""

CONTROL_KIND = "policy"
EVERY_TENANT = "*"
IDENTITY_KEY = "identity"
MASKABLE: tuple[Class, ...] = ("detail", "content")
RECORDS = ("claude_event", "metric_point", "claude_span", "claude_content")
MAPS = ("attributes", "resource_attributes")

# What no row can live without. A class's action passes over these; an override that names one is refused.
_IDENTITY = "rows are found, told apart and joined by it"
_TIME = "days, windows and expiry go by it"
_OURS = "it says what Millrace did, and holds nothing that was sent"
_MEASURE = "without it the numbers of the point mean nothing"
INDISPENSABLE: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("tenant", "event_id", "point_id", "series", "trace_id", "span_id", "user_key"), _IDENTITY),
        **dict.fromkeys(("event_name", "metric", "name", "session_id", "event_sequence", "field"), _IDENTITY),
        **dict.fromkeys(("event_time", "received_time", "start_time", "end_time"), _TIME),
        **dict.fromkeys(
            ("clock_suspect", "route", "routing_rule", "client", "policy_version", "masked", "ingest_key_id"), _OURS
        ),
        **dict.fromkeys(("held_back", "coercion_errors", "pipeline_error", "length"), _OURS),
        **dict.fromkeys(("kind", "temporality", "monotonic"), _MEASURE),
    }
)

NO_NAMES: Mapping[str, str] = MappingProxyType({})
_SCOPES = ("otel.scope.", "scope.")
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,32}")
_BODY = frozenset(("version", "classes", "fields", "mask", "hash_key"))


class PolicyError(PermanentError):
    """A policy that cannot be (bad_policy).

    Args:    problem: what, where and what to do.  policy: whose it is, a tenant or `*`; "" where that is not known.
    """

    def __init__(self, problem: str, *, policy: str = "") -> None:
        super().__init__(f"policy{' of ' + policy if policy else ''}: {problem}", reason="bad_policy")
        self.problem = problem
        self.policy = policy


@functools.cache
def known_fields() -> frozenset[str]:
    """The fields of all records that a policy is applied to."""
    return frozenset(f.name for name in RECORDS for f in records.record(name).fields)


@dataclass(frozen=True)
class Policy:
    """A policy that makes sense. version: 0 for what holds where no policy was set."""

    version: int = 0
    classes: Mapping[Class, Action] = field(default_factory=dict)
    fields: Mapping[str, Action] = field(default_factory=dict)
    mask: Mapping[Class, bool] = field(default_factory=dict)
    hash_key: str = IDENTITY_KEY

    def __post_init__(self) -> None:
        """Raises: PolicyError."""
        if self.version.__class__ is not int or self.version < 0:
            raise PolicyError("version must be a whole number from 0")
        for place, given, names, words in (
            ("classes", self.classes, CLASSES, ACTIONS),
            ("fields", self.fields, None, ACTIONS),
            ("mask", self.mask, MASKABLE, (True, False)),
        ):
            if not isinstance(given, Mapping):
                raise PolicyError(f"{place} must be an object")
            for name, word in given.items():
                if names is not None and name not in names:
                    raise PolicyError(f"{place}: {name!r} is none of {', '.join(names)}")
                if not any(word is one or word == one for one in words) or word.__class__ is not words[0].__class__:
                    said = ", ".join(json.dumps(one) if one.__class__ is bool else str(one) for one in words)
                    raise PolicyError(f"{place}: {name} is {word!r}, not one of {said}")
        for name in self.fields:
            self._check_field(name)
        if self.hash_key.__class__ is not str or _KEY_ID.fullmatch(self.hash_key) is None:
            raise PolicyError("hash_key must be 1 to 32 letters, digits, dots, dashes and underscores")

    @staticmethod
    def _check_field(name: str) -> None:
        place, _, wire = name.partition(".")
        if wire and place in MAPS:
            if field_of(wire) in INDISPENSABLE:
                raise PolicyError(f"fields: {wire} cannot be changed: {INDISPENSABLE[field_of(wire)]}")
        elif name not in known_fields():
            raise PolicyError(
                f"fields: there is no field {name!r}; see docs/schema.md, or say attributes.<wire name> or "
                "resource_attributes.<wire name>"
            )
        elif name in INDISPENSABLE:
            raise PolicyError(f"fields: {name} cannot be changed: {INDISPENSABLE[name]}")

    @property
    def changes(self) -> bool:
        """Whether anything at all is dropped or hashed."""
        return any(action != "keep" for action in (*self.classes.values(), *self.fields.values()))

    @property
    def hashes(self) -> bool:
        """Whether anything is hashed."""
        return "hash" in self.classes.values() or "hash" in self.fields.values()

    def masks(self, cls: Class) -> bool:
        """Whether secrets in texts of the class are masked: yes, unless it is said otherwise."""
        return cls in MASKABLE and self.mask.get(cls, True)

    def action(self, field_name: str, cls: Class) -> Action:
        """What becomes of a field."""
        if field_name in INDISPENSABLE:
            return "keep"
        return self.fields.get(field_name) or self.classes.get(cls, "keep")

    def attribute(self, place: str, wire: str, named: Mapping[str, str] = NO_NAMES) -> Action:
        """What becomes of an attribute that stands in the map `place`, attributes or resource_attributes.

        A map is of class detail. An attribute that has a field as well fares no better than its field.

        Args:    named: as of `field_of`.
        """
        said = self.fields.get(f"{place}.{wire}")
        if said is not None:
            return said
        found = [self.action(place, "detail")]
        if name := field_of(wire, named):
            found.append(self.action(name, class_of(name)))
        return max(found, key=ACTIONS.index)

    def as_body(self) -> dict[str, Any]:
        """The body of its control record."""
        return {
            "version": self.version,
            "classes": dict(self.classes),
            "fields": dict(self.fields),
            "mask": {cls: self.masks(cls) for cls in MASKABLE},
            "hash_key": self.hash_key,
        }


NONE = Policy()
"""What holds where no policy was set: everything is kept, and secrets are masked."""


@functools.cache
def _wires() -> dict[str, str]:
    """Wire attribute, as it is and with `_` for its dots → field."""
    found = {
        wire.rpartition(":")[2]: f.name
        for name in reversed(RECORDS[:3])
        for f in records.record(name).fields
        for wire in f.otel
    }
    return {wire.replace(".", "_"): name for wire, name in found.items()} | found


@functools.cache
def _classes() -> dict[str, Class]:
    """Field → class; the strictest where records differ."""
    found: dict[str, Class] = {}
    for name in RECORDS[:3]:
        for f in records.record(name).fields:
            found[f.name] = max(found.get(f.name, f.cls), f.cls, key=CLASSES.index)
    return found


def field_of(wire: str, named: Mapping[str, str] = NO_NAMES) -> str:
    """The field that a wire attribute fills, or would if it stood on the record and not in a scope or a tree.

    Args:    named: fields of the attributes that the settings name.
    Returns: "" for one that has none.
    """
    known = _wires()
    found = named.get(wire) or known.get(wire)
    for scope in _SCOPES:
        if not found and wire.startswith(scope):
            wire = wire.removeprefix(scope)
            found = named.get(wire) or known.get(wire)
    return found or ""


def class_of(field_name: str) -> Class:
    """The class of a field; detail for what has none."""
    return _classes().get(field_name, "detail")


def parse(body: str, *, policy: str = "") -> Policy:
    """The policy in the body of a control record. Raises: PolicyError."""
    try:
        found = json.loads(body)
    except ValueError as error:
        raise PolicyError(f"not JSON: {error}", policy=policy) from None
    if not isinstance(found, dict):
        raise PolicyError("must be a JSON object", policy=policy)
    if unknown := sorted(found.keys() - _BODY):
        raise PolicyError(f"there is no {unknown[0]!r}; there are {', '.join(sorted(_BODY))}", policy=policy)
    try:
        return Policy(**found)
    except PolicyError as error:
        raise PolicyError(error.problem, policy=policy) from None


def control_value(
    policy: Policy, id_: str, *, updated_at: int, updated_by: str, deleted: bool = False
) -> dict[str, Any]:
    """The Control record of a policy. id_: a tenant or `*`.  updated_at: microseconds since the epoch."""
    return {
        "kind": CONTROL_KIND,
        "id": id_,
        "tenant": None if id_ == EVERY_TENANT else id_,
        "body": json.dumps(policy.as_body(), sort_keys=True),
        "deleted": deleted,
        "updated_at": updated_at,
        "updated_by": updated_by,
    }


class HashKeys:
    """The ring of keys behind hashes.

    Args:    ring: key id → secret.  Each tenant has a key of its own of each, so that hashes of two tenants never meet.
    """

    def __init__(self, ring: Mapping[str, bytes]) -> None:
        for key_id in ring:
            if _KEY_ID.fullmatch(key_id) is None:
                raise PolicyError(f"{key_id!r} is no id of a hash key")
        self._ring = {key_id: hashlib.sha256(secret).digest() for key_id, secret in ring.items()}

    def key(self, key_id: str, tenant: str) -> bytes:
        """The tenant's key of 32 bytes. Raises: PolicyError when the ring has none of this id."""
        secret = self._ring.get(key_id)
        if secret is None:
            known = ", ".join(sorted(self._ring)) or "none"
            raise PolicyError(f"no hash key {key_id!r} here (there are {known}); see MILLRACE_GATEWAY_HASH_KEYS")
        return hashlib.blake2b(tenant.encode(), digest_size=32, key=secret, person=b"millrace policy").digest()


def hashed(text: str, key_id: str, key: bytes) -> str:
    """`h:<key id>:<BLAKE2b-128 in hex>` of a text."""
    return f"h:{key_id}:{hashlib.blake2b(text.encode('utf-8', 'surrogatepass'), digest_size=16, key=key).hexdigest()}"
