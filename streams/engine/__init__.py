"""Faust made exact and fast: whole fetched chunks in, versioned rows and acknowledged output.

    def register(engine: Engine, settings: StreamsSettings) -> None:
        events = engine.source(full_name(settings.prefix, "events"), settings.partitions)
        sessions = engine.table("sessions", events)

        @engine.agent(events)
        async def fold_sessions(chunk: Chunk) -> None:
            rows = sessions.get_many(chunk.partition, keys)
            ...
            await sessions.apply(chunk, puts)             # {key: (last offset folded into the row, payload)}
            await engine.emit(out, partitions, messages)

The engine's order of things, for every chunk:
  1. changelog, acknowledged, then RocksDB (`apply`): rows here are never ahead of the changelog, and after any crash a
     table is a prefix of its changelog;
  2. output (`emit`), after `apply`: what was published was made from rows that no crash takes back;
  3. the output acknowledged, then the commit of the source's offsets: what is not committed is read again.

What a stage must do, and the engine cannot do for it:
  * a redelivered record (its offset is not above the row's) is skipped, but what is published of its row is emitted
    AGAIN: the changelog can be ahead of the output, and the output ahead of the commit. The engine cannot demand it: it
    does not know which messages stand for a row, and a record may publish nothing. Each stage is tested for it;
  * no clock, no chunk border and no randomness decides anything: a replay must decide the same;
  * the order of the puts is the order in the changelog, which a crash can cut anywhere: rows others depend on first;
  * delete only what no later record adds to, and find it by a scan of what is due: an older copy can come back.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from streams.engine.chunk import Chunk, Output, Record
from streams.engine.errors import (
    AlreadyPublished,
    ChangelogCut,
    ChangelogReplaced,
    EngineError,
    EpochSuperseded,
    LogicChanged,
    NotCopartitioned,
    RowTooLarge,
    SourceCut,
    StageFailed,
    StateDamaged,
    StateLost,
    StateMismatch,
    StateUnwritable,
    WorkerFenced,
    WrongChangelog,
    WrongRow,
)
from streams.engine.rows import Row
from streams.engine.settings import Cluster, EngineSettings

if TYPE_CHECKING:
    from streams.engine.engine import Engine, Source, Status, Stop
    from streams.engine.table import Table

_WITH_FAUST = {"Engine": "engine", "Source": "engine", "Status": "engine", "Stop": "engine", "Table": "table"}
"""Name -> module. Imported when first asked for: who only reads rows need not wait a second for Faust."""


def __getattr__(name: str) -> Any:
    if name in _WITH_FAUST:
        return getattr(importlib.import_module(f"{__name__}.{_WITH_FAUST[name]}"), name)
    raise AttributeError(f"module {__name__} has no attribute {name}")


__all__ = [
    "AlreadyPublished",
    "ChangelogCut",
    "ChangelogReplaced",
    "Chunk",
    "Cluster",
    "Engine",
    "EngineError",
    "EngineSettings",
    "EpochSuperseded",
    "LogicChanged",
    "NotCopartitioned",
    "Output",
    "Record",
    "Row",
    "RowTooLarge",
    "Source",
    "SourceCut",
    "StageFailed",
    "StateDamaged",
    "StateLost",
    "StateMismatch",
    "StateUnwritable",
    "Status",
    "Stop",
    "Table",
    "WorkerFenced",
    "WrongChangelog",
    "WrongRow",
]
