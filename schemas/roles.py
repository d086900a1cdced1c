"""Roles: who may read which classes of which datasets, and of which rows.

A role is a named set of grants. A grant gives one class of columns (and the usage class, which tells the rows apart)
in some datasets, for the rows that its rule names:

    usage on every dataset                                viewer
    content on content where team = 'platform'            what `millrace role grant security ...` adds

Whoever has several roles, or a role with several grants, sees what any of them gives. A rule is parsed into values here
and never pasted into SQL as text. It fails closed: a dataset that does not have a rule's column has no such rows.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from schemas import records
from schemas.errors import CodecError, RoleError
from schemas.keys import KeyRecord
from schemas.records import CLASSES, Class, Field
from schemas.stored import STORED

CONTROL_KIND = "role"
ADMIN = "admin"
# With an admin key the SQL service asks as whom this header says, who can see no more than that key.
ACTOR_HEADER = "x-millrace-actor"

# SQL dataset → its record.
DATASETS: Mapping[str, str] = MappingProxyType(
    {
        "events": "claude_event",
        "metrics": "metric_point",
        "spans": "claude_span",
        "content": "claude_content",
        "rejected": "rejected",
        "sessions": "session",
        "session_hours": "session_hour",
        "user_hours": "user_window",
        "user_days": "user_window",
        "people": "claude_event",
        "audit": "audit",
    }
)
# Datasets that a grant without names does not reach, but for one of the class given here: their mere rows say what only
# a few may know. None: a grant must name it.
RESTRICTED: Mapping[str, Class | None] = MappingProxyType({"content": "content", "rejected": "content", "audit": None})
# What a rule may compare; a field of another type, or of class content, names no rows.
_COMPARABLE: Mapping[str, type] = MappingProxyType({"string": str, "long": int, "int": int, "boolean": bool})

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_GRANTS_MAX = 100
_VALUES_MAX = 100
_TEXT_MAX = 256
_LONG = 2**63

Value = str | int | bool


@dataclass(frozen=True, slots=True)
class Condition:
    """The column is one of these values; null is none of them.  values: of one type, at least one."""

    column: str
    values: tuple[Value, ...]

    def __str__(self) -> str:
        shown = [_shown(value) for value in self.values]
        return f"{self.column} = {shown[0]}" if len(shown) == 1 else f"{self.column} IN ({', '.join(shown)})"

    def fits(self, field: Field) -> bool:
        """Whether these values can be compared with that field."""
        return field.cls != "content" and all(type(value) is _COMPARABLE.get(field.type) for value in self.values)


# Every condition must hold; without any, every row is meant.
Rule = tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Grant:
    """One class of columns.  names: of DATASETS; empty: all but the restricted ones.  rule: of which rows."""

    cls: Class
    names: tuple[str, ...] = ()
    rule: Rule = ()

    def __str__(self) -> str:
        where = f" where {shown_rule(self.rule)}" if self.rule else ""
        return f"{self.cls} on {', '.join(self.names) or 'every open dataset'}{where}"

    def covers(self, name: str) -> bool:
        """Whether it gives anything of a dataset."""
        if self.names:
            return name in self.names
        return name not in RESTRICTED or RESTRICTED[name] == self.cls


@dataclass(frozen=True, slots=True)
class Role:
    """A named set of grants.  version: counts its changes; 0: as Millrace comes."""

    name: str
    grants: tuple[Grant, ...]
    version: int = 0


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks: a key, or a person who is signed in.

    kind: ingest, query, admin, person.  tenant: None is every tenant, which only the role admin may have.  roles: their
    names.  via: id of the key that asks as this person.
    """

    id: str
    kind: str
    tenant: str | None
    roles: tuple[str, ...]
    client_address: str | None = None
    via: str | None = None

    @property
    def asker(self) -> Hashable:
        """Whose turn a question takes, and what is kept for whom."""
        return self.tenant, self.kind, self.id


# Finds a role by its name, None when there is none (or none that can be read).
FindRole = Callable[[str], Role | None]


def _every(*classes: Class, names: tuple[str, ...] = ()) -> tuple[Grant, ...]:
    return tuple(Grant(cls, names) for cls in classes)


DEFAULTS: Mapping[str, Role] = MappingProxyType(
    {
        role.name: role
        for role in (
            Role("viewer", _every("usage")),
            Role("analyst", _every("usage", "person", "detail")),
            Role(
                "security",
                _every("usage", "person", "detail")
                + _every("usage", "detail", names=("rejected",))
                + _every("usage", "person", "detail", names=("audit",)),
            ),
            Role(ADMIN, _every(*CLASSES) + _every("usage", "person", "detail", names=("content", "rejected", "audit"))),
        )
    }
)


def actor_of(key: KeyRecord, client_address: str | None = None) -> Actor:
    """A key as an actor: an admin key is in the role admin; a query key that names no role is an analyst."""
    if key.kind == "admin":
        return Actor(key.id, key.kind, None if key.tenant == "*" else key.tenant, (ADMIN,), client_address)
    return Actor(key.id, key.kind, key.tenant, key.roles or ("analyst",), client_address)


def stated(actor: Actor) -> str:
    """A person as the value of ACTOR_HEADER: base64url of JSON."""
    said = {"id": actor.id, "tenant": actor.tenant, "roles": actor.roles, "client_address": actor.client_address}
    return base64.urlsafe_b64encode(json.dumps(said).encode()).decode()


def stated_by(text: str, key: KeyRecord) -> Actor:
    """The person of an ACTOR_HEADER that came with this key.

    Raises: RoleError: the key is no admin key, or not of that person's tenant; or the text is none of `stated`.
    """
    if key.kind != "admin":
        raise RoleError("only an admin key may ask as a person")
    try:
        said = json.loads(base64.urlsafe_b64decode(text.encode()))
        id_, tenant, roles, address = (said[name] for name in ("id", "tenant", "roles", "client_address"))
        texts = [id_, *roles, *(one for one in (tenant, address) if one is not None)]
        if not id_ or not isinstance(roles, list) or not all(isinstance(one, str) for one in texts):
            raise ValueError("not an id, a tenant, a list of roles and an address")
    except (ValueError, KeyError, TypeError) as error:
        raise RoleError(f"the header {ACTOR_HEADER} is no person: {error}") from error
    own = actor_of(key).tenant
    if own is not None and tenant != own:
        raise RoleError(f"this admin key is of tenant {own}, and nobody asks for another one with it")
    return Actor(id_, "person", tenant, tuple(roles), address, via=key.id)


def finder(record: Callable[[str], Mapping[str, Any] | None]) -> FindRole:
    """Roles as the control plane has them, else as Millrace comes.

    Args: record: the last control record of kind `role` with this id, in force or deleted.
    """

    def find(name: str) -> Role | None:
        found = record(name)
        # The role admin stays as it is: it is the way back from every other mistake.
        if found is None or found["deleted"] or name == ADMIN:
            return DEFAULTS.get(name)
        try:
            return from_control(found)
        except CodecError:
            return None  # what cannot be read gives nothing, not even what it was by default

    return find


def fields(name: str) -> Mapping[str, Field]:
    """The fields of a dataset that a rule may name. Raises: KeyError."""
    record = DATASETS[name]
    found = records.record(record).by_name
    if name != "people":
        return {**found, **{f.name: f for f in STORED.get(record, ())}}
    # What people are told apart by: see sinks/query/people.py.
    return {
        f.name: f
        for f in found.values()
        if f.name in ("tenant", "user_key", "organization_id") or (f.cls == "person" and f.type == "string")
    }


def without_rows(grant: Grant) -> tuple[str, ...]:
    """The datasets that a grant covers and gives no row of, because they lack a column of its rule."""
    return tuple(
        name
        for name in DATASETS
        if grant.covers(name)
        and not all(c.column in fields(name) and c.fits(fields(name)[c.column]) for c in grant.rule)
    )


def checked_grant(cls: str, names: tuple[str, ...], where: str | None) -> Grant:
    """A grant from what a person typed.

    Raises: RoleError: an unknown class or dataset, a rule that is none, or a rule that gives no row of any dataset.
    """
    if cls not in CLASSES:
        raise RoleError(f"there is no class {cls!r}; the classes are {', '.join(CLASSES)}")
    for name in names:
        if name not in DATASETS:
            raise RoleError(f"there is no dataset {name!r}; the datasets are {', '.join(DATASETS)}")
    grant = Grant(cls, tuple(dict.fromkeys(names)), parse_rule(where) if where is not None else ())
    empty = without_rows(grant)
    if all(name in empty for name in (names or DATASETS) if grant.covers(name)):
        raise RoleError(f"the rule `{shown_rule(grant.rule)}` gives no row: no dataset here has such a column")
    return grant


def granted(role: Role, grant: Grant) -> Role:
    """The role with one grant more. Raises: RoleError: it has it already, has too many, or is admin."""
    _changeable(role)
    if grant in role.grants:
        raise RoleError(f"role {role.name} has this grant already: {grant}")
    if len(role.grants) >= _GRANTS_MAX:
        raise RoleError(f"role {role.name} has {_GRANTS_MAX} grants, which is the most")
    return replace(role, grants=(*role.grants, grant), version=role.version + 1)


def revoked(role: Role, grant: Grant) -> Role:
    """The role without a grant. Raises: RoleError: it does not have it, or is admin."""
    _changeable(role)
    if grant not in role.grants:
        raise RoleError(f"role {role.name} has no such grant: {grant}; see: millrace role show {role.name}")
    return replace(role, grants=tuple(g for g in role.grants if g != grant), version=role.version + 1)


def valid_name(name: str) -> bool:
    """Whether a role may be called so: a small letter, then up to 63 small letters, digits, dashes, underscores."""
    return _NAME.fullmatch(name) is not None


def _changeable(role: Role) -> None:
    if role.name == ADMIN:
        raise RoleError("the role admin cannot be changed: it is the way back from every other mistake")


# The grammar of a rule:
#     rule      = condition { AND condition }
#     condition = column "=" literal | column IN "(" literal { "," literal } ")"
#     literal   = 'text' ('' is a quote in it) | whole number | TRUE | FALSE

_TOKEN = re.compile(r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?\d+)|(?P<word>[A-Za-z_]\w*)|(?P<sign>[=(),]))", re.A)


def parse_rule(text: str) -> Rule:
    """The rule that a text spells. Raises: RoleError, which says what was expected and where."""
    return _Parser(text).rule()


def shown_rule(rule: Rule) -> str:
    """A rule as text that parses into it again."""
    return " AND ".join(str(condition) for condition in rule)


def _shown(value: Value) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value).lower() if isinstance(value, bool) else str(value)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str, int]] = []
        at = 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            if match is None:
                start = at + len(text[at:]) - len(text[at:].lstrip())
                raise RoleError(f"the rule cannot be read at character {start + 1}: {text[start : start + 20]!r}")
            kind = str(match.lastgroup)
            self._tokens.append((kind, match[kind], match.start(kind)))
            at = match.end()
        self._next = 0

    def rule(self) -> Rule:
        conditions = [self._condition()]
        while self._next < len(self._tokens):
            self._take("word", "AND")
            conditions.append(self._condition())
        return tuple(conditions)

    def _condition(self) -> Condition:
        column = self._take("word", None, "a column")
        if column.upper() in ("AND", "IN", "OR", "NOT", "TRUE", "FALSE"):
            raise self._expected("a column", self._next - 1)
        if self._is("sign", "="):
            self._next += 1
            values = [self._literal()]
        else:
            self._take("word", "IN", "= or IN")
            self._take("sign", "(")
            values = [self._literal()]
            while self._is("sign", ","):
                self._next += 1
                values.append(self._literal())
            self._take("sign", ")")
        if len({type(value) for value in values}) > 1:
            raise RoleError(f"the values of {column} in the rule are of several types")
        if len(values) > _VALUES_MAX:
            raise RoleError(f"the rule names more than {_VALUES_MAX} values of {column}")
        return Condition(column.lower(), tuple(dict.fromkeys(values)))

    def _literal(self) -> Value:
        if self._next >= len(self._tokens):
            raise self._expected("a value")
        kind, text, _ = self._tokens[self._next]
        value: Value | None = None
        if kind == "text":
            value = text[1:-1].replace("''", "'")
        elif kind == "number":
            value = int(text)
        elif kind == "word" and text.upper() in ("TRUE", "FALSE"):
            value = text.upper() == "TRUE"
        if value is None:
            raise self._expected("a value ('text', a whole number, true or false)")
        _check_value(value)
        self._next += 1
        return value

    def _is(self, kind: str, text: str) -> bool:
        return self._next < len(self._tokens) and self._tokens[self._next][:2] == (kind, text)

    def _take(self, kind: str, text: str | None, expected: str | None = None) -> str:
        if self._next < len(self._tokens):
            found_kind, found, _ = self._tokens[self._next]
            if found_kind == kind and (text is None or found.upper() == text):
                self._next += 1
                return found
        raise self._expected(expected or str(text))

    def _expected(self, what: str, at: int | None = None) -> RoleError:
        at = self._next if at is None else at
        if at >= len(self._tokens):
            return RoleError(f"the rule ends where {what} was expected: {self._text!r}")
        _, found, start = self._tokens[at]
        return RoleError(f"the rule has {found!r} at character {start + 1}, where {what} was expected")


def _check_value(value: Value) -> None:
    """Raises: RoleError: a text or number that no rule may hold."""
    if isinstance(value, str):
        if len(value) > _TEXT_MAX or "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
            raise RoleError(f"a text in a rule has at most {_TEXT_MAX} characters, none of them NUL")
    elif not isinstance(value, bool) and not -_LONG <= value < _LONG:
        raise RoleError("a number in a rule has at most 64 bits")


def control_value(role: Role, *, updated_at: int, updated_by: str, deleted: bool = False) -> dict[str, Any]:
    """The Control record of a role. updated_at: microseconds since the epoch."""
    grants = [
        {"class": g.cls, "names": g.names, "rule": [{"column": c.column, "values": c.values} for c in g.rule]}
        for g in role.grants
    ]
    return {
        "kind": CONTROL_KIND,
        "id": role.name,
        "tenant": None,
        "body": json.dumps({"grants": grants, "version": role.version}, sort_keys=True),
        "deleted": deleted,
        "updated_at": updated_at,
        "updated_by": updated_by,
    }


def from_control(value: Mapping[str, Any]) -> Role:
    """The role of a Control record of kind `role`. Raises: CodecError(malformed_record)."""
    try:
        body = json.loads(value["body"])
        grants = tuple(_grant(spec) for spec in body["grants"])
        version = body["version"]
        if len(grants) > _GRANTS_MAX or type(version) is not int:
            raise ValueError("too many grants, or no version")
        return Role(str(value["id"]), grants, version)
    except (ValueError, KeyError, TypeError, AttributeError, RoleError) as error:
        raise CodecError(f"control: role {value.get('id')}: {error}", record="control") from error


def _grant(spec: Mapping[str, Any]) -> Grant:
    cls, names, conditions = spec["class"], tuple(spec["names"]), []
    # A dataset that a later version has is kept, and gives nothing here.
    if cls not in CLASSES or not all(isinstance(name, str) for name in names) or isinstance(spec["names"], str):
        raise ValueError(f"unknown class {cls!r}, or names that are no names")
    for condition in spec["rule"]:
        column, values = condition["column"], tuple(condition["values"])
        types = {type(v) for v in values}
        if not isinstance(column, str) or len(types) != 1 or not types <= {str, int, bool} or len(values) > _VALUES_MAX:
            raise ValueError("a rule that is none")
        for item in values:
            _check_value(item)
        conditions.append(Condition(column, values))
    if not isinstance(spec["rule"], list):
        raise ValueError("a rule that is none")
    return Grant(cls, names, tuple(conditions))
