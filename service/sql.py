"""Values in SQL texts."""

from __future__ import annotations

from datetime import UTC, datetime


def literal(text: str) -> str:
    """A text in SQL."""
    return "'" + text.replace("'", "''").replace("\0", "") + "'"


def timestamp(moment: datetime) -> str:
    """A time in SQL, to the second."""
    return f"TIMESTAMPTZ '{spelled(moment)}'"


def spelled(moment: datetime) -> str:
    """A time in UTC, to the second, as in SQL and in addresses."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
