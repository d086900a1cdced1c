"""Questions to the SQL service, asked as the person who is signed in."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import httpx
import orjson

from console.errors import AskFault
from schemas.roles import ACTOR_HEADER, Actor, stated

_T = TypeVar("_T")

ANSWER_BYTES_MAX = 32 << 20
"""Of an answer as JSON, if the page says nothing else: while it is parsed, nobody else's page is answered."""
_KEPT_MAX = 2000
# As JSON; in Python it is five times as much.
_KEPT_BYTES_MAX = 24 << 20
_SCHEMA_KEPT_S = 30.0
_QUERY_MS = re.compile(r"\bquery;dur=(\d{1,9})\b")
# Faults of questions that cost all that one may.
_AT_LIMITS = ("time_limit", "memory_limit")
# Of an answer that may still hold, since somebody last asked for it: what an open page shows is asked every 3 s.
_UNASKED_S = 30.0


@dataclass(frozen=True)
class Answer:
    """A result.  rows: lists of JSON values in the columns' order.  truncated: there is more.  bytes: of it as JSON.

    version: of what the person sees of the store; while it is the same, so is the result. None: not told.
    seconds: that the query ran, without its wait.
    """

    columns: tuple[str, ...]
    rows: list[list[Any]]
    truncated: bool
    bytes: int = 0
    version: str | None = None
    seconds: float = 0.0

    def objects(self) -> list[dict[str, Any]]:
        """The rows, column → value."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def one(self) -> dict[str, Any]:
        """The only row of an aggregate."""
        return dict(zip(self.columns, self.rows[0], strict=True))


@dataclass(frozen=True)
class Visible:
    """What a person may see.  tables: SQL name → column → class.  rows: SQL name → which rows, in words.

    listed: the service's own description, for the SQL page.  digest: of all of it; another one may see other things.
    limits: of a query, as sinks.query.runner.Limits names them; none: the service does not say.
    """

    tables: Mapping[str, Mapping[str, str]]
    rows: Mapping[str, str]
    listed: list[dict[str, Any]]
    digest: bytes = b""
    limits: Mapping[str, float] = field(default_factory=dict)

    def has(self, name: str, *columns: str) -> bool:
        """Whether a name and all of these columns of it are to be seen, be it in some rows only."""
        return name in self.tables and all(column in self.tables[name] for column in columns)


class Ask:
    """The way to the SQL service. Use it from one event loop.

    The same question of people who may see the same is asked once at a time, and its answer kept for a moment, or for
    as long as its query ran, and so is the fault of one that came to its limits: a dear one runs for half of the time
    at most, however many look. After that it still holds if nothing has come into the store since, which costs next to
    nothing to learn. A question that nobody waits for any more is cancelled, which stops its query.
    """

    def __init__(
        self, url: str, key: str, *, timeout_s: float, kept_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """url: of the service.  key: an admin key.  clock: seconds."""
        self._http = httpx.AsyncClient(
            base_url=url,
            timeout=httpx.Timeout(timeout_s, connect=2.0),
            headers={"authorization": f"Bearer {key}"},
            # Shorter than the service keeps one (5 s): a question on a connection that it just closed has no answer.
            limits=httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=2.0),
            trust_env=False,
        )
        self._kept_s = kept_s
        self._kept = _Kept(clock)

    async def close(self) -> None:
        """Give the connections back."""
        await self._http.aclose()

    async def sql(self, actor: Actor, text: str, *, limit: int = 10_000) -> Answer:
        """An answer that may be some seconds old; older only if it still holds. Never for content. Raises: AskFault."""
        key = ("sql", actor.tenant, actor.roles, text, limit)

        async def ask(old: Answer | None) -> Answer:
            if old is not None and old.version is not None and old.version == await self._version(actor):
                return old
            return await self.fresh(actor, text, limit=limit)

        return await self._kept.get(key, actor.asker, self._kept_s, ask)

    async def _version(self, actor: Actor) -> str:
        """Of what this person sees of the store now. Raises: AskFault."""

        async def ask(_: str | None) -> str:
            body, _size, _ran = await self._send("GET", "/version", actor, None)
            return str(body["version"])

        # Not kept: what was declared to hold by an old one would be older than that.
        return await self._kept.get(("version", actor.tenant, actor.roles), actor.asker, 0.0, ask)

    async def fresh(
        self,
        actor: Actor,
        text: str,
        *,
        limit: int | None = None,
        timeout_s: float | None = None,
        bytes_max: int = ANSWER_BYTES_MAX,
    ) -> Answer:
        """An answer of now; what is read is told to the audit as this person's. Cancelling it stops the query.

        Args: timeout_s: instead of the page's own.  bytes_max: of the answer as JSON.  Raises: AskFault.
        """
        question = {"sql": text} if limit is None else {"sql": text, "limit": limit}
        body, size, ran = await self._send("POST", "/sql", actor, question, timeout_s, bytes_max)
        return Answer(tuple(body["columns"]), body["rows"], body["truncated"], size, body.get("version"), ran)

    async def visible(self, actor: Actor) -> Visible:
        """What this person may see. Raises: AskFault."""

        async def ask(_: Visible | None) -> Visible:
            body, _size, _ran = await self._send("GET", "/schema", actor, None)
            listed = body["tables"]
            tables = {one["name"]: {c["name"]: c["class"] for c in one["columns"]} for one in listed}
            digest = hashlib.blake2b(orjson.dumps(listed), digest_size=16).digest()
            rows = {one["name"]: one["rows"] for one in listed}
            return Visible(tables, rows, listed, digest, body.get("limits", {}))

        return await self._kept.get(("schema", actor.tenant, actor.roles), actor.asker, _SCHEMA_KEPT_S, ask)

    async def _send(
        self,
        method: str,
        path: str,
        actor: Actor,
        question: Any,
        timeout_s: float | None = None,
        bytes_max: int = ANSWER_BYTES_MAX,
    ) -> tuple[Any, int, float]:
        """The body, its bytes, the seconds that a query ran."""
        try:
            async with self._http.stream(
                method,
                path,
                content=None if question is None else orjson.dumps(question),
                headers={ACTOR_HEADER: stated(actor)},
                timeout=httpx.USE_CLIENT_DEFAULT if timeout_s is None else httpx.Timeout(timeout_s, connect=2.0),
            ) as answer:
                content = await _bounded(answer, bytes_max)
        except httpx.TimeoutException as error:
            raise AskFault(
                "the SQL service did not answer in time; try again, or a shorter time range",
                reason="unavailable",
                status=503,
            ) from error
        except (httpx.TransportError, OSError) as error:
            raise AskFault(
                "the SQL service cannot be reached; it may be starting", reason="unavailable", status=503
            ) from error
        try:
            body = orjson.loads(content)
        except ValueError as error:
            raise AskFault("the SQL service answered no JSON", reason="unavailable", status=503) from error
        timing = _QUERY_MS.search(answer.headers.get("server-timing", ""))
        ran = 0.0 if timing is None else int(timing[1]) / 1000
        if answer.status_code == 200:
            return body, len(content), ran
        fault = body.get("error", {})
        raise AskFault(
            str(fault.get("message", "no message")),
            reason=str(fault.get("code", "internal")),
            status=answer.status_code,
            line=fault.get("line"),
            column=fault.get("column"),
            seconds=ran,
        )


async def _bounded(answer: httpx.Response, bytes_max: int) -> bytearray:
    """The body. Raises: AskFault(too_large): while a body is parsed, nobody else's page is answered."""
    content = bytearray()
    async for piece in answer.aiter_bytes():
        content += piece
        if len(content) > bytes_max:
            raise AskFault(
                f"the answer is larger than {bytes_max >> 20} MiB; ask for fewer rows or columns",
                reason="too_large",
                status=413,
            )
    return content


@dataclass
class _Fetch:
    """An answer on its way.  asker: in whose turn.  waiting: how many wait for it."""

    asker: Hashable
    task: asyncio.Task[Any]
    waiting: int = 0


@dataclass(frozen=True)
class _Answered:
    """An answer, or the AskFault instead of one.  until: when it has to be asked for again, by the clock of _Kept."""

    value: Any
    until: float
    bytes: int


class _Kept:
    """Answers for a moment, bounded in number and bytes; whoever asks while one is fetched waits for the same."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._answers: OrderedDict[Any, _Answered] = OrderedDict()
        self._bytes = 0
        self._fetching: dict[Any, _Fetch] = {}

    async def get(
        self, key: Any, asker: Hashable, seconds: float, fetch: Callable[[_T | None], Coroutine[Any, Any, _T]]
    ) -> _T:
        """The answer to this key.

        Args:    asker: who wants it.  seconds: how long it is kept, if it did not run longer; 0: not at all.  fetch: is
                 given the one before, if it is still known; it may be that again.
        Raises:  what fetching does.
        """
        while True:
            found = self._answers.get(key)
            if found is not None and found.until > self._clock():
                if isinstance(found.value, AskFault):
                    raise found.value.again()
                answer: _T = found.value
                return answer
            fetching = self._fetching.get(key)
            if fetching is None:
                task = asyncio.create_task(self._fetch(key, seconds, fetch))
                fetching = self._fetching[key] = _Fetch(asker, task)
                task.add_done_callback(partial(self._fetched, key, fetching))
            try:
                fetched: _T = await self._wait(key, fetching)
                return fetched
            except AskFault as fault:
                # Somebody asks too much at once: that is no answer to anybody else, who asks in their own turn.
                if fault.reason != "busy" or fetching.asker == asker:
                    raise

    async def _wait(self, key: Any, fetching: _Fetch) -> Any:
        fetching.waiting += 1
        try:
            # One who leaves must not take the answer from the others; the last one takes the question along.
            return await asyncio.shield(fetching.task)
        finally:
            fetching.waiting -= 1
            if not fetching.waiting and not fetching.task.done():
                self._forget_fetch(key, fetching)
                fetching.task.cancel()

    async def _fetch(self, key: Any, seconds: float, fetch: Callable[[_T | None], Coroutine[Any, Any, _T]]) -> _T:
        found, began = self._answers.get(key), self._clock()
        before = None if found is None or isinstance(found.value, AskFault) else found.value
        try:
            answer = await fetch(before)
        except AskFault as fault:
            if fault.reason in _AT_LIMITS:
                self._keep(key, fault, self._clock() + fault.seconds, 0)
            raise
        size = getattr(answer, "bytes", 0)
        if seconds > 0 and size < _KEPT_BYTES_MAX // 4:
            # Nothing ran for one that holds, and that it does was true no later than when it was asked.
            ran = getattr(answer, "seconds", 0.0)
            until = began + seconds if answer is before else self._clock() + max(seconds, ran)
            self._keep(key, answer, until, size)
        return answer

    def _keep(self, key: Any, value: Any, until: float, size: int) -> None:
        self._forget(key)
        self._expire()
        self._answers[key] = _Answered(value, until, size)
        self._bytes += size
        while len(self._answers) > _KEPT_MAX or self._bytes > _KEPT_BYTES_MAX:
            self._forget(next(iter(self._answers)))

    def _expire(self) -> None:
        """Forget from the oldest on what nobody has asked for since."""
        now = self._clock()
        while self._answers and next(iter(self._answers.values())).until + _UNASKED_S <= now:
            self._forget(next(iter(self._answers)))

    def _forget(self, key: Any) -> None:
        if (found := self._answers.pop(key, None)) is not None:
            self._bytes -= found.bytes

    def _forget_fetch(self, key: Any, fetching: _Fetch) -> None:
        if self._fetching.get(key) is fetching:  # else somebody asks anew already
            del self._fetching[key]

    def _fetched(self, key: Any, fetching: _Fetch, task: asyncio.Task[Any]) -> None:
        self._forget_fetch(key, fetching)
        if not task.cancelled():
            task.exception()  # whoever waits hears of it; nobody may


def moment(text: str | None) -> datetime | None:
    """A time of an answer."""
    return None if text is None else datetime.fromisoformat(text)
