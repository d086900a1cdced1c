"""An empty copy of the names that a key may see, in an instance of its own that holds nothing else.

A query is bound here before it comes near the store: an unknown table or column, or a function on the wrong type, fails
where there is nothing to find, and DuckDB's own message can be shown as it is, since every value in it is the asker's.
"""

import threading
from collections.abc import Callable
from typing import Any

import duckdb

from sinks.query import guard
from sinks.query.catalogue import Access
from sinks.query.errors import QueryError
from sinks.query.tables import quoted

_BASE = "shadow"
# Of texts that were let through: so many are kept, none longer than that.
_PASSED_MOST, _PASSED_CHARS = 256, 8_192
_INTERNAL = (duckdb.InternalException, duckdb.FatalException)


class Shadow:
    """The empty copy for all keys that see the same names and columns. Cursors may be used from several threads."""

    def __init__(self, access: Access) -> None:
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "threads": 1,
                "memory_limit": "256MiB",
                "temp_directory": "",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "allow_community_extensions": "false",
                "python_enable_replacements": "false",
            },
        )
        self._connection.execute("SET GLOBAL TimeZone = 'UTC'")
        self._connection.execute("SET GLOBAL lambda_syntax = 'ENABLE_SINGLE_ARROW'")
        self._connection.execute(f"CREATE SCHEMA {_BASE}")
        for name in access.names:
            columns = ", ".join(f"{quoted(c.name)} {c.type}" for c in access.columns(name))
            self._connection.execute(f"CREATE TABLE {_BASE}.{quoted(name)} ({columns})")
            # A view here as it is a view there, so that `rowid` and the like fail alike.
            self._connection.execute(f"CREATE VIEW {quoted(name)} AS FROM {_BASE}.{quoted(name)}")
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")
        self.passed: dict[str, guard.Checked] = {}

    def cursor(self) -> Any:
        """A connection of one thread's own."""
        return self._connection.cursor()

    def close(self) -> None:
        """Give back the instance."""
        self._connection.close()


def bind(cursor: Any, sql: str) -> None:
    """Bind a query that the guard let through.

    Args:    cursor: of a Shadow.
    Raises:  QueryError(bind_error); duckdb.InterruptException.
    """
    try:
        cursor.execute(f"PREPARE bound AS\n{sql}")  # EXPLAIN binds as well, and takes as long again to draw the plan
    except duckdb.InterruptException:
        raise
    except _INTERNAL as error:
        raise QueryError("DuckDB cannot plan this query", reason="unsupported") from error
    except duckdb.Error as error:
        raise guard.from_duckdb(error, sql, reason="bind_error", lines_before=1) from error


class Shadows:
    """One Shadow for each set of names and columns, made when it is first asked for; the last used ones are kept."""

    def __init__(self, make: Callable[[Access], Shadow] = Shadow, *, kept: int = 16) -> None:
        """kept: so many at most, some 10 MB each: there are as many sets as there are combinations of roles."""
        self._make = make
        self._kept = kept
        self._made: dict[tuple[object, ...], Shadow] = {}
        self._guard = threading.Lock()

    def cursor(self, access: Access) -> Any:
        """A connection of one thread's own to the shadow of an access."""
        with self._guard:
            return self._of(access).cursor()

    def passed(self, access: Access, sql: str) -> guard.Checked | None:
        """A query that was let through before: its text and what may be seen are all that decides."""
        with self._guard:
            return self._of(access).passed.get(sql)

    def let_through(self, access: Access, checked: guard.Checked) -> None:
        """Note a query that the guard let through and that could be bound."""
        if len(checked.sql) <= _PASSED_CHARS:
            with self._guard:
                passed = self._of(access).passed
                passed[checked.sql] = checked
                if len(passed) > _PASSED_MOST:
                    passed.pop(next(iter(passed)))

    def _of(self, access: Access) -> Shadow:
        shadow = self._made.pop(access.shape, None) or self._make(access)
        self._made[access.shape] = shadow  # the last used one stands last
        if len(self._made) > self._kept:
            # Whoever holds a cursor of it keeps the instance until the cursor is closed.
            self._made.pop(next(iter(self._made))).close()
        return shadow

    def close(self) -> None:
        """Close all of them."""
        with self._guard:
            for shadow in self._made.values():
                shadow.close()
            self._made.clear()
