"""Events that arrive one by one, and how an open page shows that it has the last of them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import timedelta

from tests.e2e.requests import Recorded

NOW, MICROSECOND = timedelta(0), timedelta(microseconds=1)

REQUEST = {"event.name": "api_request", "model": "opus", "cost_usd": "1.0"}
"""A request to a model for one dollar."""
COMMAND = {"event.name": "tool_result", "tool_name": "Bash", "tool_parameters": '{"bash_command": "ls"}'}
"""A command that was run."""
COMPACTION = {"event.name": "compaction"}
"""What costs nothing."""


def stat(title: str, value: str) -> str:
    """What is true in the browser while a number stands under this title."""
    return (
        "n => [...document.querySelectorAll('.stat')].some(one => "
        f"one.querySelector('h2, h3').textContent === '{title}'"
        f" && one.querySelector('.stat-value').textContent === `{value}`)"
    )


# Place → (address, what is true in the browser once the n-th event of the session is shown there).
PLACES = {
    "overview, total cost": ("/?tenant={tenant}", stat("Total cost", "$${n}.00")),
    "sessions, its row": (
        "/sessions?tenant={tenant}",
        "n => [...document.querySelectorAll('tr[data-row] td')].some(one => one.textContent.trim() === `$${n}.00`)",
    ),
    "session, its timeline": (
        "/sessions/{tenant}/{session}",
        "n => document.querySelectorAll('.entry').length >= n",
    ),
    "cost of 90 days, total cost": ("/cost?range=90d&tenant={tenant}", stat("Total cost", "$${n}.00")),
    "reliability, requests": (
        "/reliability?tenant={tenant}",
        "n => document.querySelector('#models tbody td')?.textContent.trim() === `${n}`",
    ),
}


def request(session: str, *numbers: int, of: Mapping[str, str] = REQUEST, ago: timedelta = NOW) -> Recorded:
    """The events of a session with these numbers, from 1.  of: what each says.  ago: how long ago it happened."""
    values = {"session.id": session, "user.id": "u", **of}
    found = [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]
    records = [
        {
            "timeUnixNano": str(time.time_ns() - ago // MICROSECOND * 1000),
            "attributes": [*found, {"key": "event.sequence", "value": {"intValue": number}}],
        }
        for number in numbers
    ]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "claude-code"}}]}
    body = {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]}
    return Recorded("http", "logs", "json", json.dumps(body).encode())
