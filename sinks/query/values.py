"""DuckDB's Python values as JSON: times ISO 8601 with microseconds (UTC with a Z), money and counts as numbers."""

import base64
import json
import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import orjson

# Of these every value is JSON already; orjson makes null of NaN and infinities itself.
_PLAIN = frozenset(
    """
    BOOLEAN TINYINT SMALLINT INTEGER BIGINT HUGEINT UTINYINT USMALLINT UINTEGER UBIGINT UHUGEINT FLOAT DOUBLE VARCHAR
    """.split()  # noqa: SIM905 - one line reads better than fourteen
)
_HOUR_S = 3600


def encode_rows(rows: Sequence[Sequence[Any]], types: Sequence[str]) -> bytes:
    """Rows as the inside of a JSON array: `[1,"a"],[2,"b"]`; no bytes for no rows.

    Args: types: DuckDB's type of each column.
    """
    odd = [i for i, kind in enumerate(types) if kind not in _PLAIN]
    out = []
    for row in rows:
        values = list(row)
        for i in odd:
            values[i] = jsonable(values[i])
        out.append(values)
    try:
        encoded = orjson.dumps(out)
    except TypeError:  # an integer beyond 64 bits
        encoded = json.dumps([[jsonable(v) for v in row] for row in out], separators=(",", ":")).encode()
    return encoded[1:-1]


def jsonable(value: Any) -> Any:
    """One value, of whatever type, as JSON has it."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        if not value.is_finite():
            return None
        return int(value) if value == value.to_integral_value() and value.as_tuple().exponent == 0 else float(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            return value.isoformat(timespec="microseconds")
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, time):
        return value.isoformat(timespec="microseconds")
    if isinstance(value, timedelta):
        return _interval(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {_key(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [jsonable(v) for v in value]
    return str(value)


def _key(value: Any) -> str:
    shown = jsonable(value)
    return shown if isinstance(shown, str) else json.dumps(shown)


def _interval(value: timedelta) -> str:
    """As DuckDB writes it: `2 days 03:04:05.000006`."""
    micros = (value - timedelta(days=value.days)) // timedelta(microseconds=1)
    seconds, micros = divmod(micros, 1_000_000)
    hours, rest = divmod(seconds, _HOUR_S)
    clock = f"{hours:02}:{rest // 60:02}:{rest % 60:02}.{micros:06}"
    return f"{value.days} days {clock}" if value.days else clock
