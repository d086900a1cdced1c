"""Who stands behind a user_key: the one table that holds the person class apart from the events themselves.

Of each column the latest value that is not null wins, by event time, ties by the value itself. So any order and cut of
the input gives the same row, and an event that is applied twice changes nothing.
"""

import pyarrow as pa
import pyarrow.compute as pc

from schemas import records
from sinks.query.tables import CATALOGS, SCHEMA, TABLES, Table, quoted

NAME = "people"
PATH = f"{CATALOGS['events']}.{SCHEMA}.{NAME}"

# What says who somebody is: the texts of class person, and the organization, which is no person.
_EVENT = records.record("claude_event")
IDENTITY: tuple[str, ...] = tuple(
    f.name for f in _EVENT.fields if f.type == "string" and (f.cls == "person" or f.name == "organization_id")
)
_TIME = "TIMESTAMP WITH TIME ZONE"
COLUMNS: dict[str, str] = {
    "tenant": "VARCHAR",
    "user_key": "VARCHAR",
    **dict.fromkeys(IDENTITY, "VARCHAR"),
    "first_seen": _TIME,
    "last_seen": _TIME,
    # When each value was seen; only the merge below reads these.
    **{f"{name}_at": _TIME for name in IDENTITY},
}
# Columns of the SQL name `people`, with what they mean.
DOCS: dict[str, str] = {
    "tenant": _EVENT.field("tenant").doc,
    "user_key": _EVENT.field("user_key").doc,
    **{name: _EVENT.field(name).doc for name in IDENTITY},
    "first_seen": "Time of the person's first record; the gateway's clock where the client's was not to be trusted.",
    "last_seen": "Time of the person's latest record; the gateway's clock where the client's was not to be trusted.",
}


def carries(table: Table) -> bool:
    """Whether the records of a table say who somebody is."""
    names = {f.name for f in table.fields}
    return not table.versioned and {"user_key", "clock_suspect", *IDENTITY} <= names


def seen(table: Table, rows: pa.Table) -> pa.Table:
    """Who was seen when, in records of a table: what `merge` reads."""
    when = pc.if_else(rows["clock_suspect"], rows[table.received], rows[table.time])
    return rows.select(["tenant", "user_key", *IDENTITY]).append_column("seen", when)


def merge(source: str) -> str:
    """The statement that brings `people` up to date.

    Args: source: name of a view on what `seen` gave.
    """
    latest = ", ".join(
        f"max({{'at': seen, 'value': {quoted(n)}}}) FILTER (WHERE {quoted(n)} IS NOT NULL) AS {quoted(n)}"
        for n in IDENTITY
    )
    sets: list[str] = []
    names = ["tenant", "user_key", "first_seen", "last_seen"]
    values = ["s.tenant", "s.user_key", "s.a", "s.z"]
    for name in IDENTITY:
        old, old_at = f"t.{quoted(name)}", f"t.{name}_at"
        new, new_at = f"s.{quoted(name)}.value", f"s.{quoted(name)}.at"
        newer = (
            f"{new_at} IS NOT NULL AND ({old_at} IS NULL OR {new_at} > {old_at} "
            f"OR ({new_at} = {old_at} AND {new} > {old}))"
        )
        sets.append(f"{quoted(name)} = CASE WHEN {newer} THEN {new} ELSE {old} END")
        sets.append(f"{name}_at = CASE WHEN {newer} THEN {new_at} ELSE {old_at} END")
        names += [quoted(name), f"{name}_at"]
        values += [new, new_at]
    return f"""
        MERGE INTO {PATH} AS t USING (
            SELECT tenant, user_key, min(seen) AS a, max(seen) AS z, {latest}
            FROM {source}
            WHERE user_key IS NOT NULL
            GROUP BY tenant, user_key
        ) AS s ON t.tenant = s.tenant AND t.user_key = s.user_key
        WHEN MATCHED THEN UPDATE SET
            first_seen = least(t.first_seen, s.a), last_seen = greatest(t.last_seen, s.z), {", ".join(sets)}
        WHEN NOT MATCHED THEN INSERT ({", ".join(names)}) VALUES ({", ".join(values)})
    """


SOURCES: tuple[Table, ...] = tuple(table for table in TABLES if carries(table))
