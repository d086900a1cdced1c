"""Kafka's jars: exactly the locked ones, fetched once from Maven Central into a cache outside the work tree.

`python -m millrace.jars` rewrites the lock from what Maven resolves for VERSION; everything else only reads it.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from jgo.constants import MAVEN_CENTRAL_URL
from jgo.maven import MavenContext, PythonResolver

from millrace.errors import JarFault

logger = logging.getLogger(__name__)

VERSION = "4.3.1"
ROOTS = (("org.apache.kafka", "kafka_2.13", VERSION), ("org.apache.kafka", "kafka-tools", VERSION))
# Not among Kafka's dependencies, though its own distribution has it: without it nothing is logged.
EXTRA = ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.4")
MAVEN_CENTRAL = str(MAVEN_CENTRAL_URL)
LOCK = Path(__file__).with_name("kafka-jars.lock")
LOCK_HEAD = f"""\
# Apache Kafka {VERSION} and all it needs: Maven coordinate and SHA-256 of each jar.
# Rewritten by: python -m millrace.jars
"""

_THREADS = 8
_ATTEMPTS = 3
_TIMEOUT_S = 60


@dataclass(frozen=True)
class Jar:
    """One line of the lock.  sha256: hex."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


def locked() -> tuple[Jar, ...]:
    """The jars of the committed lock."""
    lines = [line for line in LOCK.read_text().splitlines() if line and not line.startswith("#")]
    return tuple(Jar(*line.replace(" ", ":").split(":")) for line in lines)


def folder(cache: Path) -> Path:
    """Where this version's jars are in a cache."""
    return cache / f"kafka-{VERSION}"


def damaged(directory: Path, jars: Sequence[Jar]) -> dict[Jar, str]:
    """What is wrong with each jar that is not as locked: "missing" or "damaged". Reads all 54 MB: about 0.1 s."""
    with ThreadPoolExecutor(_THREADS) as pool:
        states = pool.map(lambda jar: _state(directory / jar.file_name, jar), jars)
        return {jar: state for jar, state in zip(jars, states, strict=True) if state}


def ensure(
    cache: Path, *, repository: str = MAVEN_CENTRAL, say: Callable[[str], None] = logger.info, jars: Sequence[Jar] = ()
) -> Path:
    """The folder with every locked jar as it must be; fetches what is missing or damaged.

    Args:    repository: a Maven repository's URL.  say: told, in one line each, what takes time or was mended.
    Raises:  JarFault: cannot be fetched, cannot be written, or arrives with another hash.
    """
    jars = jars or locked()
    directory = folder(cache)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _exclusive(cache / f"kafka-{VERSION}.lock"):
            wanting = damaged(directory, jars)
            for jar, state in wanting.items():
                if state == "damaged":
                    say(
                        f"{directory / jar.file_name} is damaged (its SHA-256 is not the locked one): fetching it again"
                    )
            if wanting:
                say(
                    f"fetching {len(wanting)} of {len(jars)} Kafka jars (54 MB in all) from {repository} to {directory}"
                )
                _fetch(list(wanting), directory, repository)
    except OSError as error:
        raise JarFault(
            f"cannot write Kafka's jars to {directory} ({error.strerror or error})",
            "free space there, or set MILLRACE_CACHE to a folder that can be written",
        ) from error
    return directory


def _state(path: Path, jar: Jar) -> str:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return "missing"
    return "" if digest == jar.sha256 else "damaged"


def _fetch(jars: Sequence[Jar], directory: Path, repository: str) -> None:
    # Beside the cache, not in it: a rename within one file system puts a whole jar in place at once.
    scratch = Path(tempfile.mkdtemp(prefix=".fetch-", dir=directory.parent))
    try:
        with ThreadPoolExecutor(_THREADS) as pool:
            futures = [pool.submit(_fetch_one, jar, scratch / jar.file_name, directory, repository) for jar in jars]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _fetch_one(jar: Jar, scratch: Path, directory: Path, repository: str) -> None:
    cause = ""
    for attempt in range(_ATTEMPTS):
        # A folder for each attempt: jgo keeps what a broken download left behind.
        context = MavenContext(
            resolver=PythonResolver(),
            repo_cache=scratch / str(attempt),
            local_repos=[],
            remote_repos={"repository": repository},
            timeout=_TIMEOUT_S,
        )
        try:
            path = context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
        except (requests.RequestException, RuntimeError) as error:
            cause = _cause(error)
            continue
        if _state(path, jar):
            cause = "it arrives with another SHA-256 than the locked one"
            continue
        os.replace(path, directory / jar.file_name)
        return
    raise JarFault(
        f"cannot fetch {jar.file_name} from {repository} ({cause})",
        "connect to the network (or set HTTPS_PROXY, or MILLRACE_MAVEN to a mirror of Maven Central) and start again; "
        "only the first start needs it",
    )


def _cause(error: Exception) -> str:
    if isinstance(error, requests.exceptions.SSLError):
        return "TLS failed"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    if isinstance(error, requests.Timeout):
        return f"no answer within {_TIMEOUT_S} s"
    return "it is not there" if isinstance(error, RuntimeError) else type(error).__name__


@contextmanager
def _exclusive(path: Path):  # type: ignore[no-untyped-def]
    """Two starts at once fetch once."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def resolve_lock() -> str:
    """The text of a new lock: what Maven resolves for ROOTS now. Needs the network."""
    with tempfile.TemporaryDirectory() as scratch:
        resolver = PythonResolver()
        context = MavenContext(
            resolver=resolver,
            repo_cache=Path(scratch),
            local_repos=[],
            remote_repos={"central": MAVEN_CENTRAL},
            timeout=_TIMEOUT_S,
        )
        inputs, transitive = resolver.resolve([context.create_dependency(":".join(root)) for root in ROOTS])
        # Apart from the roots: a root's managed versions rule all others, and this one's would bring old Kafka clients.
        extra = context.create_dependency(":".join(EXTRA))
        found = [dependency.artifact for dependency in (*inputs, *transitive, extra)]
        artifacts = {(artifact.groupId, artifact.artifactId, artifact.version): artifact for artifact in found}
        lines = []
        for (group, name, version), artifact in sorted(artifacts.items()):
            digest = hashlib.sha256(artifact.resolve().read_bytes()).hexdigest()
            lines.append(f"{group}:{name}:{version} {digest}\n")
    return LOCK_HEAD + "".join(lines)


if __name__ == "__main__":
    LOCK.write_text(resolve_lock())
