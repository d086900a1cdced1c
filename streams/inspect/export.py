"""`export`: every row of the tables on this machine as JSON lines, one row a line, as it goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from streams.inspect.databases import Here, opened
from streams.inspect.decoding import decoded


def exported(here: Here, *, table: str | None, partition: int | None) -> Iterator[dict[str, Any]]:
    """Every row of these tables and partitions (None: of all), each partition as it is when its turn comes.

    Raises: NotOnThisMachine: nothing of that is here.  DatabaseUnreadable.  UnknownFormat.
    """
    found = here.newest(table=table, partition=partition)
    if not found:
        raise here.missing(table, partition)
    for database in found:
        with opened(database) as snapshot:
            for key, row in snapshot.scan():
                yield decoded(database.table, database.partition, key, row)
