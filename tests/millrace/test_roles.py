"""`millrace role` and what keys have of it, as a person uses them, on a real Kafka."""

import json
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from click.testing import CliRunner, Result

from millrace import local_keys
from millrace.cli import cli
from millrace.kafka import Broker
from schemas import codec, keys, roles
from schemas.topics import CATALOGUE, full_name
from service import keyring
from service import roles as changes
from service.changes import Who
from service.cluster import ensure_topics
from service.control import viewing
from service.errors import ChangeRefused

WHO = Who("ann@example.com", "192.0.2.7")
GRANT = ("--class", "content", "--dataset", "content", "--where", "team = 'platform'")


class CommandLine:
    """The command line against one prefix."""

    def __init__(self, kafka: Broker, prefix: str) -> None:
        self._environment = {"MILLRACE_BOOTSTRAP": kafka.bootstrap, "MILLRACE_PREFIX": prefix}

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli, list(arguments), env=self._environment)

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.run(*arguments, "--format", "json").stdout)
        return found


async def entries(kafka: dict[str, Any], prefix: str) -> list[dict[str, Any]]:
    """The whole audit topic."""
    topic = TopicPartition(full_name(prefix, "audit"), 0)
    consumer = AIOKafkaConsumer(**kafka, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([topic])
        end = (await consumer.end_offsets([topic]))[topic]
        found: list[dict[str, Any]] = []
        while await consumer.position(topic) < end:
            batches = await consumer.getmany(timeout_ms=1000)
            found += [codec.decode("audit", m.value) for ms in batches.values() for m in ms if m.value is not None]
        return found
    finally:
        await consumer.stop()


@pytest.fixture
async def control(kafka: Broker, prefix: str) -> None:
    await ensure_topics(kafka.kwargs, [CATALOGUE["control"], CATALOGUE["audit"]], prefix, "local")


def test_a_role_is_made_granted_shown_revoked_and_deleted_and_the_audit_has_it_all(
    kafka: Broker, prefix: str, control: None
) -> None:
    line = CommandLine(kafka, prefix)
    assert {row["role"]: row["state"] for row in line.rows("role", "list")} == dict.fromkeys(roles.DEFAULTS, "default")
    assert line.run("role", "create", "auditor").exit_code == 0
    granted = line.run("role", "grant", "auditor", *GRANT)
    assert (granted.exit_code, granted.stderr) == (
        0,
        "role auditor, version 2: granted content on content where team = 'platform'\n",
    )
    wide = line.run("role", "grant", "auditor", "--class", "usage", "--where", "team = 'platform'")
    assert "no rows of people: the rule cannot be asked of them" in wide.stderr
    shown = json.loads(line.run("role", "show", "auditor", "--json").stdout)
    assert (shown["version"], [g["class"] for g in shown["grants"]]) == (3, ["content", "usage"])
    assert "people" in line.run("role", "show", "auditor").stdout
    again = line.run("role", "grant", "auditor", *GRANT)
    assert (again.exit_code, "has this grant already" in again.stderr) == (1, True)
    assert line.run("role", "revoke", "auditor", *GRANT).exit_code == 0
    assert line.run("role", "grant", "viewer", "--class", "person").exit_code == 0
    assert {row["role"]: row["state"] for row in line.rows("role", "list")} == {
        "viewer": "changed",
        "analyst": "default",
        "security": "default",
        "admin": "default",
        "auditor": "custom",
    }
    assert line.run("role", "delete", "viewer").exit_code == 0
    assert line.run("role", "delete", "viewer").exit_code == 1
    assert line.run("role", "delete", "auditor").exit_code == 0
    assert line.run("role", "grant", "admin", "--class", "usage", "--dataset", "audit").exit_code == 1
    assert line.run("role", "grant", "nobody", *GRANT).stderr.startswith("millrace: there is no role nobody")
    assert line.run("role", "grant", "viewer", "--class", "usage", "--where", "1 = 1").exit_code == 1


async def test_the_audit_has_every_grant_and_every_key(kafka: Broker, prefix: str, control: None) -> None:
    await keyring.create(kafka.kwargs, prefix, WHO, tenant="acme", kind="ingest", name="ci")
    viewer = await keyring.create(kafka.kwargs, prefix, WHO, tenant="acme", kind="query", name="", roles_=["viewer"])
    with pytest.raises(ChangeRefused, match="there is no role nobody"):
        await keyring.create(kafka.kwargs, prefix, WHO, tenant="acme", kind="query", name="", roles_=["nobody"])
    await keyring.revoke(kafka.kwargs, prefix, WHO, keys.parse_key(viewer).id)
    found = await entries(kafka.kwargs, prefix)
    assert [(e["action"], e["actor_kind"], e["tenant"], e["outcome"]) for e in found] == [
        ("key.create", "person", "acme", "done"),
        ("key.create", "person", "acme", "done"),
        ("key.revoke", "person", "acme", "done"),
    ]
    assert json.loads(found[1]["detail"]) == {"key_kind": "query", "name": "", "roles": ["viewer"]}
    assert {(e["actor"], e["client_address"]) for e in found} == {("ann@example.com", "192.0.2.7")}
    assert found[1]["target"] == found[2]["target"] == keys.parse_key(viewer).id
    assert viewer not in json.dumps(found)


async def test_a_change_of_a_default_role_is_told_as_one(kafka: Broker, prefix: str, control: None) -> None:
    grant = roles.checked_grant("content", ("content",), "team = 'platform'")
    changed = await changes.grant(kafka.kwargs, prefix, WHO, "security", grant)
    (entry,) = await entries(kafka.kwargs, prefix)
    assert (entry["action"], entry["target"], entry["tenant"]) == ("role.grant", "security", None)
    assert json.loads(entry["detail"]) == {
        "default": True,
        "deleted": False,
        "grant": "content on content where team = 'platform'",
        "version": 1,
    }
    async with viewing(kafka.kwargs, prefix) as view:
        assert roles.finder(lambda name: view.record("role", name))("security") == changed


def test_keys_name_their_roles(kafka: Broker, prefix: str, control: None) -> None:
    line = CommandLine(kafka, prefix)
    for arguments in (("--kind", "query", "--role", "viewer", "--role", "security"), ("--kind", "query"), ()):
        assert line.run("key", "create", "--tenant", "acme", *arguments).exit_code == 0
    assert sorted(row["roles"] for row in line.rows("key", "list")) == ["", "analyst", "viewer, security"]
    assert line.run("key", "create", "--tenant", "acme", "--role", "viewer").exit_code == 2
    missing = line.run("key", "create", "--tenant", "acme", "--kind", "query", "--role", "nobody")
    assert (missing.exit_code, missing.stdout) == (1, "")


async def test_without_the_audit_topic_nothing_changes(kafka: Broker, prefix: str) -> None:
    await ensure_topics(kafka.kwargs, [CATALOGUE["control"]], prefix, "local")
    with pytest.raises(Exception, match=full_name(prefix, "audit")):
        await keyring.create(kafka.kwargs, prefix, WHO, tenant="acme", kind="admin", name="")
    assert await local_keys.in_force(kafka.kwargs, prefix) == []
