"""`sessions` of the lake: the newest version of each session.

`session_versions` is append only, since an upsert into Iceberg rewrites files and gets slower with every row. What the
sessions are now is a view over it; the SQL is plain enough for DuckDB, Trino, Spark and ClickHouse.

One that a higher epoch took back, since its logic knows no such session, stays in it: a tombstone says neither why it
was sent nor in which epoch, and one that only expired is to stay.
"""

import pyarrow as pa
import pyarrow.compute as pc

from sinks.lake.tables import NEWEST

LATEST_SQL = f"""\
-- The newest version of each session. A rebuild of the aggregates has a higher epoch and wins over what it replaces.
-- One that came back after it had expired counts its versions anew, and was received later than all of them.
-- The same version can stand here more than once (it was published again after a crash): the last one is taken.
SELECT * FROM (
    SELECT *, row_number() OVER (
        PARTITION BY tenant, session_id ORDER BY {", ".join(f"{name} DESC" for name in NEWEST)}
    ) AS newest_first
    FROM {{versions}}
) AS ranked
WHERE newest_first = 1
"""


def latest_sql(versions: str) -> str:
    """The view's SELECT.  versions: how the engine names the table session_versions."""
    return LATEST_SQL.format(versions=versions)


def latest(versions: pa.Table) -> pa.Table:
    """The same of rows in memory: the newest version of each session, in order of (tenant, session_id)."""
    order = [("tenant", "ascending"), ("session_id", "ascending"), *((name, "descending") for name in NEWEST)]
    ranked = versions.take(pc.sort_indices(versions, sort_keys=order))
    if ranked.num_rows == 0:
        return ranked
    first = [True] * ranked.num_rows
    keys = list(zip(ranked["tenant"].to_pylist(), ranked["session_id"].to_pylist(), strict=True))
    for i in range(1, len(keys)):
        first[i] = keys[i] != keys[i - 1]
    return ranked.filter(pa.array(first))
