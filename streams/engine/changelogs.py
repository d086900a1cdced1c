"""Making the changelog topics, and looking whether those that exist are fit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import NoError, TopicAlreadyExistsError, for_code

from streams.engine.errors import WrongChangelog
from streams.engine.settings import EngineSettings

logger = logging.getLogger(__name__)

_WAIT_S = 30.0
_POLL_S = 0.2


async def ensure_changelogs(settings: EngineSettings, changelogs: Mapping[str, int]) -> None:
    """Make the missing ones of these topics (name -> partitions), compacted, and wait until Kafka knows them.

    Raises: WrongChangelog: another number of partitions, or Kafka refuses it.  KafkaError.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap, **settings.kafka)
    await admin.start()
    try:
        present = await _partitions(admin, changelogs)
        missing = [name for name in changelogs if name not in present]
        if missing:
            await _create(admin, settings, {name: changelogs[name] for name in missing})
        deadline = asyncio.get_running_loop().time() + _WAIT_S
        while len(present := await _partitions(admin, changelogs)) < len(changelogs):
            if asyncio.get_running_loop().time() > deadline:
                raise WrongChangelog(
                    next(n for n in changelogs if n not in present), "made, but Kafka does not show it"
                )
            await asyncio.sleep(_POLL_S)
    finally:
        await admin.close()
    for name, count in changelogs.items():
        if present[name] != count:
            raise WrongChangelog(
                name,
                f"it has {present[name]} partitions, its source has {count}; "
                "a changed count needs a higher epoch (or delete the changelog and the consumer group)",
            )


async def _partitions(admin: AIOKafkaAdminClient, names: Mapping[str, int]) -> dict[str, int]:
    described = await admin.describe_topics(list(names)) if names else []
    return {topic["topic"]: len(topic["partitions"]) for topic in described if for_code(topic["error_code"]) is NoError}


async def _create(admin: AIOKafkaAdminClient, settings: EngineSettings, changelogs: Mapping[str, int]) -> None:
    config = {
        "cleanup.policy": "compact",
        "min.compaction.lag.ms": str(settings.compaction_lag_ms),
        "min.insync.replicas": str(min(2, settings.replication)),
        # A segment is compacted once it is full; with Kafka's 1 GiB a laptop would keep gigabytes of dead copies.
        "segment.bytes": str(64 * 1024 * 1024),
    }
    topics = [NewTopic(name, count, settings.replication, topic_configs=config) for name, count in changelogs.items()]
    response = await admin.create_topics(topics)
    for name, code, *rest in response.topic_errors:
        error = for_code(code)
        if error is not NoError and error is not TopicAlreadyExistsError:
            raise WrongChangelog(name, f"Kafka refuses to make it: {rest[0] if rest and rest[0] else error.__name__}")
    logger.info("made %s", ", ".join(changelogs))
