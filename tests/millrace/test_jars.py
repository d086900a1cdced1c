"""Against a Maven repository of two small jars on loopback."""

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from millrace import jars
from millrace.errors import JarFault
from millrace.jars import Jar
from tests.ports import free_port

CONTENT = {"one": b"first jar", "two": b"second jar"}
JARS = [Jar("org.example", name, "1.0", hashlib.sha256(content).hexdigest()) for name, content in CONTENT.items()]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[str]:
    root = tmp_path / "repository"
    for name, content in CONTENT.items():
        path = root / "org" / "example" / name / "1.0" / f"{name}-1.0.jar"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=root))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def fetch(cache: Path, repository: str) -> tuple[dict[str, bytes], list[str]]:
    told: list[str] = []
    folder = jars.ensure(cache, repository=repository, say=told.append, jars=JARS)
    return {path.name: path.read_bytes() for path in folder.glob("*.jar")}, told


def test_the_lock_names_kafka_and_all_it_needs() -> None:
    locked = jars.locked()
    assert len(locked) == 92
    assert all(len(bytes.fromhex(jar.sha256)) == 32 for jar in locked)
    assert {jar.version for jar in locked if jar.group == "org.apache.kafka"} == {jars.VERSION}


def test_jars_are_fetched_once(tmp_path: Path, repository: str) -> None:
    cache = tmp_path / "cache"
    found, told = fetch(cache, repository)
    assert found == {f"{name}-1.0.jar": content for name, content in CONTENT.items()}
    assert len(told) == 1
    assert fetch(cache, "http://127.0.0.1:1") == (found, [])


def test_a_damaged_jar_is_named_and_fetched_again(tmp_path: Path, repository: str) -> None:
    cache = tmp_path / "cache"
    found, _ = fetch(cache, repository)
    broken = jars.folder(cache) / "one-1.0.jar"
    broken.write_bytes(b"fIrst jar")
    again, told = fetch(cache, repository)
    assert again == found
    assert told[0] == f"{broken} is damaged (its SHA-256 is not the locked one): fetching it again"


def test_no_network_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(JarFault) as raised:
        fetch(tmp_path / "cache", f"http://127.0.0.1:{free_port()}")
    line = str(raised.value)
    assert "cannot fetch one-1.0.jar" in line
    assert "(no connection): connect to the network" in line
    assert "\n" not in line


def test_a_mirror_with_other_content_is_refused(tmp_path: Path, repository: str) -> None:
    (tmp_path / "repository/org/example/two/1.0/two-1.0.jar").write_bytes(b"evil jar")
    with pytest.raises(JarFault, match="it arrives with another SHA-256"):
        fetch(tmp_path / "cache", repository)
    assert not (jars.folder(tmp_path / "cache") / "two-1.0.jar").exists()


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JarFault, match="set MILLRACE_CACHE"):
        fetch(tmp_path / "file" / "cache", "http://127.0.0.1:1")
