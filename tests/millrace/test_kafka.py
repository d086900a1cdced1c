import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from millrace.errors import KafkaFault, PortTaken
from millrace.kafka import Broker, cache_of
from service.cluster import describe
from tests.kafka import jars
from tests.ports import free_port

pytestmark = pytest.mark.broker


@pytest.fixture
def directory() -> Path:
    return jars()


async def test_a_second_start_is_the_same_cluster(directory: Path, tmp_path: Path) -> None:
    broker = Broker(directory, tmp_path / "kafka", log=tmp_path / "kafka.log", port=free_port(), heap_mb=256)
    broker.start()
    first, _ = await describe(broker.kwargs, [])
    broker.stop()
    with Broker(directory, tmp_path / "kafka", log=tmp_path / "kafka.log", port=broker.port, heap_mb=256) as again:
        assert (await describe(again.kwargs, []))[0] == first
    assert "INFO" in (tmp_path / "kafka.log").read_text()


def test_java_takes_what_it_kept_of_an_earlier_start(directory: Path, tmp_path: Path) -> None:
    assert cache_of(directory).exists()
    only = ("-XX:AOTMode=on",)  # no start without it
    Broker(
        directory, tmp_path, log=tmp_path / "kafka.log", port=free_port(), heap_mb=256, java_options=only
    ).__enter__().stop()


def test_what_java_cannot_use_of_it_is_passed_over(directory: Path, tmp_path: Path) -> None:
    linked = tmp_path / "jars"
    linked.mkdir()
    for jar in directory.iterdir():
        (linked / jar.name).symlink_to(jar)
    cache_of(linked).write_bytes(b"of another Java")
    with Broker(linked, tmp_path / "kafka", log=tmp_path / "kafka.log", port=free_port(), heap_mb=256) as broker:
        assert broker.answers()


def test_a_taken_port_is_told_before_java_starts(directory: Path, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        broker = Broker(directory, tmp_path / "kafka", log=tmp_path / "kafka.log", port=other.getsockname()[1])
        with pytest.raises(PortTaken, match="set MILLRACE_KAFKA_PORT to a free port"):
            broker.start()
    assert not (tmp_path / "kafka").exists()


def test_a_broker_that_dies_says_why(directory: Path, tmp_path: Path) -> None:
    folder = tmp_path / "kafka"
    broker = Broker(
        directory, folder, log=tmp_path / "kafka.log", port=free_port(), settings={"log.retention.ms": "nonsense"}
    )
    with pytest.raises(KafkaFault, match="nonsense"):
        broker.start()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_kafka_dies_with_a_killed_parent(directory: Path, tmp_path: Path) -> None:
    port = free_port()
    code = (
        "import sys, time; from pathlib import Path; from millrace.kafka import Broker\n"
        "folder = Path(sys.argv[2])\n"
        "Broker(Path(sys.argv[1]), folder, log=folder / 'kafka.log', port=int(sys.argv[3]), heap_mb=256).start()\n"
        "print('up', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(directory), str(tmp_path), str(port)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    with parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        parent.kill()
    broker = Broker(directory, tmp_path, log=tmp_path / "kafka.log", port=port, heap_mb=256)
    deadline = time.monotonic() + 5
    while broker.answers() and time.monotonic() < deadline:
        time.sleep(0.05)
    with broker:
        assert broker.answers()
