"""Finding the rows of one session or one user in the databases on this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from schemas.topics import make_key, partition_for
from streams.engine.rows import Row
from streams.inspect import decoding
from streams.inspect.databases import Here, Snapshot, opened
from streams.inspect.errors import NoSuchRow
from streams.sessions import state
from streams.sessions.state import Half
from streams.users import logic as users

SESSIONS = (state.BY_EVENTS, state.BY_POINTS)
_PSEUDO = re.compile(r"~(?P<holder>.*)~(?P<day>\d+)", re.DOTALL)

Rows = list[tuple[bytes, Row]]


@dataclass(frozen=True)
class Session:
    """A session as its partition has it.

    source_key: of its records on Kafka.  name: its bytes in row keys.  halves: of both tables, None for one without.
    """

    source_key: bytes
    name: bytes
    snapshots: dict[str, Snapshot]
    halves: dict[str, Row | None]

    @property
    def partition(self) -> int:
        return self.snapshots[state.BY_EVENTS].database.partition

    def half(self, table: str) -> Half | None:
        """Raises: UnknownFormat."""
        row = self.halves[table]
        return None if row is None else decoding.value(table, state.session_key(self.name), row)

    def rows(self, table: str) -> Iterator[tuple[bytes, Row]]:
        """Every row of the session in one table, its half row first.

        Hours are named by the half row; of the other kinds all rows of the partition are walked over.
        """
        snapshot, row, half = self.snapshots[table], self.halves[table], self.half(table)
        if row is None or half is None:
            return
        yield state.session_key(self.name), row
        hours = [
            state.hour_key(self.name, hour, who.level, who.user) for hour in half.hours for who in self._identities()
        ]
        for key, found in zip(hours, snapshot.get_many(hours), strict=True):
            if found is not None:
                yield key, found
        for kind in (b"t", b"c", b"i"):
            for key, found in snapshot.scan(kind):
                if key.endswith(self.name) and state.key_parts(key)["session_id"] == half.session:
                    yield key, found

    def _identities(self) -> list[state.Identity]:
        halves = [half for table in SESSIONS if (half := self.half(table)) is not None]
        return list({(who.level, who.user): who for half in halves for who in half.identities}.values())


@contextmanager
def session(here: Here, tenant: str, session_id: str) -> Iterator[Session]:
    """The session, or the pseudo-session ~USER_KEY~DAY of a user's records without one.

    Raises: NotOnThisMachine.  NoSuchRow.  DatabaseUnreadable.  UnknownFormat.
    """
    key = make_key(tenant, session_id)
    name = key
    if pseudo := _PSEUDO.fullmatch(session_id):
        key = make_key(tenant, pseudo["holder"])
        name = state.pseudo_session(key, int(pseudo["day"]))[0]
    with ExitStack() as stack:
        partition = partition_for(key, here.partitions(state.BY_EVENTS))
        snapshots = {table: stack.enter_context(opened(here.partition(table, partition))) for table in SESSIONS}
        halves = {table: snapshot.get_many([state.session_key(name)])[0] for table, snapshot in snapshots.items()}
        if all(row is None for row in halves.values()):
            raise NoSuchRow(f"session {session_id} of tenant {tenant}", snapshots[state.BY_EVENTS].database.where)
        yield Session(key, name, snapshots, halves)


@contextmanager
def user(here: Here, tenant: str, user_key: str) -> Iterator[Snapshot]:
    """The partition in which the user's windows are.

    Raises: NotOnThisMachine.  DatabaseUnreadable.  UnknownFormat.
    """
    partition = partition_for(make_key(tenant, user_key), here.partitions(users.TABLE))
    with opened(here.partition(users.TABLE, partition)) as snapshot:
        yield snapshot


def user_rows(snapshot: Snapshot, tenant: str, user_key: str) -> Iterator[tuple[bytes, Row]]:
    """Every row of the user: its windows, then what was counted. All rows of the partition are walked over."""
    mine = f"{tenant}\x1f{user_key}\x1f".encode()
    for key, row in snapshot.scan():
        if mine in key and (parts := users.key_parts(key))["tenant"] == tenant and parts["user_key"] == user_key:
            yield key, row
