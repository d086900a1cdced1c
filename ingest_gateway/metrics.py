"""Metrics of the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from service.metrics import Metric, MetricSet


class GatewayMetrics(MetricSet):
    """Labels come from closed sets: signals, transports, status codes, reasons, and so many rules (see routing.py)."""

    SPECS: ClassVar[tuple[Metric, ...]] = (
        Metric(
            "ingest_gateway_requests_total",
            "counter",
            "requests",
            ("transport", "signal", "code"),
            "Answered requests.",
        ),
        Metric("ingest_gateway_records_total", "counter", "records", ("signal",), "Records acknowledged to clients."),
        Metric(
            "ingest_gateway_rejected_total",
            "counter",
            "records",
            ("signal", "reason"),
            "Records that went to the topic `rejected`.",
        ),
        Metric(
            "ingest_gateway_routed_total",
            "counter",
            "records",
            ("rule", "route", "signal"),
            "Records that a routing rule took, re-sends too; signal content: rows of content.",
        ),
        Metric("ingest_gateway_messages_total", "counter", "messages", ("topic",), "Messages acknowledged by Kafka."),
        Metric("ingest_gateway_masked_total", "counter", "secrets", ("rule",), "Secrets that were masked in texts."),
        Metric(
            "ingest_gateway_policy_faults_total", "counter", "faults", (), "Privacy policies that could not be read."
        ),
        Metric("ingest_gateway_in_flight_bytes", "gauge", "bytes", (), "Bodies not yet acknowledged by Kafka."),
        Metric("ingest_gateway_ack_seconds", "histogram", "seconds", (), "From the decoded request to Kafka's ack."),
        Metric("ingest_gateway_producer_restarts_total", "counter", "restarts", (), "Kafka producers built anew."),
    )

    def answered(self, transport: str, signal: str, code: str) -> None:
        self.add("ingest_gateway_requests_total", transport=transport, signal=signal, code=code)

    def stored(self, signal: str, records: int) -> None:
        self.add("ingest_gateway_records_total", records, signal=signal)

    def rejected(self, signal: str, reason: str) -> None:
        self.add("ingest_gateway_rejected_total", signal=signal, reason=reason)

    def routed(self, rule: str, route: str, signal: str, records: int) -> None:
        self.add("ingest_gateway_routed_total", records, rule=rule, route=route, signal=signal)

    def published(self, topic: str, messages: int) -> None:
        self.add("ingest_gateway_messages_total", messages, topic=topic)

    def masked(self, found: Mapping[str, int]) -> None:
        for rule, count in found.items():
            self.add("ingest_gateway_masked_total", count, rule=rule)

    def policy_fault(self) -> None:
        self.add("ingest_gateway_policy_faults_total")

    def in_flight(self, size: int) -> None:
        self.set("ingest_gateway_in_flight_bytes", size)

    def acknowledged(self, seconds: float) -> None:
        self.observe("ingest_gateway_ack_seconds", seconds)

    def producer_restarted(self) -> None:
        self.add("ingest_gateway_producer_restarts_total")
