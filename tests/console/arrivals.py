"""Events that arrive one by one, and how an open page shows that it has the last of them."""

from __future__ import annotations

import json
import time

from tests.e2e.requests import Recorded

# Place → (address, what is true in the browser once the n-th event of the session is shown there).
PLACES = {
    "overview, total cost": (
        "/?tenant={tenant}",
        "n => [...document.querySelectorAll('.stat')].some(one => one.querySelector('h2').textContent === 'Total cost'"
        " && one.querySelector('.stat-value').textContent === `$${n}.00`)",
    ),
    "sessions, its row": (
        "/sessions?tenant={tenant}",
        "n => [...document.querySelectorAll('tr[data-row] td')].some(one => one.textContent.trim() === `$${n}.00`)",
    ),
    "session, its timeline": (
        "/sessions/{tenant}/{session}",
        "n => document.querySelectorAll('.entry').length >= n",
    ),
}


def request(session: str, *numbers: int) -> Recorded:
    """The events of a session with these numbers, from 1: each a request to a model for one dollar."""
    values = {"event.name": "api_request", "session.id": session, "user.id": "u", "model": "opus", "cost_usd": "1.0"}
    found = [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]
    records = [
        {
            "timeUnixNano": str(time.time_ns()),
            "attributes": [*found, {"key": "event.sequence", "value": {"intValue": number}}],
        }
        for number in numbers
    ]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "claude-code"}}]}
    body = {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]}
    return Recorded("http", "logs", "json", json.dumps(body).encode())
