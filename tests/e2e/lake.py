"""What the lake holds of a tenant, read by PyIceberg and not by us."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.expressions import EqualTo


def rows(data: Path, table: str, tenant: str, columns: tuple[str, ...]) -> pa.Table:
    """Some columns of a tenant's rows in a table of the lake."""
    catalog = SqlCatalog("millrace", uri=f"sqlite:///{data}/lake/catalog.db", warehouse=f"file://{data}/lake/warehouse")
    try:
        found = catalog.load_table(("millrace", table))
        return found.scan(row_filter=EqualTo("tenant", tenant), selected_fields=columns).to_arrow()
    finally:
        catalog.engine.dispose()


def counts(data: Path, tenant: str) -> dict[str, int]:
    """Rows in each table, after a check that none stands there twice."""
    out = {}
    for table, identity in (("events", ("event_id",)), ("metrics", ("point_id",)), ("spans", ("trace_id", "span_id"))):
        found = rows(data, table, tenant, identity)
        ids = list(zip(*(found[name].to_pylist() for name in identity), strict=True))
        assert len(set(ids)) == len(ids), f"{len(ids) - len(set(ids))} rows twice in {table}"
        out[table] = len(ids)
    return out
