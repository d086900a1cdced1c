"""Values in SQL texts."""

from __future__ import annotations

from datetime import UTC, datetime


def literal(text: str) -> str:
    """A text as SQL's string literal; with NUL, which no query may hold, as the expression that makes it."""
    parts = ["'" + part.replace("'", "''") + "'" for part in text.split("\0")]
    return parts[0] if len(parts) == 1 else f"({' || chr(0) || '.join(parts)})"


def timestamp(moment: datetime) -> str:
    """A time in SQL, to the second."""
    return f"TIMESTAMPTZ '{spelled(moment)}'"


def spelled(moment: datetime) -> str:
    """A time in UTC, to the second, as in SQL and in addresses."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
