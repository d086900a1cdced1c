"""The command line as a person runs it: a process, its stdout, its stderr, its exit code."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from millrace import local_keys
from millrace.kafka import Broker
from schemas import keys
from schemas.topics import CATALOGUE, full_name
from service import keyring
from service.changes import Who
from service.cluster import ensure_topics
from service.control import viewing
from tests.ports import free_port

ROOT = Path(__file__).parents[2]


def millrace(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MILLRACE_")}
    return subprocess.run(
        [sys.executable, "-m", "millrace", *arguments],
        capture_output=True,
        text=True,
        env={**clean, **environment, "PYTHONPATH": str(ROOT)},
        check=False,
        timeout=60,
    )


def test_topics_are_created_and_listed(kafka: Broker, prefix: str) -> None:
    environment = {"MILLRACE_BOOTSTRAP": kafka.bootstrap, "MILLRACE_PREFIX": prefix}
    created = millrace("topics", "create", **environment)
    assert sorted(created.stdout.split()) == sorted(full_name(prefix, name) for name in CATALOGUE)
    assert created.stderr == "10 created, 0 were there\n"
    assert millrace("topics", "create", **environment).stdout == ""
    listed = millrace("topics", "list", **environment).stdout
    assert all(full_name(prefix, name) in listed for name in CATALOGUE)


async def test_a_created_key_stands_alone_on_stdout_and_can_be_revoked(kafka: Broker, prefix: str) -> None:
    await ensure_topics(kafka.kwargs, [CATALOGUE["control"], CATALOGUE["audit"]], prefix, "local")
    environment = {"MILLRACE_BOOTSTRAP": kafka.bootstrap, "MILLRACE_PREFIX": prefix}
    created = millrace("key", "create", "--tenant", "acme", **environment)
    text = created.stdout.removesuffix("\n")
    assert created.stderr == ""
    assert keys.parse_key(text).kind == "ingest"
    admin = millrace("key", "create", "--kind", "admin", **environment).stdout.strip()
    async with viewing(kafka.kwargs, prefix) as view:
        found, found_admin = view.authenticate(text), view.authenticate(admin)
    assert found is not None
    assert found.tenant == "acme"
    assert found_admin is not None
    assert found_admin.tenant is None
    listed = json.loads(millrace("key", "list", "--format", "json", **environment).stdout)
    assert {(row["kind"], row["tenant"]) for row in listed} == {("ingest", "acme"), ("admin", None)}
    assert millrace("key", "revoke", found.id, **environment).returncode == 0
    assert len(json.loads(millrace("key", "list", "--format", "json", **environment).stdout)) == 1
    again = millrace("key", "revoke", found.id, **environment)
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == f"millrace: there is no key in force with id {found.id}: see: millrace key list\n"


async def test_local_keys_are_made_once_private_and_anew_when_revoked(
    kafka: Broker, prefix: str, tmp_path: Path
) -> None:
    await ensure_topics(kafka.kwargs, [CATALOGUE["control"], CATALOGUE["audit"]], prefix, "local")
    first = await local_keys.ensure(kafka.kwargs, prefix, tmp_path, "local")
    assert await local_keys.ensure(kafka.kwargs, prefix, tmp_path, "local") == first
    for kind in ("ingest", "admin"):
        assert stat.S_IMODE((tmp_path / "keys" / kind).stat().st_mode) == 0o600
    await keyring.revoke(kafka.kwargs, prefix, Who("ann"), keys.parse_key(first.ingest).id)
    second = await local_keys.ensure(kafka.kwargs, prefix, tmp_path, "local")
    assert second.ingest != first.ingest
    assert second.admin == first.admin
    other = f"{prefix}-new"  # a Kafka that has never seen these keys
    await ensure_topics(kafka.kwargs, [CATALOGUE["control"], CATALOGUE["audit"]], other, "local")
    assert await local_keys.ensure(kafka.kwargs, other, tmp_path, "local") == second


def test_the_identity_secret_stays_the_same(tmp_path: Path) -> None:
    first = local_keys.identity_secret(tmp_path)
    assert len(bytes.fromhex(first)) == 32
    assert local_keys.identity_secret(tmp_path) == first
    assert stat.S_IMODE((tmp_path / "keys" / "identity").stat().st_mode) == 0o600


def test_status_without_a_stack_tells_of_every_process_and_fails(tmp_path: Path) -> None:
    ports = {
        name: str(free_port())
        for name in (
            "MILLRACE_KAFKA_PORT",
            "MILLRACE_GATEWAY_HEALTH_PORT",
            "MILLRACE_STREAMS_HEALTH_PORT",
            "MILLRACE_SINKS_HEALTH_PORT",
            "MILLRACE_CONSOLE_HEALTH_PORT",
        )
    }
    answer = millrace("status", "--json", MILLRACE_DATA=str(tmp_path / "none"), **ports)
    assert (answer.returncode, answer.stderr) == (1, "")
    rows = json.loads(answer.stdout)
    assert [row["process"] for row in rows] == ["kafka", "gateway", "streams", "sinks", "console"]
    assert all(row["ready"] is False and row["why"] and row["lag"] is None for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("query", "select 1"), "no local admin key in"),
        (("demo",), "no local ingest key in"),
        (("restart", "streams"), "no stack runs in"),
        (("key", "create", "--tenant", "a b"), "--tenant: 1 to 64 letters"),
        (("key", "create"), "--tenant is needed"),
        (("key", "list"), "does not answer: no connection"),
    ],
)
def test_faults_are_one_line_on_stderr(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    answer = millrace(*arguments, MILLRACE_DATA=str(tmp_path), MILLRACE_BOOTSTRAP=f"127.0.0.1:{free_port()}")
    assert answer.returncode != 0
    assert answer.stdout == ""
    assert message in answer.stderr
    assert "Traceback" not in answer.stderr


def test_one_port_for_two_is_refused_before_anything_starts(tmp_path: Path) -> None:
    port = str(free_port())
    answer = millrace("run", MILLRACE_DATA=str(tmp_path), MILLRACE_SQL_PORT=port, MILLRACE_GATEWAY_HTTP_PORT=port)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr == (
        f"millrace: port {port} is set for OTLP over HTTP (MILLRACE_GATEWAY_HTTP_PORT) "
        "and for SQL (MILLRACE_SQL_PORT): set one of them to another port\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_wrong_settings_are_told_all_at_once() -> None:
    answer = millrace("run", MILLRACE_KAFKA_PORT="x", MILLRACE_SQL_PORT="0")
    assert answer.returncode == 2
    assert len(answer.stderr.splitlines()) == 2
