"""Lakes in a test's folder, and how to read them without the sink."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import load_catalog
from pyiceberg.table import Table

from sinks.lake import LakeSink, Limits
from sinks.metrics import SinkMetrics

NAMESPACE = "millrace"


def properties(folder: Path) -> dict[str, str]:
    """The catalog's properties of the lake in a folder."""
    return {
        "uri": f"sqlite:///{folder / 'lake' / 'catalog.db'}",
        "warehouse": f"file://{folder / 'lake' / 'warehouse'}",
    }


def lake_sink(folder: Path, limits: Limits | None = None, metrics: SinkMetrics | None = None) -> LakeSink:
    """A sink on the lake in a folder, not yet open."""
    return LakeSink(properties(folder), namespace=NAMESPACE, limits=limits, metrics=metrics)


@contextmanager
def table(folder: Path, name: str) -> Iterator[Table]:
    """A table as another process would open it."""
    catalog = load_catalog("millrace", **properties(folder))
    try:
        yield catalog.load_table((NAMESPACE, name))
    finally:
        catalog.close()


def scan(folder: Path, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a table; all columns unless said otherwise."""
    with table(folder, name) as found:
        return found.scan(selected_fields=tuple(columns) if columns else ("*",)).to_arrow()


def rows(folder: Path, name: str, *columns: str) -> list[tuple[Any, ...]]:
    """Those columns of every row, sorted."""
    found = scan(folder, name, columns)
    return sorted(zip(*(found[column].to_pylist() for column in columns), strict=True))
