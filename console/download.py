"""Tables as files to keep: CSV that no spreadsheet runs, and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from starlette.responses import Response

# What a spreadsheet takes for the beginning of a formula, the wide forms of Japanese keyboards too.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def cell(value: Any) -> Any:
    """A value as a CSV has it: a text that would be a formula gets a ' before it, null is empty, maps are JSON."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return value
    text = orjson.dumps(value).decode() if isinstance(value, dict | list) else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def csv_file(name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Response:
    """An answer that the browser keeps as a file.  name: without its ending."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([cell(column) for column in columns])
    writer.writerows([cell(value) for value in row] for row in rows)
    return _file(f"{name}.csv", out.getvalue().encode("utf-8", "replace"), "text/csv; charset=utf-8")


def json_file(name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Response:
    """The same as one array of objects; of columns with the same name the last one counts."""
    objects = [dict(zip(columns, row, strict=True)) for row in rows]
    return _file(f"{name}.json", orjson.dumps(objects), "application/json")


def _file(name: str, body: bytes, kind: str) -> Response:
    return Response(body, media_type=kind, headers={"content-disposition": f'attachment; filename="{name}"'})
