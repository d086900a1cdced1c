"""A consumer of Kafka that can be stopped while Kafka is away."""

import asyncio

from aiokafka import AIOKafkaConsumer


class Consumer(AIOKafkaConsumer):  # type: ignore[misc]  # aiokafka has no annotations
    """aiokafka's, but for its end."""

    async def stop(self) -> None:
        """Give all connections back, whether Kafka answers or not.

        aiokafka 0.14 passes on the cancellation of a fetch that waits to be tried again, as if the caller were
        cancelled, and leaves the connections open (Fetcher.close).
        """
        stopping = asyncio.ensure_future(super().stop())
        await asyncio.wait({stopping})
        if stopping.cancelled():
            await self._client.close()
        else:
            stopping.result()
