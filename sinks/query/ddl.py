"""Making the tables and following the schema: a field that a later version adds becomes a column at the next start."""

from typing import Any

from sinks.errors import TableMismatch
from sinks.query import people
from sinks.query.tables import CATALOGS, SCHEMA, TABLES, File, quoted

OFFSETS = "offsets"
_OFFSET_COLUMNS = {
    "topic": "VARCHAR",
    "partition": "INTEGER",
    "next_offset": "BIGINT",
    "cluster_id": "VARCHAR",
    "topic_id": "VARCHAR",
}


def offsets_path(file: File) -> str:
    """The table that says how far each partition is stored in this file."""
    return f"{CATALOGS[file]}.{SCHEMA}.{OFFSETS}"


def prepare(connection: Any, sink: str) -> list[str]:
    """Create what is missing in both files: schema, tables, columns. No keys and no indexes, anywhere.

    Returns: the columns that were added to tables which existed before, as "table.column".
    Raises:  TableMismatch: a column exists with another type.
    """
    wanted: list[tuple[File, str, dict[str, str]]] = [(t.file, t.name, t.columns) for t in TABLES]
    wanted += [("events", people.NAME, people.COLUMNS)]
    wanted += [(file, OFFSETS, _OFFSET_COLUMNS) for file in CATALOGS]
    for catalog in CATALOGS.values():
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {catalog}.{SCHEMA}")
    added = []
    for file, name, columns in wanted:
        path = f"{CATALOGS[file]}.{SCHEMA}.{name}"
        present = _present(connection, file, name)
        if not present:
            spelled = ", ".join(f"{quoted(column)} {kind}" for column, kind in columns.items())
            connection.execute(f"CREATE TABLE {path} ({spelled})")
            continue
        for column, kind in columns.items():
            if column not in present:
                connection.execute(f"ALTER TABLE {path} ADD COLUMN {quoted(column)} {kind}")
                added.append(f"{name}.{column}")
            elif present[column] != kind:
                raise TableMismatch(sink, name, f"column {column} is {present[column]}, the schema says {kind}")
    return added


def _present(connection: Any, file: File, table: str) -> dict[str, str]:
    """Column → type of a table as it is; empty when there is no such table."""
    rows = connection.execute(
        "SELECT column_name, data_type FROM duckdb_columns() "
        "WHERE database_name = ? AND schema_name = ? AND table_name = ?",
        [CATALOGS[file], SCHEMA, table],
    ).fetchall()
    return dict(rows)
