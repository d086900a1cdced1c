"""What routing keeps out of a store: its records are read, their offsets move on, and nothing of them is stored."""

import pyarrow as pa
import pyarrow.compute as pc

ROUTE = "route"


def apart(rows: pa.Table, route: str) -> tuple[pa.Table, pa.Table]:
    """The rows that did not take this route, and those that did; a record that names none is hot."""
    if ROUTE not in rows.column_names:
        return rows, rows.slice(0, 0)
    took = pc.fill_null(pc.equal(rows[ROUTE], route), False)
    if not pc.any(took).as_py():
        return rows, rows.slice(0, 0)
    return rows.filter(pc.invert(took)), rows.filter(took)
