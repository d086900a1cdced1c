"""`list`: one line for each table and partition that lies on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from streams.inspect import decoding
from streams.inspect.databases import Database, find, opened
from streams.inspect.errors import DatabaseUnreadable, UnknownFormat

COLUMNS = ("worker", "table", "partition", "epoch", "rows", "bytes", "source", "applied", "changelog", "kinds")


def listing(data: Path) -> list[dict[str, Any]]:
    """One object for each database, in order.

    worker: its folder. applied: last source offset applied, changelog: offset up to which the changelog is here; -1 for
    none. fault: why it cannot be read, else null.
    """
    return [_line(database) for database in find(data)]


def _line(database: Database) -> dict[str, Any]:
    line = dict.fromkeys(("epoch", "rows", "source", "applied", "changelog", "kinds", "fault"))
    try:
        with opened(database) as snapshot:
            kinds, mark = snapshot.kinds(), snapshot.mark
            names = decoding.kinds(database.table)
            line |= {
                "rows": sum(kinds.values()),
                "kinds": {names.get(kind, kind.hex()): count for kind, count in kinds.items()},
                "changelog": snapshot.changelog,
            }
            if mark is not None:
                line |= {"epoch": mark.epoch, "source": f"{mark.topic}[{database.partition}]", "applied": mark.applied}
    except (DatabaseUnreadable, UnknownFormat) as error:
        line["fault"] = str(error)
    where = {"worker": database.folder, "group": database.group, "table": database.table}
    return {**where, "partition": database.partition, "bytes": database.bytes, "path": str(database.path), **line}


def table(lines: list[dict[str, Any]]) -> str:
    """The list as text; what cannot be read says why in place of its numbers."""
    cells = [COLUMNS, *(tuple(_cell(line, name) for name in COLUMNS) for line in lines)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(COLUMNS))]
    numbers = {"partition", "epoch", "rows", "bytes", "applied", "changelog"}
    return "".join(
        "  ".join(
            cell.rjust(width) if name in numbers else cell.ljust(width)
            for name, cell, width in zip(COLUMNS, row, widths, strict=True)
        ).rstrip()
        + "\n"
        for row in cells
    )


def _cell(line: dict[str, Any], name: str) -> str:
    if name == "kinds" and line["fault"]:
        return f"UNREADABLE: {line['fault']}"
    value = line[name]
    if value is None:
        return ""
    return " ".join(f"{kind} {count}" for kind, count in value.items()) if name == "kinds" else str(value)
