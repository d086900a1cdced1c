"""Fixtures that every folder of tests shares."""

import uuid
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling, Scheduling

from millrace.kafka import Broker
from tests.kafka import jars
from tests.ports import free_port

# Machines are shared: that an example takes long once says nothing.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# Their tests share a running stack, which one worker is to start once.
SHARED = ("tests/console/", "tests/e2e/")


class ByStack(LoadFileScheduling):
    """A worker takes a file at a time, or all of a folder of SHARED."""

    def _split_scope(self, nodeid: str) -> str:
        return next((folder for folder in SHARED if nodeid.startswith(folder)), super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    """Of several workers, instead of xdist's own for --dist loadfile."""
    return ByStack(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever asks for the real broker is a broker test; saying so in one place is enough.

    Files that start processes come first: several workers take files in this order, and the quick ones then fill what
    would else be one worker's last minutes alone with a long file.
    """
    for item in items:
        if "kafka" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.broker)
    long = {item.path for item in items if item.get_closest_marker("broker") or item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A real Kafka for the whole run, on a free port: `kafka.bootstrap`. Use random topic names and group ids."""
    folder = tmp_path_factory.mktemp("kafka")
    with Broker(jars(), folder, log=folder / "kafka.log", port=free_port(), heap_mb=384) as broker:
        yield broker


@pytest.fixture
def prefix() -> str:
    """A topic prefix (and a group name) of this test's own."""
    return f"t{uuid.uuid4().hex[:12]}"
