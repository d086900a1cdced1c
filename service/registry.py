"""A schema registry with Confluent's API, where there is one: which id stands for which of our schemas.

The subject of a topic's values is `<topic>-value` (TopicNameStrategy). Registering is a step of a deployment
(`millrace topics register`); a process only resolves ids, once at its start. An id that it meets later and does not
know is asked for then. A schema is recognised by its fingerprint, never by its text, which a registry may rewrite.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from schemas import codec, records, topics
from schemas.records import Record
from service.errors import RegistryRefused, RegistryUnavailable, SchemaMissing
from service.settings import ProcessSettings

COMPATIBILITY = "FULL_TRANSITIVE"
_MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
_STRANGE = "it does not speak as a schema registry: is MILLRACE_REGISTRY_URL its address?"
_TIMEOUT_S = 3.0
# A topic full of bytes that only look like a frame must not become as many questions to the registry.
_ABSENT_S = 30.0
_ABSENT_MAX = 1024


@dataclass(frozen=True)
class Registered:
    """One version of one record in the registry.  new: it was not there before."""

    subject: str
    record: str
    version: int
    schema_id: int
    new: bool


class Registry:
    """The registry that the settings name. Every method blocks, for at most 3 s a request.

    Raises, all of them: RegistryUnavailable: no answer; RegistryRefused: it says no, and why.
    """

    def __init__(self, settings: ProcessSettings) -> None:
        assert settings.registry_url is not None, "there is none"
        self._url = settings.registry_url.rstrip("/")
        self._tls = ssl.create_default_context(cafile=settings.registry_ca_file)
        self._auth: httpx.Auth | None = None
        self._headers = {"accept": f"{_MEDIA_TYPE}, application/json"}
        if settings.registry_username is not None and settings.registry_password is not None:
            self._auth = httpx.BasicAuth(settings.registry_username, settings.registry_password.get_secret_value())
        if settings.registry_token is not None:
            self._headers["authorization"] = f"Bearer {settings.registry_token.get_secret_value()}"
        self._prefix = settings.prefix
        self._schemas: dict[int, dict[str, Any]] = {}
        self._absent: dict[int, float] = {}

    def register(self) -> Iterator[Registered]:
        """Register every version of every record that is not there yet, oldest first; yields all as it goes."""
        for name in topics.CATALOGUE:
            subject, record = self._subject(name), topics.CATALOGUE[name].record
            present = self._present(subject)
            config = self._ask("GET", f"/config/{quote(subject, safe='')}", absent=True) or {}
            if config.get("compatibilityLevel") != COMPATIBILITY:
                self._ask("PUT", f"/config/{quote(subject, safe='')}", {"compatibility": COMPATIBILITY})
            for version in records.versions(record):
                shipped = records.record(record, version)
                found = present.get(shipped.fingerprint)
                schema_id = self._register(subject, shipped) if found is None else found
                yield Registered(subject, record, version, schema_id, found is None)

    def resolve(self) -> dict[str, int]:
        """The id of the newest version of every record. Raises: SchemaMissing."""
        ids = {}
        for name, topic in topics.CATALOGUE.items():
            newest, subject = records.record(topic.record), self._subject(name)
            present = self._present(subject)
            if newest.fingerprint not in present:
                raise SchemaMissing(topic.record, newest.version, subject, self._url)
            ids[topic.record] = present[newest.fingerprint]
        return ids

    def schema(self, schema_id: int) -> dict[str, Any]:
        """The parsed .avsc with this id. Raises: KeyError: it is not there; ValueError: it is no Avro."""
        if schema_id in self._schemas:
            return self._schemas[schema_id]
        if time.monotonic() < self._absent.get(schema_id, 0.0):
            raise KeyError(schema_id)
        answer = self._ask("GET", f"/schemas/ids/{schema_id}", absent=True, keys=("schema",))
        if answer is None:
            if len(self._absent) >= _ABSENT_MAX:
                self._absent.clear()
            self._absent[schema_id] = time.monotonic() + _ABSENT_S
            raise KeyError(schema_id)
        return self._parsed(answer)

    def _subject(self, topic: str) -> str:
        return f"{topics.full_name(self._prefix, topic)}-value"

    def _present(self, subject: str) -> dict[bytes, int]:
        """Fingerprint → id of every version of a subject that is one of ours or could be."""
        path = f"/subjects/{quote(subject, safe='')}/versions"
        found = {}
        versions = self._ask("GET", path, absent=True)
        if not isinstance(versions, list | None):
            raise RegistryRefused(self._url, "", _STRANGE)
        for version in versions or []:
            answer = self._ask("GET", f"{path}/{version}", keys=("id", "schema"))
            try:
                schema = self._parsed(answer)
                fingerprint = codec.fingerprint(schema)
            except ValueError:
                continue
            found[fingerprint] = int(answer["id"])
            self._schemas[found[fingerprint]] = schema
        return found

    def _register(self, subject: str, record: Record) -> int:
        schema = json.dumps(record.schema, ensure_ascii=False, separators=(",", ":"))
        what = f"{record.name} v{record.version} for subject {subject}"
        path = f"/subjects/{quote(subject, safe='')}/versions"
        answer = self._ask("POST", path, {"schema": schema}, what=what, keys=("id",))
        return int(answer["id"])

    @staticmethod
    def _parsed(answer: Any) -> dict[str, Any]:
        kind = answer.get("schemaType", "AVRO")
        if kind != "AVRO":
            raise ValueError(f"it is of type {kind}, not AVRO")
        schema = json.loads(answer["schema"])
        if not isinstance(schema, dict):
            raise ValueError("it is no record")
        return schema

    def _ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        absent: bool = False,
        what: str = "",
        keys: Sequence[str] = (),
    ) -> Any:
        """The answer's JSON.  absent: None for a 404.  what: we want of it, for the error.  keys: it must have."""
        try:
            answer = httpx.request(
                method,
                self._url + path,
                content=None if body is None else json.dumps(body),
                headers={**self._headers, **({} if body is None else {"content-type": _MEDIA_TYPE})},
                auth=self._auth,
                verify=self._tls,
                timeout=_TIMEOUT_S,
            )
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise RegistryUnavailable(self._url, str(error) or type(error).__name__) from error
        if answer.status_code == 404 and absent and _says(answer):
            return None
        if answer.status_code >= 500 or answer.status_code == 429:
            raise RegistryUnavailable(self._url, _says(answer) or f"status {answer.status_code}")
        if answer.status_code in (401, 403):
            cause = f"{answer.status_code}: set MILLRACE_REGISTRY_USERNAME and _PASSWORD, or MILLRACE_REGISTRY_TOKEN"
            raise RegistryRefused(self._url, what, cause)
        if not answer.is_success:
            raise RegistryRefused(self._url, what, f"{answer.status_code}: {_says(answer) or _STRANGE}")
        try:
            found = answer.json()
        except ValueError as error:
            raise RegistryRefused(self._url, what, _STRANGE) from error
        if keys and not (isinstance(found, dict) and found.keys() >= set(keys)):
            raise RegistryRefused(self._url, what, _STRANGE)
        return found


def use(settings: ProcessSettings) -> None:
    """From now on this process writes Confluent's frame and reads both, if the settings name a registry. Blocks.

    Raises: RegistryUnavailable; RegistryRefused; SchemaMissing.
    """
    if settings.registry_url is not None:
        registry = Registry(settings)
        codec.use_registry(registry.schema, registry.resolve())


def _says(answer: httpx.Response) -> str:
    """The registry's own words in one line; "" where it has none."""
    try:
        body = answer.json()
    except ValueError:
        return ""
    return " ".join(str(body.get("message", "")).split()) if isinstance(body, dict) else ""
