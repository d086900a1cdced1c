"""How an admin page changes something: as whoever is signed in, one change after the other, told to the audit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from starlette.responses import Response

from console.web import Visit
from schemas.errors import MillraceError, RetryableError, RoleError
from schemas.policy import PolicyError
from service.changes import Who, last_change
from service.control import ControlView
from service.errors import ChangeRefused

_T = TypeVar("_T")
_SHOWN_WITHIN_S = 2.0

Make = Callable[[Mapping[str, Any], str, Who], Awaitable[_T]]
Again = Callable[[str, int], Awaitable[Response]]


def plane(visit: Visit) -> ControlView:
    """The control plane as this process has read it. Raises: ChangeRefused: not yet."""
    if not visit.console.control.started:
        raise ChangeRefused("the control plane is not read yet", "is Kafka there? this page will be, a moment after it")
    return visit.console.control


async def changed(visit: Visit, kind: str, id_: str | None, make: Make[_T]) -> _T:
    """Make a change; the pages show it when this returns.  id_: of what is changed; None: it is new.

    Raises: as what is made.
    """
    console = visit.console
    async with console.changing:
        before = None if id_ is None else last_change(console.control, kind, id_)
        made = await make(console.kafka, console.settings.prefix, Who(visit.person.id, visit.address))
        if id_ is not None:
            await _wait(lambda: last_change(console.control, kind, id_) != before)
        return made


async def shown(visit: Visit, kind: str, id_: str) -> None:
    """Wait until the pages know of something new."""
    await _wait(lambda: visit.console.control.record(kind, id_) is not None)


async def or_again(made: Awaitable[Response], again: Again) -> Response:
    """The answer to a change, or the form once more with what is wrong with it and a status."""
    try:
        return await made
    except (RoleError, PolicyError) as error:
        return await again(str(error), 400)
    except ChangeRefused as error:
        return await again(str(error), 409)
    except RetryableError as error:
        return await again(f"Nothing is changed: {error}", 503)
    except MillraceError as error:
        return await again(f"Nothing is changed: {error}", 502)


def text(visit: Visit, name: str) -> str:
    """A field of the form, as text."""
    value = visit.form.get(name)
    return value.strip() if isinstance(value, str) else ""


def texts(visit: Visit, name: str) -> tuple[str, ...]:
    """All values of a field of the form."""
    return tuple(value for value in visit.form.getlist(name) if isinstance(value, str))


def stamp(visit: Visit) -> int:
    """When what the form is about was changed last, as its reader saw it. Raises: ChangeRefused."""
    value = text(visit, "seen")
    if not value.isascii() or not value.isdigit() or len(value) > 20:
        raise ChangeRefused("the form does not say what it was made from", "reload the page, and send it again")
    return int(value)


async def _wait(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SHOWN_WITHIN_S
    while not holds() and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
