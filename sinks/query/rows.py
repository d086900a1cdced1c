"""Rows into tables, inside of a transaction that the caller began.

A record that only happens (an event, a point, a span, a text) is added once: an exact anti-join on its id and its time
finds what a client sent again. The time is part of the id's hash, so two records with one id have one time, and the
join reads only the blocks of that time; there is no window to outlive and no index to keep. What came again is counted
on the row that is kept, in the same transaction as the offsets behind it, so that it is as exact as the rows.

An aggregated row replaces its older version by MERGE. Both were measured against keys, indexes and ON CONFLICT.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from schemas.stored import RESENDS
from service.sql import literal
from sinks.query import people
from sinks.query.decode import Load
from sinks.query.tables import EMPTY_COLUMN, KEY_COLUMN, REJECTED, Table, quoted

_POSITION = "position"
# What may stand in a field of class content outside of the content file: the marks, or nothing.
_MARKS = ("<content>", "<REDACTED>", "")


def add(cursor: Any, table: Table, rows: pa.Table) -> pa.Table:
    """Add records to a table; those that it has already, or that come twice, are left out and counted.

    Returns: the rows that were added.
    """
    stored, arriving = _resent(cursor, table, rows) if table.key and rows.num_rows else ({}, {})
    if stored or arriving:
        keep = [i for i in range(rows.num_rows) if i not in stored and i not in arriving]
        rows = rows.take(pa.array(keep, pa.int64()))
        if table.counts_resends:
            _count(cursor, table, Counter(stored.values()))
            times = Counter(arriving.values())
            rows = rows.append_column(RESENDS.name, pa.array([times.get(i) for i in keep], pa.int64()))
    if rows.num_rows:
        _insert(cursor, table, rows)
    return rows


def merge_people(cursor: Any, seen: pa.Table) -> None:
    """Bring `people` up to date.  seen: of people.seen."""
    with _registered(cursor, seen):
        cursor.execute(people.merge(_Registered.NAME))


def add_unreadable(cursor: Any, rows: pa.Table) -> None:
    """Add unreadable messages to `rejected`, each offset once."""
    where = "source_topic", "source_partition", "source_offset"
    same = " AND ".join(f"e.{name} = s.{name}" for name in where)
    with _registered(cursor, rows):
        cursor.execute(
            f"INSERT INTO {REJECTED.path} BY NAME SELECT s.* FROM {_Registered.NAME} AS s "
            f"WHERE NOT EXISTS (FROM {REJECTED.path} AS e WHERE e.stage = s.stage AND {same})"
        )


def replace(cursor: Any, table: Table, load: Load) -> None:
    """Bring the rows of a versioned table up to date: newer versions replace older ones, tombstones delete."""
    if load.deleted:
        with _registered(cursor, pa.table({KEY_COLUMN: pa.array(sorted(load.deleted), pa.binary())})):
            cursor.execute(
                f"DELETE FROM {table.path} WHERE {KEY_COLUMN} IN (SELECT {KEY_COLUMN} FROM {_Registered.NAME})"
            )
    newest = _newest(table, load)
    if not newest:
        return
    rows = load.rows.take(pa.array(newest, pa.int64()))
    rows = rows.append_column(KEY_COLUMN, pa.array([load.keys[i] for i in newest], pa.binary()))
    columns = list(table.columns)
    names = ", ".join(quoted(c) for c in columns)
    source = ", ".join(_empty(table) if c == EMPTY_COLUMN else quoted(c) for c in columns)
    with _registered(cursor, rows):
        cursor.execute(f"""
            MERGE INTO {table.path} AS t
            USING (SELECT {source} FROM {_Registered.NAME}) AS s ON t.{KEY_COLUMN} = s.{KEY_COLUMN}
            WHEN MATCHED AND (s.epoch, s.version) > (t.epoch, t.version)
                THEN UPDATE SET {", ".join(f"{quoted(c)} = s.{quoted(c)}" for c in columns if c != KEY_COLUMN)}
            WHEN NOT MATCHED THEN INSERT ({names}) VALUES ({", ".join(f"s.{quoted(c)}" for c in columns)})
        """)


def _newest(table: Table, load: Load) -> list[int]:
    """Positions of the newest version of each key. MERGE would insert every row of a new key, not the newest."""
    epochs, versions = load.rows["epoch"].to_pylist(), load.rows["version"].to_pylist()
    grains = load.rows["grain"].to_pylist() if table.grain is not None else None
    newest: dict[bytes | None, tuple[int, int, int]] = {}
    for position, (key, epoch, version) in enumerate(zip(load.keys, epochs, versions, strict=True)):
        if grains is not None and grains[position] != table.grain:
            continue
        known = newest.get(key)
        if known is None or (epoch, version) > known[:2]:
            newest[key] = (epoch, version, position)
    return sorted(position for _, _, position in newest.values())


def _empty(table: Table) -> str:
    """The value of the hidden column that marks a row without any total."""
    counted = [*table.sums, *(f.name for f in table.fields if f.name == "sessions")]
    zero = " AND ".join(f"{quoted(name)} = 0" for name in counted)
    active = " AND NOT active" if any(f.name == "active" for f in table.fields) else ""
    return f"({zero}{active}) AS {EMPTY_COLUMN}"


def _resent(cursor: Any, table: Table, rows: pa.Table) -> tuple[dict[int, int], dict[int, int]]:
    """Which of `rows` came before.

    Returns: position → rowid of the same record in the table; of the others, position → that of the first in `rows`.
    """
    narrow = rows.select(list(dict.fromkeys([*table.key, table.time, table.received])))
    timeless = bool(pc.any(pc.equal(rows[table.time], rows[table.received])).as_py())
    narrow = narrow.append_column(_POSITION, pa.array(range(rows.num_rows), pa.int64()))
    ids = ", ".join(table.key)
    nullable = {f.name for f in table.fields if f.nullable}
    same = " AND ".join(f"e.{k} {'IS NOT DISTINCT FROM' if k in nullable else '='} s.{k}" for k in table.key)
    # A record that came without a time has the gateway's, another one each time it is sent: its id alone tells.
    given = f"CASE WHEN {table.time} = {table.received} THEN NULL ELSE {table.time} END"
    first = (
        f"SELECT {_POSITION}, first_value({_POSITION}) OVER (PARTITION BY {ids}, {given} "
        f"ORDER BY {table.received}, {_POSITION}) AS first FROM {_Registered.NAME}"
    )
    joined = f"SELECT s.{_POSITION}, e.rowid FROM {_Registered.NAME} AS s JOIN {table.path} AS e ON {same}"
    with _registered(cursor, narrow):
        arriving = dict(cursor.execute(f"FROM ({first}) WHERE first <> {_POSITION}").fetchall())
        stored = dict(cursor.execute(f"{joined} AND e.{table.time} = s.{table.time}").fetchall())
        if timeless:
            both = f"e.{table.time} = e.{table.received} AND s.{table.time} = s.{table.received}"
            stored |= dict(cursor.execute(f"{joined} AND {both}").fetchall())
    # A first that is left out itself has no row to be counted on: the stored one has.
    stored |= {position: stored[place] for position, place in arriving.items() if place in stored}
    return stored, {position: place for position, place in arriving.items() if position not in stored}


def _count(cursor: Any, table: Table, times: Mapping[int, int]) -> None:
    """Count on stored rows what came again of them.  times: rowid → how often."""
    if not times:
        return
    counted = pa.table({"row": pa.array(times.keys(), pa.int64()), "times": pa.array(times.values(), pa.int64())})
    with _registered(cursor, counted):
        cursor.execute(
            f"UPDATE {table.path} AS e SET {RESENDS.name} = coalesce(e.{RESENDS.name}, 0) + s.times "
            f"FROM {_Registered.NAME} AS s WHERE e.rowid = s.row"
        )


def _insert(cursor: Any, table: Table, rows: pa.Table) -> None:
    # Most of an event's two hundred columns are null in a whole batch. A column that is not named is as null, for less.
    rows = rows.select([name for name in rows.column_names if rows[name].null_count < rows.num_rows])
    marks = ", ".join(_literal_or_mark(name) for name in table.marks if name in rows.column_names)
    star = f"* REPLACE ({marks})" if marks else "*"
    with _registered(cursor, rows):
        cursor.execute(f"INSERT INTO {table.path} BY NAME SELECT {star} FROM {_Registered.NAME}")


def _literal_or_mark(name: str) -> str:
    """The mark that a field of class content holds, whatever a faulty producer may have put there."""
    column, allowed = quoted(name), ", ".join(literal(mark) for mark in _MARKS)
    return f"CASE WHEN {column} IS NULL OR {column} IN ({allowed}) THEN {column} ELSE '<content>' END AS {column}"


class _Registered:
    """Rows under a name that only this cursor sees, for as long as the block lasts."""

    NAME = "arriving"

    def __init__(self, cursor: Any, rows: pa.Table) -> None:
        self._cursor = cursor
        self._rows = rows

    def __enter__(self) -> None:
        self._cursor.register(self.NAME, self._rows)

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        if failed is None:  # a transaction that failed takes no more statements, and the cursor is given up with it
            self._cursor.unregister(self.NAME)


def _registered(cursor: Any, rows: pa.Table) -> _Registered:
    return _Registered(cursor, rows)


def replace_all(cursor: Any, path: str, arriving: pa.Table, key: tuple[str, ...]) -> None:
    """Put rows in the place of those with the same key, in a small table of ours."""
    same = " AND ".join(f"t.{quoted(k)} = s.{quoted(k)}" for k in key)
    names = [name for name in arriving.column_names if name not in key]
    with _registered(cursor, arriving):
        cursor.execute(
            f"MERGE INTO {path} AS t USING {_Registered.NAME} AS s ON {same} "
            f"WHEN MATCHED THEN UPDATE SET {', '.join(f'{quoted(n)} = s.{quoted(n)}' for n in names)} "
            f"WHEN NOT MATCHED THEN INSERT BY NAME"
        )
