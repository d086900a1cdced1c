"""What arrives is shown where it belongs, on pages that nobody reloads. How soon: tests/bench/live.py."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from tests.console.arrivals import PLACES, request
from tests.console.browser import Window
from tests.console.conftest import Fed
from tests.e2e.requests import Sender
from tests.e2e.stack import eventually

pytestmark = [pytest.mark.slow]

# Beside those that the bench times.
MORE = {
    "cost of a week, total cost": ("/cost?range=7d&tenant={tenant}", PLACES["overview, total cost"][1]),
    "sources, its row": (
        "/sources",
        "n => [...document.querySelectorAll(\"tr[id^='source-arriving'] td\")].some(one => one.textContent === `${n}`)",
    ),
    "sources, its key's row": (
        "/sources",
        "n => [...document.querySelectorAll(\"tr[id^='key-arriving'] td\")].some(one => one.textContent === `${n}`)",
    ),
}


def test_an_event_appears_on_open_pages_without_a_reload(fed: Fed, window: Callable[..., Window]) -> None:
    tenant, session, ports = "arriving", str(uuid.uuid4()), fed.stack.ports
    ask, places = fed.stack.sql(fed.stack.admin_key()), PLACES | MORE
    with Sender(ports["GATEWAY_GRPC"], ports["GATEWAY_HTTP"], fed.stack.key(tenant)) as sender:
        sender.send(request(session, 1))
        eventually(lambda: len(ask(f"select 1 from sessions where session_id = '{session}'")) != 1)
        pages = {}
        for name, (path, shows) in places.items():
            pages[name] = window().go(path.format(tenant=tenant, session=session))
            pages[name].wait_for_function(shows, arg=1)
            pages[name].evaluate("window.same = true")
        sender.send(request(session, 2))
    for name, (_, shows) in places.items():
        pages[name].wait_for_function(shows, arg=2)
        assert pages[name].evaluate("window.same") is True
