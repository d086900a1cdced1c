"""Which process may do what to which topic, as Kafka's ACLs; docs/access.md is made from it.

Kafka tells topics apart, not tenants: whoever may read `events` reads every tenant's. What needs a tenant, a class or a
row rule is asked of the SQL service, which is the only reader of people.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from schemas.topics import CATALOGUE, full_name

Operation = Literal["Read", "Write", "Create", "Describe", "DescribeConfigs"]
Resource = Literal["topic", "group"]


@dataclass(frozen=True)
class Process:
    """One kind of client of Kafka.

    reads, writes: topics of the catalogue.  own: it makes, reads and writes topics of its own, whose names begin with
    the prefix and this.  group: its consumer groups begin so.  creates: it makes the topics of the catalogue.
    """

    doc: str
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    own: str | None = None
    group: str | None = None
    creates: bool = False


_OPEN = ("events", "metrics", "spans", "sessions", "session-hours", "user-windows")

PROCESSES: Mapping[str, Process] = MappingProxyType(
    {
        "gateway": Process(
            "takes telemetry in",
            reads=("control",),
            writes=("events", "content", "metrics", "spans", "rejected"),
        ),
        "streams": Process(
            "folds sessions, hours and windows",
            reads=("events", "metrics", "sessions", "session-hours", "user-windows"),
            writes=("sessions", "session-hours", "user-windows", "rejected"),
            own="-streams",
            group="-streams",
        ),
        "sinks": Process(
            "fills lake and query tables, answers SQL, tells the audit who read content and which keys are used",
            reads=(*_OPEN, "content", "rejected", "control", "audit"),
            writes=("audit",),
            group="-sinks-",
        ),
        "cli": Process(
            "administrators: topics, keys, roles, policies, routing",
            reads=("control", "events", "metrics"),
            writes=("control", "audit"),
            creates=True,
        ),
        "data-team": Process("engines of the data team", reads=_OPEN, group="-data-"),
        "content-reader": Process(
            "may read what was said; no audit tells of it", reads=("content",), group="-content-"
        ),
        "console": Process(
            "web pages, which ask the SQL service; changes keys, roles and policies as the admin who is signed in",
            reads=("control",),
            writes=("control", "audit"),
        ),
    }
)


@dataclass(frozen=True)
class Acl:
    """Some operations on some resources.  names: whole, or what their names begin with."""

    operations: tuple[Operation, ...]
    resource: Resource
    names: tuple[str, ...]
    prefixed: bool = False


def acls(process: str, prefix: str) -> Iterator[Acl]:
    """What a process needs, and nothing else. Raises: KeyError."""
    kind = PROCESSES[process]
    if kind.reads:
        yield Acl(("Read", "Describe"), "topic", tuple(full_name(prefix, name) for name in kind.reads))
    if kind.writes:
        yield Acl(("Write", "Describe"), "topic", tuple(full_name(prefix, name) for name in kind.writes))
    if kind.creates:
        yield Acl(("Create", "Describe"), "topic", tuple(full_name(prefix, name) for name in CATALOGUE))
    if kind.own is not None:
        own: tuple[Operation, ...] = ("Create", "Read", "Write", "Describe", "DescribeConfigs")
        yield Acl(own, "topic", (f"{prefix}{kind.own}",), prefixed=True)
    if kind.group is not None:
        yield Acl(("Read", "Describe"), "group", (f"{prefix}{kind.group}",), prefixed=True)


def arguments(acl: Acl, principal: str) -> list[str]:
    """An ACL as arguments of Kafka's own tool, kafka-acls.sh, without the address."""
    words = ["--add", "--allow-principal", principal]
    for operation in acl.operations:
        words += ["--operation", operation]
    for name in acl.names:
        words += [f"--{acl.resource}", name]
    return [*words, "--resource-pattern-type", "prefixed"] if acl.prefixed else words


def table(names: Sequence[str] = tuple(CATALOGUE)) -> str:
    """docs/access.md's table: topics against processes."""
    rows = [["topic", *PROCESSES], ["---"] * (len(PROCESSES) + 1)]
    for name in names:
        marks = [
            " ".join(word for word, held in (("read", p.reads), ("write", p.writes)) if name in held)
            for p in PROCESSES.values()
        ]
        rows.append([name, *marks])
    rows.append(["own topics", *(f"`<prefix>{p.own}…`" if p.own else "" for p in PROCESSES.values())])
    rows.append(["consumer groups", *(f"`<prefix>{p.group}…`" if p.group else "" for p in PROCESSES.values())])
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def document() -> str:
    """docs/access.md."""
    who = "".join(f"- **{name}**: {process.doc}.\n" for name, process in PROCESSES.items())
    return (
        "# Who may read and write which topic\n"
        "Made from `schemas/acls.py` by `millrace topics acls --table > docs/access.md`; a test keeps them in step.\n"
        "`millrace topics acls` prints the commands for Kafka's own tool. A topic is open to nobody who is not named\n"
        "here, if the brokers run an authorizer with `allow.everyone.if.no.acl.found=false`.\n\n"
        f"{table()}\n{who}\n"
        "Kafka tells topics apart, not tenants, classes or rows: who may read `events` reads every tenant's. People\n"
        "get a key of the SQL service instead (`millrace role list`). Whoever holds `content` here reads it past the\n"
        "audit. "
        "`control` is written by `cli` and `console` alone, `audit` by these and `sinks`; nobody has Alter or Delete\n"
        "on any topic, so that entries of the audit end by retention only (400 days).\n"
    )
