"""What events tell of closed buckets, kept as long as it can be seen to hold.

A chart over ninety days would read ten million events every time it is drawn. But the events of a day that is over do
not change, and if one does arrive late, the totals of that day in `session_hours`, which are read each time, change
with it. So the totals of a bucket are the check on what is kept of it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime

from console.ask import Answer
from console.filters import Filters
from console.usage import SHORT, Question, Span, number_of, spans, told

_CELLS_MAX = 200_000
_ROWS_MAX = 100_000
# An answer that does not agree with the totals, or agrees by chance, is asked again after a hundredth of its age.
_AGE_SHARE = 0.01
_KEPT_S_MAX = 600.0


@dataclass(frozen=True, slots=True)
class Cell:
    """A part of what events told of a bucket.  event: its name.  n: how many."""

    event: str
    name: str | None
    source: str | None
    n: int
    cost_usd: float
    tokens: int


@dataclass(frozen=True, slots=True)
class _Kept:
    cells: tuple[Cell, ...]
    totals: Mapping[str, int]
    complete: bool
    asked: float


class Told:
    """Keeps what events told, for each question, each set of filters, and all who may see the same."""

    def __init__(self, cells_max: int = _CELLS_MAX) -> None:
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._cells = 0
        self._cells_max = cells_max

    async def cells(
        self,
        ask: Callable[[str, int], Awaitable[Answer]],
        scope: Hashable,
        filters: Filters,
        question: Question,
        totals: Mapping[int, Mapping[str, int]],
        now: datetime,
        *,
        soon: bool = False,
    ) -> list[tuple[Cell, ...]] | None:
        """What events tell, for each of the filters' spans.

        Args:    ask: SQL and a limit of rows → answer.  scope: who may see the same.
                 totals: number of a bucket → the sums of session_hours that the question counts.
                 soon: only if it takes no scan of many days.
        Returns: None: it does.
        Raises:  what `ask` raises.
        """
        clock = now.timestamp()
        all_spans = spans(filters)
        base = (scope, question, filters.bucket, tuple(sorted(filters.values.items())))
        counted = [_counted(question, totals.get(number_of(filters.bucket, span.start), {})) for span in all_spans]
        found: list[tuple[Cell, ...] | None] = []
        for span, count in zip(all_spans, counted, strict=True):
            kept = self._kept.get((base, span))
            holds = kept is not None and kept.totals == count and not self._over(kept, span, clock)
            found.append(kept.cells if holds and kept is not None else None if any(count.values()) else ())
        missing = [place for place, cells in enumerate(found) if cells is None]
        if missing:
            # One scan over all that is missing: mostly the last bucket alone, or everything.
            asked = Span(all_spans[missing[0]].start, all_spans[missing[-1]].end)
            if soon and asked.end - asked.start > SHORT:
                return None
            answer = await ask(told(filters, asked, question), _ROWS_MAX)
            by_bucket = _by_bucket(answer)
            for place in range(missing[0], missing[-1] + 1):
                cells = by_bucket.get(number_of(filters.bucket, all_spans[place].start), ())
                found[place] = cells
                if not answer.truncated:
                    complete = counted[place] == _told(question, cells)
                    self._keep((base, all_spans[place]), _Kept(cells, counted[place], complete, clock))
        return [cells or () for cells in found]

    def _over(self, kept: _Kept, span: Span, clock: float) -> bool:
        """Whether it is time to ask again, although the totals are the same.

        What agrees with them is exact. What does not may lack events that are on their way, or that routing archived.
        """
        if kept.complete:
            return False
        age = clock - span.end.timestamp()
        return clock - kept.asked > min(max(age * _AGE_SHARE, 0.0), _KEPT_S_MAX)

    def _keep(self, key: Hashable, one: _Kept) -> None:
        old = self._kept.pop(key, None)
        self._cells += len(one.cells) + 1 - (0 if old is None else len(old.cells) + 1)
        self._kept[key] = one
        while self._cells > self._cells_max:
            _, dropped = self._kept.popitem(last=False)
            self._cells -= len(dropped.cells) + 1


def _counted(question: Question, totals: Mapping[str, int]) -> dict[str, int]:
    return {part.event: sum(totals.get(name) or 0 for name in part.counted) for part in question.parts}


def _told(question: Question, cells: tuple[Cell, ...]) -> dict[str, int]:
    return {part.event: sum(cell.n for cell in cells if cell.event == part.event) for part in question.parts}


def _by_bucket(answer: Answer) -> dict[int, tuple[Cell, ...]]:
    found: dict[int, dict[tuple[str, str | None, str | None], Cell]] = {}
    for bucket, event, name, source, n, cost, tokens in answer.rows:
        cells = found.setdefault(bucket, {})
        old = cells.get((event, name, source))  # of the events with the other clock
        cells[event, name, source] = Cell(
            event,
            name,
            source,
            n + (old.n if old else 0),
            (cost or 0.0) + (old.cost_usd if old else 0.0),
            (tokens or 0) + (old.tokens if old else 0),
        )
    return {bucket: tuple(cells.values()) for bucket, cells in found.items()}
