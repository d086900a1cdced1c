"""What each ingest key sent, over a store that was filled by hand: on the page of sources and on that of keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio

from schemas import keys
from schemas.keys import KeyRecord
from service.control import ControlView
from tests.console.conftest import NOW, Pages, console_over, pages_of
from tests.console.handmade import door_telling, pages_over
from tests.console.people import person
from tests.console.test_sources import DAY, HOSTILE, MINUTE, at, rows
from tests.sinks.query import samples
from tests.sinks.query.samples import T0

pytestmark = pytest.mark.asyncio(loop_scope="session")

CLI, CI, OLD, NEW, OTHER = "c1" * 8, "c2" * 8, "0d" * 8, "ee" * 8, "aa" * 8
KEYS = {
    key.id: key
    for key in (
        KeyRecord(CLI, "ingest", "acme", "", HOSTILE),
        KeyRecord(CI, "ingest", "acme", "", "ci"),
        KeyRecord(NEW, "ingest", "acme", "", "new"),
        KeyRecord(OLD, "ingest", "acme", "", "laptops", deleted=True),
        KeyRecord(OTHER, "ingest", "globex", "", ""),
        KeyRecord("99" * 8, "query", "acme", "", "reads"),
    )
}
HEARD: list[Mapping[str, Any]] = []


class Control(ControlView):
    """A control plane that has some keys, all of them made a day ago but one."""

    def __init__(self, having: Mapping[str, KeyRecord]) -> None:
        super().__init__()
        self.having = having

    @property
    def started(self) -> bool:
        return True

    def keys(self) -> list[KeyRecord]:
        return [key for key in self.having.values() if not key.deleted]

    def records(self, kind: str) -> dict[str, dict[str, Any]]:
        found = {key.id: self.record(kind, key.id) for key in self.keys()}
        return {id_: record for id_, record in found.items() if record is not None}

    def record(self, kind: str, id_: str) -> dict[str, Any] | None:
        if kind != keys.CONTROL_KIND or id_ not in self.having:
            return None
        made = T0 - (40 if id_ == OTHER else 1) * DAY
        return keys.control_value(self.having[id_], updated_at=made, updated_by="somebody")


def by(key_id: str | None, before_us: int, **fields: Any) -> dict[str, Any]:
    return at(before_us, ingest_key_id=key_id, **fields)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def sent(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pages]:
    """Two keys of acme send, one was revoked two hours ago, one is new; two events are from before keys were named."""
    events = [
        *(samples.event(n, **by(CLI, n * MINUTE)) for n in range(1, 4)),
        samples.event(4, **by(CLI, 90 * MINUTE)),
        samples.event(5, **by(CI, 5 * MINUTE)),
        samples.event(6, **by(OLD, 120 * MINUTE)),
        *(samples.event(n, **by(None, n * 60 * MINUTE)) for n in (7, 8)),
        samples.event(9, **by(CLI, 3 * DAY)),
        samples.event(1, "globex", **by(OTHER, 35 * DAY)),
    ]
    points = [samples.point(1, **by(CLI, 3 * DAY)), samples.point(2, **by(CI, 6 * MINUTE))]
    rejected = [
        *(
            samples.rejected(n, ingest_key_id=CI, received_at=T0 - n * MINUTE, reason="too_large", signal="logs")
            for n in range(3)
        ),
        samples.rejected(3, ingest_key_id=CI, received_at=T0 - DAY, reason="invalid_id", signal="traces"),
        samples.rejected(4, ingest_key_id=CI, received_at=T0 - 8 * DAY, reason="invalid_id", signal="traces"),
        samples.rejected(5, received_at=T0 - DAY, stage="sessions", reason="malformed_record"),
    ]
    spans = [samples.span(1, ingest_key_id=CI, received_time=T0 - 2 * DAY)]
    sent = {"events": events, "metrics": points, "spans": spans, "rejected": rejected}
    async with pages_over(tmp_path_factory.mktemp("senders"), door_telling(HEARD), **sent) as pages:
        pages.console.control = Control(KEYS)
        yield pages


NOTHING = ["–", "0", "0"]


async def test_keys_of_one_tenant_are_told_apart_by_signal(sent: Pages) -> None:
    page = (await sent.get("/sources")).text
    assert rows(page, "key", "acme") == [
        [f"acme {CLI} {HOSTILE}", "sending", "1 min ago", "3", "4", "3 d ago", "0", "0", *NOTHING],
        [f"acme {CI} ci", "sending", "5 min ago", "1", "1", "6 min ago", "1", "1", "2 d ago", "0", "0"],
        [f"acme {OLD} laptops", "revoked", "2 h ago", "0", "1", *NOTHING, *NOTHING],
        ["acme no key named", "quiet", "7 h ago", "0", "2", *NOTHING, *NOTHING],
        [f"acme {NEW} new", "never used Connect a client or revoke it", *NOTHING, *NOTHING, *NOTHING],
    ]


async def test_the_keys_of_a_tenant_are_all_of_its_records(sent: Pages) -> None:
    shown = rows((await sent.get("/sources")).text, "key", "acme")
    for column, table in ((4, "events"), (7, "metrics"), (10, "spans")):
        since = "received_time >= TIMESTAMPTZ '2026-09-20T14:13:00Z'"
        (row,) = await sent.sql.ask(f"SELECT count(*) AS n FROM {table} WHERE tenant = 'acme' AND {since}", "root-key")
        assert sum(int(cells[column]) for cells in shown) == row["n"]


async def sources_with(sent: Pages, control: ControlView) -> str:
    """The page of a console with another control plane, over the same records."""
    console = console_over(sent.sql.base, "root-key")
    console.control = control
    async with pages_of(console) as pages:
        return (await pages.get("/sources")).text


async def test_a_key_that_nobody_knows_is_no_revoked_one(sent: Pages) -> None:
    page = await sources_with(sent, ControlView())
    assert {cells[0]: cells[1] for cells in rows(page, "key", "acme")}[f"acme {OLD}"] == "unknown"


async def test_of_thousands_of_keys_each_has_its_own_numbers(sent: Pages) -> None:
    more = {f"{n:016x}": KeyRecord(f"{n:016x}", "ingest", "many", "", "") for n in range(2000)}
    page = await sources_with(sent, Control({**KEYS, **more}))
    assert rows(page, "key", "acme")[:4] == rows((await sent.get("/sources")).text, "key", "acme")[:4]
    assert "more are not shown" in page


async def test_a_key_that_was_not_used_for_long_is_not_called_unused(sent: Pages) -> None:
    ((_, state, *_),) = rows((await sent.get("/sources")).text, "key", "globex")
    assert state.startswith("not in 30 days ")


async def test_an_admin_of_a_tenant_sees_its_keys_alone(sent: Pages) -> None:
    page = (await sent.get("/sources", person("admin", tenant="globex"))).text
    assert [row[0] for row in rows(page, "key")] == [f"globex {OTHER}"]
    assert CLI not in page


async def test_rejected_records_are_told_by_key_and_reason_after_a_click_and_not_before(sent: Pages) -> None:
    HEARD.clear()
    assert "Rejected in 7 d" not in (await sent.get("/sources")).text
    assert "Rejected in 7 d" not in (await sent.get("/sources", **{"hx-target": "keys"})).text
    assert [entry["action"] for entry in HEARD if "rejected" in str(entry)] == []
    page = (await sent.post("/sources/rejected", {})).text
    assert {row[0]: row[-1] for row in rows(page, "key", "acme")} == {
        f"acme {CLI} {HOSTILE}": "none",
        f"acme {CI} ci": "3 logs: too_large 1 traces: invalid_id",
        f"acme {OLD} laptops": "none",
        "acme no key named": "1 sessions: malformed_record",
        f"acme {NEW} new": "none",
    }
    assert any("rejected" in str(entry) for entry in HEARD)


async def test_the_table_stands_still_while_it_says_what_was_rejected(sent: Pages) -> None:
    def own(page: str) -> str:
        return page.partition('id="keys"')[2].partition(">")[0]

    assert "hx-get" in own((await sent.get("/sources")).text)
    assert "hx-get" not in own((await sent.post("/sources/rejected", {})).text)


async def test_the_part_of_the_keys_asks_only_for_itself(sent: Pages) -> None:
    page = (await sent.get("/sources", **{"hx-target": "keys"})).text
    assert len(rows(page, "key", "acme")) == 5
    assert rows(page, "source") == []


async def test_who_is_no_admin_sees_no_keys(sent: Pages) -> None:
    page = (await sent.get("/sources", person("viewer", tenant="acme"))).text
    assert "By ingest key" not in page
    assert CLI not in page


async def test_a_new_key_waits_for_its_own_first_event_in_a_tenant_that_sends(sent: Pages) -> None:
    url = "/start?tenant=acme&since=2026-09-21T13:30Z"
    assert "It works" in (await sent.get(url)).text
    assert "Waiting for the first event" in (await sent.get(f"{url}&key_id={NEW}")).text
    works = (await sent.get(f"{url}&key_id={CI}")).text
    assert "It works" in works
    assert f"Only what the key <code>{CI}</code> sends." in works


async def test_the_page_of_keys_says_when_each_was_last_used(sent: Pages) -> None:
    page = (await sent.get("/admin/keys")).text
    newest = NOW.strftime("%Y-%m-%d ")
    found = {cells[0]: cells[6] for cells in rows(page, "key")}
    assert found == {
        CLI: f"sent {newest}14:12",
        CI: f"sent {newest}14:08",
        NEW: "never used",
        OTHER: "not in 30 days",
        "99" * 8: "none recorded",
    }
