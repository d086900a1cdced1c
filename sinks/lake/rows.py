"""Ranges of a topic to rows of its table, as Arrow and without Python objects per record."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from schemas import codec
from schemas.errors import CodecError
from schemas.routing import DROP
from sinks import routes
from sinks.lake.seen import Seen
from sinks.lake.tables import DAY, NEWEST, OFFSET, PARTITION, TableSpec, columns, days
from sinks.protocol import Batch

logger = logging.getLogger(__name__)

# One line per bad record helps to find its writer; a thousand lines hide everything else.
_BAD_LOGGED = 5


@dataclass(frozen=True)
class Marks:
    """What to remember of a partition's rows once they are stored.  first_us, last_us: received times."""

    partition: int
    ids: pa.Array | None
    first_us: int
    last_us: int


@dataclass(frozen=True)
class Rows:
    """Rows to append, and what the ranges held besides.

    table: in `tables.columns`, in order of (partition, offset).  marks: one for each partition that has rows.
    records, resends, superseded, dropped: how many were read; left out as re-sends; left out as older versions in this
    commit; left out because routing dropped them (they only have a place in the sequence of their session).
    """

    table: pa.Table
    marks: tuple[Marks, ...]
    records: int
    resends: int
    superseded: int
    dropped: int


def rows(spec: TableSpec, batches: Sequence[Batch], seen: Seen, unreadable: Callable[[str, int], None]) -> Rows:
    """The rows that these ranges add to the table.

    Args: unreadable: told the reason and number of records that are left out because their bytes are no record.
        A tombstone adds nothing: the lake keeps what was.
    """
    pieces, marks, read, resends, dropped = [], [], 0, 0, 0
    for batch in sorted(batches, key=lambda b: (b.partition, b.first_offset)):
        piece = _decoded(spec, batch, unreadable)
        read += piece.num_rows
        piece, nothing = routes.apart(piece, DROP)
        dropped += nothing.num_rows
        ids = None
        if spec.identity and piece.num_rows:
            ids = identity(spec, piece)
            fresh = seen.fresh(batch.partition, ids)
            kept = piece.filter(fresh)
            resends += piece.num_rows - kept.num_rows
            piece, ids = kept, ids.filter(fresh)
        if piece.num_rows:
            times = pc.min_max(piece[spec.received].cast(pa.int64()))
            marks.append(Marks(batch.partition, ids, times["min"].as_py(), times["max"].as_py()))
            pieces.append(piece)
    table = pa.concat_tables(pieces) if pieces else columns(spec).empty_table()
    newest = _newest_versions(spec, table)
    return Rows(newest, tuple(marks), read, resends, table.num_rows - newest.num_rows, dropped)


def identity(spec: TableSpec, table: pa.Table) -> pa.Array:
    """One string per row that is equal for a record and its re-sends."""
    parts = [table[name] for name in spec.identity]
    if len(parts) == 1:
        ids = parts[0]
    else:
        ids = pc.binary_join_element_wise(*parts, "\x1f", null_handling="replace", null_replacement="")
    ids = ids.cast(pa.string())
    return ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids


def _decoded(spec: TableSpec, batch: Batch, unreadable: Callable[[str, int], None]) -> pa.Table:
    """Every readable record of a range, with our own columns."""
    messages: list[bytes] = []
    offsets: list[int] = []
    for record in batch.records:
        if record.value is not None:
            messages.append(record.value)
            offsets.append(record.offset)
    pieces: list[pa.RecordBatch] = []
    good: list[int] = []
    start, bad = 0, 0
    while start < len(messages):
        end = len(messages)
        try:
            pieces.append(codec.arrow(spec.record, messages[start:end]))
        except CodecError as error:
            if error.index is None:
                raise
            end = start + error.index  # what stands before it is good, or it would not be the first
            if end > start:
                pieces.append(codec.arrow(spec.record, messages[start:end]))
            bad += 1
            unreadable(error.reason, 1)
            if bad <= _BAD_LOGGED:
                logger.error("left out %s[%d] offset %d: %s", batch.topic, batch.partition, offsets[end], error)
        good += offsets[start:end]
        start = end + 1
    if bad > _BAD_LOGGED:
        logger.error("left out %d unreadable records of %s[%d]", bad, batch.topic, batch.partition)
    table = pa.Table.from_batches(pieces, schema=codec.arrow_schema(spec.record)).combine_chunks()
    if not good:
        return columns(spec).empty_table()
    ours = {
        DAY: days(table[spec.time], table[spec.received]),
        PARTITION: pa.repeat(pa.scalar(batch.partition, pa.int32()), len(good)),
        OFFSET: pa.array(good, pa.int64()),
    }
    schema = columns(spec)
    return pa.Table.from_arrays([ours[name] if name in ours else table[name] for name in schema.names], schema=schema)


def _newest_versions(spec: TableSpec, table: pa.Table) -> pa.Table:
    """The newest version of each thing in this commit; what it replaced within the interval nobody can ask for."""
    if not spec.version_of or table.num_rows == 0:
        return table
    order = pc.sort_indices(table, sort_keys=[(name, "descending") for name in NEWEST])
    ranked = table.select(spec.version_of).take(order).append_column("row", order)
    newest = ranked.group_by(list(spec.version_of), use_threads=False).aggregate([("row", "first")])["row_first"]
    return table.take(newest.combine_chunks().take(pc.sort_indices(newest)))
