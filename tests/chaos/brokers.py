"""One Kafka node, or three on loopback that replicate for each other."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from millrace.kafka import HOST, Broker, new_cluster_id
from tests.ports import free_ports

_HEAP_MB = {1: 512, 3: 320}
_STANDS_S = 0.15
_RUNS_S = 0.05
_REFUSED = "errors.NotEnoughReplicas"


class Brokers:
    """A context manager.  count: 1 or 3; with 3 a topic may have three replicas, and two must have what is acked."""

    def __init__(self, jars: Path, folder: Path, count: int) -> None:
        ports = free_ports(2 * count)
        clients, controllers = ports[:count], ports[count:]
        voters = ",".join(f"{number}@{HOST}:{port}" for number, port in enumerate(controllers, 1))
        copies = {
            "offsets.topic.replication.factor": str(count),
            "min.insync.replicas": str(min(2, count)),
            "default.replication.factor": str(count),
            # A follower that is frozen or dead leaves the in-sync replicas soon, and a leader's successor comes soon.
            "replica.lag.time.max.ms": "4000",
            "broker.session.timeout.ms": "3000",
            "controller.quorum.election.timeout.ms": "1000",
            "controller.quorum.fetch.timeout.ms": "2000",
            # What compaction may forget it does forget, now.
            "log.cleaner.backoff.ms": "1000",
            "log.cleaner.min.cleanable.ratio": "0.01",
        }
        cluster_id = new_cluster_id()
        self.nodes = [
            Broker(
                jars,
                folder / f"kafka{number}",
                log=folder / f"kafka{number}" / "kafka.log",
                port=client,
                heap_mb=_HEAP_MB[count],
                cluster_id=cluster_id,
                settings={
                    **copies,
                    "node.id": str(number),
                    "controller.quorum.voters": voters,
                    "listeners": f"PLAINTEXT://{HOST}:{client},CONTROLLER://{HOST}:{controller}",
                },
            )
            for number, (client, controller) in enumerate(zip(clients, controllers, strict=True), 1)
        ]
        self.bootstrap = ",".join(node.bootstrap for node in self.nodes)
        self.replication = count

    def __enter__(self) -> Brokers:
        try:
            for node in self.nodes:
                node.launch()
            self.wait()
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill()

    def _kill(self) -> None:
        for node in self.nodes:
            node.kill()

    def wait(self, timeout_s: float = 180.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not all(node.answers() for node in self.nodes):
            for node in self.nodes:
                node.check_alive()
            assert time.monotonic() < deadline, f"Kafka does not come up within {timeout_s:.0f} s"
            time.sleep(0.1)

    def refused_writes(self) -> int:
        """How often a write was refused because too few replicas were in sync, as the nodes' logs tell."""
        logs = [path for node in self.nodes for path in node.log.parent.glob(f"{node.log.name}*")]
        return sum(path.read_text(errors="replace").count(_REFUSED) for path in logs)

    def restart(self, rnd: random.Random) -> str:
        """kill -9 of one node and a new start: another becomes leader, and the in-sync replicas shrink for a while."""
        return self._restart(rnd, [rnd.choice(self.nodes)])

    def freeze(self, rnd: random.Random) -> str:
        """One node answers nothing for some seconds, with its connections open."""
        return self._freeze([rnd.choice(self.nodes)], rnd.uniform(1, 8))

    def kill_most(self, rnd: random.Random) -> str:
        """kill -9 of two of three, started one after the other: too few replicas are in sync for a write."""
        return self._restart(rnd, self._most(rnd))

    def freeze_most(self, rnd: random.Random) -> str:
        """Two of three answer nothing for some seconds: nothing is replicated, and no leader can be elected."""
        return self._freeze(self._most(rnd), rnd.uniform(3, 12))

    def slow(self, rnd: random.Random) -> str:
        """One node answers late for some seconds: it runs for a quarter of the time."""
        node, seconds = rnd.choice(self.nodes), rnd.uniform(3, 10)
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            node.pause()
            time.sleep(_STANDS_S)
            node.resume()
            time.sleep(_RUNS_S)
        self.wait()
        return f"kafka {self._names([node])} slow for {seconds:.1f} s"

    def cut(self, topic: str) -> None:
        """All nodes die and come back without the end of a topic's logs, as lost disks or unclean elections do it."""
        self._kill()
        for node in self.nodes:
            data = node.folder / "data"
            (data / "recovery-point-offset-checkpoint").unlink()  # or only the last file of a log would be looked at
            for log in data.glob(f"{topic}-*"):
                first, *others = sorted(log.glob("*.log"))
                os.truncate(first, first.stat().st_size * 2 // 3)
                for path in (*others, *log.glob("*index"), *log.glob("*.snapshot")):
                    path.unlink()
            node.launch()
        self.wait()

    def _restart(self, rnd: random.Random, nodes: Sequence[Broker]) -> str:
        for node in nodes:
            node.kill()
        for node in nodes:
            time.sleep(rnd.uniform(0, 6))
            node.launch()
        self.wait()
        return f"kafka {self._names(nodes)} killed and started"

    def _freeze(self, nodes: Sequence[Broker], seconds: float) -> str:
        for node in nodes:
            node.pause()
        time.sleep(seconds)
        for node in nodes:
            node.resume()
        self.wait()
        return f"kafka {self._names(nodes)} frozen for {seconds:.1f} s"

    def _most(self, rnd: random.Random) -> list[Broker]:
        return rnd.sample(self.nodes, len(self.nodes) // 2 + 1)

    def _names(self, nodes: Sequence[Broker]) -> str:
        return " and ".join(str(self.nodes.index(node) + 1) for node in nodes)
