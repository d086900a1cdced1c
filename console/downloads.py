"""Files on their way to browsers: what they cost the process, however slowly they are fetched.

What a file is made from, up to ANSWER_BYTES_MAX of JSON as objects, is in memory only while the file is written, of few
files at a time. From then on it lies in a temporary file, and each person has few of those.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from typing import IO
from weakref import WeakValueDictionary

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from console.errors import AskFault
from console.places import Places

_MADE_MAX, _EACH_MAX = 3, 3
_REFUSAL = "{most} of your downloads are not done: wait for one, or cancel it, and try again"
_IN_MEMORY_BYTES = 1 << 20
_PIECE_BYTES = 1 << 18


class Downloads:
    """Those of all people."""

    def __init__(self, made_max: int = _MADE_MAX, each_max: int = _EACH_MAX) -> None:
        """made_max: files that are written at a time.  each_max: those of a person, from asking to the last byte."""
        self._making = asyncio.Semaphore(made_max)
        self._of_each: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._open = Places(each_max, _REFUSAL)

    async def made(self, who: str, make: Callable[[], Awaitable[Response]]) -> Response:
        """A file for somebody, written; or whatever else is made.

        Raises: AskFault (429: they have too many; 507: there is no room for it); what `make` does.
        """
        with ExitStack() as held:
            held.enter_context(self._open.taken(who))
            file = held.enter_context(tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES))
            # One at a time of each person: who asks slow questions holds up themselves.
            async with self._of_each.setdefault(who, asyncio.Lock()), self._making:
                made = await make()
                if not isinstance(made, StreamingResponse):
                    return made
                try:
                    async for piece in made.body_iterator:
                        assert isinstance(piece, bytes)
                        file.write(piece)
                except OSError as error:
                    raise AskFault(f"there is no room for the file: {error}", reason="disk", status=507) from error
            return _Fetched(made, file, held.pop_all())


class _Fetched(StreamingResponse):
    """An answer out of a file, which is gone with it."""

    def __init__(self, made: StreamingResponse, file: IO[bytes], held: ExitStack) -> None:
        file.seek(0)
        super().__init__(_pieces(file), headers=dict(made.headers))
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            await super().__call__(scope, receive, send)


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(_PIECE_BYTES):
        yield piece
