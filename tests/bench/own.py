"""A Kafka and a whole stack of a bench's own, with the settings that they have by default."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from millrace.kafka import Broker
from tests.e2e.stack import Stack
from tests.kafka import jars
from tests.ports import free_port


@contextmanager
def own_stack(name: str) -> Iterator[Stack]:
    """It is ready; afterwards nothing is left of it.  name: of the bench, for folders and topics."""
    with tempfile.TemporaryDirectory(prefix=f"millrace-{name}-") as place:
        folder = Path(place)
        with Broker(jars(), folder / "kafka", log=folder / "kafka.log", port=free_port(), heap_mb=512) as broker:
            stack = Stack(broker.bootstrap, f"{name}{uuid.uuid4().hex[:8]}", folder / "data")
            del stack.environment["MILLRACE_LAKE_COMMIT_INTERVAL_S"]  # of the tests
            try:
                yield stack.start()
                stack.stop()
            finally:
                stack.kill_everything()
