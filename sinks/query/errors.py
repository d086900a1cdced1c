"""Errors of the SQL service.

    MillraceError                     (schemas.errors)
    └── PermanentError                (schemas.errors)
        └── QueryError                a question that gets no answer, with the HTTP status that says so

`reason` is the code that clients see; the closed set is REASONS. The text never holds a value of a row that the asker
may not see.
"""

from dataclasses import dataclass

from schemas.errors import PermanentError

# code → HTTP status
REASONS = {
    "bad_request": 400,  # the request's body is not what it should be
    "syntax_error": 400,  # not SQL
    "unsupported": 400,  # SQL, but not of the part that is allowed here
    "unknown_table": 400,
    "unknown_function": 400,
    "bind_error": 400,  # unknown column, types that do not fit
    "runtime_error": 400,  # failed on the data: a cast, a division
    "too_expensive": 400,  # refused by its plan
    "time_limit": 400,
    "memory_limit": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "too_large": 413,
    "cancelled": 499,  # the client went away; nobody reads this
    "busy": 503,
    "unavailable": 503,
    "internal": 500,
}


@dataclass(frozen=True)
class Position:
    """Where in the asker's text, counted from 1; a column counts characters."""

    line: int
    column: int

    @classmethod
    def at(cls, sql: str, offset: int) -> "Position":
        """offset: bytes of UTF-8 from the start, as DuckDB counts."""
        before = sql.encode()[: max(0, offset)].decode("utf-8", "ignore")
        return cls(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


class QueryError(PermanentError):
    """A query that is refused or failed.

    Args:    reason: of REASONS.  position: where in the SQL, if known.
    Fields:  those, and seconds: that it ran.
    """

    seconds = 0.0

    def __init__(self, message: str, *, reason: str, position: Position | None = None) -> None:
        super().__init__(message, reason=reason)
        self.position = position

    @property
    def status(self) -> int:
        """The HTTP status."""
        return REASONS[self.reason]
