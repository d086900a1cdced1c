"""The base of every package's metrics.py: each metric declared once, used through typed methods.

class GatewayMetrics(MetricSet):
    SPECS = (Metric("ingest_gateway_requests_total", "counter", "requests", ("signal", "code"), "Answered requests."),)

    def answered(self, signal: str, code: str) -> None:
        self.add("ingest_gateway_requests_total", signal=signal, code=code)
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector

# Seconds from "a local call" to "the client has given up": each bound is two to two and a half times the one before.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@dataclass(frozen=True)
class Metric:
    """name: <package>_<noun>_<unit>[_total].  labels: values come from closed sets only.  meaning: one line."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    labels: tuple[str, ...]
    meaning: str
    buckets: tuple[float, ...] = SECONDS


class MetricSet:
    """The metrics of one process in one registry of its own (so that tests can have several)."""

    SPECS: ClassVar[tuple[Metric, ...]] = ()

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """registry: where to declare; a new one when None.  CPU, memory and open files of the process come with it."""
        self.registry = CollectorRegistry() if registry is None else registry
        if registry is None:
            ProcessCollector(registry=self.registry)
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        for spec in self.SPECS:
            help_text = f"{spec.meaning} Unit: {spec.unit}."
            if spec.kind == "counter":
                self._counters[spec.name] = Counter(spec.name, help_text, spec.labels, registry=self.registry)
            elif spec.kind == "gauge":
                self._gauges[spec.name] = Gauge(spec.name, help_text, spec.labels, registry=self.registry)
            else:
                self._histograms[spec.name] = Histogram(
                    spec.name, help_text, spec.labels, registry=self.registry, buckets=spec.buckets
                )

    def add(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        counter = self._counters[name]
        (counter.labels(**labels) if labels else counter).inc(amount)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        gauge = self._gauges[name]
        (gauge.labels(**labels) if labels else gauge).set(value)

    def forget(self, name: str, **labels: str) -> None:
        """Tell a gauge of these labels no longer: what it was about has gone elsewhere."""
        self._gauges[name].remove(*labels.values())

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Put one value into a histogram."""
        histogram = self._histograms[name]
        (histogram.labels(**labels) if labels else histogram).observe(value)

    def value(self, name: str, **labels: str) -> float:
        """The present value of a counter or gauge; 0 when it was never touched. For tests and status."""
        return self.registry.get_sample_value(name, labels) or 0.0
