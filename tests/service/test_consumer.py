"""A process ends in order whether Kafka is there or not."""

import asyncio
from pathlib import Path

from millrace.kafka import Broker
from schemas.topics import CATALOGUE
from service.cluster import ensure_topics
from service.control import ControlView
from tests.kafka import jars
from tests.ports import free_port


async def test_who_follows_a_topic_stops_while_kafka_is_gone(tmp_path: Path) -> None:
    with Broker(jars(), tmp_path / "kafka", log=tmp_path / "log", port=free_port(), heap_mb=384) as broker:
        await ensure_topics(broker.kwargs, [CATALOGUE["control"]], "gone", "local")
        views = [ControlView() for _ in range(5)]
        for view in views:
            await view.start(broker.kwargs, "gone")
        before = asyncio.all_tasks()
        broker.kill()
        for view in views:
            await asyncio.sleep(0.3)  # it is at another point of trying again
            await view.stop()
        assert asyncio.all_tasks() < before, "nothing of them runs on"
        assert asyncio.all_tasks() == {asyncio.current_task()}
