"""What arrives is shown where it belongs, on pages that nobody reloads. How soon: tests/bench/live.py."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.console.arrivals import COMMAND, COMPACTION, PLACES, request, stat
from tests.console.browser import Window
from tests.console.conftest import Fed
from tests.e2e.requests import Sender
from tests.e2e.stack import eventually

pytestmark = [pytest.mark.slow]


def told(row: str) -> str:
    """What is true in the browser while such a row tells of three records for each event that is looked for."""
    return (
        f"n => [...document.querySelectorAll(\"tr[id^='{row}-']\")].some(one => one.textContent.includes('arriving')"
        " && [...one.cells].some(cell => cell.textContent === `${3 * n}`))"
    )


# Beside those that the bench times. With each event comes a command in a session of its own, and a late compaction in a
# session that is closed.
MORE = {
    "adoption, uses of a tool": (
        "/adoption?tenant={tenant}",
        "n => [...document.querySelectorAll('#features-title ~ .card tr')].some(one =>"
        " one.cells[1].textContent === 'Bash' && one.lastElementChild.textContent === `${n}`)",
    ),
    "a closed session, its timeline": (
        "/sessions/{tenant}/{closed}",
        "n => document.querySelectorAll('.entry').length >= n"
        " && document.querySelector('.facts .tag').textContent === 'closed'",
    ),
    "security, commands": ("/security?tenant={tenant}", stat("Commands run", "${n}")),
    "sources, its row": ("/sources", told("source")),
    "sources, its key's row": ("/sources", told("key")),
}


def test_an_event_appears_on_open_pages_without_a_reload(fed: Fed, window: Callable[..., Window]) -> None:
    tenant, ports = "arriving", fed.stack.ports
    session, closed = str(uuid.uuid4()), str(uuid.uuid4())
    ask, places = fed.stack.sql(fed.stack.admin_key()), PLACES | MORE
    with Sender(ports["GATEWAY_GRPC"], ports["GATEWAY_HTTP"], fed.stack.key(tenant)) as sender:

        def send(number: int) -> None:
            sender.send(request(session, number))
            sender.send(request(f"{session} beside", number, of=COMMAND))
            sender.send(request(closed, number, of=COMPACTION, ago=timedelta(hours=2)))

        send(1)
        eventually(lambda: len(ask(f"select 1 from sessions where session_id in ('{session}', '{closed}')")) != 2)
        pages = {}
        for name, (path, shows) in places.items():
            pages[name] = window().go(path.format(tenant=tenant, session=session, closed=closed))
            pages[name].wait_for_function(shows, arg=1)
            pages[name].evaluate("window.same = true")
        send(2)
    for name, (_, shows) in places.items():
        pages[name].wait_for_function(shows, arg=2)
        assert pages[name].evaluate("window.same") is True
