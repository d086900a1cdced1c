"""What chaos does to brokers passes."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from tests.chaos.brokers import Brokers
from tests.kafka import jars
from tests.streams.engine.harness import Admin

pytestmark = [pytest.mark.broker, pytest.mark.slow]


class Shortly(random.Random):
    """No fault lasts longer than it must."""

    def uniform(self, a: float, b: float) -> float:
        return a


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    with Brokers(jars(), tmp_path_factory.mktemp("kafka"), 3) as three:
        yield three


async def write(brokers: Brokers) -> None:
    """One record of a topic that wants two replicas in sync, as the product's topics do."""
    async with AIOKafkaProducer(bootstrap_servers=brokers.bootstrap, acks="all", enable_idempotence=True) as producer:
        await producer.send_and_wait("t", b"x")


@pytest.mark.parametrize(
    ("fault", "hit"),
    [(Brokers.restart, 1), (Brokers.freeze, 1), (Brokers.slow, 1), (Brokers.kill_most, 2), (Brokers.freeze_most, 2)],
)
async def test_after_a_fault_the_nodes_answer_and_take_writes(
    brokers: Brokers, fault: Callable[[Brokers, random.Random], str], hit: int
) -> None:
    async with Admin(brokers.bootstrap) as client:
        if "t" not in await client.list_topics():
            await client.create_topics([NewTopic("t", 1, 3, topic_configs={"min.insync.replicas": "2"})])
    await write(brokers)
    said = fault(brokers, Shortly(1))
    assert len(re.findall(r"\d", re.split("killed|frozen|slow", said)[0])) == hit
    assert all(node.answers() for node in brokers.nodes)
    await write(brokers)
