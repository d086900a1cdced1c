"""The schema registry: what a deployment registers, what a process resolves, and what it says when it cannot."""

from __future__ import annotations

import copy
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from pydantic import SecretStr, ValidationError

from schemas import codec, framing, records, topics
from schemas.errors import UnknownSchema
from service import registry
from service.errors import RegistryRefused, RegistryUnavailable, SchemaMissing
from service.registry import Registry
from service.settings import ProcessSettings
from tests.ports import free_port
from tests.service.registries import Small, apicurio, apicurio_folder

MINIMAL = {"event_id": "e", "tenant": "t", "event_name": "n", "event_time": 1, "received_time": 2}


def settings(url: str, prefix: str = "claude", **more: Any) -> ProcessSettings:
    return ProcessSettings(registry_url=url, prefix=prefix, **more)


@pytest.fixture(autouse=True)
def _no_registry_afterwards() -> Iterator[None]:
    yield
    codec.use_registry(None)


@pytest.fixture(scope="module", params=["small", "apicurio"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The small registry of the tests, and a real one."""
    if request.param == "small":
        with Small().running() as server:
            yield server.url
    else:
        with apicurio(apicurio_folder(), tmp_path_factory.mktemp("apicurio") / "log") as address:
            yield address


@pytest.fixture
def small() -> Iterator[Small]:
    with Small().running() as server:
        yield server


class TestEveryRegistry:
    def test_a_deployment_registers_every_record_under_its_topic(self, url: str, prefix: str) -> None:
        found = list(Registry(settings(url, prefix)).register())
        assert [(one.subject, one.record, one.version) for one in found] == [
            (f"{topics.full_name(prefix, topic.name)}-value", topic.record, version)
            for topic in topics.CATALOGUE.values()
            for version in records.versions(topic.record)
        ]
        assert all(one.new for one in found)
        for one in found:
            config = httpx.get(f"{url}/config/{one.subject}", trust_env=False).json()
            assert config["compatibilityLevel"] == "FULL_TRANSITIVE"

    def test_registering_again_changes_nothing(self, url: str, prefix: str) -> None:
        first = list(Registry(settings(url, prefix)).register())
        again = list(Registry(settings(url, prefix)).register())
        assert [one.schema_id for one in again] == [one.schema_id for one in first]
        assert not any(one.new for one in again)

    def test_a_process_resolves_what_was_registered_and_writes_and_reads_it(self, url: str, prefix: str) -> None:
        ids = {one.record: one.schema_id for one in Registry(settings(url, prefix)).register()}
        registry.use(settings(url, prefix))
        for name in ("claude_event", "session"):
            row = {f.name: MINIMAL.get(f.name, f.default) for f in records.record(name).fields}
            row = {k: _some(records.record(name).field(k).type) if v is None else v for k, v in row.items()}
            data = codec.encode(name, row)
            assert framing.split(data)[0] == ids[name]
            assert codec.decode(name, data) == row

    def test_a_process_never_registers(self, url: str, prefix: str) -> None:
        with pytest.raises(SchemaMissing, match="register it with: millrace topics register") as caught:
            registry.use(settings(url, prefix))
        assert (caught.value.record, caught.value.version) == ("claude_event", 1)
        answer = httpx.get(f"{url}/subjects/{topics.full_name(prefix, 'events')}-value/versions", trust_env=False)
        assert answer.status_code == 404

    def test_a_schema_is_recognised_however_it_is_written(self, url: str, prefix: str) -> None:
        subject = f"{topics.full_name(prefix, 'events')}-value"
        schema = copy.deepcopy(records.record("claude_event").schema)
        schema["doc"] = "Said otherwise."
        body = {"schema": json.dumps(dict(reversed(schema.items())), indent=1)}
        posted = httpx.post(f"{url}/subjects/{subject}/versions", json=body, trust_env=False).json()
        (event,) = [one for one in Registry(settings(url, prefix)).register() if one.record == "claude_event"]
        assert (event.schema_id, event.new) == (posted["id"], False)

    def test_a_breaking_schema_is_refused_with_the_registrys_reason(self, url: str, prefix: str) -> None:
        subject = f"{topics.full_name(prefix, 'events')}-value"
        broken = copy.deepcopy(records.record("claude_event").schema)
        broken["fields"].append({**broken["fields"][0], "name": "must_have"})
        posted = httpx.post(f"{url}/subjects/{subject}/versions", json={"schema": json.dumps(broken)}, trust_env=False)
        assert posted.status_code == 200
        why = rf"refuses claude_event v1 for subject {subject}: 409: .*Incompatible"
        with pytest.raises(RegistryRefused, match=why):
            list(Registry(settings(url, prefix)).register())

    def test_an_id_that_is_not_there_is_named_with_its_topic(self, url: str, prefix: str) -> None:
        list(Registry(settings(url, prefix)).register())
        registry.use(settings(url, prefix))
        with pytest.raises(
            UnknownSchema, match=r"claude_event \(topic events\): schema id 987654: the registry does not"
        ):
            codec.decode("claude_event", framing.confluent_prefix(987_654) + b"\0")

    def test_a_schema_of_another_record_is_refused(self, url: str, prefix: str) -> None:
        ids = {one.record: one.schema_id for one in Registry(settings(url, prefix)).register()}
        registry.use(settings(url, prefix))
        with pytest.raises(
            UnknownSchema, match=r"the registry says that it is millrace\.Session, not millrace\.ClaudeEvent"
        ):
            codec.decode("claude_event", framing.confluent_prefix(ids["session"]) + b"\0")


def _some(kind: str) -> Any:
    return {"string": "s", "boolean": True, "double": 1.5, "bytes": b"b"}.get(kind, 7)


def test_an_unknown_id_is_asked_for_once_and_a_known_one_never(small: Small) -> None:
    list(Registry(settings(small.url)).register())
    registry.use(settings(small.url))
    data = codec.encode("claude_event", MINIMAL)
    small.asked.clear()
    for _ in range(3):
        codec.decode("claude_event", data)
        with pytest.raises(UnknownSchema):
            codec.decode("claude_event", framing.confluent_prefix(555) + b"\0")
    assert small.asked == ["GET /schemas/ids/555"]


def test_a_version_registered_later_is_found_when_it_is_met(small: Small) -> None:
    list(Registry(settings(small.url)).register())
    registry.use(settings(small.url))
    later = copy.deepcopy(records.record("claude_event").schema)
    later["fields"].append({"name": "mood", "type": ["null", "string"], "default": None} | _OURS)
    body = {"schema": json.dumps(later)}
    posted = httpx.post(f"{small.url}/subjects/claude.events.v1-value/versions", json=body, trust_env=False).json()
    data = framing.confluent_prefix(posted["id"]) + codec.encode("claude_event", MINIMAL)[5:] + b"\x02\x08fine"
    assert codec.decode("claude_event", data)["event_id"] == "e"


_OURS = {"doc": "M.", "otel": [], "class": "usage"}


class TestWhatItSays:
    def test_without_a_registry_nothing_changes(self) -> None:
        registry.use(ProcessSettings())
        assert codec.encode("claude_event", MINIMAL)[:2] == framing.SINGLE_OBJECT_MARK

    def test_nobody_there(self) -> None:
        url = f"http://127.0.0.1:{free_port()}"
        with pytest.raises(RegistryUnavailable, match=f"schema registry at {url} does not answer: "):
            registry.use(settings(url))

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_ill(self, small: Small, status: int) -> None:
        small.status = (status, b'{"error_code": 50001, "message": "the store is away"}')
        with pytest.raises(RegistryUnavailable, match="does not answer: the store is away"):
            registry.use(settings(small.url))

    @pytest.mark.parametrize(
        ("status", "body"), [(200, b"<html>"), (200, b"{}"), (200, b"[1]"), (404, b"<html>"), (301, b"")]
    )
    def test_another_server(self, small: Small, status: int, body: bytes) -> None:
        small.status = (status, body)
        with pytest.raises(RegistryRefused, match="is MILLRACE_REGISTRY_URL its address"):
            registry.use(settings(small.url))

    def test_a_password(self, small: Small) -> None:
        small.only_for("gateway", "secret")
        with pytest.raises(RegistryRefused, match=r"401: set MILLRACE_REGISTRY_USERNAME and _PASSWORD, or"):
            registry.use(settings(small.url))
        right = settings(small.url, registry_username="gateway", registry_password=SecretStr("secret"))
        assert list(Registry(right).register())

    def test_a_token(self, small: Small) -> None:
        small.let_in = "Bearer secret"
        with pytest.raises(RegistryRefused):
            registry.use(settings(small.url, registry_token=SecretStr("wrong")))
        assert list(Registry(settings(small.url, registry_token=SecretStr("secret"))).register())

    def test_tls(self, tmp_path: Path) -> None:
        authority = trustme.CA()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost").configure_cert(context)
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        with Small(context).running() as server:
            with pytest.raises(RegistryUnavailable, match="certificate"):
                registry.use(settings(server.url))
            assert list(Registry(settings(server.url, registry_ca_file=tmp_path / "ca.pem")).register())

    @pytest.mark.parametrize(
        ("given", "fault"),
        [
            ({"registry_username": "u"}, "MILLRACE_REGISTRY_USERNAME and MILLRACE_REGISTRY_PASSWORD belong together"),
            (
                {"registry_username": "u", "registry_password": "p", "registry_token": "t"},
                "MILLRACE_REGISTRY_TOKEN and MILLRACE_REGISTRY_USERNAME exclude each other",
            ),
            ({"registry_ca_file": "/nowhere"}, "no such file: /nowhere"),
            ({"registry_url": "registry:8081"}, "pattern"),
        ],
    )
    def test_settings_that_cannot_be_meant(self, given: dict[str, str], fault: str) -> None:
        with pytest.raises(ValidationError, match=fault):
            ProcessSettings(**given)
