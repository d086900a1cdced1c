"""Asking the SQL service, and showing its answers as a table, JSON or CSV."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from millrace.errors import QueryFault

# The service bounds a query's time itself; this only ends waiting for one that hangs.
_TIMEOUT_S = 330.0
_CELL_CHARS_MAX = 60


@dataclass(frozen=True)
class Answer:
    """columns: names in order.  rows: one list of values for each, JSON types.  truncated: the limit cut rows off."""

    columns: list[str]
    rows: list[list[Any]]
    truncated: bool = False


def ask(url: str, key: str, sql: str, limit: int | None) -> Answer:
    """Send one query.

    Args:   url: the service's root.  limit: most rows wanted; None leaves it to the service.
    Raises: QueryFault with the service's own words when it refuses, or when it cannot be reached.
    """
    body: dict[str, Any] = {"sql": sql}
    if limit is not None:
        body["limit"] = limit
    try:
        response = httpx.post(
            f"{url.rstrip('/')}/sql",
            json=body,
            headers={"Authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(_TIMEOUT_S, connect=5.0),
            trust_env=False,
        )
    except httpx.HTTPError as error:
        raise QueryFault(
            f"the SQL service at {url} does not answer ({type(error).__name__})",
            "start the stack (make run), or see: millrace status",
        ) from error
    if response.status_code != 200:
        raise QueryFault(_refusal(response), "")
    answer = response.json()
    return Answer(
        answer["columns"], [_values(row, answer["columns"]) for row in answer["rows"]], bool(answer.get("truncated"))
    )


def render(answer: Answer, form: str) -> str:
    """The answer as text that ends with a newline.  form: table, json or csv."""
    return {"table": _table, "json": _json, "csv": _csv}[form](answer)


def _refusal(response: httpx.Response) -> str:
    try:
        body = response.json()
    except ValueError:
        body = None
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict):
        error = error.get("message") or error.get("reason")
    return str(error or response.text.strip() or f"the SQL service answers {response.status_code}")


def _values(row: Any, columns: Sequence[str]) -> list[Any]:
    return [row[column] for column in columns] if isinstance(row, dict) else list(row)


def _json(answer: Answer) -> str:
    columns = _distinct(answer.columns)
    rows = [dict(zip(columns, row, strict=True)) for row in answer.rows]
    return json.dumps(rows, ensure_ascii=False, indent=2) + "\n"


def _distinct(columns: Sequence[str]) -> list[str]:
    """The names, numbered where one comes again: an object has each key once."""
    out: list[str] = []
    for column in columns:
        name, again = column, 1
        while name in out or (again > 1 and name in columns):
            again += 1
            name = f"{column}_{again}"
        out.append(name)
    return out


def _csv(answer: Answer) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(answer.columns)
    writer.writerows([["" if value is None else _plain(value) for value in row] for row in answer.rows])
    return out.getvalue()


def _table(answer: Answer) -> str:
    cells = [["" if value is None else _short(_plain(value)) for value in row] for row in answer.rows]
    numeric = [
        all(
            isinstance(row[i], int | float) and not isinstance(row[i], bool)
            for row in answer.rows
            if row[i] is not None
        )
        for i in range(len(answer.columns))
    ]
    widths = [max(len(column), *(len(row[i]) for row in cells), 0) for i, column in enumerate(answer.columns)]

    def line(values: Sequence[str]) -> str:
        padded = [
            value.rjust(width) if right else value.ljust(width)
            for value, width, right in zip(values, widths, numeric, strict=True)
        ]
        return "  ".join(padded).rstrip()

    lines = [line(answer.columns), "  ".join("-" * width for width in widths), *map(line, cells)]
    count = f"({len(cells)} row{'' if len(cells) == 1 else 's'})"
    return "\n".join([*lines, count]) + "\n"


def _plain(value: Any) -> str:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _short(text: str) -> str:
    # Control characters would let stored text move the cursor or colour the terminal.
    text = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text.replace("\n", "⏎"))
    return text if len(text) <= _CELL_CHARS_MAX else text[: _CELL_CHARS_MAX - 1] + "…"
