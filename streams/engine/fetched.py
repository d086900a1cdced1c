"""What a consumer of ours gets from a fetch: records as aiokafka's parser makes them, in C, and of which leader epochs.

The stock consumer makes a ConsumerRecord of each, a Python object of eleven fields, and hands it through two more
calls: 2 µs a record, where the parser takes 0.3. A parser's record has `offset`, `timestamp`, `timestamp_type`, `key`,
`value`, `headers` and `checksum`; topic and partition are those it was asked for.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords

from streams.engine.lineage import Runs, runs_of


class _Batches(fetcher.MemoryRecords):  # type: ignore[misc]
    """The parser passes over the leader epoch in a batch's header: it is read before."""

    def __init__(self, batches: bytes) -> None:
        super().__init__(batches)
        self.epochs = runs_of(batches)


fetcher.MemoryRecords = _Batches


class _Bare(PartitionRecords):  # type: ignore[misc]
    """Checks, transactions, control records and positions as in the stock class; only the wrapping is left out."""

    handed: dict[Any, Runs]

    def __iter__(self) -> Iterator[Any]:
        # Called for each list that is handed out.
        self.handed[self._tp] = self._records.epochs
        # Always the same generator: who stopped at a limit goes on where he stopped.
        return self._records_iterator  # type: ignore[no-any-return]

    def _consumer_record(self, tp: Any, record: Any) -> Any:
        return record


class _Results(OrderedDict[Any, Any]):
    """Where a fetcher puts what it has fetched, partition by partition."""

    def __init__(self, results: Any, handed: dict[Any, Runs]) -> None:
        self._handed = handed
        super().__init__(results)

    def __setitem__(self, tp: Any, result: Any) -> None:
        if type(result) is FetchResult:
            records = result._partition_records
            records.__class__ = _Bare
            records.handed = self._handed
        super().__setitem__(tp, result)


def bare_records(consumer: Any) -> dict[Any, Runs]:
    """Have a started consumer give the parser's records.

    Returns: partition -> leader epochs of the records that it gave last; good until it is asked for more.
    """
    handed: dict[Any, Runs] = {}
    consumer._fetcher._records = _Results(consumer._fetcher._records, handed)
    return handed
