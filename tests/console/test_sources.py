"""Source health over a store that was filled by hand: who sends, what is odd, who fell silent, who sees what."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
import pytest_asyncio

from console.pages.sources import ago
from service.client import REJECTED
from tests.console.conftest import GONE, NOW, Pages, console_over, pages_of
from tests.console.handmade import door_telling, pages_over
from tests.console.people import person
from tests.sinks.query import samples
from tests.sinks.query.samples import SECOND, T0

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOSTILE = "\"'><script>alert(1)</script>"
MINUTE, DAY = 60 * SECOND, 86_400 * SECOND
HEARD: list[Mapping[str, Any]] = []


def at(before_us: int, **fields: Any) -> dict[str, Any]:
    return {"event_time": T0 - before_us, "received_time": T0 - before_us, **fields}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def health(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pages]:
    """acme sends events and metrics now; globex sent events two hours ago; initech had sessions, and is silent."""
    cli = {"service_name": "claude-code", "client": "cli"}
    events = [
        *(samples.event(n, **cli, **at(n * MINUTE)) for n in range(1, 4)),
        samples.event(4, **cli, **at(90 * MINUTE, event_time=T0 - 120 * MINUTE)),  # half an hour late
        samples.event(5, **cli, **at(91 * MINUTE, event_time=T0 + DAY, clock_suspect=True)),
        samples.event(6, **cli, **at(92 * MINUTE, pipeline_error="malformed JSON")),
        samples.event(7, **cli, **at(2 * DAY)),  # before the day that is shown
        samples.event(8, "globex", service_name=HOSTILE, client="sdk", **at(2 * 60 * MINUTE)),
    ]
    points = [samples.point(n, **cli, **at(n * MINUTE)) for n in range(1, 3)]

    def session(number: int, days: float, **fields: Any) -> dict[str, Any]:
        last = int(T0 - days * DAY)
        return samples.session(number, start_time=last - MINUTE, last_time=last, received_time=last, **fields)

    sessions = [
        session(1, 0, service_name="claude-code", app_version="2.1.200", app_entrypoint="cli", user_key="u-now"),
        session(2, 3, service_name="claude-code", app_version="2.1.100", user_key="u-three", team=HOSTILE),
        session(3, 10, service_name="claude-code", app_version=HOSTILE, user_key="u-ten"),
        session(4, 40, service_name="claude-code", user_key="u-forty"),
        session(5, 10, service_name="claude-code", user_key="u-ghost", ghost=True),
        session(6, 5, tenant="initech", service_name="claude-code-desktop", user_key="u-initech"),
    ]
    person_event = samples.event(9, **cli, **at(10 * DAY, user_key="u-ten", user_email="ten@acme.example"))
    rejected = [
        samples.rejected(n, received_at=T0 - n * MINUTE, reason="malformed_record", signal="logs", error=HOSTILE)
        for n in range(3)
    ]
    rejected.append(samples.rejected(9, received_at=T0 - 3 * DAY, reason="too_large", signal="traces"))
    sent = {"events": [*events, person_event], "metrics": points, "sessions": sessions, "rejected": rejected}
    async with pages_over(tmp_path_factory.mktemp("health"), door_telling(HEARD), **sent) as pages:
        yield pages


def rows(page: str, table: str, tenant: str = "") -> list[list[str]]:
    """The cells of the rows of a table, as text.  tenant: of what begins with this one's name."""
    found = re.findall(rf'<tr id="{table}-[^>]*>(.*?)</tr>', page, re.DOTALL)
    cells = [
        [
            " ".join(unescape(re.sub(r"<[^>]+>", " ", cell)).split())
            for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)
        ]
        for row in found
    ]
    return [row for row in cells if row[0].startswith(tenant)]


def section(page: str, head: str) -> str:
    return page.partition(f">{head}</h2>")[2].partition("<h2")[0]


async def test_a_source_shows_what_it_sent_by_signal(health: Pages) -> None:
    page = (await health.get("/sources")).text
    assert rows(page, "source") == [
        ["acme claude-code · cli", "sending", "1 min ago", "3", "6", "1 min ago", "2", "2", "–", "0", "0", "1", "1"],
        [f"globex {HOSTILE} · sdk", "quiet", "2 h ago", "0", "1", "–", "0", "0", "–", "0", "0", "0", "0"],
        ["initech claude-code-desktop", "silent", "5 d ago", "0", "0", "–", "0", "0", "–", "0", "0", "0", "0"],
    ]


async def test_the_numbers_are_those_of_sql(health: Pages) -> None:
    page = (await health.get("/sources")).text
    values = dict(re.findall(r'<div class="stat"><h2>(.*?)</h2><p class="stat-value[^>]*>(.*?)</p>', page))
    day = "received_time >= TIMESTAMPTZ '2026-09-20T14:13:00Z'"
    (row,) = await health.sql.ask(
        f"SELECT (SELECT count(*) FROM events WHERE {day}) + (SELECT count(*) FROM metrics WHERE {day}) AS day, "
        f"(SELECT count(*) FROM events WHERE {day} AND clock_suspect) AS suspect",
        "root-key",
    )
    assert (values["Last 24 hours"], values["Wrong clock"]) == (str(row["day"]), str(row["suspect"]))
    assert (values["Last hour"], values["Late"], values["Broken JSON"]) == ("5", "1", "1")


async def test_silent_users_are_those_with_sessions_before_and_none_since(health: Pages) -> None:
    found = {}
    for days in (1, 3, 7, 14):
        page = (await health.get(f"/sources?silent={days}")).text
        found[days] = [row[0] for row in rows(page, "silent")]
    assert found == {
        1: ["u-three", "u-initech", "ten@acme.example"],
        3: ["u-initech", "ten@acme.example"],
        7: ["ten@acme.example"],
        14: [],
    }
    assert (await health.get("/sources?silent=8")).status_code == 400


async def test_versions_are_counted_without_ghosts(health: Pages) -> None:
    page = (await health.get("/sources")).text
    versions = section(page, "Clients by version")
    assert "2.1.200" in versions
    assert "2.1.100" in versions
    assert versions.count('<th scope="row">') == 4  # the ghost, and who was last seen 40 days ago, are none


async def test_rejected_records_are_only_read_when_somebody_asks(health: Pages) -> None:
    HEARD.clear()
    page = (await health.get("/sources")).text
    assert "every look at it is written to the audit" in page
    await health.get("/sources?rejected=1")
    await health.get("/sources", **{"hx-target": "flow", "hx-request": "true"})
    assert HEARD == []
    shown = section((await health.post("/sources/rejected", {})).text, "Rejected")
    assert [(entry["actor"], entry["target"]) for entry in HEARD] == [("someone@example.com", "rejected")]
    assert "malformed_record" in shown
    assert unescape(shown).count(REJECTED["malformed_record"]) == 1
    assert REJECTED["too_large"] in unescape(shown)
    assert re.findall(r'<td class="number">(\d+)</td><td class="number">(\d+)</td>', shown) == [("3", "3"), ("0", "1")]


async def test_the_address_of_rejected_records_leads_back_to_the_sources_and_reads_none(health: Pages) -> None:
    HEARD.clear()
    answer = await health.get("/sources/rejected?silent=14")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sources?silent=14")
    assert (await health.get("/sources?silent=2")).status_code == 400
    assert HEARD == []


async def test_a_part_that_keeps_itself_current_asks_only_for_itself(health: Pages) -> None:
    flow = (await health.get("/sources", **{"hx-target": "flow", "hx-request": "true"})).text
    assert len(rows(flow, "source", "acme")) == 1
    assert "2.1.200" not in flow
    fleet = (await health.get("/sources", **{"hx-target": "fleet", "hx-request": "true"})).text
    assert "2.1.200" in fleet
    assert 'id="source-' not in fleet


async def test_hostile_names_are_text(health: Pages) -> None:
    page = (await health.post("/sources/rejected?silent=1", {})).text
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert") >= 4  # service, team, version, error


async def test_who_sees_usage_only_sees_no_person_and_no_rejected(health: Pages) -> None:
    page = (await health.post("/sources/rejected?silent=7", {}, person("viewer", tenant="acme"))).text
    assert "ten@acme.example" not in page
    assert [row[0] for row in rows(page, "silent")] == ["u-ten"]
    assert "does not see e-mails" in page
    assert "The roles security and admin see it." in page
    assert "By ingest key" not in page
    assert "globex" not in page
    assert [row[0] for row in rows(page, "source")] == ["acme claude-code · cli"]


async def test_security_sees_why_records_were_rejected(health: Pages) -> None:
    page = (await health.post("/sources/rejected", {}, person("security", tenant="acme"))).text
    assert "malformed_record" in page


async def test_who_has_no_role_sees_nothing_and_is_told(health: Pages) -> None:
    answer = await health.get("/sources", person(tenant="acme"))
    assert answer.status_code in (200, 403)
    assert "acme claude-code" not in answer.text
    assert "it has no role" in answer.text


async def test_without_a_store_the_page_says_so_and_goes_on() -> None:
    async with pages_of(console_over(GONE, "root-key")) as pages:
        answer = await pages.get("/sources")
    assert answer.status_code == 200
    assert answer.text.count("the SQL service cannot be reached") >= 3
    assert 'hx-trigger="tick from:body"' in answer.text  # asks again by itself


@pytest.mark.parametrize(
    ("length", "said"),
    [(timedelta(seconds=-3), "0 s ago"), (timedelta(seconds=59), "59 s ago"), (timedelta(minutes=61), "1 h ago")],
)
async def test_an_age_is_said_in_its_largest_unit(length: timedelta, said: str) -> None:
    assert ago(NOW - length, NOW) == said
