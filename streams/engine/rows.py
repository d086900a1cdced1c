"""The layout of a stored row, and which of two copies is the right one.

    row = epoch (u32) + offset (i64) + format (u8) + payload            big endian
          '---- version ----'

The offset is that of the last SOURCE record folded into the row. A row is a pure function of a prefix of one partition
of one topic, so the version orders all copies of a row that were ever written, whoever wrote them. Big endian and never
negative, so versions compare as bytes. The format is the engine's: what follows the version can change without a new
epoch.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple

from streams.engine.errors import WrongRow

VERSION_BYTES = 12
FORMAT = 1
NEWER = "start the release that wrote it, or rebuild with a higher MILLRACE_STREAMS_EPOCH"
"""What to do with a row that this release cannot read."""
_PREFIX = struct.Struct(">IqB")
PREFIX_BYTES = _PREFIX.size

pack_prefix = _PREFIX.pack
unpack_prefix = _PREFIX.unpack_from

RESERVED = b"\x00"
"""Keys that begin with this byte are the engine's own; a scan never shows them."""
MARK_KEY = b"\x00mark"
"""One row a partition: what the rows are made from (see marks.py), with the last offset applied as its version."""
OFFSET_KEY = b"\x00changelog-offset"
"""Local only: offset up to which the changelog is in the local store, as decimal text."""
CHANGELOG_KEY = b"\x00changelog-id"
"""Local only: Kafka's id (UUID text) of the changelog that this offset is of."""
RECORD_KEY = b"\x00changelog-record"
"""Local only: which record stands at this offset, as a packed Place."""
SEEN_OFFSET_KEY = b"\x00changelog-offset-seen"
SEEN_RECORD_KEY = b"\x00changelog-record-seen"
"""Local only: both as they were when the worker before ended, whose last rows may not have been in files."""


class Row(NamedTuple):
    """A stored row.  (epoch, offset) is its version; offset: of the last source record folded into it."""

    epoch: int
    offset: int
    payload: bytes


def pack(epoch: int, offset: int, payload: bytes) -> bytes:
    """The stored form of a row."""
    return pack_prefix(epoch, offset, FORMAT) + payload


new_row: Callable[[tuple[int, int, bytes]], Row] = partial(tuple.__new__, Row)


def unpack_all(stored: Iterable[bytes | None]) -> list[Row | None]:
    """Rows from their stored form; None stays None.

    Raises: WrongRow: too short, or a format that this version of the engine does not know.
    """
    found: list[Row | None] = []
    for value in stored:
        if value is None:
            found.append(None)
            continue
        try:
            epoch, offset, layout = unpack_prefix(value)
        except struct.error as error:
            raise WrongRow(f"a row of {len(value)} bytes is shorter than its version") from error
        if layout != FORMAT:
            raise WrongRow(f"a row has format {layout}, this release reads up to {FORMAT}; {NEWER}")
        found.append(new_row((epoch, offset, value[PREFIX_BYTES:])))
    return found


def unpack(stored: bytes) -> Row:
    """One row from its stored form.

    Raises: as unpack_all.
    """
    (row,) = unpack_all((stored,))
    assert row is not None
    return row


class Merge(NamedTuple):
    """What a stretch of a changelog changes.  stale: keys whose LAST copy in the log is not the right one."""

    puts: dict[bytes, bytes]
    deletes: list[bytes]
    stale: set[bytes]


def merge(
    records: Sequence[ChangelogRecord],
    stored: Callable[[Sequence[bytes]], Sequence[bytes | None]],
    *,
    complete_to: bytes = b"",
    highest: bytes | None = None,
) -> Merge:
    """Changelog records (in log order) against what is stored: the highest version of each key wins.

    A copy that loses is the last one in the log, and compaction would keep it, so its key is told as stale and the
    partition's owner writes the row (or its tombstone) again.
    Args: records: (key, stored row or None for a tombstone, version of the tombstone).
          stored: the stored rows of some keys, None for an unknown one.
          complete_to: the stored rows hold everything up to this version, so a row that is not there and not above it
              was deleted. Empty while they are still being recovered.
          highest: no stored row is above this version, so what is not below it wins without being compared; None where
              that is not known.
    """
    if highest is not None:
        # One copy of each key: so is most of a compacted changelog, and it passes in a third of the time.
        plain = {key: row for key, row, _ in records if row is not None}
        if len(plain) == len(records):
            beaten = merge([record for record in records if plain[record[0]] < highest], stored).stale
            for key in beaten:
                del plain[key]
            return Merge(plain, [], beaten)
    latest: dict[bytes, ChangelogRecord] = {}
    stale: set[bytes] = set()
    for record in records:
        have = latest.setdefault(record[0], record)
        if have is not record:
            if _version(record) < _version(have):
                stale.add(record[0])
            else:
                latest[record[0]] = record
                stale.discard(record[0])
    puts: dict[bytes, bytes] = {}
    deletes: list[bytes] = []
    compared = [key for key, record in latest.items() if highest is None or _version(record) < highest]
    olds = dict(zip(compared, stored(compared), strict=True))
    for key, record in latest.items():
        value, old = record[1], olds.get(key)
        if old is not None and _version(record) < old[:VERSION_BYTES]:
            stale.add(key)
        elif value is None:
            deletes.append(key)
        elif old is None and complete_to and _version(record) <= complete_to:
            stale.add(key)
        else:
            puts[key] = value
    return Merge(puts, deletes, stale)


TOMBSTONE_HEADER = "version"
_UNVERSIONED = b"\xff" * VERSION_BYTES


def tombstone_headers(epoch: int, offset: int) -> list[tuple[str, bytes]]:
    """Headers of a tombstone: it has no value to carry the version."""
    return [(TOMBSTONE_HEADER, pack(epoch, offset, b"")[:VERSION_BYTES])]


def tombstone_version(headers: Iterable[tuple[str, bytes]] | None) -> bytes:
    """The version of a tombstone; above all others where it has none (somebody deleted the row by hand)."""
    for name, value in headers or ():
        if name == TOMBSTONE_HEADER:
            return value
    return _UNVERSIONED


ChangelogRecord = tuple[bytes, bytes | None, bytes]
"""(key, stored row or None for a tombstone, version of the tombstone or b"")."""


def _version(record: ChangelogRecord) -> bytes:
    _, value, version = record
    return version if value is None else value[:VERSION_BYTES]


def changelog_records(messages: Iterable[Any]) -> list[ChangelogRecord]:
    """What messages of a changelog say, whoever read them."""
    return [
        (message.key, value := message.value, b"" if value is not None else tombstone_version(message.headers))
        for message in messages
    ]


class Place(NamedTuple):
    """A record of a changelog: where it stands, and how it is told from another one that may stand there.

    digest: of its key, value and version, hex.  appended_ms: the broker's time; -1 where its time is the writer's.
    """

    offset: int
    digest: str
    appended_ms: int

    def pack(self) -> bytes:
        return f"{self.offset} {self.digest} {self.appended_ms}".encode()

    @classmethod
    def unpack(cls, stored: bytes) -> Place:
        offset, digest, appended_ms = stored.decode().split()
        return cls(int(offset), digest, int(appended_ms))

    def holds(self, other: Place) -> bool:
        """Whether both are the same record. A log never changes what stands at an offset, compaction only takes it."""
        same_time = self.appended_ms == other.appended_ms or -1 in (self.appended_ms, other.appended_ms)
        return self.offset == other.offset and self.digest == other.digest and same_time


def place(record: ChangelogRecord, offset: int, appended_ms: int) -> Place:
    """Of a record that was written, or read."""
    key, value, version = record
    digest = blake2b(digest_size=8)
    for part in (key or b"", value or b"", version):  # of an output topic, a key can be absent
        digest.update(len(part).to_bytes(4, "big") + part)
    return Place(offset, digest.hexdigest(), appended_ms)


def place_of(message: Any) -> Place:
    """Of a message that was read."""
    (record,) = changelog_records((message,))
    return place(record, message.offset, message.timestamp if message.timestamp_type == 1 else -1)
