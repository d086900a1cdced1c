"""The SQL names, and what of them a key may see.

A name is a view over one table of the store, written out for each request with the key's tenants as literals: a
predicate that is not a literal lets the asker's own conditions run before it (measured), and then their errors tell.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from schemas import records
from schemas.keys import KeyRecord
from schemas.mapping.tables import Mapped, views
from schemas.records import CLASSES, Class
from sinks.query import mapped, people
from sinks.query.errors import QueryError
from sinks.query.tables import DUCKDB, EMPTY_COLUMN, TABLES, Table, literal, quoted

EVERY_TENANT = "*"
# Names whose rows can hold text of class content.
ADMIN_NAMES = ("content", "rejected")


@dataclass(frozen=True)
class Column:
    """One column of a SQL name.

    type: DuckDB's.  mark: of class content, but here it can only hold the mark that says where the text is.
    expression: of a derived name: how it comes from the source's columns; it must not fail on any value.  reads: those
    columns; who may not see one of them does not see this one.
    """

    name: str
    type: str
    cls: Class
    doc: str
    unit: str | None
    mark: bool = False
    expression: str | None = None
    reads: tuple[str, ...] = ()


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


def _from_table(table: Table) -> SqlName:
    marks, kinds = set(table.marks), table.columns
    columns = tuple(Column(f.name, kinds[f.name], f.cls, f.doc, f.unit, mark=f.name in marks) for f in table.fields)
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


@dataclass(frozen=True)
class Access:
    """What one key may see.  tenants: None is every tenant.  names: of NAMES.  classes: of columns."""

    tenants: tuple[str, ...] | None
    names: tuple[str, ...]
    classes: frozenset[Class]

    @property
    def sees_all(self) -> bool:
        """Whether nothing in the store is hidden from this key, so that nothing in an error can be a secret."""
        return self.tenants is None and set(self.names) == set(NAMES) and self.classes == frozenset(CLASSES)

    def columns(self, name: str) -> tuple[Column, ...]:
        """The columns of a name that this key may see."""
        return tuple(c for c in NAMES[name].columns if c.cls in self.classes or c.mark)

    def view(self, name: str) -> str:
        """The statement that makes the view of a name on a cursor."""
        source = NAMES[name]
        columns = ", ".join(f"{c.expression or quoted(c.name)} AS {quoted(c.name)}" for c in self.columns(name))
        conditions = [] if source.shown is None else [source.shown]
        if self.tenants is not None:
            conditions.append(f"tenant IN ({', '.join(literal(t) for t in self.tenants)})" if self.tenants else "false")
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        # Three parts, or the name inside of the view would be the view itself.
        return f"CREATE TEMP VIEW {quoted(name)} AS SELECT {columns} FROM {source.path}{where}"


def access_of(key: KeyRecord) -> Access:
    """What a key may see.

    Raises: QueryError(forbidden): an ingest key, or a query key without a tenant.
    """
    if key.kind == "admin":
        tenants = None if key.tenant is None or key.tenant == EVERY_TENANT else (key.tenant,)
        return Access(tenants, tuple(NAMES), frozenset(CLASSES))
    if key.kind == "query" and key.tenant:
        classes: frozenset[Class] = frozenset(c for c in CLASSES if c != "content")
        return Access((key.tenant,), tuple(n for n in NAMES if n not in ADMIN_NAMES), classes)
    if key.kind == "ingest":
        raise QueryError("an ingest key may only send telemetry; ask with a query or an admin key", reason="forbidden")
    raise QueryError("this key belongs to no tenant", reason="forbidden")


def describe(access: Access) -> list[dict[str, object]]:
    """Every name and column that a key may see, with what they mean."""
    return [
        {
            "name": name,
            "doc": NAMES[name].doc,
            "columns": [
                {"name": c.name, "type": c.type, "class": c.cls, "unit": c.unit, "doc": c.doc}
                for c in access.columns(name)
            ],
        }
        for name in access.names
    ]
