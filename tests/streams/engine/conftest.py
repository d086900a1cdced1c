"""Fixtures of the engine's tests on a real broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from millrace.kafka import Broker
from tests.chaos.brokers import Brokers
from tests.kafka import jars
from tests.streams.engine.harness import Pipeline

MakePipeline = Callable[..., Pipeline]


@pytest.fixture
def pipeline(kafka: Broker, tmp_path: Path, prefix: str) -> Iterator[MakePipeline]:
    """Makes a Pipeline of this test's own; its workers end with the test."""
    made: list[Pipeline] = []

    def make(stage: str = "count", **options: Any) -> Pipeline:
        made.append(Pipeline(kafka.bootstrap, tmp_path / str(len(made)), f"{prefix}-{len(made)}", stage, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[Brokers]:
    """Three, of this test's own."""
    with Brokers(jars(), tmp_path / "kafka", 3) as three:
        yield three
