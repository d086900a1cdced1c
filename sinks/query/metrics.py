"""Metrics of the SQL service; they stand in the registry of the sinks process."""

from prometheus_client import CollectorRegistry

from service.metrics import Metric, MetricSet


class QueryMetrics(MetricSet):
    """Labels: outcome is "ok" or a reason of sinks.query.errors."""

    SPECS = (
        Metric("sinks_query_requests_total", "counter", "queries", ("outcome",), "Queries answered or refused."),
        Metric("sinks_query_seconds", "histogram", "seconds", (), "Time of a query, with its wait for a place."),
        Metric("sinks_query_running", "gauge", "queries", (), "Queries that run now."),
        Metric("sinks_query_waiting", "gauge", "queries", (), "Queries that wait for a place."),
    )

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        super().__init__(registry)

    def answered(self, outcome: str, seconds: float) -> None:
        """One query came to its end."""
        self.add("sinks_query_requests_total", outcome=outcome)
        self.observe("sinks_query_seconds", seconds)

    def busy(self, running: int, waiting: int) -> None:
        """How many queries run and wait now."""
        self.set("sinks_query_running", running)
        self.set("sinks_query_waiting", waiting)
