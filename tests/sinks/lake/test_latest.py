"""The newest version of each session: the view's SQL as an engine runs it, and the same in memory."""

from typing import Any

import duckdb
import pyarrow as pa
import pytest

from sinks.lake.latest import latest, latest_sql
from tests.sinks.lake.test_rows import found
from tests.sinks.records import HOUR, batch, session

YEAR = 365 * 24 * HOUR
AGAIN = {"received_time": session(1, 1)["received_time"] + 2 * YEAR}


@pytest.mark.parametrize(
    ("written", "newest"),
    [
        ([session(1, 3), session(1, 9), session(1, 4)], 9),
        ([session(1, 9), session(1, 2, epoch=2), session(1, 10)], 2),
        # Expired, then begun anew: its rows, and so its versions, count from there.
        ([session(1, 900), session(1, 2, **AGAIN), session(1, 3, **AGAIN), session(1, 901)], 3),
    ],
)
def test_the_newest_version_is_the_same_in_a_commit_in_memory_and_in_sql(
    written: list[dict[str, Any]], newest: int
) -> None:
    together, _ = found("sessions", batch("sessions", written))
    assert together.table["version"].to_pylist() == [newest]
    apart = [found("sessions", batch("sessions", [row], first_offset=at))[0].table for at, row in enumerate(written)]
    versions = pa.concat_tables(apart)
    assert latest(versions)["version"].to_pylist() == [newest]
    with duckdb.connect() as database:
        database.register("session_versions", versions)
        assert database.sql(f"SELECT version FROM ({latest_sql('session_versions')})").fetchall() == [(newest,)]
