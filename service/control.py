"""The control plane: keys, tenants, policies. The last record of each (kind, id) on the control topic rules.

Every process follows the topic from its first record, so that several gateways agree within a fetch's time.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from schemas import codec, topics
from schemas import keys as api_keys
from schemas.errors import PermanentError
from service.cluster import TopicState, describe
from service.consumer import Consumer
from service.errors import ClusterUnavailable, TopicMissing

logger = logging.getLogger(__name__)

TOPIC = "control"
_START_TIMEOUT_S = 30.0
_POLL_MS = 1000
_RETRY_S = 1.0


class ControlView:
    """What the control topic says now. Use it from one event loop."""

    def __init__(self, on_error: Callable[[BaseException], None] | None = None) -> None:
        """on_error: told when following falters (it goes on by itself); for Health.failed."""
        self._on_error = on_error
        self._records: dict[tuple[str, str], dict[str, Any]] = {}
        self._keys: dict[str, api_keys.KeyRecord] = {}
        self._kafka: dict[str, Any] = {}
        self._prefix = ""
        self._consumer: Consumer | None = None
        self._follower: asyncio.Task[None] | None = None

    async def start(self, kafka: Mapping[str, Any], prefix: str, *, timeout_s: float = _START_TIMEOUT_S) -> None:
        """Read the topic to its present end, then follow it in the background.

        Args:   kafka: aiokafka's keyword arguments (service.settings.kafka_kwargs).
        Raises: ClusterUnavailable; TopicMissing.
        """
        self._kafka, self._prefix = dict(kafka), prefix
        topic = topics.full_name(prefix, TOPIC)
        # Asked for apart: a consumer waits for ever for a topic that is not there.
        _, states = await describe(kafka, [topic])
        if topic not in states:
            raise TopicMissing(topic)
        self._consumer = consumer = Consumer(
            **kafka, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        try:
            async with asyncio.timeout(timeout_s):
                await consumer.start()
                await self._read_to_end(consumer, states[topic])
        except (KafkaError, OSError, TimeoutError) as error:
            await consumer.stop()
            raise ClusterUnavailable(str(kafka["bootstrap_servers"]), str(error) or type(error).__name__) from error
        except BaseException:
            await consumer.stop()
            raise
        self._follower = asyncio.create_task(self._follow(consumer), name="control")

    async def stop(self) -> None:
        """End following."""
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)
        if self._consumer is not None:
            await self._consumer.stop()
        self._follower = self._consumer = None

    @property
    def started(self) -> bool:
        """Whether the topic was read to its end once; before, nothing here says that something is not there."""
        return self._follower is not None

    def keys(self) -> list[api_keys.KeyRecord]:
        """The keys in force, by tenant, kind and id."""
        return sorted(self._keys.values(), key=lambda key: (key.tenant or "", key.kind, key.id))

    def authenticate(self, key: str) -> api_keys.KeyRecord | None:
        """Whose key this is, compared in constant time; None when it is unknown, revoked or no key at all."""
        try:
            parsed = api_keys.parse_key(key)
        except PermanentError:
            return None
        record = self._keys.get(parsed.id)
        return record if record is not None and record.verify(key) else None

    def records(self, kind: str) -> dict[str, dict[str, Any]]:
        """The records of a kind in force, by id."""
        return {
            id_: record for (kind_, id_), record in self._records.items() if kind_ == kind and not record["deleted"]
        }

    def record(self, kind: str, id_: str) -> dict[str, Any] | None:
        """The last record of (kind, id), be it in force or deleted."""
        return self._records.get((kind, id_))

    async def publish(self, record: Mapping[str, Any]) -> None:
        """Publish one control record; returns when Kafka has acknowledged it. It shows here a moment later."""
        await publish(self._kafka, self._prefix, [record])

    async def _read_to_end(self, consumer: Consumer, topic: TopicState) -> None:
        partitions = [TopicPartition(topic.name, number) for number in range(topic.partitions)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        while any([await consumer.position(partition) < ends[partition] for partition in partitions]):
            self._apply(await consumer.getmany(timeout_ms=_POLL_MS))

    async def _follow(self, consumer: Consumer) -> None:
        while True:
            try:
                self._apply(await consumer.getmany(timeout_ms=_POLL_MS))
            except (KafkaError, OSError) as error:
                logger.warning("following the control topic falters: %s", error)
                if self._on_error is not None:
                    self._on_error(error)
                await asyncio.sleep(_RETRY_S)

    def _apply(self, batches: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> None:
        for messages in batches.values():
            for message in messages:
                try:
                    self._take(message)
                except (PermanentError, ValueError) as error:
                    # One bad record must not take every gateway down; a key that cannot be read opens nothing.
                    logger.error("control record at %s/%s unreadable: %s", message.partition, message.offset, error)
                    if self._on_error is not None:
                        self._on_error(error)

    def _take(self, message: ConsumerRecord) -> None:
        kind, id_ = topics.split_key(message.key or b"")
        # From here on the older word no longer holds, whatever the new one is.
        self._records.pop((kind, id_), None)
        if kind == api_keys.CONTROL_KIND:
            self._keys.pop(id_, None)
        if message.value is None:
            return
        try:
            record = codec.decode("control", message.value)
        except PermanentError:
            # In force without a body: who reads it finds a setting that makes no sense, not one that was never made.
            self._records[kind, id_] = _unreadable(kind, id_)
            raise
        self._records[kind, id_] = record
        if kind == api_keys.CONTROL_KIND and not record["deleted"]:
            self._keys[id_] = api_keys.from_control(record)


def _unreadable(kind: str, id_: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "id": id_,
        "tenant": None,
        "body": "",
        "deleted": False,
        "updated_at": 0,
        "updated_by": "",
    }


@asynccontextmanager
async def viewing(kafka: Mapping[str, Any], prefix: str) -> AsyncIterator[ControlView]:
    """What the control topic says, for as long as somebody looks.  Raises: as ControlView.start."""
    view = ControlView()
    await view.start(kafka, prefix)
    try:
        yield view
    finally:
        await view.stop()


async def publish(kafka: Mapping[str, Any], prefix: str, records: Sequence[Mapping[str, Any]]) -> None:
    """Publish control records; returns when Kafka has acknowledged all of them.

    Raises: ClusterUnavailable; TopicMissing.
    """
    topic = topics.full_name(prefix, TOPIC)
    _, states = await describe(kafka, [topic])
    if topic not in states:
        raise TopicMissing(topic)
    producer = AIOKafkaProducer(**kafka, acks="all", enable_idempotence=True)
    try:
        await producer.start()
        for record in records:
            key = topics.make_key(record["kind"], record["id"])
            partition = topics.partition_for(key, states[topic].partitions)
            await producer.send_and_wait(topic, codec.encode("control", record), key=key, partition=partition)
    except (KafkaError, OSError, TimeoutError) as error:
        raise ClusterUnavailable(str(kafka["bootstrap_servers"]), str(error) or type(error).__name__) from error
    finally:
        await producer.stop()
