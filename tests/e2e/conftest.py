"""One stack for all tests of the main job; every test has a tenant of its own in it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from millrace.kafka import Broker
from tests.e2e.stack import Stack


@pytest.fixture(scope="package")
def stack(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(kafka.bootstrap, f"e{uuid.uuid4().hex[:8]}", tmp_path_factory.mktemp("stack"))
    try:
        yield stack.start()
        stack.stop()
    finally:
        stack.kill_everything()


@pytest.fixture
def tenant() -> str:
    return f"t{uuid.uuid4().hex[:10]}"
