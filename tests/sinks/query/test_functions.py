"""The list of functions, held against the DuckDB that is installed."""

import re

import duckdb

from sinks.query import functions

# The parser makes something else of these, or they are operators that the catalogue does not list.
_SYNTAX = {"->", "coalesce", "current_timestamp", "ifnull", "isnull", "try_cast"}


def test_every_listed_function_exists() -> None:
    connection = duckdb.connect()
    known = {name for (name,) in connection.execute("SELECT lower(function_name) FROM duckdb_functions()").fetchall()}
    connection.close()
    assert functions.ALLOWED - known == _SYNTAX


def test_no_listed_function_reads_files_settings_or_catalogues() -> None:
    reads = re.compile(r"read_|scan|glob|query|setting|variable|duckdb|pragma|pg_|sql|stats|secret")
    assert [name for name in functions.ALLOWED if reads.search(name)] == []
