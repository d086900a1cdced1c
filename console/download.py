"""Tables as files to keep: CSV that no spreadsheet runs, and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import orjson
from starlette.responses import Response, StreamingResponse

from console.ask import Answer

_PIECE_ROWS = 1000
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


def lines(answer: Answer) -> list[list[Any]]:
    """The rows of a file, and a last line that says so if there are more."""
    return answer.rows + cut_after(answer)


def cut_after(answer: Answer) -> list[list[Any]]:
    """The last line of a file that does not have all."""
    line = f"cut after {len(answer.rows)} lines; filter more, or take a shorter time range"
    return [[line]] if answer.truncated else []


def csv_file(name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Response:
    """An answer that the browser keeps as a file.  name: without its ending."""

    def written() -> Iterator[bytes]:
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow([cell(column) for column in columns])
        for number, row in enumerate(rows, 1):
            writer.writerow([cell(value) for value in row])
            if number % _PIECE_ROWS == 0:
                yield _taken(out)
        yield _taken(out)

    return _file(f"{name}.csv", written(), "text/csv; charset=utf-8")


def json_file(name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Response:
    """The same as one array of objects; of columns with the same name the last one counts."""

    def pieces() -> Iterator[bytes]:
        before = b"["
        for row in rows:
            yield before + orjson.dumps(dict(zip(columns, row, strict=True)))
            before = b",\n"
        yield b"]" if before == b",\n" else b"[]"

    return _file(f"{name}.json", _joined(pieces()), "application/json")


def _taken(out: io.StringIO) -> bytes:
    text = out.getvalue()
    out.seek(0)
    out.truncate()
    return text.encode("utf-8", "replace")


def _joined(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same in fewer, larger pieces."""
    rest = iter(pieces)
    while piece := b"".join(islice(rest, _PIECE_ROWS)):
        yield piece


def _file(name: str, body: Iterator[bytes], kind: str) -> Response:
    # Piece by piece on a thread: a large file must not hold up the pages of others.
    return StreamingResponse(body, media_type=kind, headers={"content-disposition": f'attachment; filename="{name}"'})
