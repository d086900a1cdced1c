"""What it costs to store records in the query tables: CPU seconds per million, by step.

    python -m tests.sinks.query.bench [--records 200000] [--batch 5000]

An event has some 45 of its fields set, as the client's api_request and tool_result have; sessions are changed versions
of 20,000 sessions. Everything runs as in the process: Avro bytes in, one writer thread, rows and offsets in one
transaction. The share of the codec is measured by itself on the same bytes.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from schemas import codec
from schemas.topics import CATALOGUE
from sinks.protocol import Batch, SinkRecord
from sinks.query.database import Database
from sinks.query.store import QueryStore
from tests.sinks.query import samples

USERS, SESSIONS = 2_000, 20_000


def event(number: int) -> dict[str, Any]:
    """One event as a client in a team sends them."""
    user, session = number % USERS, number % SESSIONS
    return samples.event(
        number,
        event_id=f"{random.getrandbits(128):032x}",
        session_id=f"0d5c1d6e-7a6f-4c3e-9b1a-{session:012x}",
        user_key=f"{user:032x}",
        user_id=f"{user:064x}",
        user_email=f"user{user}@example.com",
        user_account_uuid=f"7b0f3c52-1111-4222-8333-{user:012x}",
        organization_id="org-1",
        team=f"team-{user % 50}",
        department="engineering",
        cost_center=f"cc-{user % 20}",
        service_name="claude-code",
        service_version="2.1.197",
        app_version="2.1.197",
        terminal_type="vscode",
        prompt_id=f"{number // 10:032x}",
        model="claude-opus" if number % 3 else "claude-haiku",
        cost_usd=0.0125 + number % 100 / 1000,
        cost_usd_micros=12_500 + number % 100 * 1000,
        input_tokens=number % 5000,
        output_tokens=number % 700,
        cache_read_tokens=number % 90_000,
        cache_creation_tokens=number % 3000,
        duration_ms=number % 9000,
        success=True,
        tool_name="Bash",
        tool_use_id=f"toolu_{number:024x}",
        request_id=f"req_{number:024x}",
        tool_parameters="<content>",
        command_line=f"git commit -m {number}",
        query_source="main",
        speed="normal",
        observed_time=samples.T0 + number * samples.SECOND + 100,
        event_timestamp=samples.T0 + number * samples.SECOND,
        severity_number=9,
        severity_text="INFO",
        os_type="linux",
        os_version="6.1",
        host_arch="amd64",
        scope_name="com.anthropic.claude_code.events",
        scope_version="2.1.197",
        attributes={"custom.one": "a", "custom.two": str(number % 10)},
        resource_attributes={"team.id": f"team-{user % 50}"},
    )


def session(number: int) -> dict[str, Any]:
    """The number-th change of one of the sessions."""
    which = random.randrange(SESSIONS)
    return samples.session(
        which,
        version=number + 1,
        session_id=f"0d5c1d6e-7a6f-4c3e-9b1a-{which:012x}",
        user_email=f"user{which % USERS}@example.com",
        team="core",
        models={"claude-opus": 1.5, "claude-haiku": 0.1},
        event_counts={"api_request": 10, "tool_result": 7, "user_prompt": 2, "tool_decision": 7},
        metric_totals={"claude_code.cost.usage": 1.6, "claude_code.token.usage/input": 100.0},
    )


def batches(topic: str, make: Callable[[int], dict[str, Any]], records: int, size: int) -> Iterator[Batch]:
    """Ranges of one partition, encoded before the clock runs."""
    for start in range(0, records, size):
        values = [make(start + i) for i in range(min(size, records - start))]
        name = CATALOGUE[topic].record
        held = [
            SinkRecord(start + i, samples.key_of(topic, value), codec.encode(name, value))
            for i, value in enumerate(values)
        ]
        yield Batch(topic, 0, start, start + len(held) - 1, held)


async def measure(topic: str, make: Callable[[int], dict[str, Any]], records: int, size: int) -> None:
    """Store them all, and print what a million costs."""
    held = list(batches(topic, make, records, size))
    began = time.process_time()
    for batch in held:
        codec.arrow(CATALOGUE[topic].record, [r.value for r in batch.records if r.value is not None])
    decoding = time.process_time() - began
    with tempfile.TemporaryDirectory() as folder:
        store = QueryStore(Database(Path(folder) / "query"))
        await store.open(samples.IDENTITY)
        slowest = 0.0
        began, wall = time.process_time(), time.perf_counter()
        for batch in held:
            one = time.perf_counter()
            await store.write([batch])
            slowest = max(slowest, time.perf_counter() - one)
        spent, elapsed = time.process_time() - began, time.perf_counter() - wall
        await store.close()
        size_mb = sum(f.stat().st_size for f in (Path(folder) / "query").glob("*.duckdb")) / 1e6
    million = 1e6 / records
    print(
        f"{topic:12} {spent * million:7.1f} CPU s/million, of it codec {decoding * million:6.1f} "
        f"({decoding / spent:4.0%}); {records / elapsed:8.0f} records/s; slowest write {slowest * 1000:5.0f} ms; "
        f"{size_mb * 1e6 / records:5.0f} B/record"
    )


async def main() -> None:
    """Run each kind in turn."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--batch", type=int, default=5_000)
    arguments = parser.parse_args()
    random.seed(7)
    await measure("events", event, arguments.records, arguments.batch)
    await measure("sessions", session, arguments.records, arguments.batch)


if __name__ == "__main__":
    asyncio.run(main())
