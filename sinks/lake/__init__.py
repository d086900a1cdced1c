"""The lake: Iceberg tables of everything that was received, for engines that are not ours."""

from sinks.lake.latest import latest, latest_sql
from sinks.lake.sink import LakeSink
from sinks.lake.store import Limits

__all__ = ["LakeSink", "Limits", "latest", "latest_sql"]
