"""The SQL names, and what of them an actor may see: the one place where roles become SQL.

A name is a view over one table of the store, written out for each request with tenant and row rules as literals. What
an asker's own condition does on a row that is hidden must not tell of it, be it by failing: with predicates that are
not literals the asker's conditions run first (measured), and DuckDB keeps a rule of several values or an OR out of the
scan, where the order of conditions is the optimizer's choice. So such a rule hides rows every column of the view
is NULL on them as well (CASE WHEN rule THEN column END): in whatever order conditions run, there is nothing to see.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from types import MappingProxyType

from schemas import records
from schemas.mapping.tables import Mapped, views
from schemas.records import Class
from schemas.roles import ADMIN, Actor, Condition, FindRole, Grant, Rule, shown_rule
from service.sql import literal
from sinks.query import mapped, people
from sinks.query.errors import QueryError
from sinks.query.tables import DUCKDB, EMPTY_COLUMN, TABLES, Table, quoted

# DuckDB's types that a rule can compare, with the type of its values.
_COMPARABLE: Mapping[str, type] = MappingProxyType({"VARCHAR": str, "BIGINT": int, "INTEGER": int, "BOOLEAN": bool})


@dataclass(frozen=True)
class Column:
    """One column of a SQL name.

    type: DuckDB's.  mark: of class content, but here it can only hold the mark that says where the text is.
    also: classes that must be granted beside its own.
    expression: of a derived name: how it comes from the source's columns; it must not fail on any value.  reads: those
    columns; who may not see one of them does not see this one.
    """

    name: str
    type: str
    cls: Class
    doc: str
    unit: str | None
    mark: bool = False
    also: tuple[Class, ...] = ()
    expression: str | None = None
    reads: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[Class, ...]:
        """All that one must be granted to see it."""
        return (self.cls, *self.also)


@dataclass(frozen=True)
class SqlName:
    """One name that a query can use.

    path: the table behind it.  shown: which of its rows are for people, or have a meaning in a derived name's words.
    source: the name that a derived one selects from; it has the source's path, and is granted and hidden with it.
    """

    name: str
    path: str
    doc: str
    columns: tuple[Column, ...]
    shown: str | None = None
    source: str | None = None

    @property
    def holds_content(self) -> bool:
        """Whether a row can hold text of class content, so that reading it is told to the audit."""
        return any(c.cls == "content" and not c.mark for c in self.columns)


# All that a resource says, whose it is among it: a client's resource names the person.
_OF_A_PERSON = ("resource_attributes", "resource_attributes_json")


def _from_table(table: Table) -> SqlName:
    marks, kinds = set(table.marks), table.columns
    columns = tuple(
        Column(
            *(f.name, kinds[f.name], f.cls, f.doc, f.unit),
            mark=f.name in marks,
            also=("person",) if f.name in _OF_A_PERSON else (),
        )
        for f in (*table.fields, *table.stored)
    )
    shown = None
    if table.hides_empty:
        shown = f"NOT {EMPTY_COLUMN}"
    elif any(f.name == "pseudo" for f in table.fields):
        shown = "NOT pseudo"
    doc = str(records.record(table.record).schema.get("doc", ""))
    return SqlName(table.name, table.path, doc if table.grain is None else f"{doc} ({table.grain}s)", columns, shown)


def _people() -> SqlName:
    event = records.record("claude_event")
    columns = tuple(
        Column(name, people.COLUMNS[name], event.field(name).cls if name in people.IDENTITY else "usage", doc, None)
        for name, doc in people.DOCS.items()
    )
    return SqlName(people.NAME, people.PATH, "Who stands behind a user_key: the latest that is known.", columns)


def _mapped(view: Mapped) -> SqlName:
    table = next(table for table in TABLES if table.record == view.record)
    own = Column("tenant", "VARCHAR", "usage", records.record(view.record).field("tenant").doc, None, reads=("tenant",))
    columns = tuple(
        Column(
            *(c.name, DUCKDB[c.type], c.cls, c.doc, c.unit),
            expression=mapped.column(view, c),
            reads=tuple(sorted(c.expression.fields)),
        )
        for c in view.columns
    )
    if all(c.name != own.name for c in columns):
        columns = (own, *columns)  # as every name has it
    return SqlName(view.view, table.path, view.doc, columns, mapped.only(view), source=table.name)


NAMES: Mapping[str, SqlName] = MappingProxyType(
    {
        name.name: name
        for name in (*(_from_table(table) for table in TABLES), _people(), *(_mapped(v) for v in views().values()))
    }
)


# Of what actors may see, so many different ones are kept: with all views written out each has some 200 kB.
_KEPT_MOST = 64
# What hides nothing, and what hides all.
_TRUE, _FALSE = "true", "false"


@dataclass(frozen=True)
class Access:
    """What one actor may see.

    tenants: None is every tenant.  grants: of all its roles.  roles: those it acts in.  missing: those it names that do
    not exist.
    """

    tenants: tuple[str, ...] | None
    grants: tuple[Grant, ...]
    roles: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names that any grant covers, be it with no row."""
        return tuple(name for name in NAMES if any(g.covers(_root(name).name) for g in self.grants))

    @cached_property
    def shape(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Names and columns, which is what a query is bound against."""
        return tuple((name, tuple(c.name for c in self.columns(name))) for name in self.names)

    @cached_property
    def sees_all(self) -> bool:
        """Whether nothing in the store is hidden from this actor, so that nothing in an error can be a secret."""
        return self.tenants is None and all(
            self.columns(name) == NAMES[name].columns
            and all(self._condition(_root(name), c) == _TRUE for c in _root(name).columns)
            for name in NAMES
        )

    def columns(self, name: str) -> tuple[Column, ...]:
        """The columns of a name that this actor may see in any row. Raises: KeyError."""
        sql_name = NAMES[name]
        if sql_name.source is not None:
            seen = {c.name for c in self.columns(sql_name.source)}
            return tuple(c for c in sql_name.columns if seen.issuperset(c.reads) and c.cls in self._classes(name))
        classes = self._classes(name)
        return tuple(c for c in sql_name.columns if classes.issuperset(c.classes) or c.mark) if classes else ()

    def view(self, name: str) -> str:
        """The statement that makes the view of a name on a cursor."""
        if name not in self._views:
            self._views[name] = f"CREATE TEMP VIEW {quoted(name)} AS {self._select(name)}"
        return self._views[name]

    @cached_property
    def _views(self) -> dict[str, str]:
        """Those that were asked for."""
        return {}

    def rows(self, name: str) -> str:
        """Which rows of a name this actor may see, in words for people."""
        sql_name = _root(name)
        rules = [g.rule for g in self.grants if g.covers(sql_name.name)]
        if any(not rule for rule in rules):
            return "all"
        able = [rule for rule in rules if _sql(rule, sql_name) != _FALSE]
        if not able:
            columns = sorted({c.column for rule in rules for c in rule})
            return f"none: the roles' rules ask for {', '.join(columns)}, which cannot be asked of {sql_name.name}"
        return " or ".join(dict.fromkeys(shown_rule(rule) for rule in able))

    def refusal(self, name: str) -> str:
        """Why a known name may not be read, and what would help."""
        root = _root(name).name
        what = "content" if NAMES[root].holds_content else "usage"
        return (
            f"'{name}' needs a grant of class {what} on {root}, which {self._own_roles()} not have; an admin can give "
            f"it: millrace role grant ROLE --class {what} --dataset {root}"
        )

    def missing_column(self, names: Iterable[str], message: str) -> str | None:
        """If DuckDB did not find a column because its class is not granted: what to say.

        Args: names: those that the query uses.  message: DuckDB's.
        """
        found = _NO_COLUMN.search(message)
        if found is None:
            return None
        wanted = (found[1] or found[2]).lower()
        for name in names:
            for column in NAMES[name].columns:
                if column.name.lower() == wanted and column not in self.columns(name):
                    return (
                        f"column '{column.name}' of {name} is of class {' and '.join(column.classes)}, "
                        f"which {self._own_roles()} not have there"
                    )
        return None

    def _own_roles(self) -> str:
        gone = f" (there is no role {', '.join(self.missing)})" if self.missing else ""
        if len(self.roles) == 1:
            return f"role {self.roles[0]}{gone} does"
        return f"roles {', '.join(self.roles)}{gone} do"

    def _classes(self, name: str) -> frozenset[Class]:
        """Classes that are granted on a name. A row that may be seen at all shows its usage columns."""
        root = _root(name).name
        classes = {g.cls for g in self.grants if g.covers(root)}
        return frozenset(classes | {"usage"}) if classes else frozenset()

    def _rules(self, table: SqlName, column: Column | None) -> tuple[Rule, ...]:
        """The rules of which one must hold where a column may be seen; without one, or for one of class usage: a row.

        An empty rule among them is then the only one.
        """
        every = column is None or column.cls == "usage" or column.mark
        rules = [
            g.rule
            for g in self.grants
            if g.covers(table.name) and (every or (column is not None and g.cls == column.cls))
        ]
        return ((),) if () in rules else tuple(dict.fromkeys(r for r in rules if _sql(r, table) != _FALSE))

    def _condition(self, table: SqlName, column: Column | None = None) -> str:
        if column is not None and column.also:
            each = {self._condition(table, replace(column, cls=cls, also=())) for cls in column.classes}
            asked = sorted(each - {_TRUE}) or [_TRUE]
            return asked[0] if len(asked) == 1 else " AND ".join(f"({one})" for one in asked)
        rules = self._rules(table, column)
        return (
            " OR ".join(f"({_sql(rule, table)})" if len(rules) > 1 else _sql(rule, table) for rule in rules) or _FALSE
        )

    def _select(self, name: str, also: str | None = None) -> str:
        """also: one condition more, of a derived name, on the columns of the table."""
        sql_name = NAMES[name]
        if sql_name.source is not None:
            columns = ", ".join(f"{c.expression or quoted(c.name)} AS {quoted(c.name)}" for c in self.columns(name))
            return f"SELECT {columns} FROM ({self._select(sql_name.source, sql_name.shown)})"
        rows = self._condition(sql_name)
        # Told already by the rows that the scan itself leaves out.
        told = {_TRUE, rows} if _scanned(self._rules(sql_name, None)) else {_TRUE}
        shown = []
        for column in self.columns(name):
            condition, place = self._condition(sql_name, column), quoted(column.name)
            shown.append(place if condition in told else f"CASE WHEN {condition} THEN {place} END AS {place}")
        conditions = [condition for condition in (sql_name.shown, also) if condition is not None]
        if self.tenants is not None:
            conditions.append(f"tenant IN ({', '.join(literal(t) for t in self.tenants)})" if self.tenants else _FALSE)
        if rows != _TRUE:
            conditions.append(f"({rows})")
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        # Three parts, or the name inside of the view would be the view itself.
        return f"SELECT {', '.join(shown)} FROM {sql_name.path}{where}"


_NO_COLUMN = re.compile(r'(?:column "([^"]+)" not found|does not have a column named "([^"]+)")')


def access_of(actor: Actor, find: FindRole) -> Access:
    """What an actor may see: the union of its roles.

    Raises: QueryError(forbidden): an ingest key, an actor without a tenant, without a role, or only with roles that do
        not exist.
    """
    if actor.kind == "ingest":
        raise QueryError("an ingest key may only send telemetry; ask with a query or an admin key", reason="forbidden")
    if not actor.tenant and not (actor.tenant is None and ADMIN in actor.roles):
        raise QueryError("this key belongs to no tenant", reason="forbidden")
    found = [role for name in actor.roles if (role := find(name)) is not None]
    if not found:
        names = ", ".join(f"'{name}'" for name in actor.roles)
        missing = f"the role {names} of this key does not exist, so it may read nothing" if names else "it has no role"
        raise QueryError(f"{missing}; see: millrace role list", reason="forbidden")
    known = tuple(role.name for role in found)
    missing_roles = tuple(name for name in actor.roles if name not in known)
    grants = tuple(dict.fromkeys(grant for role in found for grant in role.grants))
    return _kept(None if actor.tenant is None else (actor.tenant,), grants, known, missing_roles)


# What it works out of the grants takes longer than many a query, and most who ask have one of a few roles.
_kept = lru_cache(_KEPT_MOST)(Access)


def describe(access: Access) -> list[dict[str, object]]:
    """Every name and column that an actor may see, with what they mean, and of which rows."""
    return [
        {
            "name": name,
            "doc": NAMES[name].doc,
            "rows": access.rows(name),
            "columns": [
                {"name": c.name, "type": c.type, "class": c.cls, "unit": c.unit, "doc": c.doc}
                for c in access.columns(name)
            ],
        }
        for name in access.names
    ]


def content_names(names: Iterable[str]) -> tuple[str, ...]:
    """Those of some names whose reading is told to the audit."""
    return tuple(name for name in names if _root(name).holds_content)


def _root(name: str) -> SqlName:
    """The name over a table that a name comes from. Raises: KeyError."""
    sql_name = NAMES[name]
    return sql_name if sql_name.source is None else _root(sql_name.source)


def _sql(rule: Rule, sql_name: SqlName) -> str:
    """A rule as a condition on a name's table; false where it cannot be asked there."""
    if not rule:
        return _TRUE
    columns = {c.name: c for c in sql_name.columns}
    parts = []
    for condition in rule:
        column = columns.get(condition.column)
        if column is None or column.cls == "content" or not _fits(condition, column):
            return _FALSE
        parts.append(_comparison(condition))
    return " AND ".join(parts)


def _scanned(rules: tuple[Rule, ...]) -> bool:
    """Whether DuckDB lets the scan itself apply these rules, as it does with equalities that must all hold.

    Not with an OR, several values or a boolean, which is no comparison to it (measured, and held by a test).
    """
    return len(rules) == 1 and all(len(c.values) == 1 and not isinstance(c.values[0], bool) for c in rules[0])


def _fits(condition: Condition, column: Column) -> bool:
    wanted = _COMPARABLE.get(column.type)
    return bool(condition.values) and all(type(value) is wanted for value in condition.values)


def _comparison(condition: Condition) -> str:
    values = [literal(value) if isinstance(value, str) else str(value).lower() for value in condition.values]
    place = quoted(condition.column)
    return f"{place} = {values[0]}" if len(values) == 1 else f"{place} IN ({', '.join(values)})"
