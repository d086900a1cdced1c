"""The ids that the lake stored lately, to leave out what clients send again.

A re-send is a new offset with an old id. It has its first sending's key, hence its partition, so each partition
remembers by itself. An id is kept while it is no older than the horizon before the partition's newest row, both in
received time (the gateway's clock): not in this machine's time, or a replay after a long stop would forget too soon.
"""

import logging
from collections import deque
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

logger = logging.getLogger(__name__)

# Ids are kept in runs of about this many; a longer list of shorter runs would make every look-up slower.
_RUN_IDS = 20_000


@dataclass(frozen=True)
class _Run:
    ids: pa.Array
    first_us: int
    last_us: int


class Seen:
    """The remembered ids of one topic.

    Args: horizon_us: how far back, microseconds of received time.  ids_max: bound over all partitions; beyond it the
        oldest are forgotten early, which is said in the log.
    """

    def __init__(self, *, horizon_us: int, ids_max: int) -> None:
        self._horizon_us = horizon_us
        self._ids_max = ids_max
        self._runs: dict[int, deque[_Run]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def fresh(self, partition: int, ids: pa.Array) -> pa.Array:
        """True for each id that is neither remembered nor further up in `ids` itself.

        Args: ids: strings, in order of offset.
        """
        first = _first_of_each(ids)
        if partition not in self._runs:
            return first
        # The new ids make the small hash table; the remembered ones only look into it.
        found = [run.ids.filter(pc.is_in(run.ids, value_set=ids)) for run in self._runs[partition]]
        resent = pa.chunked_array(found, pa.string()).combine_chunks()
        if len(resent) == 0:
            return first
        return pc.and_(first, pc.invert(pc.is_in(ids, value_set=resent)))

    def add(self, partition: int, ids: pa.Array, *, first_us: int, last_us: int) -> None:
        """Remember the ids of rows that are stored now.  first_us, last_us: their earliest and latest received time."""
        runs = self._runs.setdefault(partition, deque())
        self._count += len(ids)
        if runs and len(runs[-1].ids) + len(ids) <= _RUN_IDS and last_us - runs[-1].first_us < self._horizon_us // 8:
            last = runs.pop()
            ids = pa.concat_arrays([last.ids, ids])
            first_us, last_us = min(first_us, last.first_us), max(last_us, last.last_us)
        runs.append(_Run(ids, first_us, last_us))
        newest = max(run.last_us for run in runs)
        while runs[0].last_us < newest - self._horizon_us:
            self._count -= len(runs.popleft().ids)
        self._bound()

    def clear(self) -> None:
        """Forget everything."""
        self._runs.clear()
        self._count = 0

    def _bound(self) -> None:
        if self._count <= self._ids_max:
            return
        dropped = self._count
        while self._count > self._ids_max:
            partition = min((p for p, runs in self._runs.items() if runs), key=lambda p: self._runs[p][0].last_us)
            self._count -= len(self._runs[partition].popleft().ids)
        logger.warning(
            "forgot %d ids before the dedup horizon: over MILLRACE_LAKE_DEDUP_IDS_MAX=%d",
            dropped - self._count,
            self._ids_max,
        )


def _first_of_each(ids: pa.Array) -> pa.Array:
    """True where an id stands for the first time."""
    if pc.count_distinct(ids).as_py() == len(ids):
        return pa.repeat(pa.scalar(True), len(ids))
    row = pa.array(range(len(ids)), pa.int64())
    firsts = pa.table({"id": ids, "row": row}).group_by("id").aggregate([("row", "min")])["row_min"]
    return pc.is_in(row, value_set=firsts.combine_chunks())
