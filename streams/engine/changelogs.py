"""The topics of the engine's own: making what is missing, and looking whether those that exist are fit.

<group>-<table>-changelog   the rows of a table
<group>-<name>              from one stage of a higher epoch to the next (an internal source)
<group>-published           empty, one partition: its being there says that this higher epoch is published
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterable, Mapping, Sequence

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import NoError, TopicAlreadyExistsError, for_code

from streams.engine.errors import EpochSuperseded, WrongChangelog
from streams.engine.settings import EngineSettings

logger = logging.getLogger(__name__)

_WAIT_S = 30.0
_POLL_S = 0.2
_PUBLISHED = "published"
_POLICY = "cleanup.policy"
# A segment is compacted or deleted once it is full; with Kafka's 1 GiB a laptop would keep gigabytes of dead records.
_SEGMENT_BYTES = 64 * 1024 * 1024
# Compaction and retention go by the time of a record. By a worker's own clock they would go wrong with it, and Kafka
# refuses what is an hour ahead of its own.
_BROKERS_TIME = {"message.timestamp.type": "LogAppendTime"}


async def ensure_topics(
    settings: EngineSettings, *, changelogs: Mapping[str, int], internal: Mapping[str, int]
) -> None:
    """Make the missing ones of these topics (name -> partitions), and wait until Kafka knows them.

    A worker that publishes a higher epoch leaves its sign first; it stays until somebody deletes that topic.
    Raises: EpochSuperseded.  WrongChangelog: another number of partitions, a changelog that is not compacted alone, or
            Kafka refuses it.  KafkaError.
    """
    sign = {} if settings.shadow or settings.epoch == 1 else {settings.internal_topic(_PUBLISHED): 1}
    wanted = {**changelogs, **internal, **sign}
    configs = {name: _changelog(settings) if name in changelogs else _log(settings) for name in wanted}
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap, **settings.kafka)
    await admin.start()
    try:
        _check_published(settings, await admin.list_topics())
        present = await _partitions(admin, wanted)
        missing = [name for name in wanted if name not in present]
        if missing:
            topics = [NewTopic(n, wanted[n], settings.replication, topic_configs=configs[n]) for n in missing]
            await _create(admin, topics)
        deadline = asyncio.get_running_loop().time() + _WAIT_S
        while len(present := await _partitions(admin, wanted)) < len(wanted):
            if asyncio.get_running_loop().time() > deadline:
                raise WrongChangelog(next(n for n in wanted if n not in present), "made, but Kafka does not show it")
            await asyncio.sleep(_POLL_S)
        policies = await _policies(admin, changelogs)
    finally:
        await admin.close()
    for name, count in wanted.items():
        if present[name] != count:
            raise WrongChangelog(
                name,
                f"it has {present[name]} partitions, its source has {count}; "
                f"a changed count needs a higher epoch (MILLRACE_STREAMS_EPOCH={settings.epoch + 1})",
            )
    for name, policy in policies.items():
        if policy != "compact":
            raise WrongChangelog(name, _not_compacted(settings, name, policy))


def _not_compacted(settings: EngineSettings, name: str, policy: str) -> str:
    return (
        f"its {_POLICY} is {policy}, which deletes rows for good; set it with kafka-configs.sh --bootstrap-server "
        f"{settings.bootstrap} --alter --entity-type topics --entity-name {name} --add-config {_POLICY}=compact"
    )


async def _policies(admin: AIOKafkaAdminClient, names: Iterable[str]) -> dict[str, str]:
    """Raises: WrongChangelog: Kafka does not tell."""
    asked = [ConfigResource(ConfigResourceType.TOPIC, name, {_POLICY: ""}) for name in names]
    policies = {}
    for answer in await admin.describe_configs(asked) if asked else ():
        for code, words, _, name, entries in answer.resources:
            if (error := for_code(code)) is not NoError:
                raise WrongChangelog(name, f"Kafka does not tell its {_POLICY}: {words or error.__name__}")
            policies[name] = next(value for key, value, *_ in entries if key == _POLICY)
    return policies


def _check_published(settings: EngineSettings, names: Iterable[str]) -> None:
    """Raises: EpochSuperseded: a higher epoch is published."""
    sign = re.compile(rf"{re.escape(settings.app_id)}-e(\d+)-{_PUBLISHED}")
    published = max((int(found[1]) for name in names if (found := sign.fullmatch(name))), default=1)
    if published > settings.epoch:
        raise EpochSuperseded(settings.epoch, published)


async def _partitions(admin: AIOKafkaAdminClient, names: Mapping[str, int]) -> dict[str, int]:
    described = await admin.describe_topics(list(names)) if names else []
    return {topic["topic"]: len(topic["partitions"]) for topic in described if for_code(topic["error_code"]) is NoError}


def _changelog(settings: EngineSettings) -> dict[str, str]:
    return {
        _POLICY: "compact",
        **_BROKERS_TIME,
        "min.compaction.lag.ms": str(settings.compaction_lag_ms),
        "min.insync.replicas": str(min(2, settings.replication)),
        "segment.bytes": str(_SEGMENT_BYTES),
    }


def _log(settings: EngineSettings) -> dict[str, str]:
    """Nothing is read from it again once its stage has committed."""
    return {
        _POLICY: "delete",
        **_BROKERS_TIME,
        "retention.ms": str(settings.internal_retention_ms),
        "min.insync.replicas": str(min(2, settings.replication)),
        "segment.bytes": str(_SEGMENT_BYTES),
    }


async def _create(admin: AIOKafkaAdminClient, topics: Sequence[NewTopic]) -> None:
    response = await admin.create_topics(topics)
    for name, code, *rest in response.topic_errors:
        error = for_code(code)
        if error is not NoError and error is not TopicAlreadyExistsError:
            raise WrongChangelog(name, f"Kafka refuses to make it: {rest[0] if rest and rest[0] else error.__name__}")
    logger.info("made %s", ", ".join(topic.name for topic in topics))
