"""The routing rules in force, as the control topic has them, and what they took."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ingest_gateway.metrics import GatewayMetrics
from schemas.errors import PermanentError
from schemas.otlp import Routed
from schemas.routing import CONTROL_ID, CONTROL_KIND, DROP, RULES_MAX, Routing, from_control

logger = logging.getLogger(__name__)

OTHER = "other"
_TOLD_MAX = 4 * RULES_MAX
"""Names of rules that the metric tells apart; those of later rule sets than so many count as `other`."""

LastWord = Callable[[str, str], Mapping[str, Any] | None]


class RoutingInForce:
    """Compiles the rules anew whenever the control topic has other ones."""

    def __init__(self, last_word: LastWord, failed: Callable[[BaseException], None]) -> None:
        """last_word: the last control record of a kind and id.  failed: told of rules that cannot be used."""
        self._last_word = last_word
        self._failed = failed
        self._record: Mapping[str, Any] | None = None
        self._routing = Routing((), 0)

    @property
    def version(self) -> int:
        """Of the rules in force; 0 where none were ever set."""
        return self._routing.version

    def of(self, tenant: str) -> Routing | None:
        """The rules, if any of them can take a record of this tenant."""
        self.refresh()
        return self._routing if self._routing.rules and self._routing.concerns(tenant) else None

    def refresh(self) -> None:
        """Take the rules that the control topic has now.

        Rules that cannot be read change nothing: those before them stay in force, so nothing is stored that they drop.
        """
        record = self._last_word(CONTROL_KIND, CONTROL_ID)
        if record is self._record:
            return
        try:
            self.load()
        except PermanentError as error:
            self._record = record
            logger.error("version %d of the routing rules stays in force: %s", self.version, error)
            self._failed(error)

    def load(self) -> None:
        """Take the rules as they are now. Raises: RoutingError, CodecError, and then nothing has changed."""
        record = self._last_word(CONTROL_KIND, CONTROL_ID)
        self._routing = from_control(record)
        self._record = record
        logger.info("routing rules: version %d, %d rules", self._routing.version, len(self._routing.rules))


class RoutedCounts:
    """Counts what rules took, once it is acknowledged.

    dropped: by rule and signal, for the health page.
    """

    def __init__(self, metrics: GatewayMetrics) -> None:
        self._metrics = metrics
        self._told: set[str] = set()
        self.dropped: dict[str, dict[str, int]] = {}

    def add(self, routed: Iterable[Routed]) -> None:
        """Count these."""
        counts: Counter[tuple[str, str, str]] = Counter()
        for one in routed:
            counts[self._label(one.rule), one.route, one.what] += one.records
        for (rule, route, what), records in counts.items():
            self._metrics.routed(rule, route, what, records)
            if route == DROP:
                of_rule = self.dropped.setdefault(rule, {})
                of_rule[what] = of_rule.get(what, 0) + records

    def _label(self, rule: str) -> str:
        if rule not in self._told:
            if len(self._told) >= _TOLD_MAX:
                return OTHER
            self._told.add(rule)
        return rule
